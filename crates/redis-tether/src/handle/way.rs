//! The way that a handle's commands take: its clone of the live link's multiplexer, with the link's ledger. It sends one
//! request once and says what came of it; whether there is a second try is decided in `handle/detour.rs`. It does not keep
//! the link alive.

use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult};
use redis_tether_core::Epoch;
use redis_tether_core::reply::Refusal;
use tokio::time::Instant;

use super::clock::{Clock, End};
use super::request::{Judgement, Request, judge_unbegun};
use crate::dial::cluster::Membership;
use crate::dial::verify::VerifyLevel;
use crate::gate::Baton;
use crate::ledger::{Flight, Ledger};
use crate::link::Link;
use crate::multiplexer::{Failure, Multiplexer};
use crate::stats::Counters;

#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) epoch: Epoch,
    pub(crate) ledger: Arc<Ledger>,
    /// What the peer was found to answer.
    pub(crate) level: VerifyLevel,
    membership: Membership,
    multiplexer: Multiplexer,
}

/// What came of one sending.
pub(crate) enum Carried<T> {
    /// The caller's answer.
    Answer(RedisResult<T>),
    /// Not that simple.
    Trouble(Trouble<T>),
}

/// A sending that did not just bring an answer.
pub(crate) struct Trouble<T> {
    pub(crate) link: LinkFacts,
    pub(crate) what: What<T>,
}

pub(crate) enum What<T> {
    /// Nothing ran, and another server would run it.
    Elsewhere(Refusal, RedisResult<T>),
    /// Nothing ran, and this server will run it in a moment.
    Shortly(RedisResult<T>),
    /// An answer, and the sign that the link leads to the wrong server.
    WrongServer(Refusal, RedisResult<T>),
    /// A script was refused half-way, with these words.
    HalfRun(Refusal, String),
    /// `MULTI` was refused, with these words, and what came after it may have run.
    Unbegun(Option<Refusal>, String),
    /// The link ended, and provably before the command left.
    NeverLeft,
    /// The link ended.
    Lost,
    /// The deadline passed.
    Overdue,
    /// The deadline passed, and it had not left; nor will it.
    Unsent,
}

/// What was known of the link when a command failed on it.
#[derive(Debug)]
pub(crate) struct LinkFacts {
    pub(crate) epoch: Epoch,
    pub(crate) silent_for: Option<Duration>,
    pub(crate) in_flight: u64,
    pub(crate) end: Option<String>,
}

impl Way {
    pub(crate) fn over(link: &Link) -> Way {
        let (ledger, level, membership) = (Arc::clone(link.ledger()), link.verify_level(), link.membership());
        Way { epoch: link.epoch(), ledger, level, membership, multiplexer: link.multiplexer() }
    }

    /// Sends once, and hands the baton on as soon as the command is queued for the link. The flight is struck out when the reply
    /// is there, or this future is dropped.
    #[inline]
    pub(crate) async fn carry<R: Request>(
        &mut self,
        request: R,
        mut flight: Flight,
        baton: Option<Baton>,
        clock: &mut Clock,
        counters: &Counters,
    ) -> Carried<R::Reply> {
        flight.sent();
        let due = clock.due();
        let sent = self.multiplexer.send(request.wants(), due, |bytes| request.encode(bytes));
        drop(baton);
        let outcome = clock.run(sent, due, &self.ledger, counters).await;
        let carried = match outcome {
            End::Done(Ok(value)) => self.answered(request, &mut flight, Ok(request.reply(value))),
            End::Done(Err(Failure::Aborted(aborted))) => self.answered(request, &mut flight, Err(aborted.into_error())),
            End::Done(Err(Failure::Unbegun(error))) => {
                flight.answered();
                let (refusal, words) = judge_unbegun(&error);
                self.trouble(What::Unbegun(refusal, words))
            }
            End::Done(Err(Failure::Lost)) => self.trouble(What::Lost),
            End::Done(Err(Failure::NeverLeft)) => self.trouble(What::NeverLeft),
            End::Done(Err(Failure::Empty)) => Carried::Answer(Err(nothing_to_send())),
            End::Overdue => self.trouble(What::Overdue),
            End::Unsent => self.trouble(What::Unsent),
        };
        drop(flight);
        carried
    }

    #[inline]
    fn answered<R: Request>(&self, request: R, flight: &mut Flight, reply: RedisResult<R::Reply>) -> Carried<R::Reply> {
        flight.answered();
        let judgement = request.judge(&reply, self.membership);
        let reply = request.handed_out(reply, self.membership);
        match judgement {
            Judgement::Answer => Carried::Answer(reply),
            Judgement::AnswerOfWrongServer(refusal) => self.trouble(What::WrongServer(refusal, reply)),
            Judgement::Elsewhere(refusal) => self.trouble(What::Elsewhere(refusal, reply)),
            Judgement::Shortly => self.trouble(What::Shortly(reply)),
            Judgement::HalfRun(refusal, words) => self.trouble(What::HalfRun(refusal, words)),
        }
    }

    #[cold]
    fn trouble<T>(&self, what: What<T>) -> Carried<T> {
        let link = LinkFacts {
            epoch: self.epoch,
            silent_for: self.ledger.silent_for(Instant::now()),
            in_flight: self.ledger.in_flight(),
            end: self.ledger.end().map(ToString::to_string),
        };
        Carried::Trouble(Trouble { link, what })
    }
}

/// redis-rs's words for it.
#[cold]
fn nothing_to_send() -> RedisError {
    RedisError::from((ErrorKind::Client, "empty command"))
}
