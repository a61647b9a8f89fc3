//! The queue of held commands and the pace at which they are let go: first come, first served, bounded in number and in
//! bytes, released in batches that double. Pure bookkeeping under the lock of the gate, or of a turnstile; it knows neither links nor time.

use std::collections::BTreeMap;

/// So many commands make up the first batch: a fresh primary takes them in its stride, and the doubling reaches any
/// length in a few round trips.
const FIRST_BATCH: usize = 64;

/// A place in the queue. Smaller ones are served first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(u64);

/// The queue.
#[derive(Debug)]
pub(crate) struct Hold<T> {
    queue: BTreeMap<Ticket, Held<T>>,
    next: u64,
    bytes: usize,
    max_held: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Held<T> {
    bytes: usize,
    waiter: T,
}

impl<T> Hold<T> {
    pub(crate) fn new(max_held: usize, max_bytes: usize) -> Hold<T> {
        Hold { queue: BTreeMap::new(), next: 0, bytes: 0, max_held, max_bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The first in the queue.
    pub(crate) fn first(&self) -> Option<Ticket> {
        self.queue.first_key_value().map(|(ticket, _)| *ticket)
    }

    /// The last place that was given to anybody.
    pub(crate) fn last_given(&self) -> Ticket {
        Ticket(self.next)
    }

    /// Takes a place at the end; `None` if there is no room. Or the place of a ticket from before, for which there is room in
    /// any case: whoever came later must not have it instead.
    pub(crate) fn join(&mut self, ticket: Option<Ticket>, bytes: usize, waiter: T) -> Option<Ticket> {
        let total = self.bytes.saturating_add(bytes);
        let ticket = match ticket {
            Some(ticket) => ticket,
            None if total > self.max_bytes || self.queue.len() >= self.max_held => return None,
            None => self.issue(),
        };
        self.bytes = total;
        self.queue.insert(ticket, Held { bytes, waiter });
        Some(ticket)
    }

    /// Gives a place up. `None` if it is not taken any more.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let held = self.queue.remove(&ticket)?;
        self.bytes = self.bytes.saturating_sub(held.bytes);
        Some(held.waiter)
    }

    /// Takes out the first `count`, or all if there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> Vec<(Ticket, T)> {
        let count = count.min(self.queue.len());
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count
            && let Some((ticket, held)) = self.queue.pop_first()
        {
            self.bytes = self.bytes.saturating_sub(held.bytes);
            taken.push((ticket, held.waiter));
        }
        taken
    }

    fn issue(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }
}

/// A batch of released commands, of which some are still under way.
#[derive(Debug)]
pub(crate) struct Batch {
    id: u64,
    size: usize,
    /// So many more may be told.
    left: usize,
    under_way: usize,
}

impl Batch {
    /// Before the first one after an opening.
    pub(crate) fn none() -> Batch {
        Batch { id: 0, size: 0, left: 0, under_way: 0 }
    }

    /// The batch after this one, twice as large.
    pub(crate) fn next(&self, id: u64) -> Batch {
        let size = self.size.saturating_mul(2).max(FIRST_BATCH);
        Batch { id, size, left: size, under_way: 0 }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether there is room for another one, who takes it.
    pub(crate) fn takes_one(&mut self) -> bool {
        let takes = self.left > 0;
        self.left = self.left.saturating_sub(1);
        takes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// The room that is left, all of which is taken.
    pub(crate) fn take_rest(&mut self) -> usize {
        std::mem::take(&mut self.left)
    }

    pub(crate) fn one_more(&mut self) {
        self.under_way += 1;
    }

    pub(crate) fn is_done(&self) -> bool {
        self.under_way == 0
    }

    pub(crate) fn one_done(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Those who are still under way are not waited for.
    pub(crate) fn give_up(&mut self) {
        self.under_way = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(hold: &mut Hold<u32>, count: usize) -> Vec<u32> {
        hold.take(count).into_iter().map(|(_, waiter)| waiter).collect()
    }

    #[test]
    fn first_come_first_served() {
        let mut hold = Hold::new(100, 100);
        for waiter in 0..5 {
            assert!(hold.join(None, 1, waiter).is_some());
        }
        assert_eq!(taken(&mut hold, 2), [0, 1]);
        assert_eq!(taken(&mut hold, usize::MAX), [2, 3, 4]);
        assert!(hold.is_empty());
    }

    #[test]
    fn whoever_comes_back_has_kept_the_place() {
        let mut hold = Hold::new(100, 100);
        let first = hold.join(None, 1, 1).expect("room");
        assert!(hold.join(None, 1, 2).is_some());
        assert_eq!(taken(&mut hold, 1), [1]);
        assert_eq!(hold.join(Some(first), 1, 1), Some(first));
        assert_eq!(taken(&mut hold, 2), [1, 2]);
    }

    #[test]
    fn bounded_in_number_and_in_bytes() {
        let mut hold = Hold::new(2, 10);
        let first = hold.join(None, 6, 1).expect("room");
        assert_eq!(hold.join(None, 5, 2), None, "bytes");
        assert_eq!(hold.join(None, usize::MAX, 2), None, "more bytes than can be counted");
        assert!(hold.join(None, 4, 3).is_some());
        assert_eq!(hold.join(None, 0, 4), None, "number");
        assert_eq!(hold.leave(first), Some(1));
        assert_eq!(hold.leave(first), None, "left before");
        assert!(hold.join(None, 6, 5).is_some(), "leaving makes room");
        assert_eq!(taken(&mut hold, 2), [3, 5]);
        assert!(hold.join(None, 10, 6).is_some(), "so does being taken");
    }

    #[test]
    fn batches_double_and_end_with_their_last() {
        let mut batch = Batch::none();
        assert!(batch.is_done() && !batch.takes_one());
        let sizes = [1, 2, 3, 4, 5].map(|id| {
            batch = batch.next(id);
            batch.take_rest()
        });
        assert_eq!(sizes, [64, 128, 256, 512, 1024]);
        assert!(!batch.takes_one());
        let mut batch = Batch::none().next(1);
        assert!(batch.takes_one());
        assert_eq!(batch.take_rest(), 63);
        batch.one_more();
        batch.one_more();
        batch.one_done();
        assert!(!batch.is_done());
        batch.one_done();
        assert!(batch.is_done());
        batch.one_more();
        batch.give_up();
        assert!(batch.is_done());
        batch.one_done();
        assert!(batch.is_done(), "one who was given up");
    }
}
