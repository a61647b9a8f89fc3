//! Holds every step of a machine to the invariants of the design that are the machine's. Called by the [`super::World`]
//! before and after each event; it knows the machine only from outside.

mod pace;

use std::collections::BTreeMap;
use std::time::Duration;

use redis_tether_core::recovery::{Effect, Event, Live, Machine, Memory, Met, Phase, Settings, Sight, Teardown};
use redis_tether_core::{Address, Epoch};

use pace::{Book, Relocations, Tried};

pub struct Before {
    phase: Phase,
    live: Option<Live>,
    next_due: Option<Duration>,
    memory: Memory,
}

pub struct Judge {
    settings: Settings,
    before: Option<Before>,
    started: bool,
    published: Option<Epoch>,
    attempts: BTreeMap<Epoch, Address>,
    pinned: Option<Address>,
    pin_next: bool,
    silent_since: Duration,
    suspected_at: Duration,
    /// The link that was found mute and has not spoken since.
    suspected: Option<Epoch>,
    /// How the attempts were met that succeeded.
    met: BTreeMap<Epoch, Met>,
    tried: Book,
    relocations: Relocations,
    answer: Vec<Address>,
    news: Vec<Address>,
    /// Kept while no link is fit, and only used by tests with a fixed set of addresses.
    pub failures: BTreeMap<Address, u32>,
}

impl Judge {
    pub fn new(settings: Settings) -> Judge {
        Judge {
            before: None,
            started: false,
            published: None,
            attempts: BTreeMap::new(),
            pinned: None,
            pin_next: false,
            silent_since: Duration::ZERO,
            suspected_at: Duration::ZERO,
            suspected: None,
            met: BTreeMap::new(),
            tried: Book::new(),
            relocations: Relocations::default(),
            answer: Vec::new(),
            news: Vec::new(),
            failures: BTreeMap::new(),
            settings,
        }
    }

    /// Another incarnation takes over; `lost` is the link that it does not.
    pub fn replaced(&mut self, now: Duration, lost: Option<&Live>) {
        if lost.is_some_and(|live| self.is_settled(live, now)) {
            self.tried.clear();
        }
        self.attempts.clear();
        self.failures.clear();
        self.relocations.interrupted();
        self.started = false;
    }

    fn is_settled(&self, live: &Live, now: Duration) -> bool {
        now >= live.since + self.settings.pacing.settled_after
    }

    pub fn before(&mut self, now: Duration, machine: &Machine, event: &Event) {
        self.before = Some(Before {
            phase: machine.phase(),
            live: machine.live().cloned(),
            next_due: machine.next_due(),
            memory: machine.memory().clone(),
        });
        match event {
            Event::Resolved { addresses } | Event::Moved { addresses } if !addresses.is_empty() => {
                self.news.retain(|address| addresses.contains(address));
                self.news.extend(addresses.iter().filter(|address| !self.answer.contains(address)).cloned());
                self.answer.clone_from(addresses);
            }
            Event::AttemptFailed { epoch, kind } => {
                let Some(address) = self.attempts.remove(epoch) else { return };
                if machine.phase() == Phase::Up {
                    self.relocations.failed(now, address, *kind);
                } else {
                    *self.failures.entry(address.clone()).or_default() += 1;
                    self.tried.entry(address).or_default().failed(now, *kind);
                }
            }
            Event::AttemptReady { epoch, met } => {
                if let Some(address) = self.attempts.get(epoch) {
                    self.tried.get_mut(address).into_iter().for_each(Tried::succeeded);
                    self.relocations.succeeded(address);
                }
                self.met.insert(*epoch, *met);
            }
            Event::Reconnect => self.relocations.asked(&self.settings, now),
            _ => {}
        }
    }

    pub fn after(
        &mut self,
        now: Duration,
        machine: &Machine,
        event: &Event,
        effects: &[Effect],
        under_way: usize,
        ready: usize,
    ) {
        let before = self.before.take().expect("before() was called");
        self.started |= *event == Event::Started;
        self.one_epoch_and_only_growing(machine, event, effects, &before);
        self.void_events_change_nothing(machine, event, effects, &before);
        self.expected_answers_change_nothing(machine, event, effects, &before);
        self.leads_on(now, machine, under_way);
        self.nothing_leaks(machine, effects, under_way, ready);
        self.teardown_is_founded(now, event, effects, &before);
        self.suspects_are_held(event, effects, &before);
        self.pin_holds(machine, event, effects);
        self.within_the_pacing(now, machine, event, effects, &before);
        self.note_attempts(machine, event, effects);
    }

