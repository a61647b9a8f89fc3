//! The search for a primary: rounds of attempts over the addresses that the endpoint means. Within a round attempts are
//! staggered, and one that fails lets the next go at once. A round has failed when each of its addresses has; those that
//! failed are tried again at the pace meanwhile, so that one that hangs holds up nobody else. An address that the resolver
//! did not name before is tried at once: it is the best news there is during an outage.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::Effect;
use super::memory::Memory;
use super::settings::Settings;
use crate::{Address, Epoch, FailureKind, Lane};

/// What a search works with: the machine's own parts, lent for one step.
pub(super) struct Context<'a> {
    pub(super) now: Duration,
    pub(super) settings: &'a Settings,
    pub(super) memory: &'a mut Memory,
    pub(super) rng: &'a mut fastrand::Rng,
    pub(super) out: &'a mut Vec<Effect>,
}

/// Whose pacing a search keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paced {
    /// The tether's: there is no fit link.
    Together,
    /// That of relocations: a fit link is up, and what this search meets says nothing about that one.
    Alone,
}

#[derive(Clone, Debug)]
struct Attempt {
    epoch: Epoch,
    address: Address,
    begun: Duration,
}

/// The attempts under way, and when the next is due.
#[derive(Clone, Debug)]
pub(super) struct Search {
    paced: Paced,
    queue: VecDeque<Address>,
    attempts: Vec<Attempt>,
    /// The addresses of the round that have not failed in it yet.
    owed: Vec<Address>,
    /// Where a verified link stands by: nothing is to be learned there.
    settled_for: Option<Address>,
    stagger_at: Option<Duration>,
    retry_at: Option<Duration>,
    /// Nothing is known to try; the resolver is asked again then.
    ask_at: Option<Duration>,
    /// The worst lane met since the last start of a round.
    lane: Lane,
    /// The worst lane met from the start before.
    lane_before: Lane,
    /// When, and by the pace of which lane, the next start was put off.
    charged: Option<(Duration, Lane)>,
}

/// What became of a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failed {
    /// It was not one of this search's.
    NotOurs,
    /// Others of its round are under way or due, or it was of none.
    Continues,
    /// It was the last of its round to fail; the next is due by the pacing.
    Round,
}

impl Search {
    pub(super) fn new(paced: Paced) -> Self {
        Search {
            paced,
            queue: VecDeque::new(),
            attempts: Vec::new(),
            owed: Vec::new(),
            settled_for: None,
            stagger_at: None,
            retry_at: None,
            ask_at: None,
            lane: Lane::Unreachable,
            lane_before: Lane::Unreachable,
            charged: None,
        }
    }

