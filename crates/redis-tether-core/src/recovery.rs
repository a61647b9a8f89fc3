//! The recovery machine: which link serves, and what is done when it no longer can. One machine is one incarnation of the
//! `Connection` actor, which feeds it events one after another and carries out the effects. It sees neither sockets nor
//! commands; a link is an epoch and an address to it.
//!
//! Two rules carry the rest. A link is torn down only when a verified one stands ready, its transport has ended, a person
//! asked, or a stated bound has passed. And nothing is final: from every state something is pending that leads on.

mod demoted;
mod event;
mod memory;
mod recovering;
mod search;
mod settings;
mod suspect;
mod up;

use std::time::Duration;

use demoted::Demoted;
pub use event::{Effect, Event, HoldReason, Met, ResolvePace, Sight, Teardown};
use memory::Held;
pub use memory::Memory;
use search::{Context, Paced, Search};
pub use settings::Settings;
use suspect::Suspect;
use up::Up;

use crate::{Address, Epoch};

/// A link that has been published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Live {
    /// Its number.
    pub epoch: Epoch,
    /// Where it leads.
    pub address: Address,
    /// When it was published, in time since the tether's start.
    pub since: Duration,
    /// When it is to be replaced because of its age; `None`: never.
    pub renew_at: Option<Duration>,
}

/// What state the machine is in, for everybody to see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// No link, and there has not been one, or it was lost.
    Recovering,
    /// A link serves.
    Up,
    /// The link owes answers and is mute; commands are held.
    Suspect,
    /// The link speaks and is not fit to serve; commands are held.
    Demoted,
    /// The incarnation has given up, and waits to be replaced.
    GivenUp,
}

#[derive(Clone, Debug)]
enum State {
    Recovering(Search),
    Up(Up),
    Suspect(Suspect),
    Demoted(Demoted),
    GivenUp(Option<Live>),
}

impl State {
    /// `live` was left behind by an incarnation that gave up, or died.
    fn adopted(live: Live, held: Option<Held>) -> State {
        match held {
            Some(Held::Suspect(suspicion)) if suspicion.epoch == live.epoch => {
                State::Suspect(Suspect::adopted(live, suspicion))
            }
            Some(Held::Demoted(epoch)) if epoch == live.epoch => State::Demoted(Demoted::adopted(live)),
            _ => State::Up(Up::new(live)),
        }
    }

    fn live(&self) -> Option<&Live> {
        match self {
            State::Recovering(_) => None,
            State::Up(Up { live, .. })
            | State::Suspect(Suspect { live, .. })
            | State::Demoted(Demoted { live, .. }) => Some(live),
            State::GivenUp(live) => live.as_ref(),
        }
    }

    /// Whose pacing the attempts keep to.
    fn paced(&self) -> Paced {
        match self {
            State::Up(_) => Paced::Alone,
            State::Recovering(_) | State::Suspect(_) | State::Demoted(_) | State::GivenUp(_) => Paced::Together,
        }
    }

    /// Whether an attempt became this link before, so that hearing of it once more is no news.
    fn has_taken(&self, epoch: Epoch) -> bool {
        let waits = matches!(self, State::Suspect(suspect) if suspect.has_spare(epoch));
        waits || self.live().is_some_and(|live| live.epoch == epoch)
    }
}

/// One incarnation's decisions.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    memory: Memory,
    rng: fastrand::Rng,
    state: State,
    out: Vec<Effect>,
}

impl Machine {
    /// A fresh incarnation. `live` is the link that the one before left behind, if it still lives; it is adopted.
    /// Nothing happens before [`Event::Started`].
    #[must_use]
    pub fn new(settings: Settings, memory: Memory, live: Option<Live>, rng: fastrand::Rng) -> Self {
        let state = match live {
            Some(live) => State::adopted(live, memory.held),
            None => State::Recovering(Search::new(Paced::Together)),
        };
        Machine { settings, memory, rng, state, out: Vec::new() }
    }

