//! The deadlines of the requests on one link, kept by one timer: it is set for the earliest of them, and looks for the next when
//! it fires. Most requests are answered long before, and cost a comparison. Its task is not the driver's, so that deadlines
//! pass also while the driver waits behind something that blocks its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Line;
use super::call::Look;
use super::queue::Queue;
use crate::foreign;

/// No request is due.
const NEVER: u64 = u64::MAX;

/// Tells callers when their requests are due, until the queue is closed.
pub(super) async fn keep(line: Arc<Line>) {
    let Line { queue, timekeeper, .. } = &*line;
    while !queue.is_closed() {
        let Some(next) = timekeeper.next() else {
            timekeeper.changed.notified().await;
            continue;
        };
        tokio::select! {
            biased;
            () = timekeeper.changed.notified() => {}
            () = sleep_until(next) => timekeeper.look(queue),
        }
    }
}

pub(super) struct Timekeeper {
    origin: Instant,
    /// What the timer is set for, in nanoseconds since the origin.
    next: AtomicU64,
    changed: Notify,
}

impl Timekeeper {
    pub(super) fn new() -> Timekeeper {
        Timekeeper { origin: Instant::now(), next: AtomicU64::new(NEVER), changed: Notify::new() }
    }

    /// A request that is queued already is due then.
    ///
    /// Sequentially consistent on both sides: either the timekeeper finds the request when it looks, or it is found here that
    /// the timer is not set.
    pub(super) fn note(&self, due: Instant) {
        let due = u64::try_from(due.saturating_duration_since(self.origin).as_nanos()).unwrap_or(NEVER);
        if due < self.next.load(Ordering::SeqCst) && due < self.next.fetch_min(due, Ordering::SeqCst) {
            self.changed.notify_one();
        }
    }

    /// The queue was closed.
    pub(super) fn dismiss(&self) {
        self.changed.notify_one();
    }

    /// What the timer is to be set for.
    fn next(&self) -> Option<Instant> {
        match self.next.load(Ordering::SeqCst) {
            NEVER => None,
            nanos => self.origin.checked_add(Duration::from_nanos(nanos)),
        }
    }

    fn look(&self, queue: &Queue) {
        let (now, mut next, mut callers) = (Instant::now(), None, Vec::new());
        self.next.store(NEVER, Ordering::SeqCst);
        queue.look(
            |call| call.look(now),
            |found| match found {
                Look::Overdue(caller) => callers.extend(caller),
                Look::Due(due) => next = Some(next.map_or(due, |next: Instant| next.min(due))),
                Look::Never => {}
            },
        );
        if let Some(next) = next {
            self.note(next);
        }
        // Not while anything is locked: wakers are the application's.
        for caller in callers {
            foreign::run("a caller's waker", || caller.wake());
        }
    }
}
