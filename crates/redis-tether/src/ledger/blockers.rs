//! The blocking commands on a link, in the order in which they were sent. While the server keeps one of them waiting it
//! answers nothing behind it either, so they explain silence, and this says for how long. Flights enter them, strike them
//! out and abandon them; the ledger asks. Nothing here waits or wakes.
//!
//! Only its sender knows a blocking command's answer: on a link that many share there is nearly always something read. One
//! whose sender went away without the answer is an *orphan*. The server knows nothing of that and goes on with it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// How much later than its own timeout a blocking command may be answered: servers look at timeouts ten times a second, and
/// the reply has to come back.
const GRACE: Duration = Duration::from_millis(500);

/// The receipt of a blocking command that was entered.
#[derive(Debug)]
pub(super) struct Blocker(u64);

pub(super) struct Blockers {
    // How many are queued, so that a link without any asks no lock.
    queued: AtomicU64,
    // How many were orphaned so far.
    orphaned: AtomicU64,
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
    // When the server can have begun with it: when it was entered, or when what went before it was done with.
    since: Instant,
    // The link's reads when it was entered, if the peer owed a word then. Until there are more, that is what it owes, and this
    // is no explanation.
    debt: Option<u64>,
    orphan: Option<Orphan>,
}

struct Orphan {
    // Which of the link's orphans it is, counted from one.
    number: u64,
    at: Instant,
    // The link's reads at that moment.
    reads: u64,
}

impl Entry {
    /// Until when it explains silence; `None` for as long as it is there.
    fn until(&self) -> Option<Instant> {
        match (self.limit, &self.orphan) {
            (Some(limit), _) => self.since.checked_add(limit.saturating_add(GRACE)),
            (None, None) => None,
            // Nobody waits for it any more, and it may block the link for ever: that is no excuse.
            (None, Some(orphan)) => Some(orphan.at),
        }
    }

    /// Whether its answer may have come although nobody was there to take it.
    fn is_in_doubt(&self, reads: u64) -> bool {
        self.orphan.as_ref().is_some_and(|orphan| reads > orphan.reads)
    }
}

impl Blockers {
    pub(super) fn new() -> Blockers {
        Blockers { queued: AtomicU64::new(0), orphaned: AtomicU64::new(0), queue: Mutex::new(Queue::default()) }
    }

    /// One is about to be sent. `debt` is [`Traffic::debt`](super::traffic::Traffic::debt).
    pub(super) fn enter(&self, limit: Option<Duration>, debt: Option<u64>) -> Blocker {
        let mut queue = self.lock();
        queue.next += 1;
        let number = queue.next;
        queue.entries.push_back(Entry { number, limit, since: Instant::now(), debt, orphan: None });
        self.publish(&queue);
        Blocker(number)
    }

    /// Its sender has the answer, or never sent it.
    pub(super) fn strike_out(&self, blocker: &Blocker) {
        self.strike(|entry| entry.number == blocker.0);
    }

    /// Its sender went away without the answer.
    pub(super) fn abandon(&self, blocker: &Blocker, reads: u64) {
        let mut queue = self.lock();
        let Some(entry) = queue.entries.iter_mut().find(|entry| entry.number == blocker.0) else { return };
        let number = self.orphaned.load(Ordering::Relaxed) + 1;
        entry.orphan = Some(Orphan { number, at: Instant::now(), reads });
        // Under the lock, so nobody else counts. Whoever sees the count sends behind the orphan.
        self.orphaned.store(number, Ordering::Release);
    }

    /// How many were orphaned so far.
    pub(super) fn orphaned(&self) -> u64 {
        self.orphaned.load(Ordering::Acquire)
    }

    /// A command was answered that was entered when `orphaned` had been orphaned. It was sent behind those, and replies come
    /// in order, so the server is done with them. (Of others on the way to the link at the same time nobody knows which of
    /// them was sent first.)
    pub(super) fn pass(&self, orphaned: u64) {
        if orphaned > 0 && self.queued.load(Ordering::Acquire) > 0 {
            self.strike(|entry| entry.orphan.as_ref().is_some_and(|orphan| orphan.number <= orphaned));
        }
    }

    /// Whether the link's silence at `now` is explained.
    pub(super) fn explain(&self, now: Instant, reads: u64) -> bool {
        self.explanation(now, reads, |_| ()).is_some()
    }

    /// Until when the link's silence at `now` is explained; `None` if it is not, or without an end.
    pub(super) fn explained_until(&self, now: Instant, reads: u64) -> Option<Instant> {
        self.explanation(now, reads, Entry::until).flatten()
    }

    /// Whether it is, and a question would be kept waiting for certain.
    pub(super) fn block(&self, now: Instant, reads: u64) -> bool {
        self.explanation(now, reads, |entry| !entry.is_in_doubt(reads)).unwrap_or(false)
    }

    /// Until when the silence before the last unexplained one was explained.
    pub(super) fn excused_until(&self) -> Option<Instant> {
        self.lock().excused_until
    }

    fn explanation<T>(&self, now: Instant, reads: u64, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        if self.queued.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut queue = self.lock();
        let found = queue.explanation(now, reads).map(look);
        self.publish(&queue);
        found
    }

    fn strike(&self, is_done: impl Fn(&Entry) -> bool) {
        let mut queue = self.lock();
        queue.strike(Instant::now(), is_done);
        self.publish(&queue);
    }

    fn publish(&self, queue: &Queue) {
        self.queued.store(queue.entries.len() as u64, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Queue {
    /// The one that explains the silence at `now`, if one does.
    fn explanation(&mut self, now: Instant, reads: u64) -> Option<&Entry> {
        loop {
            let front = self.entries.front_mut()?;
            if let Some(debt) = front.debt {
                // The reads were counted before the queue was locked, so they may be older than the debt.
                if reads <= debt {
                    return None;
                }
                // What it was sent behind is answered, so the server turned to it by now.
                front.debt = None;
                front.since = front.since.max(now);
            }
            let Some(until) = front.until().filter(|until| *until <= now) else {
                return self.entries.front();
            };
            self.excused_until = self.excused_until.max(Some(until));
            front.orphan.as_ref()?;
            let number = front.number;
            self.strike(until, |entry| entry.number == number);
        }
    }

    /// Takes out what is done with, at `now`: if it was the foremost, the server turns to the next one.
    fn strike(&mut self, now: Instant, is_done: impl Fn(&Entry) -> bool) {
        let foremost = self.entries.front().map(|entry| entry.number);
        self.entries.retain(|entry| !is_done(entry));
        if let Some(front) = self.entries.front_mut().filter(|front| Some(front.number) != foremost) {
            front.since = front.since.max(now);
        }
    }
}

#[cfg(test)]
mod tests;
