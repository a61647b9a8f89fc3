//! Which commands change nothing, as the server says (`COMMAND INFO`). The detour asks when a command is about to be sent
//! again that may have been executed; the answers are remembered here, for all handles of a tether. What the server has
//! not said for certain counts as a change.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use redis::{Arg, Cmd, Value};
use tokio::time::Instant;

use crate::lock::lock;

/// So many names are remembered. More than any server knows commands, and an application that makes names up fills no
/// memory with them.
const MOST: usize = 1024;

/// So long a server that would not say is not asked again: who changes its ACL need not restart anything, and until then
/// nobody waits for a link only to hear that he may not ask.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// Where the flags and the subcommands stand in what `COMMAND INFO` says of a command.
const FLAGS: usize = 2;
const SUBCOMMANDS: usize = 9;

/// The words of a command, of which the first two are mostly enough: its name, and the subcommand if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    name: &'a [u8],
    second: &'a [u8],
    cmd: &'a Cmd,
}

impl<'a> Words<'a> {
    pub(crate) fn of(cmd: &'a Cmd) -> Words<'a> {
        let mut words = cmd.args_iter().map(|arg| match arg {
            Arg::Simple(word) => word,
            _ => b"",
        });
        let mut word = || words.next().unwrap_or_default();
        Words { name: word(), second: word(), cmd }
    }

    pub(crate) fn name(&self) -> &'a [u8] {
        self.name
    }

    pub(crate) fn second(&self) -> &'a [u8] {
        self.second
    }

    /// All of them, as they are sent. redis-rs's iterators keep their cursor out of the arguments, so that only what would be sent
    /// has it. `None` for what is no command.
    pub(crate) fn sent(&self) -> Option<Vec<Vec<u8>>> {
        let Ok(Value::Array(parts)) = redis::parse_redis_value(&self.cmd.get_packed_command()) else { return None };
        let word = |part| match part {
            Value::BulkString(word) => Some(word),
            _ => None,
        };
        parts.into_iter().map(word).collect()
    }
}

/// What the server has said.
#[derive(Default)]
pub(crate) struct Flags {
    known: Mutex<HashMap<Vec<u8>, Effect>>,
    denied_at: Mutex<Option<Instant>>,
}

/// What a command does to the data.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Effect {
    ReadOnly,
    Change,
    /// That depends on the subcommand: these change nothing.
    BySubcommand(Vec<Vec<u8>>),
}

impl Flags {
    /// Whether none of these commands changes anything. `None` if that has to be [asked](Flags::question). What the server would
    /// not say lately counts as a change.
    pub(super) fn are_read_only<'a>(&self, commands: impl Iterator<Item = Words<'a>>) -> Option<bool> {
        let is_denied = lock(&self.denied_at).is_some_and(|denied_at| denied_at.elapsed() < SILENT_FOR);
        let known = lock(&self.known);
        let mut all = Some(true);
        for words in commands {
            match known.get(&words.name.to_ascii_uppercase()) {
                Some(effect) if effect.is_change(words.second) => return Some(false),
                Some(_) => {}
                None if is_denied => return Some(false),
                None => all = None,
            }
        }
        all
    }

    /// What to ask about these commands.
    pub(super) fn question<'a>(&self, commands: impl Iterator<Item = Words<'a>>) -> Question {
        let known = lock(&self.known);
        let mut names: Vec<Vec<u8>> = commands.map(|words| words.name.to_ascii_uppercase()).collect();
        names.retain(|name| !known.contains_key(name));
        names.sort_unstable();
        names.dedup();
        Question { names }
    }

    /// Remembers what the server said.
    pub(super) fn learn(&self, question: Question, answer: &Value) {
        let Value::Array(entries) = answer else {
            *lock(&self.denied_at) = Some(Instant::now());
            return;
        };
        let mut known = lock(&self.known);
        for (name, entry) in question.names.into_iter().zip(entries) {
            if known.len() < MOST {
                known.insert(name, Effect::of(entry));
            }
        }
    }
}

/// Names whose flags are not known yet.
#[derive(Debug)]
pub(super) struct Question {
    names: Vec<Vec<u8>>,
}

impl Question {
    pub(super) fn command(&self) -> Cmd {
        let mut cmd = redis::cmd("COMMAND");
        cmd.arg("INFO").arg(&self.names);
        cmd
    }
}

impl Effect {
    fn is_change(&self, subcommand: &[u8]) -> bool {
        match self {
            Effect::ReadOnly => false,
            Effect::Change => true,
            Effect::BySubcommand(read_only) => !read_only.contains(&subcommand.to_ascii_uppercase()),
        }
    }

    /// Servers from 7 on list the subcommands of a command that is nothing without one; older ones give it flags.
    fn of(entry: &Value) -> Effect {
        let subcommands = elements_at(entry, SUBCOMMANDS);
        if !subcommands.is_empty() {
            let read_only = subcommands.iter().filter(|entry| is_read_only(entry)).filter_map(own_name);
            return Effect::BySubcommand(read_only.collect());
        }
        if is_read_only(entry) { Effect::ReadOnly } else { Effect::Change }
    }
}

fn is_read_only(entry: &Value) -> bool {
    let flags = elements_at(entry, FLAGS);
    let has = |wanted: &[u8]| flags.iter().any(|flag| word(flag).is_some_and(|flag| flag.eq_ignore_ascii_case(wanted)));
    has(b"readonly") && !has(b"write")
}

