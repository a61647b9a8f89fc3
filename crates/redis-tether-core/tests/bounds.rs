//! The machine, held to the bounds that are computed from its settings: whatever the moment and whatever the jitter, none
//! is ever exceeded. The world adds the round trip of a set-up, and nothing else.

mod world;

use std::time::Duration;

use proptest::prelude::*;
use redis_tether_core::recovery::{Met, Phase, Settings};
use redis_tether_core::{DialFigures, ProbeFigures, RecoveryBounds, ResolveFigures, recovery_bounds};
use world::{Server, World, at, ms};

const AGE: Duration = Duration::from_secs(60);

/// As [`World`] resolves and dials.
fn bounds() -> RecoveryBounds {
    bounds_where(Met::Answered)
}

fn bounds_where(met: Met) -> RecoveryBounds {
    let resolve = ResolveFigures {
        interval: ms(2_000),
        jitter: 0.0,
        settled_answer_age: Duration::ZERO,
        urgent_answer_age: Duration::ZERO,
        outage_answer_age: Duration::ZERO,
        urgent_interval: ms(50),
        urgent_for: ms(5_000),
        outage_interval: ms(1_000),
    };
    let dial = DialFigures { connect: ms(1_000), total: ms(3_000), met };
    recovery_bounds(&Settings::default(), &resolve, &dial, &ProbeFigures { interval: ms(3_000) })
}

/// How long a settled link's end, an outage of this kind and length, and the way back took.
fn outage(seed: u64, server: Server, lasts: Duration) -> Duration {
    let mut world = World::serving(seed, AGE);
    world.set(1, server);
    world.end_link();
    world.run_for(lasts);
    world.set(1, Server::Primary);
    world.run_to(Phase::Up, ms(60_000))
}

/// The same where the name has moved when it is over.
fn move_after(seed: u64, server: Server, lasts: Duration) -> Duration {
    let mut world = World::serving(seed, AGE);
    world.set(1, server);
    world.end_link();
    world.run_for(lasts);
    world.set(2, Server::Primary);
    world.answer = vec![at(2)];
    let took = world.run_to(Phase::Up, ms(60_000));
    assert_eq!(world.live().address, at(2));
    took
}

fn failing() -> impl Strategy<Value = Server> {
    prop_oneof![
        Just(Server::Refusing),
        Just(Server::Replica),
        Just(Server::WrongPassword),
        Just(Server::BlackHoled),
        Just(Server::Mute)
    ]
}

