//! The commands that are outstanding on a link: how many, since when, and two waits, for the first one and for none. Handles
//! and probes enter a command by a [`Flight`] and strike it out by dropping that; the silence watch and a drain wait here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Ledger;
use super::blockers::{Blocker, Blockers};
use super::stamp::Stamp;

/// What an outstanding command may make of the link's silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlightKind {
    /// It is answered as fast as the server can.
    Plain,
    /// The server may keep it waiting for as long as this; `None` is for ever.
    Blocking(Option<Duration>),
}

/// One outstanding command (or pipeline). Dropping it strikes it out.
#[derive(Debug)]
pub(crate) struct Flight {
    ledger: Arc<Ledger>,
    blocker: Option<Blocker>,
}

impl Flight {
    pub(super) fn begin(ledger: &Arc<Ledger>, kind: FlightKind) -> Flight {
        let flights = &ledger.flights;
        let blocker = match kind {
            FlightKind::Plain => None,
            FlightKind::Blocking(limit) => Some(flights.blockers.enter(limit, ledger.reads())),
        };
        flights.enter(ledger);
        Flight { ledger: Arc::clone(ledger), blocker }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let flights = &self.ledger.flights;
        if let Some(blocker) = self.blocker.take() {
            flights.blockers.leave(blocker, self.ledger.reads());
        }
        flights.leave();
    }
}

pub(super) struct Flights {
    count: AtomicU64,
    busy_since: Stamp,
    // The link's reads and written bytes when the busy spell began.
    reads_then: AtomicU64,
    written_then: AtomicU64,
    busy: Signal,
    idle: Signal,
    blockers: Blockers,
}

impl Flights {
    pub(super) fn new() -> Flights {
        Flights {
            count: AtomicU64::new(0),
            busy_since: Stamp::never(),
            reads_then: AtomicU64::new(0),
            written_then: AtomicU64::new(0),
            busy: Signal::new(),
            idle: Signal::new(),
            blockers: Blockers::new(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    pub(super) fn busy_since(&self, origin: Instant) -> Option<Instant> {
        self.busy_since.at(origin)
    }

    pub(super) fn blocked(&self, now: Instant, reads: u64) -> bool {
        self.blockers.explain(now, reads)
    }

    pub(super) fn blocked_until(&self, now: Instant, reads: u64) -> Option<Instant> {
        self.blockers.explained_until(now, reads)
    }

    pub(super) fn excused_until(&self) -> Option<Instant> {
        self.blockers.excused_until()
    }

    pub(super) async fn busy(&self, ended: impl Fn() -> bool) {
        self.busy.until(|| self.count() > 0 || ended()).await;
    }

    /// To be called after the link has been marked ended.
    pub(super) fn wake_watch(&self) {
        self.busy.raise();
    }

    pub(super) async fn idle(&self) {
        self.idle.until(|| self.count() == 0).await;
    }

    fn enter(&self, ledger: &Ledger) {
        // Stamped before the count shows it: whoever sees the first command must not measure its silence from the end of the
        // previous busy spell.
        let stamped = self.count() == 0;
        if stamped {
            self.begin_spell(ledger);
        }
        if self.count.fetch_add(1, Ordering::SeqCst) == 0 {
            if !stamped {
                self.begin_spell(ledger);
            }
            self.busy.raise();
        }
    }

    /// A busy spell begins, unless the last one still goes on for the peer: it was sent something and has not said a word
    /// since, only the callers went away. Callers with short timeouts of their own would otherwise hide a peer that hangs.
    fn begin_spell(&self, ledger: &Ledger) {
        let (reads, written) = (ledger.reads(), ledger.bytes_written());
        let owed = self.busy_since.at(ledger.origin).is_some()
            && reads == self.reads_then.load(Ordering::Relaxed)
            && written > self.written_then.load(Ordering::Relaxed);
        if !owed {
            self.reads_then.store(reads, Ordering::Relaxed);
            self.written_then.store(written, Ordering::Relaxed);
            self.busy_since.set(ledger.origin, Instant::now());
        }
    }

    fn leave(&self) {
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.idle.raise();
        }
    }
}

/// Wakes those who wait for a condition. Raising it costs one load while nobody waits, since it is raised with every
/// command.
struct Signal {
    parked: AtomicBool,
    notify: Notify,
}

impl Signal {
    fn new() -> Signal {
        Signal { parked: AtomicBool::new(false), notify: Notify::new() }
    }

    /// To be called after the condition has come true, by a sequentially consistent write.
    fn raise(&self) {
        if self.parked.load(Ordering::SeqCst) {
            self.parked.store(false, Ordering::SeqCst);
            self.notify.notify_waiters();
        }
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            // First in line (which a `Notified` is from its making), then visible, then one more look: whoever makes the
            // condition true after that look sees the flag, and whoever took the flag away before it wakes those in line.
            let notified = self.notify.notified();
            self.parked.store(true, Ordering::SeqCst);
            if condition() {
                return;
            }
            notified.await;
        }
    }
}
