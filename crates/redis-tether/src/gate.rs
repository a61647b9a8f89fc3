//! The gate: the one word that says which link takes commands now, and the hold behind which commands wait while none
//! does. Handles pass it with one atomic load; the connection actor opens and closes it, a dying link and a refused
//! command close it for their own epoch. It never blocks, owns no task, and never touches a socket.
//!
//! The word is an epoch, zero (closed) or `u64::MAX` (stopped). A handle enters its command in the ledger *before* it
//! looks at the word, and a drain flips the word *before* it looks at the ledger, all sequentially consistent. So either
//! the drain sees the command or the handle sees the flip, and no command is lost between them.
//!
//! Nothing is woken and nothing foreign is dropped while the lock is held: a waker or the last reference to a link may
//! run code that comes back to this gate.

mod entry;
pub(crate) mod hold;
mod outage;
mod release;
mod waiting;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis_tether_core::Epoch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::outage::{ClosedCause, Outage};
pub(crate) use self::release::{Baton, Turn};
pub(crate) use self::waiting::Ask;

use self::hold::{Hold, Ticket};
use self::release::Release;
use self::waiting::Waiter;
use crate::config::CommandSettings;
use crate::ledger::Flight;
use crate::link::Link;
use crate::lock::lock;
use crate::outcome::Reason;
use crate::stats::Counters;

const CLOSED: u64 = 0;
const STOPPED: u64 = u64::MAX;

/// A command may be sent, over this link and no other.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) link: Arc<Link>,
    pub(crate) flight: Flight,
    /// Its place in the queue, if it stood in one: to be shown when it comes back.
    pub(crate) ticket: Option<Ticket>,
    /// To be kept until the command is done.
    pub(crate) turn: Option<Turn>,
    /// To be kept until the command is on its way.
    pub(crate) baton: Option<Baton>,
}

/// A command may not be sent, and will not be.
#[derive(Debug)]
pub(crate) struct NotAdmitted {
    pub(crate) reason: Reason,
    pub(crate) outage: Outage,
}

/// See the head of this file.
pub(crate) struct Gate {
    word: AtomicU64,
    window: Duration,
    counters: Arc<Counters>,
    stopped: CancellationToken,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    link: Option<Arc<Link>>,
    newest: Option<Epoch>,
    hold: Hold<Waiter>,
    batches: u64,
    failed_rounds: u32,
    failure: Option<Arc<str>>,
}

enum State {
    Closed {
        cause: ClosedCause,
        since: Instant,
    },
    /// The link is up, and held commands are let go batch by batch. Newcomers queue behind them.
    Releasing(Release),
    Open {
        link: Arc<Link>,
    },
    Stopped,
}

impl State {
    fn published(&self) -> Option<&Arc<Link>> {
        match self {
            State::Open { link } => Some(link),
            State::Releasing(release) => Some(release.link()),
            State::Closed { .. } | State::Stopped => None,
        }
    }
}

/// The control side: called by the connection actor and by what ends a link.
impl Gate {
    /// A closed gate. The hold window starts now.
    pub(crate) fn new(settings: &CommandSettings, counters: Arc<Counters>) -> Arc<Gate> {
        Arc::new(Gate {
            word: AtomicU64::new(CLOSED),
            window: settings.hold_window,
            counters,
            stopped: CancellationToken::new(),
            inner: Mutex::new(Inner {
                state: State::Closed { cause: ClosedCause::Connecting, since: Instant::now() },
                link: None,
                newest: None,
                hold: Hold::new(settings.max_held, settings.max_held_bytes),
                batches: 0,
                failed_rounds: 0,
                failure: None,
            }),
        })
    }

    /// Publishes a link: held commands are let go to it, then it is everybody's. Says whether it is the published one
    /// now: a link that is dead, or older than one that was published before, is not taken, nor is any after a stop.
    pub(crate) fn open(self: &Arc<Self>, link: Arc<Link>) -> bool {
        let mut inner = self.lock();
        let epoch = link.epoch();
        let is_stale = inner.newest.is_some_and(|newest| epoch < newest);
        if matches!(inner.state, State::Stopped) || is_stale || link.ledger().is_dead() {
            drop(inner);
            return false;
        }
        if inner.state.published().is_some_and(|published| published.epoch() == epoch) {
            drop(inner);
            return true;
        }
        inner.newest = Some(epoch);
        inner.failed_rounds = 0;
        inner.failure = None;
        let replaced_link = inner.link.replace(Arc::clone(&link));
        let replaced_state = std::mem::replace(&mut inner.state, State::Open { link: Arc::clone(&link) });
        if inner.hold.is_empty() {
            self.word.store(epoch.get(), Ordering::SeqCst);
        } else {
            // From an open gate there is nobody held, so the word is closed here already, or it is the one before.
            self.word.store(CLOSED, Ordering::SeqCst);
            inner.state = State::Releasing(Release::to(link, inner.hold.last_given()));
        }
        let deliveries = self.release(&mut inner);
        drop(inner);
        drop((replaced_link, replaced_state));
        deliveries.deliver();
        true
    }

