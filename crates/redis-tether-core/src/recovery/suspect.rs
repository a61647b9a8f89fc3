//! The link owes answers and is mute. It may be slow, and then it speaks again and nothing was lost; so it is kept, and
//! another is looked for beside it. Only a verified replacement, its own end, or a stated bound ends it.

use std::time::Duration;

use super::demoted::demote;
use super::event::{Effect, Event, HoldReason, Met, ResolvePace, Sight, Teardown};
use super::memory::Held;
use super::search::{Context, Paced, Search};
use super::settings::Settings;
use super::up::Up;
use super::{Live, State, publish, recover};
use crate::{Address, Epoch, Lane};

#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) live: Live,
    suspicion: Suspicion,
    search: Search,
    spare: Option<Spare>,
}

/// What is held against a link. It outlives the incarnation that found it, or one that dies would clear a mute link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suspicion {
    pub(super) epoch: Epoch,
    at: Duration,
    dead_at: Duration,
    /// So many verdicts were void, because our own timers came late or nobody was there to listen.
    voided: u32,
}

/// A verified link to the address of the suspect one. It waits: a server that was merely slow answers both at once.
#[derive(Clone, Debug)]
struct Spare {
    epoch: Epoch,
    address: Address,
    /// `None`: not before the suspect one is given up. The server was not asked, so that the spare speaks for it no more
    /// than the suspect link does.
    replace_at: Option<Duration>,
}

/// `live` has been mute since `since`, and `search` looks for another from now on.
pub(super) fn suspect(cx: &mut Context<'_>, live: Live, since: Duration, search: Search) -> State {
    cx.memory.down_since = Some(cx.now);
    cx.memory.pacing.kept(live.since, cx.now);
    // At least one more window, however old the silence was when it was noticed.
    let dead_at = (since + cx.settings.dead_after).max(cx.now + cx.settings.suspect_after);
    let suspicion = Suspicion { epoch: live.epoch, at: cx.now, dead_at, voided: 0 };
    let mut suspect = Suspect { live, suspicion, search, spare: None };
    suspect.begin(cx);
    State::Suspect(suspect)
}

/// When the next search for a suspect's sake may begin, if this one has just dialled. Another incarnation knows no more of it.
fn note_side_dials(cx: &mut Context<'_>, out: usize) {
    let has_dialled = cx.out[out..].iter().any(|effect| matches!(effect, Effect::Dial { .. }));
    if has_dialled && cx.memory.side_dial_not_before <= cx.now {
        cx.memory.side_dial_not_before = cx.now + cx.settings.side_dial_interval;
    }
}

impl Suspect {
    /// Left behind by an incarnation that died.
    pub(super) fn adopted(live: Live, suspicion: Suspicion) -> Self {
        Suspect { live, suspicion, search: Search::new(Paced::Together), spare: None }
    }

    fn begin(&mut self, cx: &mut Context<'_>) {
        let epoch = self.live.epoch;
        self.remember(cx);
        cx.out.push(Effect::Hold { epoch, reason: HoldReason::Suspect });
        cx.out.push(Effect::Listen { epoch });
        // Nothing more may be sent on it: the answer clears it then, if it was but a pause.
        cx.out.push(Effect::Probe { epoch });
        cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
        let (not_before, out) = (cx.memory.side_dial_not_before, cx.out.len());
        self.search.begin(cx, not_before);
        note_side_dials(cx, out);
    }

    fn remember(&self, cx: &mut Context<'_>) {
        cx.memory.held = Some(Held::Suspect(self.suspicion));
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        let replace_at = self.spare.as_ref().and_then(|spare| spare.replace_at);
        [Some(self.suspicion.dead_at), replace_at, self.search.next_due()].into_iter().flatten().min()
    }

    /// Whether this attempt's link waits as the spare one.
    pub(super) fn has_spare(&self, epoch: Epoch) -> bool {
        self.spare.as_ref().is_some_and(|spare| spare.epoch == epoch)
    }

    pub(super) fn step(mut self, cx: &mut Context<'_>, event: Event) -> State {
        match event {
            Event::Started => self.go_on(cx),
            Event::Resolved { .. } | Event::Moved { .. } => self.search.extend(cx),
            Event::AttemptReady { epoch, met } => return self.attempt_ready(cx, epoch, met),
            Event::AttemptFailed { epoch, kind } => {
                // These rounds count for nobody: the link may well be fit.
                self.search.failed(cx, epoch, kind);
            }
            Event::LinkEnded { epoch } if epoch == self.live.epoch => return self.lost(cx),
            Event::LinkEnded { epoch } => self.spare_ended(cx, epoch),
            Event::LinkHeard { epoch } | Event::Probed { epoch, sight: Sight::Primary | Sight::Unclear }
                if epoch == self.live.epoch =>
            {
                return self.exonerate(cx);
            }
            Event::LinkRefused { epoch } | Event::Probed { epoch, sight: Sight::Unfit } if epoch == self.live.epoch => {
                self.drop_spare(cx);
                return demote(cx, self.live, self.search);
            }
            Event::Tick => return self.tick(cx),
            Event::Reconnect => self.search.start_round(cx),
            Event::LinkHeard { .. }
            | Event::LinkSilent { .. }
            | Event::LinkRefused { .. }
            | Event::Probed { .. }
            | Event::Pin
            | Event::Unpin => {}
        }
        State::Suspect(self)
    }