    /// Invariant 1.
    fn one_epoch_and_only_growing(&mut self, machine: &Machine, event: &Event, effects: &[Effect], before: &Before) {
        let mut serving = before.live.as_ref().map(|live| live.epoch);
        if let Event::LinkEnded { epoch } = event {
            serving = serving.filter(|serving| serving != epoch);
        }
        for (i, effect) in effects.iter().enumerate() {
            match effect {
                Effect::Publish { epoch } => {
                    assert!(self.published.is_none_or(|last| *epoch > last), "{epoch} after {:?}", self.published);
                    self.published = Some(*epoch);
                    if let Some(old) = serving {
                        let retired = |effect: &Effect| matches!(effect, Effect::Retire { epoch, .. } if *epoch == old);
                        assert!(effects[i..].iter().any(retired), "{epoch} was published beside {old}");
                    }
                    serving = Some(*epoch);
                }
                Effect::Retire { epoch, .. } if serving == Some(*epoch) => serving = None,
                Effect::Cancel { epoch } => assert_ne!(serving, Some(*epoch), "a published link was cancelled"),
                Effect::Hold { epoch, .. } | Effect::Resume { epoch } | Effect::Probe { epoch } => {
                    assert_eq!(serving, Some(*epoch), "{effect:?} is not about the link that serves");
                }
                _ => {}
            }
        }
        assert_eq!(machine.live().map(|live| live.epoch), serving, "after {event:?} -> {effects:?}");
        let fit = machine.phase() == Phase::Up;
        assert!(!self.started || fit == machine.down_since().is_none(), "{:?} {:?}", machine.phase(), machine);
    }

    /// Invariant 2.
    fn void_events_change_nothing(&self, machine: &Machine, event: &Event, effects: &[Effect], before: &Before) {
        let (epoch, is_void) = match event {
            Event::AttemptReady { epoch, .. } => (*epoch, !self.attempts.contains_key(epoch)),
            // `attempts` has dropped a failed one already; that the world sends none for an unknown one is its own rule.
            Event::LinkHeard { epoch }
            | Event::LinkSilent { epoch, .. }
            | Event::LinkRefused { epoch }
            | Event::Probed { epoch, .. } => (*epoch, before.live.as_ref().is_none_or(|live| live.epoch != *epoch)),
            _ => return,
        };
        if is_void {
            self.unchanged(machine, event, effects, before, Some(epoch));
        }
    }

    /// While all is well the actors keep to themselves what they hear over and over.
    fn expected_answers_change_nothing(&self, machine: &Machine, event: &Event, effects: &[Effect], before: &Before) {
        let Some(live) = before.live.as_ref().filter(|_| before.phase == Phase::Up) else { return };
        let is_expected = match event {
            Event::Resolved { addresses } => before.memory.expects(addresses, &live.address),
            Event::Probed { sight: Sight::Primary | Sight::Unclear, .. } => true,
            _ => false,
        };
        if is_expected {
            self.unchanged(machine, event, effects, before, None);
        }
    }

    /// What a void event may do: have an unknown link cancelled, and nothing else.
    fn unchanged(&self, machine: &Machine, event: &Event, effects: &[Effect], before: &Before, epoch: Option<Epoch>) {
        let cancelled = |effect: &Effect| matches!(effect, Effect::Cancel { epoch: of } if Some(*of) == epoch);
        assert!(effects.iter().all(cancelled), "{event:?} had effects: {effects:?}");
        assert!(effects.len() <= 1);
        assert_eq!(machine.phase(), before.phase, "{event:?}");
        assert_eq!(machine.live(), before.live.as_ref(), "{event:?}");
        assert_eq!(machine.next_due(), before.next_due, "{event:?}");
        assert_eq!(*machine.memory(), before.memory, "{event:?}");
    }

