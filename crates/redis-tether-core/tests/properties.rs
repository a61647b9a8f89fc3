//! Random worlds: long sequences of faults, stalls, DNS answers, panics and void reports. The judge in `world` holds every
//! single step to the invariants; what is added here is where such a story must end, and how often things may happen.

mod world;

use std::time::Duration;

use proptest::prelude::*;
use redis_tether_core::recovery::{Effect, Event, Met, Phase, Settings, Sight};
use redis_tether_core::{Address, Epoch, FailureKind};
use world::{Server, World, at, ms};

const ADDRESSES: u8 = 6;

#[derive(Clone, Debug)]
enum Action {
    Wait(u64),
    Set(u8, Server),
    Answer(Vec<u8>),
    Announce(Vec<u8>),
    End,
    Silence,
    /// Suspected, and would answer if it were asked.
    Doubt,
    Hear,
    SpeakUnheard,
    Refuse,
    Probe(Sight),
    /// Ticks come this much late from now on.
    Lag(u64),
    /// Nothing runs at all for a while, and then everything at once.
    Stall(u64),
    Void(VoidReport, u64),
    Reconnect,
    Pin,
    Unpin,
    Panic,
    /// A panic, and the link is gone as well.
    PanicAndLoss,
}

#[derive(Clone, Copy, Debug)]
enum VoidReport {
    Ready,
    Failed,
    Ended,
    Heard,
    Silent,
    Refused,
    ProbedPrimary,
    ProbedUnfit,
}

impl VoidReport {
    fn of(self, epoch: Epoch) -> Event {
        match self {
            VoidReport::Ready => Event::AttemptReady { epoch, met: Met::Answered },
            VoidReport::Failed => Event::AttemptFailed { epoch, kind: FailureKind::Refused },
            VoidReport::Ended => Event::LinkEnded { epoch },
            VoidReport::Heard => Event::LinkHeard { epoch },
            VoidReport::Silent => Event::LinkSilent { epoch, since: Duration::ZERO },
            VoidReport::Refused => Event::LinkRefused { epoch },
            VoidReport::ProbedPrimary => Event::Probed { epoch, sight: Sight::Primary },
            VoidReport::ProbedUnfit => Event::Probed { epoch, sight: Sight::Unfit },
        }
    }
}

fn server() -> impl Strategy<Value = Server> {
    prop_oneof![
        3 => Just(Server::Primary),
        2 => Just(Server::Replica),
        1 => Just(Server::Loading),
        1 => Just(Server::WrongPassword),
        3 => Just(Server::Refusing),
        1 => Just(Server::BlackHoled),
        1 => Just(Server::Mute),
        1 => (2u64..2_500).prop_map(|wait| Server::Slow(ms(wait))),
    ]
}

fn void_report() -> impl Strategy<Value = VoidReport> {
    prop_oneof![
        Just(VoidReport::Ready),
        Just(VoidReport::Failed),
        Just(VoidReport::Ended),
        Just(VoidReport::Heard),
        Just(VoidReport::Silent),
        Just(VoidReport::Refused),
        Just(VoidReport::ProbedPrimary),
        Just(VoidReport::ProbedUnfit),
    ]
}

fn sight() -> impl Strategy<Value = Sight> {
    prop_oneof![Just(Sight::Primary), Just(Sight::Unfit), Just(Sight::Unclear)]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0u64..300).prop_map(Action::Wait),
        3 => (300u64..15_000).prop_map(Action::Wait),
        5 => (1..=ADDRESSES, server()).prop_map(|(n, server)| Action::Set(n, server)),
        3 => prop::collection::vec(1..=ADDRESSES, 0..6).prop_map(Action::Answer),
        2 => prop::collection::vec(1..=ADDRESSES, 0..3).prop_map(Action::Announce),
        3 => Just(Action::End),
        4 => Just(Action::Silence),
        1 => Just(Action::Doubt),
        2 => Just(Action::Hear),
        1 => Just(Action::SpeakUnheard),
        3 => Just(Action::Refuse),
        2 => sight().prop_map(Action::Probe),
        1 => (0u64..400).prop_map(Action::Lag),
        1 => (0u64..8_000).prop_map(Action::Stall),
        5 => (void_report(), 0u64..40).prop_map(|(report, back)| Action::Void(report, back)),
        1 => Just(Action::Reconnect),
        1 => Just(Action::Pin),
        2 => Just(Action::Unpin),
        2 => Just(Action::Panic),
        1 => Just(Action::PanicAndLoss),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (1u32..5, prop::option::of(2_000u64..60_000)).prop_map(|(failures, max_age)| Settings {
        failures_before_resolve: failures.try_into().expect("not zero"),
        max_age: max_age.map(ms),
        ..Settings::default()
    })
}