    /// Adopted. What it said while nobody was there to listen is being looked for: it gets the time to be found, but not
    /// with every incarnation anew.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        let window = cx.now + cx.settings.suspect_after;
        if self.suspicion.dead_at < window && self.suspicion.voided < Settings::VOID_VERDICTS {
            self.suspicion.voided += 1;
            self.suspicion.dead_at = window;
        }
        self.begin(cx);
    }

    /// The link has spoken: it was slow, and nothing was lost.
    fn exonerate(mut self, cx: &mut Context<'_>) -> State {
        self.drop_spare(cx);
        self.search.cancel(cx);
        cx.memory.note_fit(self.live.since);
        cx.memory.side_dial_not_before = cx.now + cx.settings.side_dial_interval;
        cx.out.push(Effect::Resume { epoch: self.live.epoch });
        cx.out.push(Effect::ResolveAt(ResolvePace::Settled));
        State::Up(Up::again(cx, self.live))
    }

    fn attempt_ready(mut self, cx: &mut Context<'_>, epoch: Epoch, met: Met) -> State {
        let Some(address) = self.search.ready(cx, epoch) else {
            cx.out.push(Effect::Cancel { epoch });
            return State::Suspect(self);
        };
        if address != self.live.address {
            let teardown = self.teardown(cx);
            return self.replace(cx, epoch, address, teardown);
        }
        self.drop_spare(cx);
        let replace_at = match met {
            Met::Answered => {
                let bound = self.suspicion.at + cx.settings.replace_after;
                Some(bound.max(cx.now + cx.settings.suspect_after).min(self.suspicion.dead_at))
            }
            Met::Unasked => None,
        };
        self.search.settle_for(Some(address.clone()));
        self.spare = Some(Spare { epoch, address, replace_at });
        State::Suspect(self)
    }

    /// What becomes of the link when one to another address takes its place. A server that answers others has not failed: as a rule it
    /// keeps writes back while a replica takes over, and refuses them when it learns of that.
    fn teardown(&self, cx: &Context<'_>) -> Teardown {
        match &self.spare {
            Some(Spare { replace_at: Some(_), .. }) => {
                let left = self.suspicion.dead_at.saturating_sub(cx.now);
                Teardown::Linger(left.min(cx.settings.replace_after))
            }
            _ => Teardown::Abort,
        }
    }

    fn replace(mut self, cx: &mut Context<'_>, epoch: Epoch, address: Address, teardown: Teardown) -> State {
        if self.spare.as_ref().is_some_and(|spare| spare.epoch != epoch) {
            self.drop_spare(cx);
        }
        cx.memory.note_lost(cx.now, cx.rng);
        let state = publish(cx, epoch, address, self.search);
        cx.out.push(Effect::Retire { epoch: self.live.epoch, teardown });
        state
    }

    fn tick(mut self, cx: &mut Context<'_>) -> State {
        match self.suspicion.verdict(cx, self.suspicion.dead_at) {
            Verdict::Due => return self.give_up(cx),
            Verdict::At(dead_at) => self.suspicion.dead_at = dead_at,
        }
        if let Some(spare) = self.spare.take() {
            match spare.replace_at.map(|at| self.suspicion.verdict(cx, at)) {
                // The server answers others: what it owes the old link may still come, as after a pause of writes.
                Some(Verdict::Due) => return self.replace(cx, spare.epoch, spare.address, Teardown::Drain),
                Some(Verdict::At(at)) => self.spare = Some(Spare { replace_at: Some(at), ..spare }),
                None => self.spare = Some(spare),
            }
        }
        self.remember(cx);
        let out = cx.out.len();
        self.search.tick(cx);
        note_side_dials(cx, out);
        State::Suspect(self)
    }

    /// The bound has passed, with a link at hand or without one.
    fn give_up(mut self, cx: &mut Context<'_>) -> State {
        if let Some(spare) = self.spare.take() {
            return self.replace(cx, spare.epoch, spare.address, Teardown::Abort);
        }
        cx.out.push(Effect::Retire { epoch: self.live.epoch, teardown: Teardown::Abort });
        self.lost(cx)
    }

    fn lost(mut self, cx: &mut Context<'_>) -> State {
        if let Some(spare) = self.spare.take() {
            cx.memory.note_lost(cx.now, cx.rng);
            return publish(cx, spare.epoch, spare.address, self.search);
        }
        recover(cx, self.search)
    }

    fn spare_ended(&mut self, cx: &mut Context<'_>, epoch: Epoch) {
        if self.has_spare(epoch) {
            self.spare = None;
            self.search.settle_for(None);
            // It was accepted, and then not kept.
            cx.memory.pacing.failed(cx.now, Lane::Rejected, cx.rng);
            self.search.begin(cx, cx.now + cx.settings.suspect_after);
        }
    }

    fn drop_spare(&mut self, cx: &mut Context<'_>) {
        if let Some(spare) = self.spare.take() {
            self.search.settle_for(None);
            cx.out.push(Effect::Cancel { epoch: spare.epoch });
        }
    }
}

enum Verdict {
    Due,
    At(Duration),
}

impl Suspicion {
    /// A verdict on the link's silence. Where the timer itself came late, we were the ones who slept: the verdict is void,
    /// and the link gets one more window, in which its socket is read. But not for ever: a process that never keeps up
    /// must come to a verdict too.
    fn verdict(&mut self, cx: &Context<'_>, due: Duration) -> Verdict {
        if cx.now < due {
            Verdict::At(due)
        } else if cx.now >= due + Settings::STALL && self.voided < Settings::VOID_VERDICTS {
            self.voided += 1;
            Verdict::At(cx.now + cx.settings.suspect_after)
        } else {
            Verdict::Due
        }
    }
}
