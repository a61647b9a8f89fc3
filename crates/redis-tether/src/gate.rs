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

mod outage;
pub(crate) mod patience;
mod waiting;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis_tether_core::Epoch;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use self::outage::{ClosedCause, Outage};
pub(crate) use self::waiting::Ask;

use self::waiting::{Settled, Waiter};
use crate::config::{CommandSettings, HoldMode};
use crate::hold::{Batch, Hold, Ticket};
use crate::ledger::Flight;
use crate::link::Link;
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
}

/// A command may not be sent, and will not be.
#[derive(Debug)]
pub(crate) struct NotAdmitted {
    pub(crate) reason: Reason,
    pub(crate) outage: Outage,
}

/// A released command's part of its batch: the next batch goes when all of them are dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    gate: Arc<Gate>,
    batch: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.gate.turn_over(self.batch);
    }
}

/// See the head of this file.
pub(crate) struct Gate {
    word: AtomicU64,
    window: Duration,
    counters: Arc<Counters>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    link: Option<Arc<Link>>,
    newest: Option<Epoch>,
    hold: Hold<Waiter>,
    batches: u64,
    attempt: u32,
    failure: Option<Arc<str>>,
}

enum State {
    Closed {
        cause: ClosedCause,
        since: Instant,
    },
    /// The link is up, and held commands are let go batch by batch. Newcomers queue behind them.
    Releasing {
        link: Arc<Link>,
        batch: Batch,
    },
    Open {
        link: Arc<Link>,
    },
    Stopped,
}

