//! Where commands wait for their turn that were held beside a gate (`room.rs`) and have somewhere to go now: a shard that has their slot,
//! a replica that serves. Its gate is open, since it was up all the while, so that it would take them all at once. They are let in
//! as a gate lets go what it held itself, in batches that double. Nobody else waits for them: the gate stays open.
//!
//! It owns no task: whoever waits sees to it that nothing holds him up for long.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::foreign;
use crate::gate::hold::{Batch, Hold, Ticket};
use crate::lock::lock;

/// A batch that has lasted for so long holds up the next one no longer: as long as a link is silent by default before it is suspect.
const LASTS: Duration = Duration::from_millis(250);

/// See the head of this file.
pub(crate) struct Turnstile(Mutex<Queue>);

struct Queue {
    /// Bounded where they were held before.
    waiting: Hold<oneshot::Sender<Turn>>,
    batch: Batch,
    batches: u64,
    begun: Instant,
}

/// Somebody's part of a batch: the next one goes when all of them are dropped.
pub(crate) struct Turn {
    turnstile: Arc<Turnstile>,
    batch: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turnstile.go_on(self.batch, Batch::one_done);
    }
}

impl Turnstile {
    pub(crate) fn new() -> Arc<Turnstile> {
        let waiting = Hold::new(usize::MAX, usize::MAX);
        let queue = Queue { waiting, batch: Batch::none(), batches: 0, begun: Instant::now() };
        Arc::new(Turnstile(Mutex::new(queue)))
    }

    /// Waits for a turn, which is to be kept until the command is done. Cancel safe.
    pub(crate) async fn turn(self: &Arc<Self>) -> Turn {
        let (place, mut told) = match self.enter() {
            Entered::Turn(turn) => return turn,
            Entered::Waits(place, told) => (place, told),
        };
        loop {
            let (batch, ends) = self.present();
            tokio::select! {
                biased;
                turn = &mut told => {
                    drop(place);
                    // Whoever takes one off the queue tells him; only a panic in between leaves that out, and then he was let in.
                    return turn.unwrap_or_else(|_| Turn { turnstile: Arc::clone(self), batch });
                }
                () = sleep_until(ends) => self.go_on(batch, Batch::give_up),
            }
        }
    }

    /// How many wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.0).waiting.len()
    }

    fn enter(self: &Arc<Self>) -> Entered {
        let mut queue = lock(&self.0);
        if queue.waiting.is_empty() && queue.takes_one() {
            return Entered::Turn(self.turn_of(queue.batch.id()));
        }
        let (tell, told) = oneshot::channel();
        let ticket = queue.waiting.join(None, 0, tell);
        Entered::Waits(Place { turnstile: Arc::clone(self), ticket }, told)
    }

    /// The present batch, and when it holds up the next one no longer.
    fn present(&self) -> (u64, Instant) {
        let queue = lock(&self.0);
        (queue.batch.id(), queue.begun + LASTS)
    }

    /// Notes what happened to this batch, if it is the present one, and lets in whoever may go then.
    fn go_on(self: &Arc<Self>, batch: u64, note: impl FnOnce(&mut Batch)) {
        let mut queue = lock(&self.0);
        if queue.batch.id() != batch {
            return;
        }
        note(&mut queue.batch);
        let mut let_in = Vec::new();
        while !queue.waiting.is_empty() && queue.takes_one() {
            let batch = queue.batch.id();
            let_in.extend(queue.waiting.take(1).into_iter().map(|(_, tell)| (tell, batch)));
        }
        if queue.batch.is_done() {
            // Whoever comes later finds a server that has nothing behind it.
            queue.batch = Batch::none();
        }
        drop(queue);
        for (tell, batch) in let_in {
            let turn = self.turn_of(batch);
            foreign::run("a caller's waker", || drop(tell.send(turn)));
        }
    }

    fn turn_of(self: &Arc<Self>, batch: u64) -> Turn {
        Turn { turnstile: Arc::clone(self), batch }
    }
}

