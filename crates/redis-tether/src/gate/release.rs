//! How held commands are let go once there is a link: in batches that double, and one after the other within a batch. Who was
//! told hands the baton on when the command is on its way, so that the order in which they came is the order in which they
//! are sent, whatever threads their tasks run on. (Those who came when there was a link already are told together.) The next
//! batch goes when the callers of the present one are done, or when it has lasted for long enough: a caller that was told and
//! does not look (an arm of a `select!`, a future that is kept for later) must not hold up those behind it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis_tether_core::Epoch;
use tokio::time::{Instant, sleep_until};

use super::hold::{Batch, Ticket};
use super::waiting::Waiter;
use super::{Admission, Gate, Inner, State};
use crate::link::Link;

/// So long the baton may stay with one caller before the others of the batch are told all at once, in disorder: well above what
/// a busy runtime takes to get round to a task, and short beside any deadline.
const STALL: Duration = Duration::from_millis(10);

/// A release that is under way. Those who have not been told yet are still held.
pub(super) struct Release {
    link: Arc<Link>,
    /// Whoever has a later place came when there was a link already.
    last: Ticket,
    batch: Batch,
    begun: Instant,
    /// Since when somebody has the baton, if anybody has.
    handed_at: Option<Instant>,
}

impl Release {
    /// Nobody is let go yet.
    pub(super) fn to(link: Arc<Link>, last: Ticket) -> Release {
        Release { link, last, batch: Batch::none(), begun: Instant::now(), handed_at: None }
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn is_stalled(&self) -> bool {
        self.handed_at.is_some_and(|handed_at| handed_at.elapsed() >= STALL)
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

/// The permission to send before all who came later. To be dropped as soon as the command is on its way, or is not to be
/// sent after all.
#[derive(Debug)]
pub(crate) struct Baton {
    gate: Arc<Gate>,
    batch: u64,
}

impl Drop for Baton {
    fn drop(&mut self) {
        self.gate.hand_on(self.batch);
    }
}

impl Gate {
    /// Sees the release to the link of this epoch through: a batch that has lasted for `limit` holds up the next one no
    /// longer, nor does a caller who does not look hold up the others of the batch. Whoever opens the gate has this run
    /// beside it. It ends when nobody is held any more or the gate is not open for this epoch any more, within moments of
    /// that, and at once when the gate stops. Cancel safe.
    pub(crate) async fn see_through(self: Arc<Self>, epoch: Epoch, limit: Duration) {
        while let Some((batch, begun)) = self.under_way(epoch) {
            let ends = begun + limit;
            let look = ends.min(Instant::now() + STALL);
            tokio::select! {
                biased;
                () = self.stopped.cancelled() => return,
                () = sleep_until(look) => {}
            }
            if ends <= Instant::now() {
                self.overtake(batch);
            } else {
                self.end_stall(batch);
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
        self.go_on(batch, |release| {
            release.batch.give_up();
            Tell::AllOfBatch
        });
    }

    /// The others of the batch are told, if nothing has moved for too long.
    fn end_stall(self: &Arc<Self>, batch: u64) {
        self.go_on(batch, |release| if release.is_stalled() { Tell::AllOfBatch } else { Tell::Next });
    }

    /// The command of whoever had the baton is on its way.
    fn hand_on(self: &Arc<Self>, batch: u64) {
        self.go_on(batch, |release| {
            release.handed_at = None;
            Tell::Next
        });
    }

    /// One of a batch is done with.
    fn turn_over(self: &Arc<Self>, batch: u64) {
        self.go_on(batch, |release| {
            release.batch.one_done();
            Tell::Next
        });
    }

    /// Notes what happened to the present batch, if that is this one, and goes on.
    fn go_on(self: &Arc<Self>, batch: u64, note: impl FnOnce(&mut Release) -> Tell) {
        let mut inner = self.lock();
        let State::Releasing(release) = &mut inner.state else { return };
        if release.batch.id() != batch {
            return;
        }
        let told = match note(release) {
            Tell::Next => Deliveries::default(),
            Tell::AllOfBatch => self.tell_all(&mut inner),
        };
        let next = self.release(&mut inner);
        drop(inner);
        told.deliver();
        next.deliver();
    }

    /// Hands the baton to the next one, if nobody has it; lets the next batch go when everybody of this one is done; opens the
    /// gate when nobody is left.
    pub(super) fn release(self: &Arc<Self>, inner: &mut Inner) -> Deliveries {
        let mut next = Deliveries::default();
        while let State::Releasing(release) = &mut inner.state {
            if release.handed_at.is_some() {
                break;
            } else if inner.hold.is_empty() {
                self.word.store(release.link.epoch().get(), Ordering::SeqCst);
                let link = Arc::clone(&release.link);
                inner.state = State::Open { link };
            } else if inner.hold.first() > Some(release.last) && !release.batch.is_full() {
                // Told one after the other, they could be answered and be back as fast as that, without an end.
                let rest = release.batch.take_rest();
                next.0.extend(self.let_go(release, inner.hold.take(rest)).0);
            } else if release.batch.takes_one() {
                release.handed_at = Some(Instant::now());
                let mut first = self.let_go(release, inner.hold.take(1));
                for (_, admission) in &mut first.0 {
                    admission.baton = Some(Baton { gate: Arc::clone(self), batch: release.batch.id() });
                }
                next.0.append(&mut first.0);
            } else if release.batch.is_done() {
                inner.batches += 1;
                release.batch = release.batch.next(inner.batches);
                release.begun = Instant::now();
            } else {
                break;
            }
        }
        self.count_held(inner);
        next
    }

    /// All of the batch who have not been told yet, and nobody has the baton.
    fn tell_all(self: &Arc<Self>, inner: &mut Inner) -> Deliveries {
        let State::Releasing(release) = &mut inner.state else { return Deliveries::default() };
        release.handed_at = None;
        let rest = release.batch.take_rest();
        self.let_go(release, inner.hold.take(rest))
    }

    fn let_go(self: &Arc<Self>, release: &mut Release, waiters: Vec<(Ticket, Waiter)>) -> Deliveries {
        self.counters.released.add(waiters.len() as u64);
        let admitted = waiters.into_iter().map(|(ticket, waiter)| {
            // Entered in the ledger before it is woken: from here on a drain sees it.
            let flight = release.link.ledger().begin(waiter.kind());
            // A blocking command may be answered in an hour; the others do not wait for that.
            let turn = (!waiter.is_blocking()).then(|| {
                release.batch.one_more();
                Turn { gate: Arc::clone(self), batch: release.batch.id() }
            });
            let link = Arc::clone(&release.link);
            (waiter, Admission { link, flight, ticket: Some(ticket), turn, baton: None })
        });
        Deliveries(admitted.collect())
    }
}

/// Who is to be told next.
enum Tell {
    /// One, if nobody has the baton.
    Next,
    /// The whole batch, whoever has it.
    AllOfBatch,
}

/// Admissions that are to be handed out once the lock is free.
#[must_use]
#[derive(Default)]
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
