//! One command from a client: whether it is let through, what it does, what is answered.
//!
//! `connection.rs` calls [`State::run`] under the server's lock, so that commands of all connections are executed one
//! after another, as in Redis. The order of the checks in [`State::refusal`] is that of Redis 7, since a client sees it: a
//! replica that is loading says READONLY to a write and LOADING to a read. Nothing here waits or does I/O.

use std::time::Duration;

use tokio::time::Instant;

use super::session::{Identity, Pop, Session, Step, Transaction};
use super::spec::{self, Class, Spec};
use super::state::{Role, Saving, State, Write};
use super::store::ListEnd;
use crate::resp::{Reply, Request};

const NOAUTH: &str = "NOAUTH Authentication required.";
const READONLY: &str = "READONLY You can't write against a read only replica.";
const LOADING: &str = "LOADING Redis is loading the dataset in memory";
const MISCONF: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
    Commands that may modify the data set are disabled, because this instance is configured to report errors during \
    writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details \
    about the RDB error.";

impl State {
    /// Runs one command. `request` is not empty.
    pub(super) fn run(&mut self, session: &mut Session, request: Request) -> Step {
        let name = upper(&request[0]);
        *self.counts.commands.entry(name.clone()).or_default() += 1;
        if matches(&self.faults.closing, &name, &request) {
            return Step::Close(None);
        }
        if spec::find(&name).is_none()
            && let Some(reply) = self.scripted(&name, &request[1..])
        {
            return Step::Reply(reply.clone());
        }
        let spec = match self.admit(session, &name, &request) {
            Ok(spec) => spec,
            Err(refusal) => return Step::Reply(refuse(session, &name, refusal)),
        };
        let is_queued = !["EXEC", "DISCARD", "MULTI", "QUIT"].contains(&spec.name);
        match &mut session.transaction {
            Transaction::Open(queue) if is_queued => {
                queue.push(request);
                return Step::Reply(Reply::Simple("QUEUED".to_owned()));
            }
            // Redis says so, too, and `EXEC` will run nothing.
            Transaction::Broken if is_queued => return Step::Reply(Reply::Simple("QUEUED".to_owned())),
            Transaction::None | Transaction::Open(_) | Transaction::Broken => {}
        }
        self.execute(session, spec, &request[1..])
    }

