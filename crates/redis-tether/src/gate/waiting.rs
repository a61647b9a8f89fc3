//! Waiting at the gate: what a command asks for, and how it is held until it is let go, its deadline or the hold window
//! passes, or its caller goes away. The only timers of the gate are here, and they belong to the callers' runtimes.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::entry::{Entered, GivenUp};
use super::hold::Ticket;
use super::{Admission, Gate, NotAdmitted};
use crate::config::HoldMode;
use crate::foreign;
use crate::ledger::FlightKind;
use crate::outcome::Reason;
use crate::patience::Patience;

pub(super) type Settled = Result<Admission, NotAdmitted>;

/// What a command asks of the gate.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) kind: FlightKind,
    /// What holding it takes up.
    pub(crate) bytes: usize,
    pub(crate) mode: HoldMode,
    /// When it is of no use any more; `None`: only the hold window ends it.
    pub(crate) deadline: Option<Instant>,
    /// Its place in the queue, if it stood there before.
    pub(crate) ticket: Option<Ticket>,
}

/// A held command, as the gate sees it.
#[derive(Debug)]
pub(super) struct Waiter {
    kind: FlightKind,
    settle: oneshot::Sender<Settled>,
}

impl Waiter {
    pub(super) fn new(kind: FlightKind, settle: oneshot::Sender<Settled>) -> Waiter {
        Waiter { kind, settle }
    }

    pub(super) fn kind(&self) -> FlightKind {
        self.kind
    }

    pub(super) fn is_blocking(&self) -> bool {
        matches!(self.kind, FlightKind::Blocking(_))
    }

    pub(super) fn settle(self, settled: Settled) {
        // A caller who has gone away in the meantime takes no admission; dropping it lets the next ones go. One who cannot be
        // woken keeps nobody else waiting.
        foreign::run("a caller's waker", || drop(self.settle.send(settled)));
    }
}

impl Gate {
    /// Admits a command: at once when the gate is open, or when its turn comes. Cancel safe: a command that is dropped
    /// while it is held is never sent.
    pub(crate) async fn admit(self: &Arc<Self>, ask: Ask, patience: &mut Patience) -> Result<Admission, NotAdmitted> {
        match self.enter(&ask)? {
            Entered::Admitted(admission) => Ok(admission),
            Entered::Held(ticket, receiver) => {
                let place = Place { gate: Arc::clone(self), ticket };
                place.hold(receiver, ask.deadline, patience).await
            }
        }
    }
}

/// A place in the queue. Dropping it gives it up.
struct Place {
    gate: Arc<Gate>,
    ticket: Ticket,
}

impl Place {
    async fn hold(
        self,
        mut receiver: oneshot::Receiver<Settled>,
        deadline: Option<Instant>,
        patience: &mut Patience,
    ) -> Settled {
        let mut timer = pin!(sleep_until(self.next_look(deadline)));
        loop {
            tokio::select! {
                biased;
                settled = &mut receiver => return self.settled(settled),
                () = timer.as_mut() => {}
            }
            if let Some(later) = patience.put_off(timer.deadline(), &self.gate.counters) {
                timer.as_mut().reset(later);
                continue;
            }
            match self.gate.give_up(self.ticket, deadline) {
                GivenUp::Yes(not_admitted) => return Err(not_admitted),
                GivenUp::NotYet => timer.as_mut().reset(self.next_look(deadline)),
                // Whoever took it off the queue settles it in the same breath.
                GivenUp::Settled => {
                    let settled = (&mut receiver).await;
                    return self.settled(settled);
                }
            }
        }
    }

    fn next_look(&self, deadline: Option<Instant>) -> Instant {
        let until = self.gate.held_until();
        deadline.map_or(until, |deadline| deadline.min(until))
    }

    fn settled(&self, settled: Result<Settled, oneshot::error::RecvError>) -> Settled {
        // The sender is dropped unsettled only by a panic in between; then nothing was sent.
        settled.unwrap_or_else(|_| Err(NotAdmitted { reason: Reason::Stopped, outage: self.gate.outage() }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.leave(self.ticket);
    }
}