impl State {
    fn published(&self) -> Option<&Arc<Link>> {
        match self {
            State::Open { link } | State::Releasing { link, .. } => Some(link),
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
            inner: Mutex::new(Inner {
                state: State::Closed { cause: ClosedCause::Connecting, since: Instant::now() },
                link: None,
                newest: None,
                hold: Hold::new(settings.max_held, settings.max_held_bytes),
                batches: 0,
                attempt: 0,
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
        inner.attempt = 0;
        inner.failure = None;
        let replaced_link = inner.link.replace(Arc::clone(&link));
        let replaced_state = std::mem::replace(&mut inner.state, State::Open { link: Arc::clone(&link) });
        if inner.hold.is_empty() {
            self.word.store(epoch.get(), Ordering::SeqCst);
        } else {
            // From an open gate there is nobody held, so the word is closed here already, or it is the one before.
            self.word.store(CLOSED, Ordering::SeqCst);
            inner.batches += 1;
            let batch = Batch::first(inner.batches);
            inner.state = State::Releasing { link, batch };
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
        for (_, waiter) in everybody {
            waiter.settle(Err(NotAdmitted { reason: Reason::Stopped, outage: outage.clone() }));
        }
    }

    /// The last link that was published, if it was not cleared. It need not be open.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.lock().link.clone()
    }

    /// What a failed command shows of the attempts to make a link. Opening resets it.
    pub(crate) fn note(&self, attempt: u32, failure: Option<&Arc<str>>) {
        let mut inner = self.lock();
        inner.attempt = attempt;
        if let Some(failure) = failure {
            inner.failure = Some(Arc::clone(failure));
        }
    }
}

/// The data side: called by handles.
impl Gate {
    /// Whether commands may be sent over the link of this epoch. One atomic load. Only meaningful for a command that was
    /// entered in that link's ledger before.
    pub(crate) fn admits(&self, epoch: Epoch) -> bool {
        self.word.load(Ordering::SeqCst) == epoch.get()
    }

    /// What is known of the present outage, if it is one.
    pub(crate) fn outage(&self) -> Outage {
        self.lock().outage()
    }

    /// Admits a command at once, queues it, or fails it.
    fn enter(self: &Arc<Self>, ask: &Ask) -> Result<Entered, NotAdmitted> {
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
            State::Releasing { link, .. } if ask.mode == HoldMode::FailFast => {
                return Ok(Entered::Admitted(admission(link, ask)));
            }
            State::Closed { .. } if ask.mode == HoldMode::FailFast => Reason::FailFast,
            State::Closed { since, .. } if since.elapsed() >= self.window => Reason::HoldWindowPassed,
            State::Closed { .. } | State::Releasing { .. } => {
                let (sender, receiver) = oneshot::channel();
                match inner.hold.join(ask.ticket, ask.bytes, Waiter::new(ask.kind, sender)) {
                    Some(ticket) => {
                        if ask.ticket.is_none() {
                            self.counters.held.increment();
                        }
                        return Ok(Entered::Held(ticket, receiver));
                    }
                    None => Reason::HoldFull,
                }
            }
        };
        Err(NotAdmitted { reason, outage: inner.outage() })
    }

    /// When somebody who is held has to look again, at the latest.
    fn held_until(&self) -> Instant {
        match &self.lock().state {
            State::Closed { since, .. } => *since + self.window,
            // A link may be lost again, which starts the window anew; whoever looks after a window from now is never
            // too late for that one.
            State::Releasing { .. } | State::Open { .. } | State::Stopped => Instant::now() + self.window,
        }
    }

    /// Takes a held command out if its deadline or the hold window has passed.
    fn give_up(&self, ticket: Ticket, deadline: Option<Instant>) -> GivenUp {
        let mut inner = self.lock();
        let is_over = match &inner.state {
            State::Closed { since, .. } => since.elapsed() >= self.window,
            State::Releasing { .. } | State::Open { .. } | State::Stopped => false,
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
    fn leave(&self, ticket: Ticket) {
        let mut inner = self.lock();
        let waiter = inner.hold.leave(ticket);
        self.count_held(&inner);
        drop(inner);
        drop(waiter);
    }

    /// One of a batch is done with.
    fn turn_over(self: &Arc<Self>, id: u64) {
        let mut inner = self.lock();
        let inner_ref = &mut *inner;
        let State::Releasing { batch, .. } = &mut inner_ref.state else { return };
        if !batch.one_done(id) {
            return;
        }
        inner_ref.batches += 1;
        *batch = batch.next(inner_ref.batches);
        let deliveries = self.release(&mut inner);
        drop(inner);
        deliveries.deliver();
    }

    /// Lets the present batch go, and opens the gate when nobody is left behind it.
    fn release(self: &Arc<Self>, inner: &mut Inner) -> Deliveries {
        let mut deliveries = Deliveries(Vec::new());
        while let State::Releasing { link, batch } = &mut inner.state {
            for (ticket, waiter) in inner.hold.take(batch.size()) {
                // Entered in the ledger before anybody is woken: from here on a drain sees it.
                let flight = link.ledger().begin(waiter.kind());
                // A blocking command may be answered in an hour; the others do not wait for that.
                let turn = (!waiter.is_blocking()).then(|| {
                    batch.one_more();
                    Turn { gate: Arc::clone(self), batch: batch.id() }
                });
                let admission = Admission { link: Arc::clone(link), flight, ticket: Some(ticket), turn };
                deliveries.0.push((waiter, admission));
            }
            if inner.hold.is_empty() {
                self.word.store(link.epoch().get(), Ordering::SeqCst);
                let link = Arc::clone(link);
                inner.state = State::Open { link };
            } else if batch.is_done() {
                inner.batches += 1;
                *batch = batch.next(inner.batches);
            } else {
                break;
            }
        }
        self.counters.released.add(deliveries.0.len() as u64);
        self.count_held(inner);
        deliveries
    }

    fn count_held(&self, inner: &Inner) {
        self.counters.held_now.set(inner.hold.len() as u64);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that runs under the lock leaves it half done, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
            State::Open { .. } | State::Releasing { .. } => {
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
            State::Releasing { .. } | State::Open { .. } | State::Stopped => (None, None),
        };
        Outage { down_for, state, attempt: self.attempt, failure: self.failure.clone(), held: self.hold.len() }
    }
}

/// How a command fared at the gate.
enum Entered {
    Admitted(Admission),
    Held(Ticket, oneshot::Receiver<Settled>),
}

/// How it fared when it wanted to give up.
enum GivenUp {
    Yes(NotAdmitted),
    /// It was let go, or failed, in the meantime: the verdict is on its way.
    Settled,
    NotYet,
}

/// Admissions that are to be handed out once the lock is free.
#[must_use]
struct Deliveries(Vec<(Waiter, Admission)>);

impl Deliveries {
    fn deliver(self) {
        for (waiter, admission) in self.0 {
            waiter.settle(Ok(admission));
        }
    }
}

fn admission(link: &Arc<Link>, ask: &Ask) -> Admission {
    Admission { link: Arc::clone(link), flight: link.ledger().begin(ask.kind), ticket: ask.ticket, turn: None }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("word", &self.word.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