    fn admit(&self, session: &Session, name: &str, request: &Request) -> Result<&'static Spec, String> {
        let unknown = matches(&self.faults.unknown, name, request);
        let Some(spec) = spec::find(name).filter(|_| !unknown) else {
            return Err(unknown_command(request));
        };
        if !spec.accepts(request.len()) {
            return Err(format!("ERR wrong number of arguments for '{}' command", name.to_lowercase()));
        }
        match self.refusal(session, spec, request) {
            Some(refusal) => Err(refusal),
            None => Ok(spec),
        }
    }

    /// Why a known command is not let through.
    fn refusal(&self, session: &Session, spec: &Spec, request: &Request) -> Option<String> {
        if session.identity == Identity::Unknown && self.access.password.is_some() && spec.class != Class::Session {
            return Some(NOAUTH.to_owned());
        }
        if matches(&self.faults.denied, spec.name, request) {
            let command = spec.name.to_lowercase();
            return Some(format!("NOPERM this user has no permissions to run the '{command}' command"));
        }
        if let Some(Reply::Error(text)) = self.scripted(spec.name, &request[1..]) {
            return Some(text.clone());
        }
        let classes = classes(session, spec);
        let is = |class| classes.contains(&class);
        let is_primary = matches!(self.role, Role::Primary);
        if self.faults.saving == Saving::Fails && is_primary && (is(Class::Write) || is(Class::Probe)) {
            return Some(MISCONF.to_owned());
        }
        if !is_primary && is(Class::Write) {
            return Some(self.faults.readonly_text.clone().unwrap_or_else(|| READONLY.to_owned()));
        }
        let may_load = |class: &Class| matches!(class, Class::Session | Class::Always);
        if self.faults.loading.is_under_way(Instant::now()) && !classes.iter().all(may_load) {
            return Some(LOADING.to_owned());
        }
        None
    }

    /// What the test has it answer in place of what it would.
    fn scripted(&self, name: &str, args: &[Vec<u8>]) -> Option<&Reply> {
        let answers = &self.faults.answers;
        if answers.is_empty() {
            return None;
        }
        let subcommand = args.first().and_then(|sub| answers.get(&format!("{name}|{}", upper(sub))));
        subcommand.or_else(|| answers.get(name))
    }

    fn execute(&mut self, session: &mut Session, spec: &Spec, args: &[Vec<u8>]) -> Step {
        if let Some(reply) = self.scripted(spec.name, args) {
            return Step::Reply(reply.clone());
        }
        match spec.name {
            "QUIT" => Step::Close(Some(Reply::ok())),
            "PING" => self.ping(args),
            "SLEEP" => Step::Reply(self.sleep(&args[0])),
            "DEBUG" => Step::Reply(match args {
                [sub, seconds] if sub.eq_ignore_ascii_case(b"sleep") => self.sleep(seconds),
                _ => Reply::error("ERR unknown subcommand or wrong number of arguments for 'debug' command"),
            }),
            "BLPOP" => self.blocking_pop(session, args, ListEnd::Left),
            "BRPOP" => self.blocking_pop(session, args, ListEnd::Right),
            "MULTI" => Step::Reply(begin(session)),
            "DISCARD" => Step::Reply(discard(session)),
            "EXEC" => Step::Reply(self.exec(session)),
            _ => Step::Reply(self.simple(session, spec, args)),
        }
    }

    /// Commands that are answered on the spot, in a transaction as well.
    fn simple(&mut self, session: &mut Session, spec: &Spec, args: &[Vec<u8>]) -> Reply {
        match spec.name {
            "AUTH" => self.auth(session, args),
            "HELLO" => self.hello(session, args),
            "CLIENT" => self.client(session, args),
            "CONFIG" => self.config(args),
            "COMMAND" => command(args),
            "ECHO" => Reply::bulk(&args[0]),
            "INFO" => Reply::bulk(self.info()),
            "ROLE" => self.role_reply(),
            "SELECT" => select(session, &args[0]),
            "WAIT" => Reply::Int(i64::try_from(self.replicas_in_sync()).unwrap_or(i64::MAX)),
            _ => self.data(session.db, spec, args),
        }
    }

    fn data(&mut self, db: u32, spec: &Spec, args: &[Vec<u8>]) -> Reply {
        let reply = self.store.execute(db, spec.name, args);
        if spec.class == Class::Write && !reply.is_error() {
            self.note_write(db, spec.name, args.to_vec());
        }
        reply
    }

    /// Runs a data command that no client sent.
    pub(super) fn run_inside(&mut self, spec: &Spec, args: &[Vec<u8>]) -> Reply {
        let reply = self.store.execute(0, spec.name, args);
        if spec.class == Class::Write && !reply.is_error() {
            self.propagate(&Write::now(0, spec.name, args.to_vec()));
        }
        reply
    }

    /// Counts a write and hands it on to the replicas.
    pub(super) fn note_write(&mut self, db: u32, command: &str, args: Vec<Vec<u8>>) {
        *self.counts.executions.entry(command.to_owned()).or_default() += 1;
        let write = Write::now(db, command, args);
        self.propagate(&write);
        self.counts.writes.push(write);
    }

    fn ping(&mut self, args: &[Vec<u8>]) -> Step {
        let reply = args.first().map_or_else(|| Reply::Simple("PONG".to_owned()), Reply::bulk);
        match self.faults.ping_delay.take() {
            Some(delay) => Step::ReplyAfter(delay, reply),
            None => Step::Reply(reply),
        }
    }

    /// Keeps the whole server busy, as a script does.
    fn sleep(&mut self, seconds: &[u8]) -> Reply {
        match self::seconds(seconds).and_then(|time| Instant::now().checked_add(time)) {
            Some(end) => {
                self.faults.busy_until = Some(end);
                Reply::ok()
            }
            None => Reply::error("ERR value is not a valid float"),
        }
    }

    fn blocking_pop(&mut self, session: &Session, args: &[Vec<u8>], end: ListEnd) -> Step {
        let Some((timeout, keys)) = args.split_last() else {
            return Step::Reply(Reply::error("ERR syntax error"));
        };
        let Some(timeout) = seconds(timeout) else {
            return Step::Reply(Reply::error("ERR timeout is not a float or out of range"));
        };
        // Zero means for good; an end beyond the clock's reach comes to the same.
        let deadline = if timeout.is_zero() { None } else { Instant::now().checked_add(timeout) };
        let pop = Pop { db: session.db, keys: keys.to_vec(), end, deadline };
        match self.try_pop(&pop) {
            Some(reply) => Step::Reply(reply),
            None => Step::Block(pop),
        }
    }

    /// Serves a blocking pop, if there is something to be had.
    pub(super) fn try_pop(&mut self, pop: &Pop) -> Option<Reply> {
        let (key, reply) = self.store.try_pop(pop.db, &pop.keys, pop.end)?;
        if !reply.is_error() {
            let command = if pop.end == ListEnd::Left { "LPOP" } else { "RPOP" };
            self.note_write(pop.db, command, vec![key]);
        }
        Some(reply)
    }

    fn exec(&mut self, session: &mut Session) -> Reply {
        let queue = match std::mem::replace(&mut session.transaction, Transaction::None) {
            Transaction::None => return Reply::error("ERR EXEC without MULTI"),
            Transaction::Broken => {
                return Reply::error("EXECABORT Transaction discarded because of previous errors.");
            }
            Transaction::Open(queue) => queue,
        };
        let replies = queue.into_iter().map(|request| {
            let name = upper(&request[0]);
            match spec::find(&name) {
                Some(spec) => match self.execute(session, spec, &request[1..]) {
                    Step::Reply(reply) | Step::ReplyAfter(_, reply) | Step::Close(Some(reply)) => reply,
                    // Inside a transaction nothing blocks: an empty list is the answer.
                    Step::Block(_) | Step::Close(None) => Reply::Nil,
                },
                None => Reply::error(unknown_command(&request)),
            }
        });
        Reply::Array(replies.collect())
    }
}

