//! A command that a node of a cluster has sent elsewhere for this once (`ASK`): it goes behind an `ASKING`, in the same write, since
//! that allows the next command of the connection and no other.

use std::iter;

use redis::{Cmd, RedisResult, Value};

use super::command::Demand;
use super::flags::Words;
use super::request::{Judgement, One, Request};
use crate::dial::cluster::Membership;
use crate::multiplexer::Wants;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// See the head of this file.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a>(pub(crate) &'a Cmd);

impl Request for Asking<'_> {
    type Reply = Value;

    fn demand(self) -> Demand {
        One(self.0).demand()
    }

    fn bytes(self) -> usize {
        One(self.0).bytes() + ASKING.len()
    }

    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(ASKING);
        One(self.0).encode(bytes);
    }

    fn wants(self) -> Wants {
        Wants::many(0, 2, false)
    }

    /// That to the command, unless it was sent back because `ASKING` itself was refused: then that is what somebody can mend.
    fn reply(self, value: Value) -> Value {
        let Value::Array(replies) = value else { return value };
        let mut replies = replies.into_iter();
        let (asking, reply) = (replies.next().unwrap_or_default(), replies.next().unwrap_or_default());
        match (&asking, &reply) {
            (Value::ServerError(_), Value::ServerError(error)) if error.code() == "MOVED" => asking,
            _ => reply,
        }
    }

    fn judge(self, reply: &RedisResult<Value>, from: Membership) -> Judgement {
        One(self.0).judge(reply, from)
    }

    fn handed_out(self, reply: RedisResult<Value>, from: Membership) -> RedisResult<Value> {
        One(self.0).handed_out(reply, from)
    }

    fn words(&self) -> impl Iterator<Item = Words<'_>> {
        iter::once(Words::of(self.0))
    }

    fn leads_on(reply: &Value) -> Option<bool> {
        One::leads_on(reply)
    }
}
