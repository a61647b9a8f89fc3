//! The link speaks, and says that it is not fit to serve: a replica, or one that loads its dataset. Commands in flight
//! finish on it, new ones are held, and the primary is looked for; it may turn out to be this one after all.

use std::time::Duration;

use super::event::{Effect, Event, HoldReason, ResolvePace, Sight, Teardown};
use super::memory::Held;
use super::search::{Context, Failed, Paced, Search};
use super::up::Up;
use super::{Live, State, give_up, must_give_up, publish};

#[derive(Clone, Debug)]
pub(super) struct Demoted {
    pub(super) live: Live,
    pub(super) search: Search,
}

/// The link is not fit to serve, and says so itself.
pub(super) fn demote(cx: &mut Context<'_>, live: Live, mut search: Search) -> State {
    cx.memory.held = Some(Held::Demoted(live.epoch));
    cx.out.push(Effect::Hold { epoch: live.epoch, reason: HoldReason::Demoted });
    cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
    cx.memory.note_lost(cx.now, cx.rng);
    if cx.memory.pacing.not_before() <= cx.now {
        // A link that refuses again and again, while its probes say that all is well, is asked at the pace instead.
        cx.out.push(Effect::Probe { epoch: live.epoch });
    }
    search.begin(cx, Duration::ZERO);
    State::Demoted(Demoted { live, search })
}

impl Demoted {
    /// Left behind by an incarnation that gave up, or died.
    pub(super) fn adopted(live: Live) -> Self {
        Demoted { live, search: Search::new(Paced::Together) }
    }

    pub(super) fn step(mut self, cx: &mut Context<'_>, event: Event) -> State {
        match event {
            // Adopted: held as before, and looked for at the pace.
            Event::Started => {
                cx.out.push(Effect::Hold { epoch: self.live.epoch, reason: HoldReason::Demoted });
                cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
                self.search.begin(cx, Duration::ZERO);
            }
            Event::Resolved { .. } | Event::Moved { .. } => self.search.extend(cx),
            Event::AttemptReady { epoch, .. } => match self.search.ready(cx, epoch) {
                Some(address) => {
                    let state = publish(cx, epoch, address, self.search);
                    cx.out.push(Effect::Retire { epoch: self.live.epoch, teardown: Teardown::Drain });
                    return state;
                }
                None => cx.out.push(Effect::Cancel { epoch }),
            },
            Event::AttemptFailed { epoch, kind } => {
                if self.search.failed(cx, epoch, kind) == Failed::Round {
                    // Promoted again in place, perhaps: it costs one line on a link that is there.
                    cx.out.push(Effect::Probe { epoch: self.live.epoch });
                    if must_give_up(cx) {
                        return give_up(cx, self.search, Some(self.live));
                    }
                }
            }
            Event::LinkEnded { epoch } if epoch == self.live.epoch => {
                // Its loss was charged when it refused, and the search has been at its pace since.
                cx.memory.held = None;
                return State::Recovering(self.search);
            }
            Event::Probed { epoch, sight: Sight::Primary } if epoch == self.live.epoch => return self.reinstate(cx),
            Event::Tick => self.search.tick(cx),
            Event::Reconnect => self.search.start_round(cx),
            Event::LinkEnded { .. }
            | Event::LinkHeard { .. }
            | Event::LinkSilent { .. }
            | Event::LinkRefused { .. }
            | Event::Probed { .. }
            | Event::Pin
            | Event::Unpin => {}
        }
        State::Demoted(self)
    }

    /// The link is a serving primary after all.
    fn reinstate(self, cx: &mut Context<'_>) -> State {
        self.search.cancel(cx);
        cx.memory.note_fit(cx.now);
        cx.out.push(Effect::Resume { epoch: self.live.epoch });
        cx.out.push(Effect::ResolveAt(ResolvePace::Settled));
        // Fit since now: should it refuse again soon, the pacing goes on where it was.
        let live = Live { since: cx.now, ..self.live };
        State::Up(Up::again(cx, live))
    }
}