    /// Begins a round now, or as soon as the pacing and `not_before` allow.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, not_before: Duration) {
        let at = cx.memory.pacing(self.paced).not_before().max(not_before);
        if at > cx.now {
            self.retry_at = Some(at);
            self.ask_at = None;
        } else {
            self.start_round(cx);
        }
    }

    /// Begins a round now, whatever the pacing: somebody asked for it.
    pub(super) fn start_round(&mut self, cx: &mut Context<'_>) {
        self.retry_at = None;
        self.ask_at = None;
        self.lane_before = std::mem::replace(&mut self.lane, Lane::Unreachable);
        self.charged = None;
        let mut candidates = cx.memory.candidates();
        if candidates.is_empty() {
            // Nothing is known yet. The resolver's answer will begin the round; this only asks again, should it be lost.
            cx.out.push(Effect::ResolveAfter(Duration::ZERO));
            self.ask_at = Some(cx.now + cx.settings.fresh_after);
            return;
        }
        candidates.retain(|address| self.settled_for.as_ref() != Some(address));
        self.queue = candidates.iter().filter(|address| !self.is_trying(address)).cloned().collect();
        self.forget_abandoned();
        if self.owed.is_empty() {
            self.owed = candidates;
        }
        self.start_next(cx);
    }

    /// The resolver has answered: addresses that are news are tried at once, beside whatever is under way. Not while a fit
    /// link is up: a name whose answers rotate has news all the time, and the next round will take them in.
    pub(super) fn extend(&mut self, cx: &mut Context<'_>) {
        if self.ask_at.is_some() {
            self.start_round(cx);
            return;
        }
        if self.paced == Paced::Alone {
            return;
        }
        let mut fresh = cx.memory.fresh(cx.now, cx.settings.fresh_after);
        fresh.retain(|address| {
            !self.is_trying(address) && !self.queue.contains(address) && self.settled_for.as_ref() != Some(address)
        });
        if fresh.is_empty() {
            return;
        }
        if self.attempts.len() == Settings::PARALLEL_ATTEMPTS {
            // The oldest has had its time, and has not used it.
            let oldest = self.attempts.remove(0);
            cx.memory.note_abandoned(&oldest.address, cx.now, cx.settings.stagger);
            cx.out.push(Effect::Cancel { epoch: oldest.epoch });
        }
        if !self.owed.is_empty() {
            self.owed.extend(fresh.iter().cloned());
        }
        fresh.into_iter().rev().for_each(|address| self.queue.push_front(address));
        self.start_next(cx);
    }

    pub(super) fn failed(&mut self, cx: &mut Context<'_>, epoch: Epoch, kind: FailureKind) -> Failed {
        let Some(attempt) = self.take_attempt(epoch) else { return Failed::NotOurs };
        cx.memory.note_outcome(&attempt.address, Some(kind));
        if kind.lane() == Lane::Rejected {
            self.lane = Lane::Rejected;
        }
        if !self.queue.is_empty() {
            self.start_next(cx);
        }
        if self.queue.is_empty() || self.retry_at.is_some() {
            self.put_off(cx, attempt.begun);
        }
        self.close_round(&attempt.address)
    }

    /// When the next start is due, by the worst lane met. What was under way when that was settled is covered by it.
    fn put_off(&mut self, cx: &mut Context<'_>, begun: Duration) {
        let covers = |(at, lane)| begun <= at && (lane == self.lane || lane == Lane::Rejected);
        if self.charged.is_some_and(covers) {
            return;
        }
        self.charged = Some((cx.now, self.lane));
        self.retry_at = Some(cx.memory.pacing_mut(self.paced).failed(cx.now, self.lane, cx.rng));
    }

    fn close_round(&mut self, failed: &Address) -> Failed {
        let was_open = !self.owed.is_empty();
        self.owed.retain(|address| address != failed);
        self.forget_abandoned();
        if was_open && self.owed.is_empty() { Failed::Round } else { Failed::Continues }
    }

    /// What was pushed aside, or is no longer named, is not waited for.
    fn forget_abandoned(&mut self) {
        let mut owed = std::mem::take(&mut self.owed);
        owed.retain(|address| self.is_trying(address) || self.queue.contains(address));
        self.owed = owed;
    }

    /// Takes out the attempt that became ready, and says where it leads; `None` if it is not one of this search's, or
    /// leads where a pin forbids to go. Then it must be cancelled.
    pub(super) fn ready(&mut self, cx: &mut Context<'_>, epoch: Epoch) -> Option<Address> {
        let attempt = self.take_attempt(epoch)?;
        cx.memory.note_outcome(&attempt.address, None);
        if cx.memory.allows(&attempt.address) {
            return Some(attempt.address);
        }
        self.put_off(cx, attempt.begun);
        None
    }

    /// Starts whatever is due.
    pub(super) fn tick(&mut self, cx: &mut Context<'_>) {
        if self.stagger_at.is_some_and(|at| at <= cx.now) {
            self.start_next(cx);
        }
        if [self.retry_at, self.ask_at].into_iter().flatten().any(|at| at <= cx.now) {
            self.start_round(cx);
        }
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        [self.stagger_at, self.retry_at, self.ask_at].into_iter().flatten().min()
    }

    /// Whether something leads on: an attempt under way, or a moment at which one is due.
    pub(super) fn is_alive(&self) -> bool {
        !self.attempts.is_empty() || self.next_due().is_some()
    }

    /// Ends the search and everything that it has under way.
    pub(super) fn cancel(self, cx: &mut Context<'_>) {
        for attempt in self.attempts {
            cx.memory.note_abandoned(&attempt.address, cx.now, cx.settings.stagger);
            cx.out.push(Effect::Cancel { epoch: attempt.epoch });
        }
    }

    /// Ends the search as failed: what it still has under way counts as well, so that the next keeps its distance.
    pub(super) fn give_up(mut self, cx: &mut Context<'_>) {
        if let Some(begun) = self.attempts.iter().map(|attempt| attempt.begun).max() {
            self.lane = self.likely_lane(cx);
            self.put_off(cx, begun);
        }
        self.cancel(cx);
    }

    /// Keeps to the tether's pacing from now on: the link beside which it went on is gone, or in doubt. For the searches
    /// beside a fit link, what it has under way counts as failed. What it has not begun waits for the round that comes next.
    pub(super) fn join(mut self, cx: &mut Context<'_>) -> Self {
        if !self.attempts.is_empty() {
            cx.memory.relocations.failed(cx.now, self.likely_lane(cx), cx.rng);
        }
        self.queue.clear();
        self.stagger_at = None;
        self.paced = Paced::Together;
        self.settled_for = None;
        self
    }

    /// What those under way would have met is not known: what others met before is likely.
    fn likely_lane(&self, cx: &Context<'_>) -> Lane {
        let has_been_rejected = match self.paced {
            Paced::Together => self.lane_before == Lane::Rejected,
            Paced::Alone => cx.memory.relocations.has_been_rejected(),
        };
        if has_been_rejected { Lane::Rejected } else { self.lane }
    }

    /// A verified link to this address stands by (or none does any more).
    pub(super) fn settle_for(&mut self, address: Option<Address>) {
        self.settled_for = address;
    }

    fn is_trying(&self, address: &Address) -> bool {
        self.attempts.iter().any(|attempt| attempt.address == *address)
    }

    fn take_attempt(&mut self, epoch: Epoch) -> Option<Attempt> {
        let at = self.attempts.iter().position(|attempt| attempt.epoch == epoch)?;
        Some(self.attempts.remove(at))
    }

    fn start_next(&mut self, cx: &mut Context<'_>) {
        self.stagger_at = None;
        if self.attempts.len() >= Settings::PARALLEL_ATTEMPTS {
            // Each of them is bounded, and its failure comes back here.
            return;
        }
        let Some(address) = self.queue.pop_front() else { return };
        self.start(cx, address);
        if !self.queue.is_empty() {
            self.stagger_at = Some(cx.now + cx.settings.stagger);
        }
    }

    fn start(&mut self, cx: &mut Context<'_>, address: Address) {
        let epoch = cx.memory.take_epoch();
        cx.memory.note_try(&address, cx.now);
        self.attempts.push(Attempt { epoch, address: address.clone(), begun: cx.now });
        cx.out.push(Effect::Dial { epoch, address });
    }
}
