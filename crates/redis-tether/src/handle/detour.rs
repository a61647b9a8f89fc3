//! The way round: what a command does that could not just be sent and answered. It waits at the gate, is sent again where
//! that is provably no second execution, or fails with all that is known. Only here are commands sent a second time, and
//! only these: refused as a whole, never left, or those whose caller allows it (`handle/retry.rs`).

use std::time::Duration;

use redis::{RedisError, RedisResult};
use redis_tether_core::Epoch;
use redis_tether_core::reply::Refusal;
use tokio::time::Instant;

use super::clock::Clock;
use super::command::{Demand, Unshareable};
use super::request::Request;
use super::retry::Harmless;
use super::turn::WAITED_FOR_ITS_TURN;
use super::way::{Carried, LinkFacts, Trouble, Way, What};
use super::{Handle, flight_kind};
use crate::gate::hold::Ticket;
use crate::gate::{Admission, Ask, ClosedCause, NotAdmitted, Turn};
use crate::link::Link;
use crate::outcome::{Facts, Outcome, Reason};

/// How long to wait before a server that said `TRYAGAIN` is asked again: a few round trips of the migration that it is
/// busy with.
const SHORTLY: Duration = Duration::from_millis(20);

/// What a command has behind it.
#[derive(Default)]
pub(super) struct Past {
    /// Its place in the queue.
    ticket: Option<Ticket>,
    /// Its part of a released batch. The next batch goes when the command is done, or has reported why it is not.
    turn: Option<Turn>,
    epoch: Option<Epoch>,
    refusal: Option<Refusal>,
    /// How often something of it may have left.
    times_sent: u32,
    /// How often it was to be sent again though it may have been executed.
    pub(super) retries: u32,
    /// How the last sending failed, where that is to be told if the command may not be sent again after all.
    unknown: Option<Facts>,
}

impl Past {
    /// What becomes of a command that is not sent (again).
    fn outcome(&self) -> Outcome {
        match self.refusal {
            _ if self.retries > 0 => Outcome::Ambiguous,
            Some(_) => Outcome::Refused,
            None => Outcome::NotSent,
        }
    }
}

/// What follows from trouble.
enum Next<T> {
    Return(RedisResult<T>),
    Again,
    AgainShortly,
}

impl Handle {
    /// Sees a command through, from where its first sending failed or could not be made.
    #[cold]
    pub(super) async fn detour<R: Request>(
        &mut self,
        request: R,
        demand: Demand,
        mut clock: Clock,
        trouble: Option<Trouble<R::Reply>>,
    ) -> RedisResult<R::Reply> {
        let mut past = Past { times_sent: u32::from(trouble.is_some()), ..Past::default() };
        let mut trouble = trouble;
        loop {
            if let Some(trouble) = trouble.take() {
                match self.consider(trouble, request, demand, &mut clock, &mut past) {
                    Next::Return(reply) => return reply,
                    Next::Again => past.turn = None,
                    Next::AgainShortly => {
                        past.turn = None;
                        tokio::time::sleep(SHORTLY).await;
                    }
                }
            }
            let Admission { link, flight, ticket, turn, baton } =
                self.admission(request, demand, &mut clock, &past).await?;
            if ticket.is_some() && !self.shared.gate.publishes(link.epoch()) {
                // It was let go, and by the time its caller looked the link took commands no more. It keeps its place.
                past.ticket = ticket;
                continue;
            }
            if clock.is_overdue() {
                let facts = self.facts(past.outcome(), Reason::DeadlinePassed);
                let (epoch, times_sent) = (Some(link.epoch()), past.times_sent);
                let cause = past.refusal.map(|refusal| refusal.to_string());
                return Err(self.fail(Facts { epoch, times_sent, cause, ..facts }));
            }
            (past.ticket, past.turn) = (ticket, turn);
            let has_strayed = !self.is_on(&link);
            let way = self.way.insert(Way::over(&link));
            if has_strayed && demand.is_bound_to_link() {
                self.has_strayed = false;
                return Err(self.strayed());
            }
            self.has_strayed |= has_strayed;
            // What is under way must not keep a link from being ended.
            drop(link);
            if let Some(facts) = past.unknown.take() {
                match self.policy.calls_harmless(request, way, &mut clock, &self.shared).await {
                    Harmless::Yes => self.shared.counters.resent_ambiguous.increment(),
                    Harmless::No => return Err(self.fail(facts)),
                    Harmless::LinkLost => {
                        past.unknown = Some(facts);
                        continue;
                    }
                }
            } else if past.epoch.is_some() {
                self.shared.counters.resent_unexecuted.increment();
            }
            past.times_sent += 1;
            match way.carry(request, flight, baton, &mut clock, &self.shared.counters).await {
                Carried::Answer(reply) => return reply,
                Carried::Trouble(new) => trouble = Some(new),
            }
        }
    }

    async fn admission<R: Request>(
        &self,
        request: R,
        demand: Demand,
        clock: &mut Clock,
        past: &Past,
    ) -> RedisResult<Admission> {
        let deadline = clock.due().or_else(|| Instant::now().checked_add(self.policy.deadline));
        let ask = Ask {
            kind: flight_kind(demand),
            bytes: request.bytes(),
            mode: self.policy.hold,
            deadline,
            ticket: past.ticket,
        };
        let admitted = self.shared.gate.admit(ask, &mut clock.patience).await;
        admitted.map_err(|not_admitted| self.fail(self.not_admitted(not_admitted, past)))
    }

