//! A link serves. What ends that: its end, its silence, its own word that it is not fit, or a better place that a verified
//! link leads to, for which it is looked while this one goes on.

use std::time::Duration;

use super::demoted::demote;
use super::event::{Effect, Event, ResolvePace, Sight, Teardown};
use super::search::{Context, Failed, Paced, Search};
use super::suspect::suspect;
use super::{Live, State, publish, recover};
use crate::pacing::Pacing;
use crate::{Epoch, FailureKind};

#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) live: Live,
    naming: Naming,
    relocation: Option<Relocation>,
    /// Somebody asked for another link; until then a fresh answer is waited for.
    look_at: Option<Duration>,
}

/// What the last answers say about the link's address.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// There was none yet.
    Unheard,
    /// They have named it since then.
    Named(Duration),
    /// So many in a row have not.
    Absent(u32),
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
    Announced,
    Requested,
    MaxAge,
}

impl Up {
    /// `live` serves from now on.
    pub(super) fn new(live: Live) -> Self {
        Up { live, naming: Naming::Unheard, relocation: None, look_at: None }
    }

    /// `live` serves again. It may have been while it did not that somebody asked for another.
    pub(super) fn again(cx: &mut Context<'_>, live: Live) -> Self {
        let mut up = Up::new(live);
        up.look_if_owed(cx);
        up
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        let search = self.relocation.as_ref().and_then(|relocation| relocation.search.next_due());
        [search, self.live.renew_at, self.look_at].into_iter().flatten().min()
    }