    /// What a fresh incarnation needs to go on.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The state, without what it carries.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Recovering(_) => Phase::Recovering,
            State::Up(_) => Phase::Up,
            State::Suspect(_) => Phase::Suspect,
            State::Demoted(_) => Phase::Demoted,
            State::GivenUp(_) => Phase::GivenUp,
        }
    }

    /// The published link that has not been retired, whether or not it takes commands now.
    #[must_use]
    pub fn live(&self) -> Option<&Live> {
        self.state.live()
    }

    /// Since when no link takes commands; `None` while one does.
    #[must_use]
    pub fn down_since(&self) -> Option<Duration> {
        self.memory.down_since
    }

    /// Rounds of attempts that failed since a link took commands.
    #[must_use]
    pub fn failed_rounds(&self) -> u32 {
        self.memory.failed_rounds
    }

    /// Whether automatic moves are frozen.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.memory.is_pinned()
    }

    /// The moment at which [`Event::Tick`] is owed; `None` when only other events lead on.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        match &self.state {
            State::Recovering(search) | State::Demoted(Demoted { search, .. }) => search.next_due(),
            State::Up(up) => up.next_due(),
            State::Suspect(suspect) => suspect.next_due(),
            State::GivenUp(_) => None,
        }
    }

    /// Whether something leads on from here without a caller coming by: a link that is watched, an attempt, a moment that
    /// will come, or the replacement by a fresh incarnation.
    #[must_use]
    pub fn leads_on(&self) -> bool {
        match &self.state {
            State::Recovering(search) | State::Demoted(Demoted { search, .. }) => search.is_alive(),
            State::Up(_) | State::Suspect(_) | State::GivenUp(_) => true,
        }
    }

    /// Handles one event at `now`, in time since the tether's start, and says what is to be done, in that order.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let state = std::mem::replace(&mut self.state, State::GivenUp(None));
        let mut cx =
            Context { now, settings: &self.settings, memory: &mut self.memory, rng: &mut self.rng, out: &mut self.out };
        self.state = step(&mut cx, state, event);
        std::mem::take(&mut self.out)
    }
}

fn step(cx: &mut Context<'_>, mut state: State, event: Event) -> State {
    if let Event::Resolved { addresses } | Event::Moved { addresses } = &event {
        if addresses.is_empty() {
            return state;
        }
        cx.memory.note_answer(addresses);
    }
    match event {
        Event::Pin => {
            cx.memory.pin(state.live().map(|live| &live.address));
            cx.memory.reconnect_asked = None;
            if let State::Up(up) = &mut state {
                up.stay(cx);
            }
            return state;
        }
        Event::Unpin => {
            cx.memory.unpin();
            return state;
        }
        Event::AttemptReady { epoch, .. } if state.has_taken(epoch) => return state,
        Event::Reconnect => cx.memory.reconnect_asked = Some(cx.now),
        Event::Started => cx.memory.note_interrupted(cx.now, state.paced(), cx.rng),
        _ => {}
    }
    match state {
        State::Recovering(search) => recovering::step(cx, search, event),
        State::Up(up) => up.step(cx, event),
        State::Suspect(suspect) => suspect.step(cx, event),
        State::Demoted(demoted) => demoted.step(cx, event),
        State::GivenUp(live) => {
            // The replacement is under way; what was begun meanwhile belongs to nobody.
            if let Event::AttemptReady { epoch, .. } = event {
                cx.out.push(Effect::Cancel { epoch });
            }
            match (live, event) {
                (Some(live), Event::LinkEnded { epoch }) if live.epoch == epoch => State::GivenUp(None),
                (live, _) => State::GivenUp(live),
            }
        }
    }
}

/// The search has met a primary: it serves from now on.
fn publish(cx: &mut Context<'_>, epoch: Epoch, address: Address, search: Search) -> State {
    search.cancel(cx);
    cx.memory.note_published(&address, cx.now);
    cx.out.push(Effect::Publish { epoch });
    cx.out.push(Effect::ResolveAt(ResolvePace::Settled));
    let renew_at = cx.settings.max_age.map(|age| cx.now.saturating_add(jittered_age(age, cx.rng)));
    State::Up(Up::new(Live { epoch, address, since: cx.now, renew_at }))
}

fn jittered_age(age: Duration, rng: &mut fastrand::Rng) -> Duration {
    age.mul_f64(1.0 - Settings::RENEWAL_JITTER * rng.f64())
}

/// One more round failed while no link is fit. Whether that was one too many for this incarnation.
fn must_give_up(cx: &mut Context<'_>) -> bool {
    cx.memory.failed_rounds = cx.memory.failed_rounds.saturating_add(1);
    cx.memory.failed_rounds % cx.settings.failures_before_resolve == 0
}

fn give_up(cx: &mut Context<'_>, search: Search, live: Option<Live>) -> State {
    search.give_up(cx);
    cx.out.push(Effect::Restart);
    State::GivenUp(live)
}

/// The published link is gone. `search` may have begun beside it, and goes on.
fn recover(cx: &mut Context<'_>, mut search: Search) -> State {
    cx.memory.held = None;
    cx.memory.note_lost(cx.now, cx.rng);
    cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
    search.begin(cx, Duration::ZERO);
    State::Recovering(search)
}