    /// Tells what has to be told about the link, and decides whether there is another try.
    fn consider<R: Request>(
        &self,
        trouble: Trouble<R::Reply>,
        request: R,
        demand: Demand,
        clock: &mut Clock,
        past: &mut Past,
    ) -> Next<R::Reply> {
        let Trouble { link, what } = trouble;
        past.epoch = Some(link.epoch);
        past.refusal = None;
        match what {
            What::Elsewhere(refusal, reply) => {
                self.shared.report(link.epoch, refusal);
                past.refusal = Some(refusal);
                // It asks about writes over the link that refused; another one knows nothing of them.
                if demand.is_bound_to_link() { Next::Return(reply) } else { Next::Again }
            }
            What::Shortly(reply) => {
                self.shared.counters.refusal_replies.increment();
                let is_too_late = clock.due().is_some_and(|due| due <= Instant::now() + SHORTLY);
                if is_too_late { Next::Return(reply) } else { Next::AgainShortly }
            }
            What::WrongServer(refusal, reply) => {
                self.shared.report(link.epoch, refusal);
                Next::Return(reply)
            }
            What::HalfRun(refusal, words) => {
                self.shared.report(link.epoch, refusal);
                let facts = self.on_link(Outcome::Ambiguous, Reason::RefusedInScript, link, past);
                self.unknown(Facts { cause: Some(words), ..facts }, request, demand, past)
            }
            What::Unbegun(refusal, words) => {
                refusal.into_iter().for_each(|refusal| self.shared.report(link.epoch, refusal));
                let facts = self.on_link(Outcome::Ambiguous, Reason::MultiRefused, link, past);
                Next::Return(Err(self.fail(Facts { cause: Some(words), ..facts })))
            }
            What::NeverLeft => {
                past.times_sent -= 1;
                if demand.is_bound_to_link() {
                    let facts = self.on_link(Outcome::NotSent, Reason::LinkLost, link, past);
                    return Next::Return(Err(self.fail(facts)));
                }
                Next::Again
            }
            What::Lost => {
                let facts = self.on_link(Outcome::Ambiguous, Reason::LinkLost, link, past);
                self.unknown(facts, request, demand, past)
            }
            What::Overdue => {
                let facts = self.on_link(Outcome::Ambiguous, Reason::DeadlinePassed, link, past);
                Next::Return(Err(self.fail(facts)))
            }
            What::Unsent => {
                past.times_sent -= 1;
                let facts = self.on_link(past.outcome(), Reason::DeadlinePassed, link, past);
                Next::Return(Err(self.fail(facts)))
            }
        }
    }

    /// It may have been executed: the end of it, unless there is to be another try.
    fn unknown<R: Request>(&self, facts: Facts, request: R, demand: Demand, past: &mut Past) -> Next<R::Reply> {
        if !self.policy.tries_again(request, demand, past, &self.shared) {
            return Next::Return(Err(self.fail(facts)));
        }
        past.retries += 1;
        past.unknown = Some(facts);
        Next::Again
    }

    /// Whether this handle's earlier commands went over this link, or there were none.
    fn is_on(&self, link: &Link) -> bool {
        self.way.as_ref().is_none_or(|way| way.epoch == link.epoch())
    }

    #[cold]
    pub(crate) fn unshareable(&self, which: &Unshareable) -> RedisError {
        let reason = Reason::NotOnSharedLink { command: which.command, hint: which.hint };
        self.fail(self.facts(Outcome::NotSent, reason))
    }

    /// It asks about writes of which some went over another link.
    #[cold]
    pub(super) fn strayed(&self) -> RedisError {
        let facts = self.facts(Outcome::NotSent, Reason::LinkReplaced);
        self.fail(Facts { epoch: self.way.as_ref().map(|way| way.epoch), ..facts })
    }

    fn not_admitted(&self, not_admitted: NotAdmitted, past: &Past) -> Facts {
        let NotAdmitted { reason, outage } = not_admitted;
        let failure = outage.failure.as_deref().map(str::to_owned);
        let is_said = matches!(outage.state, Some(ClosedCause::Refused(_)));
        let refusal = past.refusal.filter(|_| !is_said).map(|refusal| refusal.to_string());
        let is_in_turn = reason == Reason::DeadlinePassed && outage.state.is_none();
        let turn = is_in_turn.then(|| WAITED_FOR_ITS_TURN.to_owned());
        Facts {
            epoch: past.epoch,
            down_for: outage.down_for,
            held: outage.held,
            state: outage.state.map(|state| state.to_string()),
            failed_rounds: outage.failed_rounds,
            times_sent: past.times_sent,
            cause: failure.or(refusal).or(turn),
            ..self.facts(past.outcome(), reason)
        }
    }

    fn on_link(&self, outcome: Outcome, reason: Reason, link: LinkFacts, past: &Past) -> Facts {
        Facts {
            epoch: Some(link.epoch),
            silent_for: link.silent_for,
            in_flight: link.in_flight,
            held: self.shared.gate.outage().held,
            times_sent: past.times_sent,
            cause: link.end,
            ..self.facts(outcome, reason)
        }
    }

    pub(super) fn facts(&self, outcome: Outcome, reason: Reason) -> Facts {
        Facts::new(outcome, reason, &self.shared.endpoint)
    }

    pub(super) fn fail(&self, facts: Facts) -> RedisError {
        self.shared.fail(facts).into()
    }
}
