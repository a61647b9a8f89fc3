//! The data of the fake server and the commands that touch nothing else.
//!
//! `command.rs` calls [`Store::execute`] for clients, `replication.rs` for what a primary hands on. It knows neither
//! connections nor roles nor faults, and whatever the arguments are, it answers with a reply.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::resp::Reply;

/// The databases of a fake server, each value under its database's index and its key.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    entries: BTreeMap<(u32, Vec<u8>), Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    expires: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListEnd {
    Left,
    Right,
}

/// Why a command did nothing.
enum Mistake {
    WrongType,
    NotAnInteger,
    Overflow,
    Syntax,
    Arity(&'static str),
    Expiry,
}

type Outcome = Result<Reply, Mistake>;

impl Store {
    /// Executes a data command. `name` is in upper case and its arity has been checked.
    pub(super) fn execute(&mut self, db: u32, name: &str, args: &[Vec<u8>]) -> Reply {
        let outcome = match (name, args) {
            ("GET", [key, ..]) => self.read(db, key),
            ("MGET", keys) => {
                Ok(Reply::Array(keys.iter().map(|key| self.read(db, key).unwrap_or(Reply::Nil)).collect()))
            }
            ("SET", [key, value, options @ ..]) => self.set(db, key, value, options),
            ("MSET", pairs) => self.set_all(db, pairs),
            ("DEL", keys) => Ok(count(keys.iter().filter(|key| self.remove(db, key)).count())),
            ("EXISTS", keys) => Ok(count(keys.iter().filter(|key| self.entry(db, key).is_some()).count())),
            ("INCR", [key, ..]) => self.add(db, key, 1),
            ("INCRBY", [key, by, ..]) => integer(by).and_then(|by| self.add(db, key, by)),
            ("APPEND", [key, tail, ..]) => self.append(db, key, tail),
            ("LPUSH", [key, values @ ..]) => self.push(db, key, values, ListEnd::Left),
            ("RPUSH", [key, values @ ..]) => self.push(db, key, values, ListEnd::Right),
            ("LPOP", [key, ..]) => self.pop(db, key, ListEnd::Left),
            ("RPOP", [key, ..]) => self.pop(db, key, ListEnd::Right),
            ("LLEN", [key, ..]) => self.list(db, key).map(|list| count(list.map_or(0, |list| list.len()))),
            ("LRANGE", [key, from, to, ..]) => self.range(db, key, from, to),
            ("DBSIZE", _) => Ok(count(self.len(db))),
            ("FLUSHDB", _) => {
                self.entries.retain(|(of, _), _| *of != db);
                Ok(Reply::ok())
            }
            ("FLUSHALL", _) => {
                self.entries.clear();
                Ok(Reply::ok())
            }
            _ => Err(Mistake::Syntax),
        };
        outcome.unwrap_or_else(|mistake| mistake.reply())
    }

    /// Takes an element for a blocking pop, with the key it came from; `Some` also for a key of the wrong type.
    pub(super) fn try_pop(&mut self, db: u32, keys: &[Vec<u8>], end: ListEnd) -> Option<(Vec<u8>, Reply)> {
        keys.iter().find_map(|key| match self.pop(db, key, end) {
            Ok(Reply::Nil) => None,
            Ok(value) => Some((key.clone(), Reply::Array(vec![Reply::bulk(key), value]))),
            Err(mistake) => Some((key.clone(), mistake.reply())),
        })
    }

    fn read(&mut self, db: u32, key: &[u8]) -> Outcome {
        Ok(self.text(db, key)?.map_or(Reply::Nil, Reply::bulk))
    }

    fn set(&mut self, db: u32, key: &[u8], value: &[u8], options: &[Vec<u8>]) -> Outcome {
        let options = SetOptions::parse(options)?;
        let old = if options.returns_old { self.read(db, key)? } else { Reply::ok() };
        let current = self.entry(db, key).map(|entry| entry.expires);
        let wanted = match options.only {
            Only::Always => true,
            Only::IfAbsent => current.is_none(),
            Only::IfPresent => current.is_some(),
        };
        if !wanted {
            return Ok(if options.returns_old { old } else { Reply::Nil });
        }
        let expires = match options.expiry {
            Expiry::None => None,
            Expiry::Keep => current.flatten(),
            Expiry::In(time) => Instant::now().checked_add(time),
        };
        self.entries.insert((db, key.to_vec()), Entry { value: Value::Text(value.to_vec()), expires });
        Ok(old)
    }

