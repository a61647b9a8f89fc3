//! A small simulated world around one recovery machine: servers with a condition each, a resolver whose answer changes,
//! links, and virtual time. It carries out effects as the actors do, and hands every step to the [`Judge`], which holds it
//! to the invariants. Called by the scenario and property tests; never decides anything that the machine should.

#![allow(dead_code, unreachable_pub, missing_docs)] // Each test binary uses its own part.

mod judge;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

pub use judge::Judge;
use redis_tether_core::recovery::{Effect, Event, Live, Machine, Memory, Met, Phase, ResolvePace, Settings, Teardown};
use redis_tether_core::{Address, Epoch, FailureKind};
pub use server::Server;

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The address with this number.
pub fn at(n: u8) -> Address {
    Address::Tcp(([127, 0, 0, n], 6379).into())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AttemptState {
    UnderWay,
    Ready,
}

#[derive(Clone, Debug)]
enum Happening {
    DialDone { epoch: Epoch, outcome: Result<(), FailureKind> },
    Probed { epoch: Epoch },
    Heard { epoch: Epoch },
    Resolve,
}

pub struct World {
    pub now: Duration,
    pub machine: Machine,
    pub settings: Settings,
    pub servers: BTreeMap<Address, Server>,
    /// What the resolver answers. Empty: it does not.
    pub answer: Vec<Address>,
    /// How much servers are asked.
    pub met: Met,
    /// The link that nothing comes from, though its server may be well.
    pub mute: Option<Epoch>,
    /// The link that has spoken while nobody was there to hear it.
    pub unheard: Option<Epoch>,
    /// How much later than owed the next ticks come.
    pub tick_late: Duration,
    /// Everything that was wanted, and when.
    pub log: Vec<(Duration, Effect)>,
    pub judge: Judge,
    attempts: BTreeMap<Epoch, (Address, AttemptState)>,
    schedule: BTreeMap<(Duration, u64), Happening>,
    resolve_pace: ResolvePace,
    resolve_at: Duration,
    urgent_since: Duration,
    order: u64,
    seed: u64,
}

impl World {
    /// What setting up a link takes where nothing hinders it.
    pub const TRIP: Duration = Duration::from_millis(1);

    /// A started tether with nothing known. The resolver's first answer comes at once.
    pub fn new(settings: Settings, seed: u64, answer: &[Address]) -> World {
        let memory = Memory::new(&settings);
        let machine = Machine::new(settings.clone(), memory, None, fastrand::Rng::with_seed(seed));
        let mut world = World {
            now: Duration::ZERO,
            machine,
            judge: Judge::new(settings.clone()),
            settings,
            servers: BTreeMap::new(),
            answer: answer.to_vec(),
            met: Met::Answered,
            mute: None,
            unheard: None,
            tick_late: Duration::ZERO,
            log: Vec::new(),
            attempts: BTreeMap::new(),
            schedule: BTreeMap::new(),
            resolve_pace: ResolvePace::Urgent,
            resolve_at: Duration::MAX,
            urgent_since: Duration::ZERO,
            order: 0,
            seed,
        };
        world.tell(Event::Started);
        world
    }

    /// A tether that serves from the primary at 1, for `age` already.
    pub fn serving(seed: u64, age: Duration) -> World {
        World::serving_with(Settings::default(), seed, age)
    }

    pub fn serving_with(settings: Settings, seed: u64, age: Duration) -> World {
        let mut world = World::new(settings, seed, &[at(1)]);
        world.servers.insert(at(1), Server::Primary);
        world.run_for(age + World::TRIP);
        assert_eq!(world.phase(), Phase::Up);
        world.log.clear();
        world
    }

    pub fn phase(&self) -> Phase {
        self.machine.phase()
    }

    pub fn live(&self) -> Live {
        self.machine.live().cloned().unwrap_or_else(|| panic!("no live link at {:?}; {:#?}", self.now, self.log))
    }

    pub fn server(&self, address: &Address) -> Server {
        self.servers.get(address).copied().unwrap_or(Server::Refusing)
    }

    pub fn set(&mut self, n: u8, server: Server) {
        self.servers.insert(at(n), server);
    }

    /// Time goes on, and everything that was due meanwhile happened in order.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    pub fn run_until(&mut self, end: Duration) {
        let end = end.max(self.now);
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 200_000, "spins at {:?}: {:#?}", self.now, &self.log[self.log.len() - 20..]);
            let next = self.next();
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if self.resolve_at <= next {
                self.resolve_by_pace();
            } else if self.schedule.first_key_value().is_some_and(|(key, _)| key.0 <= next) {
                let (_, happening) = self.schedule.pop_first().expect("it was there");
                self.happen(happening);
            } else {
                self.tell(Event::Tick);
            }
        }
    }

    /// When something happens next.
    fn next(&self) -> Duration {
        let tick = self.machine.next_due().map(|due| due.max(self.now) + self.tick_late);
        let happening = self.schedule.keys().next().map(|key| key.0);
        let next = [happening, tick, Some(self.resolve_at)].into_iter().flatten().min().unwrap_or(Duration::MAX);
        // After a stall what should have happened in it happens at once.
        next.max(self.now)
    }

    /// Whatever happens next, and all that happens at the same moment.
    pub fn run_next(&mut self) {
        let next = self.next();
        self.run_until(next);
    }

    /// Runs until the phase is reached, and says how long that took.
    pub fn run_to(&mut self, phase: Phase, limit: Duration) -> Duration {
        let (start, end) = (self.now, self.now + limit);
        while self.phase() != phase {
            let next = self.next();
            assert!(
                next <= end,
                "not {phase:?} within {limit:?} but {:?}, at {:?}: {:#?}\n{:#?}",
                self.phase(),
                self.now,
                self.machine,
                &self.log[self.log.len().saturating_sub(30)..]
            );
            self.run_until(next);
        }
        self.now - start
    }

    fn resolve_by_pace(&mut self) {
        let pause = match self.resolve_pace {
            ResolvePace::Settled => ms(2_000),
            ResolvePace::Urgent if self.now < self.urgent_since + ms(5_000) => ms(50),
            ResolvePace::Urgent => ms(1_000),
        };
        self.resolve_at = self.now + pause;
        self.tell(Event::Resolved { addresses: self.answer.clone() });
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::DialDone { epoch, outcome } => match outcome {
                _ if !self.attempts.contains_key(&epoch) => {} // Cancelled.
                Ok(()) => {
                    self.attempts.entry(epoch).and_modify(|attempt| attempt.1 = AttemptState::Ready);
                    self.tell(Event::AttemptReady { epoch, met: self.met });
                }
                Err(kind) => {
                    self.attempts.remove(&epoch);
                    self.tell(Event::AttemptFailed { epoch, kind });
                }
            },
            Happening::Probed { epoch } => {
                let Some(live) = self.machine.live().filter(|live| live.epoch == epoch) else { return };
                if self.mute == Some(epoch) || self.met == Met::Unasked {
                    return;
                }
                if let Some(sight) = self.server(&live.address).sight() {
                    self.tell(Event::Probed { epoch, sight });
                }
            }
            Happening::Heard { epoch } => self.tell(Event::LinkHeard { epoch }),
            Happening::Resolve => self.tell(Event::Resolved { addresses: self.answer.clone() }),
        }
    }

    /// The machine is told, and what it wants is done.
    pub fn tell(&mut self, event: Event) {
        self.judge.before(self.now, &self.machine, &event);
        let effects = self.machine.handle(self.now, event.clone());
        self.log.extend(effects.iter().map(|effect| (self.now, effect.clone())));
        for effect in &effects {
            self.carry_out(effect);
        }
        let waiting: Vec<_> = self.attempts.iter().map(|(epoch, (_, state))| (*epoch, *state)).collect();
        let under_way = waiting.iter().filter(|(_, state)| *state == AttemptState::UnderWay).count();
        let ready = waiting.len() - under_way;
        self.judge.after(self.now, &self.machine, &event, &effects, under_way, ready);
        if effects.contains(&Effect::Restart) {
            let live = self.machine.live().cloned();
            self.incarnate(live);
        }
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Dial { epoch, address } => {
                assert!(self.attempts.insert(*epoch, (address.clone(), AttemptState::UnderWay)).is_none());
                let (wait, outcome) = self.server(address).outcome(self.met);
                self.later(wait, Happening::DialDone { epoch: *epoch, outcome });
            }
            Effect::Cancel { epoch } => {
                self.attempts.remove(epoch);
            }
            Effect::Publish { epoch } => {
                let attempt = self.attempts.remove(epoch);
                assert!(
                    matches!(attempt, Some((_, AttemptState::Ready))),
                    "published {epoch}, which is no verified link: {attempt:?}"
                );
            }
            Effect::Listen { epoch } => {
                let spoke = self.unheard.take().filter(|spoke| spoke == epoch);
                spoke.into_iter().for_each(|epoch| self.later(Duration::ZERO, Happening::Heard { epoch }));
            }
            Effect::Probe { epoch } => self.later(World::TRIP, Happening::Probed { epoch: *epoch }),
            Effect::ResolveAt(pace) => {
                if *pace == ResolvePace::Settled {
                    self.resolve_at = self.now + ms(2_000);
                } else if self.resolve_pace != *pace || self.resolve_at == Duration::MAX {
                    self.resolve_at = self.now;
                    self.urgent_since = self.now;
                }
                self.resolve_pace = *pace;
            }
            Effect::ResolveAfter(wait) => self.later(*wait, Happening::Resolve),
            _ => {}
        }
    }

    fn later(&mut self, wait: Duration, happening: Happening) {
        self.order += 1;
        self.schedule.insert((self.now + wait, self.order), happening);
    }

    /// The incarnation is replaced; what it had begun ends with it.
    pub fn incarnate(&mut self, live: Option<Live>) {
        let lost = self.machine.live().filter(|_| live.is_none());
        self.judge.replaced(self.now, lost);
        self.attempts.clear();
        self.seed = self.seed.wrapping_add(1);
        let rng = fastrand::Rng::with_seed(self.seed);
        self.machine = Machine::new(self.settings.clone(), self.machine.memory().clone(), live, rng);
        self.tell(Event::Started);
    }

    // What tests do to the live link.

    /// Its transport ends.
    pub fn end_link(&mut self) {
        let epoch = self.live().epoch;
        self.tell(Event::LinkEnded { epoch });
    }

    /// It is noticed to have been mute for `suspect_after`, and stays so.
    pub fn silence(&mut self) {
        self.mute = Some(self.live().epoch);
        self.doubt();
    }

    /// It is noticed to have been mute for `suspect_after`, and would answer if it were asked.
    pub fn doubt(&mut self) {
        let (epoch, since) = (self.live().epoch, self.now.saturating_sub(self.settings.suspect_after));
        self.tell(Event::LinkSilent { epoch, since });
    }

    /// It speaks.
    pub fn hear(&mut self) {
        let epoch = self.live().epoch;
        self.mute = None;
        self.tell(Event::LinkHeard { epoch });
    }

    /// It speaks while nobody is there to hear it.
    pub fn speak_unheard(&mut self) {
        self.mute = None;
        self.unheard = Some(self.live().epoch);
    }

    /// It answers READONLY.
    pub fn refuse(&mut self) {
        let epoch = self.live().epoch;
        self.tell(Event::LinkRefused { epoch });
    }

    /// Whether a report about this link means something now.
    pub fn is_in_play(&self, epoch: Epoch) -> bool {
        self.attempts.contains_key(&epoch) || self.machine.live().is_some_and(|live| live.epoch == epoch)
    }

    // What tests count.

    /// The newest epoch that was given away.
    pub fn dials_begun(&self) -> u64 {
        let epoch = |(_, effect): &(Duration, Effect)| match effect {
            Effect::Dial { epoch, .. } => Some(epoch.get()),
            _ => None,
        };
        self.log.iter().rev().find_map(epoch).unwrap_or(0)
    }

    pub fn dials(&self) -> Vec<(Duration, Address)> {
        let dial = |(at, effect): &(Duration, Effect)| match effect {
            Effect::Dial { address, .. } => Some((*at, address.clone())),
            _ => None,
        };
        self.log.iter().filter_map(dial).collect()
    }

    pub fn count(&self, wanted: impl Fn(&Effect) -> bool) -> usize {
        self.log.iter().filter(|(_, effect)| wanted(effect)).count()
    }

    pub fn teardowns(&self) -> Vec<Teardown> {
        let teardown = |(_, effect): &(Duration, Effect)| match effect {
            Effect::Retire { teardown, .. } => Some(*teardown),
            _ => None,
        };
        self.log.iter().filter_map(teardown).collect()
    }

    pub fn retired(&self) -> usize {
        self.count(|effect| matches!(effect, Effect::Retire { .. }))
    }

    pub fn published(&self) -> usize {
        self.count(|effect| matches!(effect, Effect::Publish { .. }))
    }

    pub fn restarts(&self) -> usize {
        self.count(|effect| *effect == Effect::Restart)
    }
}
