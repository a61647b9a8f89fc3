//! The data side of the gate, called by handles: a command is admitted, takes its place in the queue or fails at once, and
//! gives its place up when its time has passed or its caller is gone. Nothing here waits; `gate/waiting.rs` does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis_tether_core::Epoch;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hold::Ticket;
use super::waiting::{Settled, Waiter};
use super::{Admission, Ask, CLOSED, Gate, Inner, NotAdmitted, Outage, STOPPED, State};
use crate::config::HoldMode;
use crate::link::Link;
use crate::outcome::Reason;

/// How a command fared at the gate.
pub(super) enum Entered {
    Admitted(Admission),
    Held(Ticket, oneshot::Receiver<Settled>),
}

/// How it fared when it wanted to give up.
pub(super) enum GivenUp {
    Yes(NotAdmitted),
    /// It was let go, or failed, in the meantime: the verdict is on its way.
    Settled,
    NotYet,
}

impl Gate {
    /// Whether commands may be sent over the link of this epoch. One atomic load. Only meaningful for a command that was
    /// entered in that link's ledger before.
    pub(crate) fn admits(&self, epoch: Epoch) -> bool {
        self.word.load(Ordering::SeqCst) == epoch.get()
    }

    /// Whether the link of this epoch still takes those that were let go to it: they may come round late. As with
    /// [`admits`](Gate::admits), for a command that was entered in its ledger.
    pub(crate) fn publishes(&self, epoch: Epoch) -> bool {
        self.lock().state.published().is_some_and(|link| link.epoch() == epoch)
    }

    /// Whether there is a link that takes commands. One atomic load.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.word.load(Ordering::SeqCst), CLOSED | STOPPED)
    }

    /// Whether it takes no commands any more, for good. As with [`admits`](Gate::admits), for a command that was entered in a
    /// ledger before.
    pub(crate) fn has_stopped(&self) -> bool {
        self.word.load(Ordering::SeqCst) == STOPPED
    }

    /// Waits until it does not. Cancel safe.
    pub(crate) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// What is known of the present outage, if it is one.
    pub(crate) fn outage(&self) -> Outage {
        self.lock().outage()
    }

    /// Admits a command at once, queues it, or fails it.
    pub(super) fn enter(self: &Arc<Self>, ask: &Ask) -> Result<Entered, NotAdmitted> {
        let mut inner = self.lock();
        let closed = inner.close_if_dead(&self.word);
        let entered = self.enter_locked(&mut inner, ask);
        self.count_held(&inner);
        drop(inner);
        drop(closed);
        entered
    }

    fn enter_locked(&self, inner: &mut Inner, ask: &Ask) -> Result<Entered, NotAdmitted> {
        let reason = match &inner.state {
            State::Stopped => Reason::Stopped,
            State::Open { link } => return Ok(Entered::Admitted(admission(link, ask))),
            // It never waits, and the link is up.
            State::Releasing(release) if ask.mode == HoldMode::FailFast => {
                return Ok(Entered::Admitted(admission(release.link(), ask)));
            }
            State::Closed { .. } if ask.mode == HoldMode::FailFast => Reason::FailFast,
            State::Closed { since, .. } if since.elapsed() >= self.window => Reason::HoldWindowPassed,
            State::Closed { .. } | State::Releasing(_) => {
                let (sender, receiver) = oneshot::channel();
                match inner.hold.join(ask.ticket, ask.bytes, Waiter::new(ask.kind, sender)) {
                    Some(ticket) => {
                        self.counters.held.increment();
                        return Ok(Entered::Held(ticket, receiver));
                    }
                    None => Reason::HoldFull,
                }
            }
        };
        Err(NotAdmitted { reason, outage: inner.outage() })
    }

    /// When somebody who is held has to look again, at the latest.
    pub(super) fn held_until(&self) -> Instant {
        match &self.lock().state {
            State::Closed { since, .. } => *since + self.window,
            // A link may be lost again, which starts the window anew; whoever looks after a window from now is never
            // too late for that one.
            State::Releasing(_) | State::Open { .. } | State::Stopped => Instant::now() + self.window,
        }
    }

    /// Takes a held command out if its deadline or the hold window has passed.
    pub(super) fn give_up(&self, ticket: Ticket, deadline: Option<Instant>) -> GivenUp {
        let mut inner = self.lock();
        let is_over = match &inner.state {
            State::Closed { since, .. } => since.elapsed() >= self.window,
            State::Releasing(_) | State::Open { .. } | State::Stopped => false,
        };
        let reason = if is_over {
            Reason::HoldWindowPassed
        } else if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            Reason::DeadlinePassed
        } else {
            return GivenUp::NotYet;
        };
        let waiter = inner.hold.leave(ticket);
        let outage = inner.outage();
        self.count_held(&inner);
        drop(inner);
        match waiter {
            Some(_) => GivenUp::Yes(NotAdmitted { reason, outage }),
            None => GivenUp::Settled,
        }
    }

    /// Takes out a held command whose caller went away.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut inner = self.lock();
        let waiter = inner.hold.leave(ticket);
        self.count_held(&inner);
        drop(inner);
        drop(waiter);
    }
}

fn admission(link: &Arc<Link>, ask: &Ask) -> Admission {
    Admission {
        link: Arc::clone(link),
        flight: link.ledger().begin(ask.kind),
        ticket: ask.ticket,
        turn: None,
        baton: None,
    }
}