impl Queue {
    /// Whether there is room for another one in the present batch, or the next if that may go, who takes it.
    fn takes_one(&mut self) -> bool {
        if self.batch.is_full() {
            if !self.batch.is_done() {
                return false;
            }
            self.batches += 1;
            (self.batch, self.begun) = (self.batch.next(self.batches), Instant::now());
        }
        self.batch.one_more();
        self.batch.takes_one()
    }
}

enum Entered {
    Turn(Turn),
    Waits(Place, oneshot::Receiver<Turn>),
}

/// A place in the queue. Dropping it gives it up.
struct Place {
    turnstile: Arc<Turnstile>,
    ticket: Option<Ticket>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.ticket.and_then(|ticket| lock(&self.turnstile.0).waiting.leave(ticket));
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::handle::rig::settle;

    /// So many who come one after the other and keep their turn, until the test takes it from them.
    async fn come(turnstile: &Arc<Turnstile>, count: usize) -> JoinSet<Turn> {
        let mut all = JoinSet::new();
        for _ in 0..count {
            let turnstile = Arc::clone(turnstile);
            all.spawn(async move { turnstile.turn().await });
        }
        settle().await;
        all
    }

    /// The turns of those who have one.
    fn told(all: &mut JoinSet<Turn>) -> Vec<Turn> {
        std::iter::from_fn(|| all.try_join_next()).map(|turn| turn.expect("no panic")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_let_in_at_a_doubling_pace() {
        let turnstile = Turnstile::new();
        let mut all = come(&turnstile, 600).await;
        for size in [64, 128, 256, 600 - 448] {
            let turns = told(&mut all);
            assert_eq!(turns.len(), size);
            drop(turns);
            settle().await;
        }
        let mut later = come(&turnstile, 100).await;
        assert_eq!(told(&mut later).len(), 64, "the server has nothing behind it by then");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_as_a_whole_before_the_next() {
        let turnstile = Turnstile::new();
        let mut all = come(&turnstile, 65).await;
        let mut turns = told(&mut all);
        turns.truncate(1);
        settle().await;
        assert_eq!(told(&mut all).len(), 0, "one is under way");
        drop(turns);
        settle().await;
        assert_eq!(told(&mut all).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_keeps_a_turn_holds_nobody_up_for_long() {
        let turnstile = Turnstile::new();
        let begun = Instant::now();
        let mut all = come(&turnstile, 64 + 128 + 1).await;
        let mut kept = Vec::new();
        for (size, time) in [(64, Duration::ZERO), (128, LASTS), (1, LASTS)] {
            tokio::time::sleep(time).await;
            kept.push(told(&mut all));
            assert_eq!(kept.last().map(Vec::len), Some(size), "after {:?}", begun.elapsed());
        }
        let third = kept.pop();
        // Of the first two batches, and not to be taken for the third's.
        drop(kept);
        let mut later = come(&turnstile, 256).await;
        assert_eq!(told(&mut later).len(), 255, "what is left of the third batch");
        drop(third);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_leaves_the_turn_to_others() {
        let turnstile = Turnstile::new();
        let mut first = come(&turnstile, 64).await;
        let mut gone = come(&turnstile, 200).await;
        let mut all = come(&turnstile, 10).await;
        gone.shutdown().await;
        assert_eq!(told(&mut all).len(), 0);
        drop(told(&mut first));
        settle().await;
        assert_eq!(told(&mut all).len(), 10);
        assert!(lock(&turnstile.0).waiting.is_empty());
    }

    /// Told, and gone before he looked.
    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_takes_is_over() {
        let turnstile = Turnstile::new();
        let mut first = come(&turnstile, 64).await;
        let mut gone = come(&turnstile, 128).await;
        let mut all = come(&turnstile, 1).await;
        drop(told(&mut first));
        gone.abort_all();
        settle().await;
        assert_eq!(told(&mut all).len(), 1);
    }
}