/// The classes that count for this command; those of the whole queue for an `EXEC`.
fn classes(session: &Session, spec: &Spec) -> Vec<Class> {
    match &session.transaction {
        Transaction::Open(queue) if spec.name == "EXEC" => {
            queue.iter().filter_map(|request| spec::find(&upper(&request[0]))).map(|spec| spec.class).collect()
        }
        _ => vec![spec.class],
    }
}

/// A refused command breaks the transaction that it was meant for; a refused `EXEC` ends it.
fn refuse(session: &mut Session, name: &str, refusal: String) -> Reply {
    match session.transaction {
        Transaction::None => Reply::error(refusal),
        Transaction::Open(_) | Transaction::Broken if name == "EXEC" => {
            session.transaction = Transaction::None;
            Reply::error(format!("EXECABORT Transaction discarded because of: {refusal}"))
        }
        Transaction::Open(_) | Transaction::Broken => {
            session.transaction = Transaction::Broken;
            Reply::error(refusal)
        }
    }
}

/// `COMMAND INFO` of what is known, with the one flag that matters; all else is nothing.
fn command(args: &[Vec<u8>]) -> Reply {
    let about = |name: &Vec<u8>| {
        let Some(spec) = spec::find(&upper(name)) else { return Reply::Nil };
        let flags = match spec.class {
            Class::Write => vec![Reply::Simple("write".to_owned())],
            Class::Read => vec![Reply::Simple("readonly".to_owned())],
            Class::Session | Class::Always | Class::Probe => Vec::new(),
        };
        Reply::Array(vec![Reply::bulk(name.to_ascii_lowercase()), Reply::Int(spec.arity.into()), Reply::Array(flags)])
    };
    match args {
        [info, names @ ..] if info.eq_ignore_ascii_case(b"INFO") => Reply::Array(names.iter().map(about).collect()),
        _ => Reply::Array(Vec::new()),
    }
}

fn begin(session: &mut Session) -> Reply {
    if !matches!(session.transaction, Transaction::None) {
        return Reply::error("ERR MULTI calls can not be nested");
    }
    session.transaction = Transaction::Open(Vec::new());
    Reply::ok()
}

fn discard(session: &mut Session) -> Reply {
    match std::mem::replace(&mut session.transaction, Transaction::None) {
        Transaction::None => Reply::error("ERR DISCARD without MULTI"),
        Transaction::Open(_) | Transaction::Broken => Reply::ok(),
    }
}

fn select(session: &mut Session, index: &[u8]) -> Reply {
    match std::str::from_utf8(index).ok().and_then(|index| index.parse().ok()) {
        Some(db @ 0..16) => {
            session.db = db;
            Reply::ok()
        }
        Some(_) => Reply::error("ERR DB index is out of range"),
        None => Reply::error("ERR invalid DB index"),
    }
}

fn unknown_command(request: &Request) -> String {
    let name = String::from_utf8_lossy(&request[0]).chars().take(128).collect::<String>();
    let args = request.iter().skip(1).take(8).map(|arg| format!("'{}' ", String::from_utf8_lossy(arg)));
    format!("ERR unknown command '{name}', with args beginning with: {}", args.collect::<String>())
}

/// Whether the command, or its subcommand in the form `CLIENT|SETNAME`, is in the list.
fn matches(list: &std::collections::BTreeSet<String>, name: &str, request: &Request) -> bool {
    if list.is_empty() {
        return false;
    }
    let subcommand = request.get(1).map(|sub| format!("{name}|{}", upper(sub)));
    list.contains(name) || subcommand.is_some_and(|sub| list.contains(&sub))
}

pub(super) fn upper(word: &[u8]) -> String {
    String::from_utf8_lossy(word).to_uppercase()
}

fn seconds(text: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