    fn set_all(&mut self, db: u32, pairs: &[Vec<u8>]) -> Outcome {
        let (pairs, []) = pairs.as_chunks::<2>() else {
            return Err(Mistake::Arity("mset"));
        };
        for [key, value] in pairs {
            self.set(db, key, value, &[])?;
        }
        Ok(Reply::ok())
    }

    fn add(&mut self, db: u32, key: &[u8], by: i64) -> Outcome {
        let old = self.text(db, key)?.map_or(Ok(0), integer)?;
        let new = old.checked_add(by).ok_or(Mistake::Overflow)?;
        *self.text_mut(db, key)? = new.to_string().into_bytes();
        Ok(Reply::Int(new))
    }

    fn append(&mut self, db: u32, key: &[u8], tail: &[u8]) -> Outcome {
        let text = self.text_mut(db, key)?;
        text.extend_from_slice(tail);
        Ok(count(text.len()))
    }

    fn push(&mut self, db: u32, key: &[u8], values: &[Vec<u8>], end: ListEnd) -> Outcome {
        self.entry(db, key);
        let fresh = || Entry { value: Value::List(VecDeque::new()), expires: None };
        let entry = self.entries.entry((db, key.to_vec())).or_insert_with(fresh);
        let Value::List(list) = &mut entry.value else {
            return Err(Mistake::WrongType);
        };
        for value in values {
            match end {
                ListEnd::Left => list.push_front(value.clone()),
                ListEnd::Right => list.push_back(value.clone()),
            }
        }
        Ok(count(list.len()))
    }

    fn pop(&mut self, db: u32, key: &[u8], end: ListEnd) -> Outcome {
        let Some(list) = self.list(db, key)? else {
            return Ok(Reply::Nil);
        };
        let popped = match end {
            ListEnd::Left => list.pop_front(),
            ListEnd::Right => list.pop_back(),
        };
        if list.is_empty() {
            self.remove(db, key);
        }
        Ok(popped.map_or(Reply::Nil, Reply::Bulk))
    }

    fn range(&mut self, db: u32, key: &[u8], from: &[u8], to: &[u8]) -> Outcome {
        let (from, to) = (integer(from)?, integer(to)?);
        let Some(list) = self.list(db, key)? else {
            return Ok(Reply::Array(vec![]));
        };
        let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
        let index = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
        let (from, to) = (index(from).max(0), index(to).min(length - 1));
        let wanted = (0..).zip(list.iter()).filter(|(at, _)| (from..=to).contains(at));
        Ok(Reply::Array(wanted.map(|(_, value)| Reply::bulk(value)).collect()))
    }

    fn len(&mut self, db: u32) -> usize {
        let now = Instant::now();
        self.entries.retain(|_, entry| !entry.is_expired(now));
        self.entries.keys().filter(|(of, _)| *of == db).count()
    }

    fn remove(&mut self, db: u32, key: &[u8]) -> bool {
        let expired = self.entry(db, key).is_none();
        self.entries.remove(&(db, key.to_vec())).is_some() && !expired
    }

    fn text(&mut self, db: u32, key: &[u8]) -> Result<Option<&[u8]>, Mistake> {
        match self.entry(db, key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::List(_)) => Err(Mistake::WrongType),
        }
    }

    fn text_mut(&mut self, db: u32, key: &[u8]) -> Result<&mut Vec<u8>, Mistake> {
        self.entry(db, key);
        let fresh = || Entry { value: Value::Text(Vec::new()), expires: None };
        let entry = self.entries.entry((db, key.to_vec())).or_insert_with(fresh);
        match &mut entry.value {
            Value::Text(text) => Ok(text),
            Value::List(_) => Err(Mistake::WrongType),
        }
    }

    fn list(&mut self, db: u32, key: &[u8]) -> Result<Option<&mut VecDeque<Vec<u8>>>, Mistake> {
        match self.entry(db, key).map(|entry| &mut entry.value) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(Value::Text(_)) => Err(Mistake::WrongType),
        }
    }

    /// The entry under a key, unless its time is over.
    fn entry(&mut self, db: u32, key: &[u8]) -> Option<&mut Entry> {
        let key = (db, key.to_vec());
        if self.entries.get(&key).is_some_and(|entry| entry.is_expired(Instant::now())) {
            self.entries.remove(&key);
        }
        self.entries.get_mut(&key)
    }
}

