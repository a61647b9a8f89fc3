//! The two things a handle can be asked to send, a command and a pipeline, and what their replies mean for the link and
//! for the command. The handle's one path is written against [`Request`]; nothing here waits or decides on a second try.

use std::iter;

use redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerError, ServerErrorKind, Value};
use redis_tether_core::reply::{Asked, ErrorClass, Refusal, classify_for};

use super::command::{Demand, MISCOUNTED, demand_of, demand_of_all};
use super::flags::Words;
use super::moved;
use crate::dial::cluster::Membership;
use crate::multiplexer::{Wants, encode_all};
use crate::question::text;

/// What a packed argument takes up beside its bytes, so that many small ones are not held for nothing.
const ARGUMENT_OVERHEAD: usize = 16;

/// Something to send. Cheap to copy: it borrows what the caller has built.
pub(crate) trait Request: Copy + Send + Sync {
    type Reply: Send;

    fn demand(self) -> Demand;

    /// What holding it takes up, in bytes.
    fn bytes(self) -> usize;

    /// Encoded to nothing, it is not sent.
    fn encode(self, bytes: &mut Vec<u8>);

    /// The replies that it waits for.
    fn wants(self) -> Wants;

    /// Those replies, put together.
    fn reply(self, value: Value) -> Self::Reply;

    fn judge(self, reply: &RedisResult<Self::Reply>, from: Membership) -> Judgement;

    /// The reply as the caller gets it.
    fn handed_out(self, reply: RedisResult<Self::Reply>, from: Membership) -> RedisResult<Self::Reply>;

    /// What the commands are called.
    fn words(&self) -> impl Iterator<Item = Words<'_>>;

    /// Whether an answer to a scan leads on to more. `None` if it is none; of several nobody looks.
    fn leads_on(reply: &Self::Reply) -> Option<bool>;
}

/// What a reply means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Judgement {
    /// It is the caller's.
    Answer,
    /// It is the caller's, and shows that the link leads to the wrong server.
    AnswerOfWrongServer(Refusal),
    /// Nothing ran, and another server would run it.
    Elsewhere(Refusal),
    /// Nothing ran, and this server will run it in a moment.
    Shortly,
    /// A script was refused half-way, with these words.
    HalfRun(Refusal, String),
}

/// A command.
#[derive(Clone, Copy)]
pub(crate) struct One<'a>(pub(crate) &'a Cmd);

impl Request for One<'_> {
    type Reply = Value;

    #[inline]
    fn demand(self) -> Demand {
        demand_of(self.0)
    }

    fn bytes(self) -> usize {
        bytes_of(self.0)
    }

    #[inline]
    fn encode(self, bytes: &mut Vec<u8>) {
        if self.0.args_iter().len() > 0 {
            self.0.write_packed_command(bytes);
        }
    }

    #[inline]
    fn wants(self) -> Wants {
        Wants::One
    }

    #[inline]
    fn reply(self, value: Value) -> Value {
        value
    }

    #[inline]
    fn judge(self, reply: &RedisResult<Value>, from: Membership) -> Judgement {
        match reply {
            Ok(Value::ServerError(error)) => judge_error(asked(self.0), error, from),
            Ok(_) => Judgement::Answer,
            Err(_) => Judgement::Answer,
        }
    }

    #[inline]
    fn handed_out(self, reply: RedisResult<Value>, from: Membership) -> RedisResult<Value> {
        match reply {
            Ok(Value::ServerError(error)) => Ok(Value::ServerError(moved::explained(error, from))),
            reply => reply,
        }
    }

    fn words(&self) -> impl Iterator<Item = Words<'_>> {
        iter::once(Words::of(self.0))
    }

    fn leads_on(reply: &Value) -> Option<bool> {
        let Value::Array(parts) = reply else { return None };
        text(parts.first()?).map(|cursor| cursor != "0")
    }
}

/// A pipeline, of which `count` replies are wanted after the first `offset`.
#[derive(Clone, Copy)]
pub(crate) struct Many<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) offset: usize,
    pub(crate) count: usize,
}

