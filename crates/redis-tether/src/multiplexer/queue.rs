//! The requests of one link, from the moment they are queued until they are done with: first those that wait for the driver,
//! encoded one behind the other, then those that the server owes a reply. Senders put them in, the driver takes them from
//! the one to the other, the timekeeper looks through both.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use redis::Value;

use super::call::{Call, Failure, Look, Outcome};
use super::need::Need;
use super::wants::Wants;
use crate::lock::lock;

/// From so many waiting bytes on it is worth a look whether anybody still waits for them: little to keep, and more than waits
/// while the peer takes what it is sent.
const MUCH: usize = 64 * 1024;

/// Room for so many requests is kept however few there were of late.
const ALWAYS_KEPT: usize = 64;

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    owed: Mutex<VecDeque<Owed>>,
}

/// What waits for the driver.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    requests: Vec<Request>,
    /// The number of the next request.
    next: u64,
    /// The numbers below this are not here any more.
    taken: u64,
    /// How many requests were under way.
    need: Need,
    /// The driver, while it has nothing to do.
    driver: Option<Waker>,
    has_left: bool,
    /// How many bytes stayed when what nobody waits for was last taken out of these.
    stayed: usize,
    is_closed: bool,
}

struct Request {
    call: Arc<Call>,
    /// Where its bytes end.
    end: usize,
    wants: Wants,
}

struct Owed {
    call: Arc<Call>,
    /// How many bytes were before it in the whole conversation.
    start: u64,
    wants: Wants,
}

/// Why a request was not queued.
pub(super) enum NotQueued {
    Closed,
    /// It was encoded to nothing.
    Empty,
}

impl Queue {
    /// Queues a request, encoded by `encode`, and wakes the driver if that has nothing to do. Gives its number.
    pub(super) fn push(
        &self,
        call: &Arc<Call>,
        wants: Wants,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, NotQueued> {
        let mut waiting = lock(&self.waiting);
        if waiting.is_closed {
            return Err(NotQueued::Closed);
        }
        if waiting.is_worth_striking() {
            waiting.strike_left();
        }
        let start = waiting.end();
        // Half a request, of an encoder that panicked, is none.
        waiting.bytes.truncate(start);
        encode(&mut waiting.bytes);
        let end = waiting.bytes.len();
        if end == start {
            return Err(NotQueued::Empty);
        }
        waiting.requests.push(Request { call: Arc::clone(call), end, wants });
        let number = waiting.next;
        waiting.next += 1;
        let driver = waiting.driver.take();
        drop(waiting);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(number)
    }

    /// Takes a request back that nobody waits for any more. Says whether none of it has left, nor will.
    pub(super) fn take_back(&self, number: u64, call: &Call) -> bool {
        let mut waiting = lock(&self.waiting);
        let is_here = number >= waiting.taken && !waiting.is_closed;
        if is_here {
            call.leave();
            waiting.has_left = true;
        }
        is_here
    }

    /// The caller of a request went away. If the driver has not taken it, it is not sent.
    pub(super) fn note_left(&self) {
        lock(&self.waiting).has_left = true;
    }

    /// How many bytes wait for the driver. If there are none, `driver` is woken when there are.
    pub(super) fn poll_waiting(&self, driver: &Waker) -> usize {
        let mut waiting = lock(&self.waiting);
        if waiting.requests.is_empty() {
            match &mut waiting.driver {
                Some(before) => before.clone_from(driver),
                none => *none = Some(driver.clone()),
            }
        }
        waiting.end()
    }

    /// Moves everything that waits to what is owed, and its bytes into `bytes`, which is empty. `written` bytes were before
    /// it in the conversation.
    pub(super) fn take(&self, bytes: &mut Vec<u8>, written: u64) {
        let mut waiting = lock(&self.waiting);
        if waiting.has_left {
            waiting.strike_left();
        }
        (waiting.stayed, waiting.taken) = (0, waiting.next);
        let end = waiting.end();
        waiting.bytes.truncate(end);
        std::mem::swap(&mut waiting.bytes, bytes);
        // Before anybody else can take the lock on what waits: a look through both must not miss a request in between.
        let mut owed = lock(&self.owed);
        let under_way = owed.len() + waiting.requests.len();
        waiting.need.note(under_way);
        if owed.is_empty() && waiting.need.is_exceeded_by(owed.capacity(), ALWAYS_KEPT) {
            *owed = VecDeque::new();
        }
        let mut start = 0;
        for Request { call, end, wants } in waiting.requests.drain(..) {
            owed.push_back(Owed { call, start: written + start, wants });
            start = end as u64;
        }
        if waiting.need.is_exceeded_by(waiting.requests.capacity(), ALWAYS_KEPT) {
            waiting.requests = Vec::new();
        }
    }

    /// A reply came.
    pub(super) fn answer(&self, value: Value) {
        let mut owed = lock(&self.owed);
        // One that nobody asked for answers nothing.
        let Some(front) = owed.front_mut() else { return };
        if let Some(outcome) = front.wants.take(value) {
            let done = owed.pop_front();
            drop(owed);
            if let Some(Owed { call, .. }) = done {
                call.finish(outcome);
            }
        }
    }

    /// The conversation is over, after `written` bytes of ours: nothing will be answered any more, and nothing queued.
    pub(super) fn close(&self, written: u64) {
        let waiting = {
            let mut waiting = lock(&self.waiting);
            waiting.is_closed = true;
            // Handles keep what they sent over last until they send again.
            waiting.bytes = Vec::new();
            std::mem::take(&mut waiting.requests)
        };
        let owed = std::mem::take(&mut *lock(&self.owed));
        for Owed { call, start, .. } in owed {
            call.finish(over(start < written));
        }
        for Request { call, .. } in waiting {
            call.finish(over(false));
        }
    }

    /// Looks through all requests.
    pub(super) fn look(&self, mut look: impl FnMut(&Call) -> Look, mut found: impl FnMut(Look)) {
        let waiting = lock(&self.waiting);
        waiting.requests.iter().for_each(|request| found(look(&request.call)));
        lock(&self.owed).iter().for_each(|owed| found(look(&owed.call)));
    }

    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        lock(&self.waiting).bytes.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.waiting).is_closed
    }
}

fn over(may_have_left: bool) -> Outcome {
    Err(if may_have_left { Failure::Lost } else { Failure::NeverLeft })
}

impl Waiting {
    /// Where the bytes of the last request end.
    fn end(&self) -> usize {
        self.requests.last().map_or(0, |request| request.end)
    }

    /// Whether callers have gone, and half of what waits may be theirs. The driver may be stuck for as long as something blocks
    /// the peer, and callers come and go in the meantime.
    fn is_worth_striking(&self) -> bool {
        self.has_left && self.bytes.len() >= MUCH.max(self.stayed.saturating_mul(2))
    }

    /// Takes out what nobody waits for any more.
    #[cold]
    fn strike_left(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut start = 0;
        self.requests.retain_mut(|request| {
            let part = start..request.end;
            start = request.end;
            let stays = !request.call.is_left();
            if stays {
                bytes.extend_from_slice(&self.bytes[part]);
                request.end = bytes.len();
            }
            stays
        });
        (self.has_left, self.stayed) = (false, bytes.len());
        self.bytes = bytes;
    }
}