fn play(world: &mut World, action: &Action) {
    match action {
        Action::Wait(time) => world.run_for(ms(*time)),
        Action::Set(n, server) => world.set(*n, *server),
        Action::Answer(numbers) => {
            world.answer = numbers.iter().map(|n| at(*n)).collect();
            world.tell(Event::Resolved { addresses: world.answer.clone() });
        }
        Action::Announce(numbers) => {
            world.answer = numbers.iter().map(|n| at(*n)).collect();
            world.tell(Event::Moved { addresses: world.answer.clone() });
        }
        Action::Lag(lag) => world.tick_late = ms(*lag),
        Action::Stall(time) => {
            world.now += ms(*time);
            world.tell(Event::Tick);
        }
        Action::Void(report, back) => void(world, *report, *back),
        Action::Reconnect => world.tell(Event::Reconnect),
        Action::Pin => world.tell(Event::Pin),
        Action::Unpin => world.tell(Event::Unpin),
        Action::Panic => world.incarnate(world.machine.live().cloned()),
        Action::PanicAndLoss => world.incarnate(None),
        Action::End
        | Action::Silence
        | Action::Doubt
        | Action::Hear
        | Action::SpeakUnheard
        | Action::Refuse
        | Action::Probe(_) => of_the_link(world, action),
    }
}

fn of_the_link(world: &mut World, action: &Action) {
    let Some(live) = world.machine.live().cloned() else { return };
    match action {
        Action::End => world.end_link(),
        // The watch over silence cannot speak before that much of it has passed.
        Action::Silence if world.now >= live.since + world.settings.suspect_after => world.silence(),
        Action::Doubt if world.now >= live.since + world.settings.suspect_after => world.doubt(),
        Action::Hear => world.hear(),
        Action::SpeakUnheard => world.speak_unheard(),
        Action::Refuse => world.refuse(),
        Action::Probe(sight) => world.tell(Event::Probed { epoch: live.epoch, sight: *sight }),
        _ => {}
    }
}

/// A report about a link that is no longer, or not yet, in play: nothing whatever may change.
fn void(world: &mut World, report: VoidReport, back: u64) {
    let newest = world.dials_begun();
    let epoch = newest.saturating_sub(back).max(1) + if back == 0 { 1_000 } else { 0 };
    let epoch = Epoch::new(epoch).expect("not zero");
    if world.is_in_play(epoch) {
        return;
    }
    let memory = world.machine.memory().clone();
    let (phase, due) = (world.phase(), world.machine.next_due());
    let logged = world.log.len();
    world.tell(report.of(epoch));
    assert_eq!((world.phase(), world.machine.next_due()), (phase, due), "{report:?}");
    assert_eq!(*world.machine.memory(), memory, "{report:?}");
    let allowed = |(_, effect): &(Duration, Effect)| *effect == Effect::Cancel { epoch };
    assert!(world.log[logged..].iter().all(allowed), "{report:?}: {:?}", &world.log[logged..]);
    // A verified link that nobody waits for must not be left standing.
    assert_eq!(world.log.len() - logged, usize::from(matches!(report, VoidReport::Ready)), "{report:?}");
}

/// A few seconds' worth by default; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

