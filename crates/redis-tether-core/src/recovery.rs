//! The recovery machine: which link serves, and what is done when it no longer can. One machine is one incarnation of the
//! `Connection` actor, which feeds it events one after another and carries out the effects. It sees neither sockets nor
//! commands; a link is an epoch and an address to it.
//!
//! Two rules carry the rest. A link is torn down only when a verified one stands ready, its transport has ended, a person
//! asked, or a stated bound has passed. And nothing is final: from every state something is pending that leads on.

mod event;
mod memory;
mod search;
mod settings;

use std::time::Duration;

pub use event::{Effect, Event, HoldReason, ResolvePace, Sight, Teardown};
pub use memory::Memory;
use search::{Context, Failed, Paced, Search};
pub use settings::Settings;

use crate::pacing::Pacing;
use crate::{Address, Epoch, FailureKind, Lane};

/// A link that has been published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Live {
    /// Its number.
    pub epoch: Epoch,
    /// Where it leads.
    pub address: Address,
    /// When it was published, in time since the tether's start.
    pub since: Duration,
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
    fn live(&self) -> Option<&Live> {
        match self {
            State::Recovering(_) => None,
            State::Up(Up { live, .. })
            | State::Suspect(Suspect { live, .. })
            | State::Demoted(Demoted { live, .. }) => Some(live),
            State::GivenUp(live) => live.as_ref(),
        }
    }

    /// Whether an attempt became this link before, so that hearing of it once more is no news.
    fn has_taken(&self, epoch: Epoch) -> bool {
        let spare = match self {
            State::Suspect(suspect) => suspect.spare.as_ref().map(|spare| spare.epoch),
            _ => None,
        };
        spare == Some(epoch) || self.live().is_some_and(|live| live.epoch == epoch)
    }
}

