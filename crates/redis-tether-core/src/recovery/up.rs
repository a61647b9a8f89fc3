//! A link serves. What ends that: its end, its silence, its own word that it is not fit, or a better place that a verified
//! link leads to, for which it is looked while this one goes on.

use std::time::Duration;

use super::demoted::demote;
use super::event::{Effect, Event, HoldReason, ResolvePace, Sight, Teardown};
use super::search::{Context, Failed, Paced, Search};
use super::settings::Settings;
use super::suspect::Suspect;
use super::{Live, State, publish, recover};
use crate::pacing::Pacing;
use crate::{Epoch, FailureKind};

#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) live: Live,
    /// So many answers in a row did not name the link's address.
    absences: u32,
    relocation: Option<Relocation>,
    renew_at: Option<Duration>,
}

/// A search for another link while the present one serves.
#[derive(Clone, Debug)]
struct Relocation {
    reason: RelocationReason,
    search: Search,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RelocationReason {
    DnsEvidence,
    Requested,
    MaxAge,
}

impl Up {
    /// `live` serves from now on, or again.
    pub(super) fn new(settings: &Settings, live: Live) -> Self {
        let renew_at = settings.max_age.map(|age| live.since.saturating_add(age));
        Up { live, absences: 0, relocation: None, renew_at }
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        let search = self.relocation.as_ref().and_then(|relocation| relocation.search.next_due());
        [search, self.renew_at].into_iter().flatten().min()
    }

    pub(super) fn step(mut self, cx: &mut Context<'_>, event: Event) -> State {
        match event {
            Event::Started => {
                // Adopted: the incarnation before may have died in the middle of anything.
                cx.memory.note_fit(self.live.since);
                cx.out.push(Effect::Resume { epoch: self.live.epoch });
                cx.out.push(Effect::ResolveAt(ResolvePace::Settled));
            }
            Event::Resolved { .. } => self.weigh_answer(cx),
            Event::AttemptReady { epoch } => return self.relocate(cx, epoch),
            Event::AttemptFailed { epoch, kind } => self.relocation_failed(cx, epoch, kind),
            Event::LinkEnded { epoch } if epoch == self.live.epoch => {
                return recover(cx, Up::into_search(self.relocation));
            }
            Event::LinkSilent { epoch, since } if epoch == self.live.epoch => return self.suspect(cx, since),
            Event::LinkRefused { epoch } if epoch == self.live.epoch => return self.demote(cx),
            Event::Probed { epoch, sight: Sight::Unfit } if epoch == self.live.epoch => return self.demote(cx),
            Event::Tick => self.tick(cx),
            Event::Reconnect => {
                cx.out.push(Effect::ResolveAfter(Duration::ZERO));
                self.look_elsewhere(cx, RelocationReason::Requested);
            }
            Event::LinkEnded { .. }
            | Event::LinkHeard { .. }
            | Event::LinkSilent { .. }
            | Event::LinkRefused { .. }
            | Event::Probed { .. }
            | Event::Pin
            | Event::Unpin => {}
        }
        State::Up(self)
    }

    /// DNS evidence: the link's address must be absent twice in a row, and the budget must allow the move.
    fn weigh_answer(&mut self, cx: &mut Context<'_>) {
        if cx.memory.known.contains(&self.live.address) {
            self.absences = 0;
            if self.relocation.as_ref().is_some_and(|relocation| relocation.reason == RelocationReason::DnsEvidence) {
                self.stay(cx);
            }
            return;
        }
        self.absences = self.absences.saturating_add(1);
        if self.absences == 1 {
            cx.out.push(Effect::ResolveAfter(cx.settings.confirm_absence_after));
            return;
        }
        if let Some(relocation) = &mut self.relocation {
            relocation.search.extend(cx);
            return;
        }
        let within_budget = cx.memory.last_swap.is_none_or(|last| cx.now >= last + cx.settings.swap_interval);
        if within_budget && !cx.memory.is_pinned() {
            self.look_elsewhere(cx, RelocationReason::DnsEvidence);
        }
    }

    fn look_elsewhere(&mut self, cx: &mut Context<'_>, reason: RelocationReason) {
        self.stay(cx);
        let mut search = Search::new(Paced::Alone(Box::new(Pacing::new(cx.settings.pacing))));
        search.begin(cx, Duration::ZERO);
        self.relocation = Some(Relocation { reason, search });
    }

    /// Looks for no other link any more.
    pub(super) fn stay(&mut self, cx: &mut Context<'_>) {
        if let Some(relocation) = self.relocation.take() {
            relocation.search.cancel(cx);
        }
    }

    fn relocate(mut self, cx: &mut Context<'_>, epoch: Epoch) -> State {
        let ready = self.relocation.as_mut().and_then(|relocation| relocation.search.ready(cx, epoch));
        let Some(address) = ready else {
            cx.out.push(Effect::Cancel { epoch });
            return State::Up(self);
        };
        let Some(relocation) = self.relocation.take() else { return State::Up(self) };
        if relocation.reason == RelocationReason::DnsEvidence {
            cx.memory.last_swap = Some(cx.now);
        }
        cx.memory.pacing.kept(self.live.since, cx.now);
        let state = publish(cx, epoch, address, relocation.search);
        cx.out.push(Effect::Retire { epoch: self.live.epoch, teardown: Teardown::Drain });
        state
    }

    fn relocation_failed(&mut self, cx: &mut Context<'_>, epoch: Epoch, kind: FailureKind) {
        let Some(relocation) = &mut self.relocation else { return };
        if relocation.search.failed(cx, epoch, kind) != Failed::Round {
            return;
        }
        match relocation.reason {
            // The name goes on pointing elsewhere: so does the search, at its own pace.
            RelocationReason::DnsEvidence => {}
            RelocationReason::Requested | RelocationReason::MaxAge => self.stay(cx),
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        if self.renew_at.is_some_and(|at| at <= cx.now) {
            // Should this come to nothing, it is due again then.
            self.renew_at = Some(cx.now + cx.settings.swap_interval);
            if self.relocation.is_none() {
                self.look_elsewhere(cx, RelocationReason::MaxAge);
            }
        }
        if let Some(relocation) = &mut self.relocation {
            relocation.search.tick(cx);
        }
    }

    /// Looks for another link because this one is in doubt: what was begun beside it goes on.
    fn into_search(relocation: Option<Relocation>) -> Search {
        let mut search = relocation.map_or_else(|| Search::new(Paced::Together), |relocation| relocation.search);
        search.join();
        search
    }

    fn suspect(self, cx: &mut Context<'_>, since: Duration) -> State {
        cx.memory.down_since = Some(cx.now);
        cx.memory.pacing.kept(self.live.since, cx.now);
        cx.out.push(Effect::Hold { epoch: self.live.epoch, reason: HoldReason::Suspect });
        cx.out.push(Effect::Listen { epoch: self.live.epoch });
        cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
        let mut search = Up::into_search(self.relocation);
        let side_dial_not_before = cx.memory.side_dial_not_before;
        search.begin(cx, side_dial_not_before);
        State::Suspect(Suspect::new(cx, self.live, since, search))
    }

    fn demote(self, cx: &mut Context<'_>) -> State {
        demote(cx, self.live, Up::into_search(self.relocation))
    }
}
