//! The blocking commands on a link, in the order in which they were sent. While the server keeps one of them waiting it
//! answers nothing behind it either, so they explain silence, and this says for how long. Flights enter and leave; the
//! ledger asks. Nothing here waits or wakes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How much later than its own timeout a blocking command may be answered: servers look at timeouts ten times a second, and
/// the reply has to come back.
const GRACE: Duration = Duration::from_millis(500);

/// The receipt of a blocking command that was entered.
#[derive(Debug)]
pub(super) struct Blocker(u64);

pub(super) struct Blockers {
    // How many are queued, so that a link without any asks no lock.
    queued: AtomicU64,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    entries: VecDeque<Entry>,
    excused_until: Option<Instant>,
}

struct Entry {
    number: u64,
    limit: Option<Duration>,
    // When the server can have begun with it: when it was entered, or when the one before it was done with.
    since: Instant,
    // The link's reads at that moment.
    reads: u64,
    // The caller went away without an answer. The server knows nothing of that and keeps the link blocked.
    orphaned: Option<Orphaned>,
}

struct Orphaned {
    at: Instant,
    // The link's reads at that moment.
    reads: u64,
}

impl Entry {
    /// Until when it explains silence; `None` for as long as it is there.
    fn until(&self) -> Option<Instant> {
        match (self.limit, &self.orphaned) {
            (Some(limit), _) => self.since.checked_add(limit.saturating_add(GRACE)),
            (None, None) => None,
            // Nobody waits for it any more, and it may block the link for ever: that is no excuse.
            (None, Some(orphaned)) => Some(orphaned.at),
        }
    }
}

impl Blockers {
    pub(super) fn new() -> Blockers {
        Blockers { queued: AtomicU64::new(0), queue: Mutex::new(Queue::default()) }
    }

    pub(super) fn enter(&self, limit: Option<Duration>, reads: u64) -> Blocker {
        let mut queue = self.lock();
        queue.next += 1;
        let number = queue.next;
        queue.entries.push_back(Entry { number, limit, since: Instant::now(), reads, orphaned: None });
        self.publish(&queue);
        Blocker(number)
    }

    pub(super) fn leave(&self, blocker: Blocker, reads: u64) {
        let mut queue = self.lock();
        queue.leave(blocker.0, reads);
        self.publish(&queue);
    }

    /// Whether the link's silence at `now` is explained.
    pub(super) fn explain(&self, now: Instant, reads: u64) -> bool {
        if self.queued.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut queue = self.lock();
        let explained = queue.explain(now, reads);
        self.publish(&queue);
        explained
    }

    /// Until when the link's silence at `now` is explained; `None` if it is not, or without an end.
    pub(super) fn explained_until(&self, now: Instant, reads: u64) -> Option<Instant> {
        if self.queued.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut queue = self.lock();
        let explained = queue.explain(now, reads);
        self.publish(&queue);
        queue.entries.front().filter(|_| explained)?.until()
    }

    /// Until when the silence before the last unexplained one was explained.
    pub(super) fn excused_until(&self) -> Option<Instant> {
        self.lock().excused_until
    }

    fn publish(&self, queue: &Queue) {
        self.queued.store(queue.entries.len() as u64, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn leave(&mut self, number: u64, reads: u64) {
        let Some(place) = self.entries.iter().position(|entry| entry.number == number) else {
            return;
        };
        // An answer is at least one read. Without any, the caller has given up on a command that goes on.
        if reads == self.entries[place].reads {
            self.entries[place].orphaned = Some(Orphaned { at: Instant::now(), reads });
        } else if place == 0 {
            self.advance(Instant::now(), reads);
        } else {
            self.entries.remove(place);
        }
    }

    fn explain(&mut self, now: Instant, reads: u64) -> bool {
        while let Some(front) = self.entries.front() {
            if front.orphaned.as_ref().is_some_and(|orphaned| reads > orphaned.reads) {
                self.advance(now, reads);
                continue;
            }
            let Some(until) = front.until().filter(|until| *until <= now) else {
                return true;
            };
            self.excused_until = self.excused_until.max(Some(until));
            if front.orphaned.is_none() {
                return false;
            }
            self.advance(until, reads);
        }
        false
    }

    /// The foremost is done with: the server turns to the next one.
    fn advance(&mut self, now: Instant, reads: u64) {
        self.entries.pop_front();
        if let Some(front) = self.entries.front_mut() {
            front.since = front.since.max(now);
            front.reads = reads;
        }
    }
}