fn any_met() -> impl Strategy<Value = Met> {
    prop_oneof![Just(Met::Answered), Just(Met::Unasked)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn same_address(seed: u64, young in 0u64..5_000_000, old in 5_000_000u64..60_000_000) {
        let (young, old) = (Duration::from_micros(young), Duration::from_micros(old));
        prop_assert!(outage(seed, Server::Refusing, young) <= bounds().same_address_young + World::TRIP * 2);
        prop_assert!(outage(seed, Server::Refusing, old) <= bounds().same_address_old + World::TRIP * 2);
    }

    #[test]
    fn rejected(seed: u64, young in 0u64..10_000_000, old in 10_000_000u64..60_000_000) {
        let (young, old) = (Duration::from_micros(young), Duration::from_micros(old));
        prop_assert!(outage(seed, Server::WrongPassword, young) <= bounds().rejected_young + World::TRIP * 2);
        prop_assert!(outage(seed, Server::WrongPassword, old) <= bounds().rejected_old + World::TRIP * 2);
    }

    #[test]
    fn hanging(seed: u64, young in 0u64..4_000_000, old in 5_000_000u64..30_000_000) {
        let (young, old) = (Duration::from_micros(young), Duration::from_micros(old));
        prop_assert!(outage(seed, Server::BlackHoled, young) <= bounds().black_holed_young + World::TRIP * 2);
        prop_assert!(outage(seed, Server::BlackHoled, old) <= bounds().black_holed_old + World::TRIP * 2);
        prop_assert!(outage(seed, Server::Mute, young) <= bounds().mute_server_young + World::TRIP * 2);
        prop_assert!(outage(seed, Server::Mute, old) <= bounds().mute_server_old + World::TRIP * 2);
    }

    #[test]
    fn moved(seed: u64, server in failing(), young in 0u64..4_950_000, old in 5_000_000u64..60_000_000) {
        let (young, old) = (Duration::from_micros(young), Duration::from_micros(old));
        prop_assert!(move_after(seed, server, young) <= bounds().moved_young + World::TRIP);
        prop_assert!(move_after(seed, server, old) <= bounds().moved_old + World::TRIP);
    }

    #[test]
    fn hung_and_moved(seed: u64, moves in 0u64..5_000) {
        let mut world = World::serving(seed, AGE);
        world.set(1, Server::Mute);
        let start = world.now;
        let reachable = start + ms(moves);
        if moves < 250 {
            world.run_until(reachable);
            world.set(2, Server::Primary);
            world.answer = vec![at(2)];
        }
        world.run_until(start + bounds().suspected_under_load);
        world.silence();
        world.run_until(reachable);
        world.set(2, Server::Primary);
        world.answer = vec![at(2)];
        world.run_to(Phase::Up, ms(60_000));
        prop_assert_eq!(world.live().address, at(2));
        prop_assert!(world.now <= reachable + bounds().hung_under_load + World::TRIP, "{:?}", world.now - reachable);
    }

    #[test]
    fn demoted_and_moved(seed: u64, moves in 0u64..4_950) {
        let mut world = World::serving(seed, AGE);
        world.set(1, Server::Replica);
        world.refuse();
        world.run_for(ms(moves));
        world.set(2, Server::Primary);
        world.answer = vec![at(2)];
        prop_assert!(world.run_to(Phase::Up, ms(60_000)) <= bounds().demoted_writing + World::TRIP);
        prop_assert_eq!(world.live().address, at(2));
    }

    #[test]
    fn demoted_and_another_that_was_named_all_along_is_promoted(seed: u64, promoted in 0u64..9_900) {
        let mut world = World::new(Settings::default(), seed, &[at(1), at(2)]);
        world.set(1, Server::Primary);
        world.set(2, Server::Replica);
        world.run_for(AGE);
        world.set(1, Server::Replica);
        world.refuse();
        world.run_for(ms(promoted));
        world.set(2, Server::Primary);
        prop_assert!(world.run_to(Phase::Up, ms(60_000)) <= bounds().rejected_young + World::TRIP * 4);
        prop_assert_eq!(world.live().address, at(2));
    }

    #[test]
    fn half_open(seed: u64, met in any_met(), cleared_before in prop::option::of(0u64..2_000)) {
        let mut world = World::serving(seed, AGE);
        world.met = met;
        if let Some(before) = cleared_before {
            world.silence();
            world.hear();
            world.run_for(ms(before));
        }
        let start = world.now;
        world.run_until(start + bounds().suspected_under_load);
        world.silence();
        world.run_to(Phase::Up, ms(60_000));
        prop_assert!(world.now <= start + bounds_where(met).half_open_under_load + World::TRIP, "{:?}", world.now - start);
    }

    #[test]
    fn moved_on_dns_evidence(seed: u64, at_time in 0u64..4_000) {
        let mut world = World::serving(seed, AGE + ms(at_time));
        world.set(2, Server::Primary);
        world.answer = vec![at(2)];
        world.run_for(bounds().moved_on_dns_evidence + World::TRIP);
        prop_assert_eq!(world.live().address, at(2));
        world.answer = vec![at(1)];
        world.run_for(bounds().moved_again_on_dns_evidence + World::TRIP);
        prop_assert_eq!(world.live().address, at(1));
    }

    #[test]
    fn one_that_hangs_beside_it(seed: u64, lasts in 0u64..4_900) {
        let mut world = World::new(Settings::default(), seed, &[at(1), at(2)]);
        world.set(1, Server::BlackHoled);
        world.set(2, Server::Primary);
        world.run_for(AGE);
        world.set(2, Server::Refusing);
        world.end_link();
        world.run_for(ms(lasts));
        world.set(2, Server::Primary);
        let bound = bounds().same_address_young + bounds().each_hanging_address + World::TRIP * 2;
        prop_assert!(world.run_to(Phase::Up, ms(60_000)) <= bound);
    }
}
