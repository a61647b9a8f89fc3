//! The link owes answers and is mute. It may be slow, and then it speaks again and nothing was lost; so it is kept, and
//! another is looked for beside it. Only a verified replacement, its own end, or a stated bound ends it.

use std::time::Duration;

use super::demoted::demote;
use super::event::{Effect, Event, ResolvePace, Sight, Teardown};
use super::search::{Context, Search};
use super::settings::Settings;
use super::up::Up;
use super::{Live, State, publish, recover};
use crate::{Address, Epoch, Lane};

#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) live: Live,
    suspected_at: Duration,
    dead_at: Duration,
    search: Search,
    spare: Option<Spare>,
    /// So many verdicts were void since it was suspected, because our own timers came late.
    voided: u32,
}

/// A verified link to the address of the suspect one. It waits: a server that was merely slow answers both at once.
#[derive(Clone, Debug)]
struct Spare {
    epoch: Epoch,
    address: Address,
    replace_at: Duration,
}

impl Suspect {
    /// `live` has been mute since `since`, and `search` looks for another.
    pub(super) fn new(cx: &Context<'_>, live: Live, since: Duration, search: Search) -> Self {
        Suspect {
            live,
            suspected_at: cx.now,
            // At least one more window, however old the silence was when it was noticed.
            dead_at: (since + cx.settings.dead_after).max(cx.now + cx.settings.suspect_after),
            search,
            spare: None,
            voided: 0,
        }
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        let replace_at = self.spare.as_ref().map(|spare| spare.replace_at);
        [Some(self.dead_at), replace_at, self.search.next_due()].into_iter().flatten().min()
    }

    /// Whether this attempt's link waits as the spare one.
    pub(super) fn has_spare(&self, epoch: Epoch) -> bool {
        self.spare.as_ref().is_some_and(|spare| spare.epoch == epoch)
    }

    pub(super) fn step(mut self, cx: &mut Context<'_>, event: Event) -> State {
        match event {
            Event::Started => {}
            Event::Resolved { .. } => self.search.extend(cx),
            Event::AttemptReady { epoch } => return self.attempt_ready(cx, epoch),
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

    /// The link has spoken: it was slow, and nothing was lost.
    fn exonerate(mut self, cx: &mut Context<'_>) -> State {
        self.drop_spare(cx);
        self.search.cancel(cx);
        cx.memory.note_fit(self.live.since);
        cx.memory.side_dial_not_before = cx.now + cx.settings.side_dial_interval;
        cx.out.push(Effect::Resume { epoch: self.live.epoch });
        cx.out.push(Effect::ResolveAt(ResolvePace::Settled));
        State::Up(Up::new(cx.settings, self.live))
    }

    fn attempt_ready(mut self, cx: &mut Context<'_>, epoch: Epoch) -> State {
        let Some(address) = self.search.ready(cx, epoch) else {
            cx.out.push(Effect::Cancel { epoch });
            return State::Suspect(self);
        };
        if address != self.live.address {
            return self.replace(cx, epoch, address);
        }
        self.drop_spare(cx);
        let replace_at =
            (self.suspected_at + cx.settings.replace_after).max(cx.now + cx.settings.suspect_after).min(self.dead_at);
        self.search.settle_for(Some(address.clone()));
        self.spare = Some(Spare { epoch, address, replace_at });
        State::Suspect(self)
    }

    fn replace(mut self, cx: &mut Context<'_>, epoch: Epoch, address: Address) -> State {
        if self.spare.as_ref().is_some_and(|spare| spare.epoch != epoch) {
            self.drop_spare(cx);
        }
        cx.memory.note_lost(cx.now, cx.rng);
        let state = publish(cx, epoch, address, self.search);
        cx.out.push(Effect::Retire { epoch: self.live.epoch, teardown: Teardown::Abort });
        state
    }

    fn tick(mut self, cx: &mut Context<'_>) -> State {
        if let Some(spare) = self.spare.take() {
            match self.verdict(cx, spare.replace_at) {
                Verdict::Due => return self.replace(cx, spare.epoch, spare.address),
                Verdict::At(replace_at) => self.spare = Some(Spare { replace_at, ..spare }),
            }
        }
        match self.verdict(cx, self.dead_at) {
            Verdict::Due => {
                if let Some(spare) = self.spare.take() {
                    return self.replace(cx, spare.epoch, spare.address);
                }
                cx.out.push(Effect::Retire { epoch: self.live.epoch, teardown: Teardown::Abort });
                self.lost(cx)
            }
            Verdict::At(dead_at) => {
                self.dead_at = dead_at;
                self.search.tick(cx);
                State::Suspect(self)
            }
        }
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

enum Verdict {
    Due,
    At(Duration),
}