    /// Holds commands from now on, and keeps the link: it may be opened again. A gate that is closed already only
    /// learns the new cause.
    pub(crate) fn close(&self, cause: ClosedCause) {
        let closed = self.lock().close(&self.word, cause);
        drop(closed);
    }

    /// As [`close`](Gate::close), if this epoch is the one that is open; `true` for the one caller who closed it.
    pub(crate) fn close_epoch(&self, epoch: Epoch, cause: ClosedCause) -> bool {
        let mut inner = self.lock();
        if inner.state.published().is_none_or(|published| published.epoch() != epoch) {
            return false;
        }
        let closed = inner.close(&self.word, cause);
        drop(inner);
        drop(closed);
        true
    }

    /// Forgets the link, which died or was replaced.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        let closed = match inner.state.published() {
            Some(_) => inner.close(&self.word, ClosedCause::Connecting),
            None => None,
        };
        let link = inner.link.take();
        drop(inner);
        drop((link, closed));
    }

    /// The end: what is held fails at once, and so does everything that comes later. The link stays in its slot.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        self.word.store(STOPPED, Ordering::SeqCst);
        let stopped = std::mem::replace(&mut inner.state, State::Stopped);
        let everybody = inner.hold.take(usize::MAX);
        self.count_held(&inner);
        let outage = inner.outage();
        drop(inner);
        drop(stopped);
        self.stopped.cancel();
        for (_, waiter) in everybody {
            waiter.settle(Err(NotAdmitted { reason: Reason::Stopped, outage: outage.clone() }));
        }
    }

    /// The last link that was published, if it was not cleared. It need not be open.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.lock().link.clone()
    }

    /// What went wrong elsewhere than in an attempt to make a link, for failed commands to show. While a link serves they
    /// fail for other reasons.
    pub(crate) fn note_failure(&self, failure: &Arc<str>) {
        let mut inner = self.lock();
        if inner.state.published().is_none() {
            inner.failure = Some(Arc::clone(failure));
        }
    }

    /// What a failed command shows of the attempts to make a link. Opening resets it.
    pub(crate) fn note(&self, failed_rounds: u32, failure: Option<&Arc<str>>) {
        let mut inner = self.lock();
        inner.failed_rounds = failed_rounds;
        if let Some(failure) = failure {
            inner.failure = Some(Arc::clone(failure));
        }
    }
}

impl Gate {
    fn count_held(&self, inner: &Inner) {
        self.counters.held_now.set(inner.hold.len() as u64);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    /// Closes, and hands back what must be dropped without the lock.
    #[must_use]
    fn close(&mut self, word: &AtomicU64, cause: ClosedCause) -> Option<State> {
        match &mut self.state {
            State::Stopped => None,
            State::Closed { cause: present, .. } => {
                *present = cause;
                None
            }
            State::Open { .. } | State::Releasing(_) => {
                word.store(CLOSED, Ordering::SeqCst);
                let closed = State::Closed { cause, since: Instant::now() };
                Some(std::mem::replace(&mut self.state, closed))
            }
        }
    }

    /// A link is marked dead a moment before it closes the gate. Whoever comes in that moment closes it.
    fn close_if_dead(&mut self, word: &AtomicU64) -> Option<State> {
        let end = self.state.published()?.ledger().end()?.clone();
        self.close(word, ClosedCause::lost(end))
    }

    fn outage(&self) -> Outage {
        let (down_for, state) = match &self.state {
            State::Closed { cause, since } => (Some(since.elapsed()), Some(cause.clone())),
            State::Releasing(_) | State::Open { .. } | State::Stopped => (None, None),
        };
        Outage {
            down_for,
            state,
            failed_rounds: self.failed_rounds,
            failure: self.failure.clone(),
            held: self.hold.len(),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("word", &self.word.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