    /// Invariant 3.
    fn leads_on(&self, now: Duration, machine: &Machine, under_way: usize) {
        if !self.started {
            return;
        }
        assert!(machine.leads_on(), "stuck: {machine:?}");
        let longest = self.settings.dead_after.max(self.settings.swap_interval) + Duration::from_secs(5);
        if let Some(due) = machine.next_due() {
            assert!(due <= now + longest.max(self.settings.max_age.unwrap_or_default()), "due at {due:?}, now {now:?}");
        }
        let waits = matches!(machine.phase(), Phase::Recovering | Phase::Suspect | Phase::Demoted);
        assert!(!waits || under_way > 0 || machine.next_due().is_some(), "nothing is pending: {machine:?}");
    }

    /// Invariant 4, the part about attempts under way.
    fn nothing_leaks(&self, machine: &Machine, effects: &[Effect], under_way: usize, ready: usize) {
        assert!(under_way <= Settings::PARALLEL_ATTEMPTS, "{under_way} attempts under way");
        assert!(ready <= usize::from(machine.phase() == Phase::Suspect), "a verified link was forgotten");
        let over = |effect: &Effect| matches!(effect, Effect::Publish { .. } | Effect::Resume { .. } | Effect::Restart);
        if effects.iter().any(over) {
            assert_eq!(under_way + ready, 0, "attempts outlive {effects:?}");
        }
    }

    /// Invariant 7.
    fn teardown_is_founded(&mut self, now: Duration, event: &Event, effects: &[Effect], before: &Before) {
        if let Event::LinkSilent { since, .. } = event
            && before.phase == Phase::Up
        {
            (self.silent_since, self.suspected_at) = (*since, now);
        }
        for (i, effect) in effects.iter().enumerate() {
            let Effect::Retire { epoch, teardown } = effect else { continue };
            let live = before.live.as_ref().expect("what is retired was there");
            assert_eq!(live.epoch, *epoch);
            let mut published = effects[..i].iter().filter_map(|effect| match effect {
                Effect::Publish { epoch } => Some(epoch),
                _ => None,
            });
            let was_suspect = before.phase == Phase::Suspect;
            let is_dead = was_suspect && now >= self.silent_since + self.settings.dead_after;
            match published.next() {
                None => assert!(is_dead, "{epoch} was torn down with nothing in its place, on {event:?}"),
                Some(new) if was_suspect && self.attempts.get(new) == Some(&live.address) => {
                    let bound = self.suspected_at + self.settings.replace_after;
                    let is_time = now >= bound && self.met.get(new) == Some(&Met::Answered);
                    assert!(
                        is_dead || is_time,
                        "{epoch} was replaced at its own address by {new} after too short a silence"
                    );
                    assert!(is_dead || *teardown == Teardown::Drain, "what {epoch} still owes was thrown away");
                    assert_eq!(*event, Event::Tick);
                }
                Some(_) => {
                    let as_wanted = match teardown {
                        Teardown::Drain => !was_suspect,
                        Teardown::Linger(limit) => {
                            let is_bounded =
                                *limit <= self.settings.replace_after && (is_dead || now + *limit <= self.dead_at());
                            was_suspect && is_bounded && self.answers_others(&effects[..i])
                        }
                        Teardown::Abort => was_suspect && !self.answers_others(&effects[..i]),
                    };
                    assert!(as_wanted, "{epoch} was replaced at another address: {teardown:?}");
                }
            }
        }
    }

    /// When the suspect link is given up, whatever there is in its place.
    fn dead_at(&self) -> Duration {
        (self.silent_since + self.settings.dead_after).max(self.suspected_at + self.settings.suspect_after)
    }

    /// Whether a link that is let go with these had shown that the suspect one's server answers.
    fn answers_others(&self, effects: &[Effect]) -> bool {
        let answered = |effect: &Effect| match effect {
            Effect::Cancel { epoch } => self.met.get(epoch) == Some(&Met::Answered),
            _ => false,
        };
        effects.iter().any(answered)
    }

    /// A link that was found mute takes no commands until it has spoken, whatever becomes of the incarnation that found it.
    fn suspects_are_held(&mut self, event: &Event, effects: &[Effect], before: &Before) {
        match event {
            Event::LinkSilent { epoch, .. } if before.phase == Phase::Up && self.published == Some(*epoch) => {
                self.suspected = Some(*epoch);
            }
            Event::LinkHeard { epoch } | Event::LinkRefused { epoch } | Event::Probed { epoch, .. }
                if self.suspected == Some(*epoch) =>
            {
                self.suspected = None;
            }
            _ => {}
        }
        for effect in effects {
            if let Effect::Resume { epoch } = effect {
                assert_ne!(self.suspected, Some(*epoch), "{epoch} takes commands and has not spoken since it was mute");
            }
        }
    }