impl Request for Many<'_> {
    type Reply = Vec<Value>;

    fn demand(self) -> Demand {
        if self.is_miscounted() { Demand::Unshareable(&MISCOUNTED) } else { demand_of_all(self.pipeline) }
    }

    fn bytes(self) -> usize {
        self.pipeline.cmd_iter().map(bytes_of).fold(0, usize::saturating_add)
    }

    fn encode(self, bytes: &mut Vec<u8>) {
        if self.pipeline.is_transaction() {
            bytes.extend_from_slice(&self.pipeline.get_packed_pipeline());
        } else {
            encode_all(self.pipeline, bytes);
        }
    }

    fn wants(self) -> Wants {
        Wants::many(self.offset, self.count, self.pipeline.is_transaction())
    }

    fn reply(self, value: Value) -> Vec<Value> {
        match value {
            Value::Array(values) => values,
            value => vec![value],
        }
    }

    fn judge(self, reply: &RedisResult<Vec<Value>>, from: Membership) -> Judgement {
        match reply {
            // What runs of a transaction runs as a whole, so one refusal speaks for all.
            Ok(values) if self.pipeline.is_transaction() => match values.as_slice() {
                [Value::ServerError(error)] => judge_error(Asked::Command, error, from),
                [Value::Array(replies)] => judge_run(replies),
                _ => Judgement::Answer,
            },
            // Replies that the caller did not want are not seen, and what they answered may have run.
            Ok(values) => {
                let answered = self.pipeline.cmd_iter().skip(self.offset).zip(values);
                let errors = answered.filter_map(|(cmd, value)| Some((asked(cmd), error_of(value)?)));
                judge_all(self.pipeline.len(), errors, from)
            }
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort) => {
                Self::judge_aborted(error, from)
            }
            Err(_) => Judgement::Answer,
        }
    }

    /// Where `EXEC` itself is refused, redis-rs would say of its answer that it is none.
    fn handed_out(self, reply: RedisResult<Vec<Value>>, from: Membership) -> RedisResult<Vec<Value>> {
        let mut values = reply?;
        moved::explain_all(&mut values, from);
        match values.as_slice() {
            [Value::ServerError(error)] if self.pipeline.is_transaction() => Err(error.clone().into()),
            _ => Ok(values),
        }
    }

    fn words(&self) -> impl Iterator<Item = Words<'_>> {
        self.pipeline.cmd_iter().map(Words::of)
    }

    fn leads_on(_reply: &Vec<Value>) -> Option<bool> {
        Some(true)
    }
}

impl Many<'_> {
    /// The multiplexer counts replies by what it is told to expect: one more or less, and everybody behind is given the reply
    /// of somebody else.
    pub(crate) fn is_miscounted(self) -> bool {
        let framing = if self.pipeline.is_transaction() { 2 } else { 0 };
        let replies = self.pipeline.len().saturating_add(framing);
        let wants_none = self.count == 0 && replies > 0;
        wants_none || self.offset.checked_add(self.count) != Some(replies)
    }

    /// The queueing of some commands was refused, so that nothing of the transaction ran.
    fn judge_aborted(error: &RedisError, from: Membership) -> Judgement {
        let Some(causes) = error.clone().into_server_errors() else { return Judgement::Answer };
        // Nothing ran yet, no script either.
        judge_all(causes.len(), causes.iter().map(|(_, error)| (Asked::Command, error)), from)
    }
}

/// Sent again only if each of the `count` commands was refused.
fn judge_all<'e>(count: usize, errors: impl Iterator<Item = (Asked, &'e ServerError)>, from: Membership) -> Judgement {
    let (mut refused, mut refusal) = (0, None);
    for (asked, error) in errors {
        let class = class_from(from, asked, error);
        refused += usize::from(matches!(class, ErrorClass::Elsewhere(_) | ErrorClass::Shortly));
        refusal = refusal.or(class.refusal());
    }
    match refusal {
        Some(refusal) if refused == count => Judgement::Elsewhere(refusal),
        Some(refusal) => Judgement::AnswerOfWrongServer(refusal),
        None if refused == count && count > 0 => Judgement::Shortly,
        None => Judgement::Answer,
    }
}

/// It ran, and on a replica so does a script, up to its first write.
fn judge_run(replies: &[Value]) -> Judgement {
    let refusal = replies.iter().filter_map(error_of).find_map(|error| class_of(Asked::Script, error).refusal());
    refusal.map_or(Judgement::Answer, Judgement::AnswerOfWrongServer)
}

fn judge_error(asked: Asked, error: &ServerError, from: Membership) -> Judgement {
    match class_from(from, asked, error) {
        ErrorClass::Elsewhere(refusal) => Judgement::Elsewhere(refusal),
        ErrorClass::Shortly => Judgement::Shortly,
        ErrorClass::Partial(Some(refusal)) => Judgement::HalfRun(refusal, words_of(error)),
        _ => Judgement::Answer,
    }
}

/// What the refusal of a transaction's `MULTI` says of the link, and its words.
pub(super) fn judge_unbegun(error: &ServerError) -> (Option<Refusal>, String) {
    (class_of(Asked::Command, error).refusal(), words_of(error))
}

/// As [`class_of`], where `MOVED` may mean that another node has taken over.
fn class_from(from: Membership, asked: Asked, error: &ServerError) -> ErrorClass {
    if moved::means_a_successor(from, asked, error) {
        return ErrorClass::Elsewhere(Refusal::Moved);
    }
    class_of(asked, error)
}

fn class_of(asked: Asked, error: &ServerError) -> ErrorClass {
    classify_for(asked, error.code(), error.details())
}

fn asked(cmd: &Cmd) -> Asked {
    let mut words = cmd.args_iter().map_while(|arg| match arg {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    words.next().map_or(Asked::Command, |name| Asked::by(name, words.next()))
}

fn words_of(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

fn error_of(value: &Value) -> Option<&ServerError> {
    match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

fn bytes_of(cmd: &Cmd) -> usize {
    cmd.args_iter()
        .map(|arg| match arg {
            Arg::Simple(bytes) => bytes.len().saturating_add(ARGUMENT_OVERHEAD),
            _ => ARGUMENT_OVERHEAD,
        })
        .fold(0, usize::saturating_add)
}