/// From here on all is well: one primary, and the name means it.
fn make_well(world: &mut World, n: u8) {
    world.tick_late = Duration::ZERO;
    for other in 1..=ADDRESSES {
        world.set(other, Server::Refusing);
    }
    world.set(n, Server::Primary);
    world.answer = vec![at(n)];
    world.tell(Event::Unpin);
    // A link to anywhere else ends, one way or the other.
    if world.machine.live().is_some_and(|live| live.address != at(n)) {
        world.end_link();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happened, every step kept to the invariants, and once a primary is there it is found and kept.
    #[test]
    fn every_story_ends_well(
        settings in settings(),
        met in prop_oneof![3 => Just(Met::Answered), 1 => Just(Met::Unasked)],
        seed: u64,
        first in prop::collection::vec(1..=ADDRESSES, 0..4),
        servers in prop::collection::vec(server(), ADDRESSES as usize),
        actions in prop::collection::vec(action(), 1..120),
        last in 1..=ADDRESSES,
    ) {
        let first: Vec<Address> = first.into_iter().map(at).collect();
        let mut world = World::new(settings, seed, &first);
        world.met = met;
        for (n, server) in (1..).zip(servers) {
            world.set(n, server);
        }
        for action in &actions {
            play(&mut world, action);
        }
        make_well(&mut world, last);
        // The longest of: an attempt that hangs (3 s) and then the late pace of those who reject (5 s); a link that is
        // mute (5 s) and then the same; the next answer (2 s).
        let limit = ms(5_000 + 3_000 + 5_000 + 2_000) + World::TRIP * 2;
        world.run_to(Phase::Up, limit);
        // It may be one from before that has still to end, or to be judged.
        world.run_for(limit);
        prop_assert_eq!(world.phase(), Phase::Up);
        let live = world.live();
        prop_assert_eq!(&live.address, &at(last));
        if world.settings.max_age.is_none() {
            world.run_for(ms(60_000));
            prop_assert_eq!(world.live(), live, "a link in order was left");
        }
    }

    /// With nobody to be found: no give-up before each address has had its attempts, none too late, and the pace kept.
    #[test]
    fn so_many_failed_rounds_and_a_fresh_incarnation(
        failures in 1u32..6,
        seed: u64,
        servers in prop::collection::vec(prop_oneof![
            Just(Server::Refusing), Just(Server::Replica), Just(Server::BlackHoled), Just(Server::Mute), Just(Server::Loading)
        ], 1..6),
    ) {
        let settings = Settings {
            failures_before_resolve: failures.try_into().expect("not zero"),
            ..Settings::default()
        };
        let addresses: Vec<Address> = (1..).take(servers.len()).map(at).collect();
        let all_quick = servers.iter().all(|server| !matches!(server, Server::BlackHoled | Server::Mute));
        let mut world = World::new(settings, seed, &[]);
        for (address, server) in addresses.iter().zip(&servers) {
            world.servers.insert(address.clone(), *server);
        }
        world.answer.clone_from(&addresses);
        let mut begun = world.now;
        for _ in 0..100 {
            let (restarts, failures_before) = (world.restarts(), world.judge.failures.clone());
            world.run_next();
            let least = |failures: &std::collections::BTreeMap<Address, u32>| {
                addresses.iter().map(|address| failures.get(address).copied().unwrap_or(0)).min().unwrap_or(0)
            };
            if world.restarts() > restarts {
                // The last failure of the incarnation is the one that ended it.
                let before = least(&failures_before);
                prop_assert!(before + 1 >= failures, "gave up after {failures_before:?}");
                begun = world.now;
            } else if all_quick {
                prop_assert!(least(&world.judge.failures) < failures, "went on after {:?}", world.judge.failures);
            }
            // A round takes at most: the slowest attempt, in two waves where there are more than may be under way, the
            // stagger of each, and the pace.
            let round = ms(3_000) * 2 + ms(250) * 5 + ms(5_000);
            prop_assert!(world.now <= begun + round * failures, "no fresh incarnation since {begun:?}");
        }
    }

    /// Answers that change all the time and lead to nobody: the link stays, and the judge holds each attempt to the pace of
    /// relocations.
    #[test]
    fn a_name_that_rotates_moves_nobody(
        seed: u64,
        servers in prop::collection::vec(prop_oneof![
            Just(Server::Refusing), Just(Server::Replica), Just(Server::BlackHoled), Just(Server::Mute)
        ], ADDRESSES as usize - 1),
        answers in prop::collection::vec((prop::collection::vec(1..=ADDRESSES, 1..3), 1u64..4_000, any::<bool>()), 1..60),
    ) {
        let mut world = World::serving(seed, ms(10_000));
        let epoch = world.live().epoch;
        for (n, server) in (2..).zip(servers) {
            world.set(n, server);
        }
        for (numbers, wait, announced) in answers {
            world.answer = numbers.into_iter().map(at).collect();
            let addresses = world.answer.clone();
            world.tell(if announced { Event::Moved { addresses } } else { Event::Resolved { addresses } });
            world.run_for(ms(wait));
            // The link itself is another matter: an attempt at its own address would meet a primary.
            prop_assert!(world.phase() == Phase::Up && (world.live().epoch == epoch || world.live().address == at(1)));
        }
    }

    /// A runtime that is late gives no verdict on anybody, not even with a verified link at hand.
    #[test]
    fn late_ticks_retire_nobody(seed: u64, late in 100u64..2_000, time in 1u64..2_000) {
        let mut world = World::serving(seed, ms(10_000));
        let epoch = world.live().epoch;
        world.silence();
        world.run_for(World::TRIP);
        world.tick_late = ms(late);
        world.run_for(ms(time));
        prop_assert_eq!((world.phase(), world.live().epoch, world.retired()), (Phase::Suspect, epoch, 0));
        world.tick_late = Duration::ZERO;
        let took = world.run_to(Phase::Up, ms(6_000));
        prop_assert!(took <= world.settings.replace_after.max(world.settings.suspect_after));
    }

    /// The sum over a long outage, in numbers that an operator can check.
    #[test]
    fn dials_in_an_outage_are_few(seed: u64, rejected: bool) {
        let mut world = World::serving(seed, ms(60_000));
        world.set(1, if rejected { Server::WrongPassword } else { Server::Refusing });
        world.end_link();
        world.run_for(ms(60_000));
        // At the floors: unreachable 10 ms for 5 s, then 20 ms; rejected 25 ms for 10 s, then 500 ms.
        let most = if rejected { 10_000 / 25 + 50_000 / 500 } else { 5_000 / 10 + 55_000 / 20 } + 5;
        prop_assert!(world.dials().len() <= most, "{}", world.dials().len());
    }
}