impl Entry {
    fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

struct SetOptions {
    only: Only,
    expiry: Expiry,
    returns_old: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Always,
    IfAbsent,
    IfPresent,
}

enum Expiry {
    None,
    Keep,
    In(Duration),
}

impl SetOptions {
    fn parse(options: &[Vec<u8>]) -> Result<Self, Mistake> {
        let mut parsed = Self { only: Only::Always, expiry: Expiry::None, returns_old: false };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" => parsed.only = Only::IfAbsent,
                b"XX" => parsed.only = Only::IfPresent,
                b"GET" => parsed.returns_old = true,
                b"KEEPTTL" => parsed.expiry = Expiry::Keep,
                b"EX" => parsed.expiry = Expiry::In(lifetime(options.next(), Duration::from_secs)?),
                b"PX" => parsed.expiry = Expiry::In(lifetime(options.next(), Duration::from_millis)?),
                _ => return Err(Mistake::Syntax),
            }
        }
        Ok(parsed)
    }
}

fn lifetime(arg: Option<&Vec<u8>>, unit: fn(u64) -> Duration) -> Result<Duration, Mistake> {
    let number = integer(arg.ok_or(Mistake::Syntax)?)?;
    u64::try_from(number).ok().filter(|number| *number > 0).map(unit).ok_or(Mistake::Expiry)
}

fn integer(bytes: &[u8]) -> Result<i64, Mistake> {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(Mistake::NotAnInteger)
}

fn count(count: usize) -> Reply {
    Reply::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

impl Mistake {
    fn reply(self) -> Reply {
        match self {
            Self::WrongType => Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value"),
            Self::NotAnInteger => Reply::error("ERR value is not an integer or out of range"),
            Self::Overflow => Reply::error("ERR increment or decrement would overflow"),
            Self::Syntax => Reply::error("ERR syntax error"),
            Self::Expiry => Reply::error("ERR invalid expire time in 'set' command"),
            Self::Arity(name) => Reply::error(format!("ERR wrong number of arguments for '{name}' command")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(store: &mut Store, line: &str) -> Reply {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let args: Vec<_> = words.map(|word| word.as_bytes().to_vec()).collect();
        store.execute(0, name, &args)
    }

    fn list(values: &[&str]) -> Reply {
        Reply::Array(values.iter().map(Reply::bulk).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn commands_do_what_those_of_redis_do() {
        let mut store = Store::default();
        for (line, reply) in [
            ("GET k", Reply::Nil),
            ("SET k 1", Reply::ok()),
            ("SET k 2 NX", Reply::Nil),
            ("SET k 2 XX GET", Reply::bulk("1")),
            ("INCR k", Reply::Int(3)),
            ("INCRBY k -5", Reply::Int(-2)),
            ("APPEND k x", Reply::Int(3)),
            ("INCR k", Reply::error("ERR value is not an integer or out of range")),
            ("SET m 9223372036854775807", Reply::ok()),
            ("INCR m", Reply::error("ERR increment or decrement would overflow")),
            ("LPUSH l a b", Reply::Int(2)),
            ("RPUSH l c", Reply::Int(3)),
            ("LRANGE l 0 -1", list(&["b", "a", "c"])),
            ("LRANGE l -2 9", list(&["a", "c"])),
            ("LRANGE l 2 1", list(&[])),
            ("LPUSH k v", Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value")),
            ("GET l", Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value")),
            ("MGET k l none", Reply::Array(vec![Reply::bulk("-2x"), Reply::Nil, Reply::Nil])),
            ("LPOP l", Reply::bulk("b")),
            ("RPOP l", Reply::bulk("c")),
            ("LPOP l", Reply::bulk("a")),
            ("EXISTS l k k", Reply::Int(2)),
            ("MSET a 1 b 2", Reply::ok()),
            ("MSET a 1 b", Reply::error("ERR wrong number of arguments for 'mset' command")),
            ("DEL a none", Reply::Int(1)),
            ("DBSIZE", Reply::Int(3)),
            ("SET k v EX 0", Reply::error("ERR invalid expire time in 'set' command")),
            ("SET k v EX", Reply::error("ERR syntax error")),
            ("FLUSHALL", Reply::ok()),
            ("DBSIZE", Reply::Int(0)),
        ] {
            assert_eq!(run(&mut store, line), reply, "{line}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_gone_when_its_time_is_over() {
        let mut store = Store::default();
        run(&mut store, "SET k v PX 50");
        tokio::time::advance(Duration::from_millis(49)).await;
        assert_eq!(run(&mut store, "GET k"), Reply::bulk("v"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(run(&mut store, "DEL k"), Reply::Int(0));
        assert_eq!(run(&mut store, "DBSIZE"), Reply::Int(0));
    }
}