#[derive(Clone, Debug)]
struct Up {
    live: Live,
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

#[derive(Clone, Debug)]
struct Suspect {
    live: Live,
    suspected_at: Duration,
    dead_at: Duration,
    search: Search,
    spare: Option<Spare>,
}

/// A verified link to the address of the suspect one. It waits: a server that was merely slow answers both at once.
#[derive(Clone, Debug)]
struct Spare {
    epoch: Epoch,
    address: Address,
    replace_at: Duration,
}

#[derive(Clone, Debug)]
struct Demoted {
    live: Live,
    search: Search,
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
            Some(live) if memory.demoted == Some(live.epoch) => {
                State::Demoted(Demoted { live, search: Search::new(Paced::Together) })
            }
            Some(live) => {
                State::Up(Up { renew_at: renew_at(&settings, live.since), live, absences: 0, relocation: None })
            }
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
            State::Up(up) => {
                let search = up.relocation.as_ref().and_then(|relocation| relocation.search.next_due());
                [search, up.renew_at].into_iter().flatten().min()
            }
            State::Suspect(suspect) => {
                let replace_at = suspect.spare.as_ref().map(|spare| spare.replace_at);
                [Some(suspect.dead_at), replace_at, suspect.search.next_due()].into_iter().flatten().min()
            }
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

fn renew_at(settings: &Settings, since: Duration) -> Option<Duration> {
    settings.max_age.map(|age| since.saturating_add(age))
}

fn step(cx: &mut Context<'_>, mut state: State, event: Event) -> State {
    if let Event::Resolved { addresses } = &event {
        if addresses.is_empty() {
            return state;
        }
        cx.memory.note_answer(addresses);
    }
    match event {
        Event::Pin => {
            cx.memory.pin(state.live().map(|live| &live.address));
            if let State::Up(up) = &mut state {
                up.stay(cx);
            }
            return state;
        }
        Event::Unpin => {
            cx.memory.unpin();
            return state;
        }
        Event::AttemptReady { epoch } if state.has_taken(epoch) => return state,
        Event::Started => cx.memory.note_interrupted(cx.now, cx.rng),
        _ => {}
    }
    match state {
        State::Recovering(search) => recovering(cx, search, event),
        State::Up(up) => up.step(cx, event),
        State::Suspect(suspect) => suspect.step(cx, event),
        State::Demoted(demoted) => demoted.step(cx, event),
        State::GivenUp(live) => {
            // The replacement is under way; what was begun meanwhile belongs to nobody.
            if let Event::AttemptReady { epoch } = event {
                cx.out.push(Effect::Cancel { epoch });
            }
            match (live, event) {
                (Some(live), Event::LinkEnded { epoch }) if live.epoch == epoch => State::GivenUp(None),
                (live, _) => State::GivenUp(live),
            }
        }
    }
}

fn recovering(cx: &mut Context<'_>, mut search: Search, event: Event) -> State {
    match event {
        Event::Started => {
            // The link before may have ended while no incarnation was there to see it.
            cx.memory.note_lost(cx.now, cx.rng);
            cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
            search.begin(cx, Duration::ZERO);
        }
        Event::Resolved { .. } => search.extend(cx),
        Event::AttemptReady { epoch } => match search.ready(cx, epoch) {
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

/// The search has met a primary: it serves from now on.
fn publish(cx: &mut Context<'_>, epoch: Epoch, address: Address, search: Search) -> State {
    search.cancel(cx);
    cx.memory.note_published(&address, cx.now);
    cx.out.push(Effect::Publish { epoch });
    cx.out.push(Effect::ResolveAt(ResolvePace::Settled));
    let live = Live { epoch, address, since: cx.now };
    State::Up(Up { renew_at: renew_at(cx.settings, cx.now), live, absences: 0, relocation: None })
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
    cx.memory.demoted = None;
    cx.memory.note_lost(cx.now, cx.rng);
    cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
    search.begin(cx, Duration::ZERO);
    State::Recovering(search)
}

impl Up {
    fn step(mut self, cx: &mut Context<'_>, event: Event) -> State {
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
    fn stay(&mut self, cx: &mut Context<'_>) {
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
        State::Suspect(Suspect {
            live: self.live,
            suspected_at: cx.now,
            // At least one more window, however old the silence was when it was noticed.
            dead_at: (since + cx.settings.dead_after).max(cx.now + cx.settings.suspect_after),
            search,
            spare: None,
        })
    }

    fn demote(self, cx: &mut Context<'_>) -> State {
        demote(cx, self.live, Up::into_search(self.relocation))
    }
}

/// The link is not fit to serve, and says so itself.
fn demote(cx: &mut Context<'_>, live: Live, mut search: Search) -> State {
    cx.memory.demoted = Some(live.epoch);
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

impl Suspect {
    fn step(mut self, cx: &mut Context<'_>, event: Event) -> State {
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
        State::Up(Up {
            renew_at: renew_at(cx.settings, self.live.since),
            live: self.live,
            absences: 0,
            relocation: None,
        })
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
            match verdict(cx, spare.replace_at) {
                Verdict::Due => return self.replace(cx, spare.epoch, spare.address),
                Verdict::At(replace_at) => self.spare = Some(Spare { replace_at, ..spare }),
            }
        }
        match verdict(cx, self.dead_at) {
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
        if self.spare.as_ref().is_some_and(|spare| spare.epoch == epoch) {
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

/// A verdict on the peer's silence. Where the timer itself came late, we were the ones who slept: the verdict is void, and
/// the link gets one more window, in which its socket is read.
fn verdict(cx: &Context<'_>, due: Duration) -> Verdict {
    if cx.now < due {
        Verdict::At(due)
    } else if cx.now >= due + Settings::STALL {
        Verdict::At(cx.now + cx.settings.suspect_after)
    } else {
        Verdict::Due
    }
}

impl Demoted {
    fn step(mut self, cx: &mut Context<'_>, event: Event) -> State {
        match event {
            // Adopted: held as before, and looked for at the pace.
            Event::Started => {
                cx.out.push(Effect::Hold { epoch: self.live.epoch, reason: HoldReason::Demoted });
                cx.out.push(Effect::ResolveAt(ResolvePace::Urgent));
                self.search.begin(cx, Duration::ZERO);
            }
            Event::Resolved { .. } => self.search.extend(cx),
            Event::AttemptReady { epoch } => match self.search.ready(cx, epoch) {
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
                return recover(cx, self.search);
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
        State::Up(Up { renew_at: renew_at(cx.settings, live.since), live, absences: 0, relocation: None })
    }
}
