//! The commands that are outstanding on a link, as their callers see it: entered before they are sent, outstanding until the
//! caller has the reply or goes away. Handles and probes enter a command by a [`Flight`] and strike it out by dropping
//! that; a drain waits here for none. What the peer owes is another matter (`ledger/traffic.rs`): a caller may leave a
//! reply lying for as long as it likes, and may leave before there is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Ledger;
use super::blockers::{Blocker, Blockers};
use super::signal::Signal;

/// What an outstanding command may make of the link's silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlightKind {
    /// It is answered as fast as the server can.
    Plain,
    /// The server may keep it waiting for as long as this; `None` is for ever.
    Blocking(Option<Duration>),
}

/// One outstanding command (or pipeline). Dropping it strikes it out. The server may be at it still, if it was
/// [sent](Flight::sent) and not [answered](Flight::answered).
#[derive(Debug)]
pub(crate) struct Flight {
    ledger: Arc<Ledger>,
    blocker: Option<Blocker>,
    is_sent: bool,
    // How many blocking commands had been orphaned when it was entered: it is sent behind them.
    behind: u64,
}

impl Flight {
    pub(super) fn begin(ledger: &Arc<Ledger>, kind: FlightKind) -> Flight {
        let flights = &ledger.flights;
        let blocker = match kind {
            FlightKind::Plain => None,
            FlightKind::Blocking(limit) => Some(flights.blockers.enter(limit, ledger.traffic.debt())),
        };
        let behind = flights.blockers.orphaned();
        flights.count.fetch_add(1, Ordering::SeqCst);
        ledger.busy.raise();
        Flight { ledger: Arc::clone(ledger), blocker, is_sent: false, behind }
    }

    /// It is given to the link now.
    pub(crate) fn sent(&mut self) {
        self.is_sent = true;
    }

    /// Its reply came, whatever it says. It is outstanding until it is dropped all the same.
    pub(crate) fn answered(&mut self) {
        let blockers = &self.ledger.flights.blockers;
        if let Some(blocker) = self.blocker.take() {
            blockers.strike_out(&blocker);
        }
        blockers.pass(self.behind);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let flights = &self.ledger.flights;
        if let Some(blocker) = self.blocker.take() {
            if self.is_sent {
                flights.blockers.abandon(&blocker, self.ledger.reads());
            } else {
                flights.blockers.strike_out(&blocker);
            }
        }
        if flights.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            flights.idle.raise();
        }
    }
}

pub(super) struct Flights {
    count: AtomicU64,
    idle: Signal,
    blockers: Blockers,
}

impl Flights {
    pub(super) fn new() -> Flights {
        Flights { count: AtomicU64::new(0), idle: Signal::new(), blockers: Blockers::new() }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether a blocking command explains silence.
    pub(super) fn explain(&self, now: Instant, reads: u64) -> bool {
        self.blockers.explain(now, reads)
    }

    /// Whether one keeps the peer from answering for certain.
    pub(super) fn block(&self, now: Instant, reads: u64) -> bool {
        self.blockers.block(now, reads)
    }

    pub(super) fn blocked_until(&self, now: Instant, reads: u64) -> Option<Instant> {
        self.blockers.explained_until(now, reads)
    }

    pub(super) fn excused_until(&self) -> Option<Instant> {
        self.blockers.excused_until()
    }

    pub(super) async fn idle(&self) {
        self.idle.until(|| self.count() == 0).await;
    }
}