    /// Pinned machines publish the pinned address, or none.
    fn pin_holds(&mut self, machine: &Machine, event: &Event, effects: &[Effect]) {
        match event {
            Event::Pin => match machine.live() {
                Some(live) => (self.pinned, self.pin_next) = (Some(live.address.clone()), false),
                None => self.pin_next = self.pinned.is_none(),
            },
            Event::Unpin => (self.pinned, self.pin_next) = (None, false),
            _ => {}
        }
        if effects.iter().any(|effect| matches!(effect, Effect::Publish { .. })) {
            let address = &machine.live().expect("it was published").address;
            assert!(
                self.pinned.as_ref().is_none_or(|pinned| pinned == address),
                "{address} in spite of {:?}",
                self.pinned
            );
            if std::mem::take(&mut self.pin_next) {
                self.pinned = Some(address.clone());
            }
        }
    }

    /// Invariant 4, the part about time: between two attempts at an address lies what the pacing asks for, except that one
    /// which the resolver did not name before is tried at once, that a person may ask, and that the loss of a settled link
    /// begins anew.
    fn within_the_pacing(
        &mut self,
        now: Duration,
        machine: &Machine,
        event: &Event,
        effects: &[Effect],
        before: &Before,
    ) {
        let settled = before.live.as_ref().is_some_and(|live| self.is_settled(live, now));
        let shaken = matches!(
            event,
            Event::LinkEnded { .. } | Event::LinkSilent { .. } | Event::LinkRefused { .. } | Event::Probed { .. }
        );
        let moved = effects.iter().any(|effect| matches!(effect, Effect::Retire { .. }));
        // A person asked for one address more, or for a whole round: that may begin later, when there is a fresh answer, and
        // beside a link that is in doubt by the time it goes on.
        let asked = *event == Event::Unpin || self.relocations.are_asked_for(now);
        if settled && (shaken || moved) || asked {
            self.tried.clear();
        }
        if before.phase == Phase::Up && machine.phase() == Phase::Up {
            self.relocations.judge(&self.settings, now, event, effects, before);
        } else if before.phase == Phase::Up {
            self.relocations.interrupted();
        }
        for effect in effects {
            let Effect::Dial { address, .. } = effect else { continue };
            let is_news = self.news.contains(address);
            self.news.retain(|news| news != address);
            let tried = self.tried.entry(address.clone()).or_default();
            // Beside a fit link a search keeps to a pace of its own.
            let is_alone = before.phase == Phase::Up;
            if let Some(last) = tried.last.filter(|_| !is_alone) {
                let floor = tried.floor(&self.settings, last);
                let by_resolver = matches!(event, Event::Resolved { .. } | Event::Moved { .. }) && is_news;
                let floor = if by_resolver { self.settings.fresh_after.min(floor) } else { floor };
                assert!(
                    now >= last + floor,
                    "{address} tried {:?} after the last time: {tried:?}, {event:?}",
                    now - last
                );
            }
            tried.last = Some(now).filter(|_| !is_alone);
        }
        let ended = |effect: &Effect| matches!(effect, Effect::Publish { .. } | Effect::Resume { .. });
        if effects.iter().any(ended) {
            self.tried.values_mut().for_each(Tried::discount);
        }
    }

    fn note_attempts(&mut self, machine: &Machine, event: &Event, effects: &[Effect]) {
        if let Event::AttemptReady { epoch, .. } = event
            && machine.phase() != Phase::Suspect
        {
            self.attempts.remove(epoch);
        }
        for effect in effects {
            match effect {
                Effect::Dial { epoch, address } => {
                    self.attempts.insert(*epoch, address.clone());
                }
                Effect::Cancel { epoch } | Effect::Publish { epoch } => {
                    self.attempts.remove(epoch);
                }
                Effect::Resume { .. } => self.failures.clear(),
                _ => {}
            }
        }
    }
}
