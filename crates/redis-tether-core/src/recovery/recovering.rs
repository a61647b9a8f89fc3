//! No link: one is looked for.

use std::time::Duration;

use super::event::{Effect, Event, ResolvePace};
use super::search::{Context, Failed, Search};
use super::{State, give_up, must_give_up, publish};

pub(super) fn step(cx: &mut Context<'_>, mut search: Search, event: Event) -> State {
    match event {
        Event::Started => {
            // The link before may have ended while no incarnation was there to see it.
            cx.memory.note_lost(cx.now, cx.rng);
            cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
            search.begin(cx, Duration::ZERO);
        }
        Event::Resolved { .. } | Event::Moved { .. } => search.extend(cx),
        Event::AttemptReady { epoch, .. } => match search.ready(cx, epoch) {
            Some(address) => return publish(cx, epoch, address, search),
            None => cx.out.push(Effect::Cancel { epoch }),
        },
        Event::AttemptFailed { epoch, kind } => {
            if search.failed(cx, epoch, kind) == Failed::Round && must_give_up(cx) {
                return give_up(cx, search, None);
            }
        }
        Event::Tick => search.tick(cx),
        Event::Reconnect => search.start_round(cx),
        Event::LinkEnded { .. }
        | Event::LinkHeard { .. }
        | Event::LinkSilent { .. }
        | Event::LinkRefused { .. }
        | Event::Probed { .. }
        | Event::Pin
        | Event::Unpin => {}
    }
    State::Recovering(search)
}
