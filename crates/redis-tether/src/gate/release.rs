//! How held commands are let go once there is a link: in batches that double. The next batch goes when the callers of the
//! present one are done, or when it has lasted for long enough: a caller that was let go and does not look (an arm of a
//! `select!`, a future that is kept for later) must not hold up those behind it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis_tether_core::Epoch;
use tokio::time::{Instant, sleep_until};

use super::hold::Batch;
use super::waiting::Waiter;
use super::{Admission, Gate, Inner, State};
use crate::link::Link;

/// A release that is under way.
pub(super) struct Release {
    link: Arc<Link>,
    batch: Batch,
    begun: Instant,
}

impl Release {
    /// Begins with the first batch.
    pub(super) fn to(link: Arc<Link>, batch: u64) -> Release {
        Release { link, batch: Batch::first(batch), begun: Instant::now() }
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn go_on(&mut self, batch: u64) {
        self.batch = self.batch.next(batch);
        self.begun = Instant::now();
    }
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

impl Gate {
    /// Sees the release to the link of this epoch through: a batch that has lasted for `limit` holds up the next one no
    /// longer. Whoever opens the gate has this run beside it. It ends when nobody is held any more or the gate is not open
    /// for this epoch any more, within `limit` of that, and at once when the gate stops. Cancel safe.
    pub(crate) async fn see_through(self: Arc<Self>, epoch: Epoch, limit: Duration) {
        while let Some((batch, begun)) = self.under_way(epoch) {
            tokio::select! {
                biased;
                () = self.stopped.cancelled() => return,
                () = sleep_until(begun + limit) => self.overtake(batch),
            }
        }
    }

    /// The present batch of a release to the link of this epoch, and when it was let go.
    fn under_way(&self, epoch: Epoch) -> Option<(u64, Instant)> {
        match &self.lock().state {
            State::Releasing(release) if release.link.epoch() == epoch => Some((release.batch.id(), release.begun)),
            _ => None,
        }
    }

    /// The next batch goes, if this one is still the present one.
    fn overtake(self: &Arc<Self>, batch: u64) {
        self.next_batch(|present| present.id() == batch);
    }

    /// One of a batch is done with.
    fn turn_over(self: &Arc<Self>, batch: u64) {
        self.next_batch(|present| present.one_done(batch));
    }

    fn next_batch(self: &Arc<Self>, is_over: impl FnOnce(&mut Batch) -> bool) {
        let mut inner = self.lock();
        let inner_ref = &mut *inner;
        let State::Releasing(release) = &mut inner_ref.state else { return };
        if !is_over(&mut release.batch) {
            return;
        }
        inner_ref.batches += 1;
        release.go_on(inner_ref.batches);
        let deliveries = self.release(&mut inner);
        drop(inner);
        deliveries.deliver();
    }

    /// Lets the present batch go, and opens the gate when nobody is left behind it.
    pub(super) fn release(self: &Arc<Self>, inner: &mut Inner) -> Deliveries {
        let mut deliveries = Deliveries(Vec::new());
        while let State::Releasing(release) = &mut inner.state {
            let Release { link, batch, .. } = release;
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
                release.go_on(inner.batches);
            } else {
                break;
            }
        }
        self.counters.released.add(deliveries.0.len() as u64);
        self.count_held(inner);
        deliveries
    }
}

/// Admissions that are to be handed out once the lock is free.
#[must_use]
pub(super) struct Deliveries(Vec<(Waiter, Admission)>);

impl Deliveries {
    pub(super) fn deliver(self) {
        for (waiter, admission) in self.0 {
            waiter.settle(Ok(admission));
        }
    }
}

#[cfg(test)]
mod tests;