/// `xinfo|stream`: what stands behind the bar.
fn own_name(entry: &Value) -> Option<Vec<u8>> {
    let Value::Array(fields) = entry else { return None };
    let name = word(fields.first()?)?;
    name.rsplit(|byte| *byte == b'|').next().map(<[u8]>::to_ascii_uppercase)
}

fn elements_at(entry: &Value, index: usize) -> &[Value] {
    let Value::Array(fields) = entry else { return &[] };
    match fields.get(index) {
        Some(Value::Array(elements) | Value::Set(elements)) => elements,
        _ => &[],
    }
}

fn word(value: &Value) -> Option<&[u8]> {
    match value {
        Value::SimpleString(word) => Some(word.as_bytes()),
        Value::BulkString(word) => Some(word),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(word: &str) -> Value {
        Value::SimpleString(word.to_owned())
    }

    fn entry(name: &str, flags: &[&str], subcommands: Vec<Value>) -> Value {
        let flags = Value::Array(flags.iter().map(|flag| text(flag)).collect());
        let mut fields = vec![Value::BulkString(name.as_bytes().to_vec()), Value::Int(2), flags];
        fields.resize(SUBCOMMANDS, Value::Int(0));
        fields.push(Value::Array(subcommands));
        Value::Array(fields)
    }

    fn cmd(words: &[&str]) -> Cmd {
        let mut cmd = Cmd::new();
        cmd.arg(words);
        cmd
    }

    fn are_read_only(flags: &Flags, commands: &[Cmd]) -> Option<bool> {
        flags.are_read_only(commands.iter().map(Words::of))
    }

    fn question(flags: &Flags, commands: &[Cmd]) -> Question {
        flags.question(commands.iter().map(Words::of))
    }

    fn words_of(cmd: &Cmd) -> Vec<String> {
        let words = cmd.args_iter().filter_map(|arg| match arg {
            Arg::Simple(word) => Some(String::from_utf8_lossy(word).into_owned()),
            _ => None,
        });
        words.collect()
    }

    fn taught() -> Flags {
        let flags = Flags::default();
        let commands = [&["get", "k"][..], &["SET", "k"], &["Xinfo", "STREAM"], &["nonsense"], &["GET", "other"]];
        let question = question(&flags, &commands.map(cmd));
        assert_eq!(words_of(&question.command()), ["COMMAND", "INFO", "GET", "NONSENSE", "SET", "XINFO"]);
        let streams = vec![entry("xinfo|stream", &["readonly"], vec![]), entry("xinfo|help", &["loading"], vec![])];
        let answer = Value::Array(vec![
            entry("get", &["readonly", "fast"], vec![]),
            Value::Nil,
            entry("set", &["write"], vec![]),
            entry("xinfo", &[], streams),
        ]);
        flags.learn(question, &answer);
        flags
    }

    #[test]
    fn what_the_server_says_changes_nothing_is_read_only() {
        let flags = taught();
        let read_only = [cmd(&["GeT", "k"]), cmd(&["XINFO", "stream", "s"])];
        assert_eq!(are_read_only(&flags, &read_only), Some(true));
        for change in [&["SET", "k", "v"][..], &["XINFO", "HELP"], &["XINFO"], &["NONSENSE"]] {
            assert_eq!(are_read_only(&flags, &[cmd(&["GET", "k"]), cmd(change)]), Some(false), "{change:?}");
        }
    }

    #[test]
    fn only_what_is_not_known_is_asked() {
        let flags = taught();
        let commands = [cmd(&["GET", "k"]), cmd(&["DEL", "k"])];
        assert_eq!(are_read_only(&flags, &commands), None);
        assert_eq!(words_of(&question(&flags, &commands).command()), ["COMMAND", "INFO", "DEL"]);
        let with_a_change = [cmd(&["DEL", "k"]), cmd(&["SET", "k", "v"])];
        assert_eq!(are_read_only(&flags, &with_a_change), Some(false), "whatever DEL is");
    }

    #[test]
    fn an_answer_that_is_none_teaches_nothing() {
        let flags = Flags::default();
        let get = [cmd(&["GET"])];
        flags.learn(question(&flags, &get), &Value::Array(vec![]));
        assert_eq!(are_read_only(&flags, &get), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_not_say_is_asked_again_in_a_minute() {
        let flags = taught();
        let (unknown, get) = ([cmd(&["STRLEN", "k"])], [cmd(&["GET", "k"])]);
        flags.learn(question(&flags, &unknown), &Value::Okay);
        assert_eq!((are_read_only(&flags, &unknown), are_read_only(&flags, &get)), (Some(false), Some(true)));
        tokio::time::advance(SILENT_FOR).await;
        assert_eq!(are_read_only(&flags, &unknown), None);
    }

    #[test]
    fn made_up_names_fill_no_memory() {
        let flags = Flags::default();
        for number in 0..MOST + 10 {
            let command = [cmd(&[&format!("made-up-{number}")])];
            flags.learn(question(&flags, &command), &Value::Array(vec![entry("x", &["readonly"], vec![])]));
        }
        assert_eq!(lock(&flags.known).len(), MOST);
    }
}