    pub(super) fn step(mut self, cx: &mut Context<'_>, event: Event) -> State {
        match event {
            Event::Started => {
                // Adopted: the incarnation before may have died in the middle of anything.
                cx.memory.note_fit(self.live.since);
                cx.out.push(Effect::Resume { epoch: self.live.epoch });
                cx.out.push(Effect::ResolveAt(ResolvePace::Settled));
                self.look_if_owed(cx);
            }
            Event::Resolved { .. } => self.answered(cx),
            Event::Moved { .. } => self.moved(cx),
            Event::AttemptReady { epoch, .. } => return self.relocate(cx, epoch),
            Event::AttemptFailed { epoch, kind } => self.relocation_failed(cx, epoch, kind),
            Event::LinkEnded { epoch } if epoch == self.live.epoch => {
                let search = Up::into_search(cx, self.relocation);
                return recover(cx, search);
            }
            Event::LinkSilent { epoch, since } if epoch == self.live.epoch => {
                let search = Up::into_search(cx, self.relocation);
                return suspect(cx, self.live, since, search);
            }
            Event::LinkRefused { epoch } if epoch == self.live.epoch => return self.demote(cx),
            Event::Probed { epoch, sight: Sight::Unfit } if epoch == self.live.epoch => return self.demote(cx),
            Event::Tick => self.tick(cx),
            Event::Reconnect => self.look_if_owed(cx),
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

    /// Looks for another link once there is a fresh answer, if somebody asked for one.
    fn look_if_owed(&mut self, cx: &mut Context<'_>) {
        // A wish that could not be met for so long is forgotten: whoever had it would be surprised by now.
        let asked = cx.memory.reconnect_asked;
        if asked.is_some_and(|asked| cx.now < asked + cx.settings.swap_interval) {
            cx.out.push(Effect::ResolveAfter(Duration::ZERO));
            self.look_at = Some(cx.now + cx.settings.fresh_answer_wait);
        }
    }

    fn answered(&mut self, cx: &mut Context<'_>) {
        if self.look_at.is_some() {
            self.look_elsewhere(cx, RelocationReason::Requested);
        }
        if cx.memory.known.contains(&self.live.address) {
            self.named(cx);
        } else {
            self.absent(cx);
        }
    }

    fn named(&mut self, cx: &mut Context<'_>) {
        match self.naming {
            Naming::Named(since) if cx.now >= since + cx.settings.swap_interval => {
                // Settled: the next move is another story.
                cx.memory.relocations = Pacing::new(cx.settings.pacing);
            }
            Naming::Named(_) => {}
            Naming::Unheard | Naming::Absent(_) => self.naming = Naming::Named(cx.now),
        }
        // What announced another one may know it sooner than others, who go on naming this one after it.
        let is_first = cx.memory.known.first() == Some(&self.live.address);
        let is_over = |relocation: &Relocation| match relocation.reason {
            RelocationReason::DnsEvidence => true,
            RelocationReason::Announced => is_first,
            RelocationReason::Requested | RelocationReason::MaxAge => false,
        };
        if self.relocation.as_ref().is_some_and(is_over) {
            self.stay(cx);
        }
    }

    /// Whoever appoints primaries says that it is elsewhere.
    fn moved(&mut self, cx: &mut Context<'_>) {
        if cx.memory.known.contains(&self.live.address) || cx.memory.is_pinned() {
            self.answered(cx);
            return;
        }
        self.naming = Naming::Absent(1);
        let is_looked_for = |relocation: &Relocation| relocation.reason == RelocationReason::Announced;
        if !self.relocation.as_ref().is_some_and(is_looked_for) {
            self.look_elsewhere(cx, RelocationReason::Announced);
        }
    }

    /// DNS evidence: the link's address must be absent twice in a row, and the budget must allow the move.
    fn absent(&mut self, cx: &mut Context<'_>) {
        let Naming::Absent(times) = self.naming else {
            self.naming = Naming::Absent(1);
            cx.out.push(Effect::ResolveAfter(cx.settings.confirm_absence_after));
            return;
        };
        self.naming = Naming::Absent(times.saturating_add(1));
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
        let mut search = Search::new(Paced::Alone);
        match reason {
            RelocationReason::Requested => search.start_round(cx),
            RelocationReason::Announced => {
                // Later answers may name it again, in the last place: it is not what is looked for.
                search.settle_for(Some(self.live.address.clone()));
                search.begin(cx, Duration::ZERO);
            }
            RelocationReason::DnsEvidence | RelocationReason::MaxAge => search.begin(cx, Duration::ZERO),
        }
        self.relocation = Some(Relocation { reason, search });
    }

    /// Looks for no other link any more. Attempts that are cut short count as failed, or a name whose answers rotate would be
    /// a way around the pacing.
    pub(super) fn stay(&mut self, cx: &mut Context<'_>) {
        self.look_at = None;
        if let Some(relocation) = self.relocation.take() {
            relocation.search.give_up(cx);
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
        cx.memory.relocations = Pacing::new(cx.settings.pacing);
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
            RelocationReason::DnsEvidence | RelocationReason::Announced => {}
            RelocationReason::Requested => {
                cx.memory.reconnect_asked = None;
                self.stay(cx);
            }
            RelocationReason::MaxAge => self.stay(cx),
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        if self.look_at.is_some_and(|at| at <= cx.now) {
            self.look_elsewhere(cx, RelocationReason::Requested);
        }
        if self.live.renew_at.is_some_and(|at| at <= cx.now) {
            // Should this come to nothing, it is due again then.
            self.live.renew_at = Some(cx.now + cx.settings.swap_interval);
            if self.relocation.is_none() {
                self.look_elsewhere(cx, RelocationReason::MaxAge);
            }
        }
        if let Some(relocation) = &mut self.relocation {
            relocation.search.tick(cx);
        }
    }

    /// Looks for another link because this one is in doubt: what was begun beside it goes on.
    fn into_search(cx: &mut Context<'_>, relocation: Option<Relocation>) -> Search {
        match relocation {
            Some(relocation) => relocation.search.join(cx),
            None => Search::new(Paced::Together),
        }
    }

    fn demote(self, cx: &mut Context<'_>) -> State {
        let search = Up::into_search(cx, self.relocation);
        demote(cx, self.live, search)
    }
}
