//! The notice board of one tether: the status that it shows and the events that it sends. The control actors write it,
//! applications read it. It never blocks, and a reader who is slow or gone costs nothing but its own events.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::{broadcast, watch};

use super::journal::Journal;
use crate::event::Event;
use crate::foreign;
use crate::lock::lock;
use crate::status::{Phase, Status};

/// So many events a slow subscriber may lag behind before it loses the oldest, and is told how many.
const EVENT_BACKLOG: usize = 256;

/// Hands an event on; `false` if its receiver is gone.
type Forward = Box<dyn Fn(&Event) -> bool + Send>;

pub(crate) struct Board {
    status: watch::Sender<Status>,
    /// Made for the first who subscribes: its backlog is a quarter of what an idle tether takes otherwise.
    events: OnceLock<broadcast::Sender<Event>>,
    outbox: Mutex<Outbox>,
    journal: Journal,
}

impl Board {
    pub(crate) fn new(endpoint: Arc<str>) -> Self {
        Board {
            journal: Journal::new(endpoint.clone()),
            status: watch::Sender::new(Status::connecting(endpoint)),
            events: OnceLock::new(),
            outbox: Mutex::new(Outbox::default()),
        }
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.get_or_init(|| broadcast::Sender::new(EVENT_BACKLOG)).subscribe()
    }

    /// Hands every later event to `forward`, until it says that its receiver is gone, or panics. It runs without a lock and
    /// may come back to this board. It is dropped once the end was sent: nothing follows that, and it may hold what holds this
    /// board.
    pub(crate) fn forward(&self, forward: impl Fn(&Event) -> bool + Send + 'static) {
        let late = self.outbox().add(Box::new(forward));
        foreign::run("what a conversion of events held", || drop(late));
    }

    /// Sends an event, after all those before it. Whoever is sending already sends this one as well.
    pub(crate) fn send(&self, event: Event) {
        self.journal.enter(&event);
        if !self.outbox().post(event) {
            return;
        }
        while let Some((event, mut forwards)) = self.take() {
            forwards.retain(|forward| foreign::run("a conversion of events", || forward(&event)).unwrap_or(false));
            let done = self.outbox().put_back(forwards);
            foreign::run("what a conversion of events held", || drop(done));
            // Nobody listening is no failure.
            foreign::run("a subscriber's waker", || self.events.get().map(|events| events.send(event)));
        }
    }

    fn take(&self) -> Option<(Event, Vec<Forward>)> {
        self.outbox().take()
    }

    /// Changes the status, and wakes those who watch it if that made a difference. That the same went wrong once more is noted and
    /// wakes nobody: it may many times a second. A tether that is stopping stays so until it has stopped, and then stays stopped.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            if status.phase == Phase::Stopped {
                return false;
            }
            let mut before = status.clone();
            change(status);
            if before.phase == Phase::Stopping && status.phase != Phase::Stopped {
                status.phase = Phase::Stopping;
            }
            let phase = std::mem::replace(&mut status.phase, before.phase);
            status.enter(phase);
            before.last_error_at = status.last_error_at;
            *status != before
        });
        self.journal.remind(&self.status.borrow());
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        lock(&self.outbox)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}

/// Events that wait to be sent, and to whom. Two actors may send at the same time, and a conversion may cause an event: the
/// one who comes first sends them all, one after another, so that everybody sees them in one order.
#[derive(Default)]
struct Outbox {
    forwards: Vec<Forward>,
    waiting: VecDeque<Event>,
    is_being_sent: bool,
    has_stopped: bool,
}

impl Outbox {
    /// `true` for the one who has to send what waits. Nothing follows the end.
    fn post(&mut self, event: Event) -> bool {
        if self.has_stopped {
            return false;
        }
        self.has_stopped = matches!(event, Event::Stopped);
        if self.waiting.len() == EVENT_BACKLOG {
            // A conversion that takes so long loses the oldest, like any subscriber.
            self.waiting.pop_front();
        }
        self.waiting.push_back(event);
        !std::mem::replace(&mut self.is_being_sent, true)
    }

    fn take(&mut self) -> Option<(Event, Vec<Forward>)> {
        let event = self.waiting.pop_front();
        self.is_being_sent = event.is_some();
        Some((event?, std::mem::take(&mut self.forwards)))
    }

    /// Hands it back where it comes too late for any event.
    fn add(&mut self, forward: Forward) -> Option<Forward> {
        if self.is_over() {
            return Some(forward);
        }
        self.forwards.push(forward);
        None
    }

    /// Before those that were added meanwhile. Hands all of them back after the end.
    fn put_back(&mut self, mut forwards: Vec<Forward>) -> Vec<Forward> {
        forwards.append(&mut self.forwards);
        if self.is_over() {
            return forwards;
        }
        self.forwards = forwards;
        Vec::new()
    }

    /// No forward will be handed anything any more: the end waits no longer.
    fn is_over(&self) -> bool {
        self.has_stopped && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
