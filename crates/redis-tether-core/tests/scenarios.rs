//! What happens when, exact in virtual time: one test for each story that the design tells. A link is set up in
//! `World::TRIP`, 1 ms; everything else is the machine's own waiting.

mod world;

use std::time::Duration;

use redis_tether_core::Address;
use redis_tether_core::recovery::{Effect, Event, HoldReason, Met, Phase, Settings, Teardown};
use world::{Server, World, at, ms};

const TRIP: Duration = World::TRIP;
const AGE: Duration = Duration::from_secs(60);

#[test]
fn starts_by_the_first_answer_and_retries_at_the_pace() {
    let mut world = World::new(Settings::default(), 1, &[at(1)]);
    world.run_for(ms(100));
    assert!(world.dials().len() >= 3, "one refusal must not cost a second: {:?}", world.dials());
    world.set(1, Server::Primary);
    assert!(world.run_to(Phase::Up, ms(101)) <= ms(101));
}

#[test]
fn the_first_answer_is_dialled_staggered() {
    let mut world = World::new(Settings::default(), 1, &[at(1), at(2), at(3), at(4), at(5), at(6)]);
    for n in 1..=6 {
        world.set(n, Server::BlackHoled);
    }
    world.set(3, Server::Primary);
    world.run_for(ms(600));
    assert_eq!(world.dials(), [(ms(0), at(1)), (ms(250), at(2)), (ms(500), at(3))]);
    assert_eq!(world.live().address, at(3));
}

#[test]
fn an_address_named_twice_is_dialled_once() {
    let mut world = World::new(Settings::default(), 1, &[at(1), at(1)]);
    world.set(1, Server::BlackHoled);
    world.run_for(ms(900));
    assert_eq!(world.dials(), [(ms(0), at(1))]);
}

#[test]
fn crash_and_dns_move() {
    for seed in 0..50 {
        let mut world = World::serving(seed, AGE);
        world.set(1, Server::Refusing);
        world.end_link();
        assert_eq!(world.dials().len(), 1, "a settled link's loss is followed by a dial at once");
        world.run_for(ms(1_000));
        world.set(2, Server::Primary);
        world.answer = vec![at(2)];
        let took = world.run_to(Phase::Up, ms(51));
        assert!(took <= ms(50) + TRIP, "{took:?}");
        assert_eq!(world.live().address, at(2));
        assert_eq!(world.retired(), 0);
    }
}

#[test]
fn restart_at_the_same_address() {
    for seed in 0..50 {
        let mut world = World::serving(seed, AGE);
        world.set(1, Server::Refusing);
        world.end_link();
        world.run_for(ms(2_000));
        world.set(1, Server::Primary);
        assert!(world.run_to(Phase::Up, ms(200)) <= ms(100) + TRIP);
        assert!(world.dials().len() < 80, "{}", world.dials().len());
    }
}

#[test]
fn a_long_outage_is_waited_for_at_the_late_pace() {
    for seed in 0..20 {
        let mut world = World::serving(seed, AGE);
        world.set(1, Server::Refusing);
        world.end_link();
        world.run_for(ms(30_000));
        let late = world.dials().iter().filter(|(at, _)| *at > AGE + ms(6_000)).count();
        assert!(late <= 24_000 / 50, "{late}");
        world.set(1, Server::Primary);
        assert!(world.run_to(Phase::Up, ms(600)) <= ms(500) + TRIP);
    }
}

#[test]
fn an_address_that_rejects_for_long_is_tried_at_the_late_pace_though_the_resolver_goes_on_naming_it() {
    let mut world = World::serving(7, AGE);
    world.set(1, Server::WrongPassword);
    world.end_link();
    world.run_for(ms(15_000));
    let before = world.dials().len();
    world.run_for(ms(60_000));
    let late = world.dials().len() - before;
    // Half a second is the floor of the five.
    assert!((12..=60).contains(&late), "{late} attempts in a minute");
    world.set(1, Server::Primary);
    assert!(world.run_to(Phase::Up, ms(5_100)) <= ms(5_000) + TRIP);
}

#[test]
fn demoted_and_moved() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Replica);
    world.set(2, Server::Primary);
    world.answer = vec![at(2)];
    let old = world.live().epoch;
    world.refuse();
    assert_eq!(world.phase(), Phase::Demoted);
    assert!(world.count(|effect| *effect == Effect::Hold { epoch: old, reason: HoldReason::Demoted }) == 1);
    assert!(world.run_to(Phase::Up, ms(50)) <= TRIP, "the first lookup is at once, and names a fresh address");
    assert_eq!(world.live().address, at(2));
    assert_eq!(world.teardowns(), [Teardown::Drain]);
}

#[test]
fn demoted_and_promoted_again_in_place() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Replica);
    world.refuse();
    world.run_for(ms(2_000));
    assert_eq!(world.phase(), Phase::Demoted);
    world.set(1, Server::Primary);
    assert!(world.run_to(Phase::Up, ms(600)) <= ms(500) + TRIP);
}

#[test]
fn a_demoted_link_that_ends_does_not_begin_the_round_anew() {
    let mut world = World::serving(1, AGE);
    (1..=3).for_each(|n| world.set(n, Server::Replica));
    world.answer = vec![at(1), at(2), at(3)];
    world.tell(Event::Resolved { addresses: world.answer.clone() });
    world.refuse();
    world.run_for(TRIP);
    world.end_link();
    world.run_for(TRIP * 2);
    let dialled: Vec<_> = world.dials().into_iter().map(|(_, address)| address).collect();
    assert_eq!(dialled, [at(1), at(2), at(3)], "each once, and none of them again before the pace allows it");
}

#[test]
fn an_old_episode_does_not_slow_the_next() {
    for seed in 0..20 {
        let mut world = World::serving(seed, AGE);
        world.set(1, Server::WrongPassword);
        world.end_link();
        world.run_for(ms(40_000));
        world.set(1, Server::Primary);
        world.run_to(Phase::Up, ms(6_000));
        world.run_for(AGE);
        // Both names are known, the primary freezes, and the other is promoted a second later.
        world.answer = vec![at(1), at(2)];
        world.set(2, Server::Replica);
        world.run_for(ms(5_000));
        world.set(1, Server::Mute);
        world.silence();
        world.run_for(ms(1_000));
        world.set(2, Server::Primary);
        assert!(world.run_to(Phase::Up, ms(600)) <= ms(500) + TRIP);
        assert_eq!(world.live().address, at(2));
    }
}

#[test]
fn a_server_that_accepts_and_keeps_nobody_is_met_at_the_pace() {
    let mut world = World::serving(3, AGE);
    let start = world.now;
    while world.now < start + ms(60_000) {
        if world.phase() == Phase::Up {
            world.end_link();
        }
        world.run_for(ms(1));
    }
    let late = world.dials().iter().filter(|(at, _)| *at > start + ms(12_000)).count();
    assert!(late <= 48_000 / 500 + 1, "{late}");
    assert!((20..200).contains(&world.dials().len()), "{}", world.dials().len());
}

#[test]
fn refused_again_and_again_while_probes_say_primary() {
    let mut world = World::serving(3, AGE);
    let start = world.now;
    while world.now < start + ms(60_000) {
        if world.phase() == Phase::Up {
            world.refuse();
        }
        world.run_for(ms(1));
    }
    let rounds = world.count(|effect| matches!(effect, Effect::Publish { .. } | Effect::Resume { .. }));
    assert!((20..200).contains(&rounds), "{rounds}");
    let late = world.log.iter().filter(|(at, effect)| {
        *at > start + ms(12_000) && matches!(effect, Effect::Publish { .. } | Effect::Resume { .. })
    });
    assert!(late.count() <= 48_000 / 500 + 1);
}

#[test]
fn two_records_and_one_is_black_holed() {
    for seed in 0..20 {
        let mut world = World::new(Settings::default(), seed, &[at(1), at(2)]);
        world.set(1, Server::BlackHoled);
        world.set(2, Server::Primary);
        world.run_for(AGE);
        assert_eq!(world.live().address, at(2));
        world.log.clear();
        // The one that answers restarts: the other must not hold it up.
        world.set(2, Server::Refusing);
        world.end_link();
        world.run_for(ms(1_500 + 37 * seed));
        world.set(2, Server::Primary);
        let took = world.run_to(Phase::Up, ms(200));
        assert!(took <= ms(100) + TRIP, "{took:?}");
        assert_eq!(world.live().address, at(2));
    }
}

#[test]
fn a_slow_primary_is_waited_for_beside_one_that_refuses() {
    let failures_before_resolve = 1.try_into().expect("1 is not zero");
    let settings = Settings { failures_before_resolve, ..Settings::default() };
    for n in [1, 2] {
        let mut world = World::new(settings.clone(), 5, &[at(1), at(2)]);
        world.set(n, Server::Slow(ms(900)));
        world.run_to(Phase::Up, ms(2_500));
        assert_eq!(world.live().address, at(n));
        assert_eq!(world.restarts(), 0);
    }
}

#[test]
fn an_attempt_that_a_fresh_incarnation_cuts_short_does_not_put_its_address_last() {
    for seed in 0..200 {
        let mut world = World::new(Settings::default(), seed, &[at(1), at(2)]);
        world.set(1, Server::BlackHoled);
        world.set(2, Server::Primary);
        world.run_for(AGE);
        world.log.clear();
        world.set(2, Server::Refusing);
        world.end_link();
        // One hangs for a second in each of the three rounds; the other is being tried when the last of them ends.
        let tries = |world: &World| world.dials().iter().filter(|(_, address)| *address == at(1)).count();
        while tries(&world) < 3 {
            world.run_next();
        }
        let begun = world.now;
        world.run_until(begun + ms(900));
        world.set(2, Server::Slow(ms(500)));
        world.run_until(begun + ms(1_000));
        assert_eq!(world.restarts(), 1);
        world.set(2, Server::Primary);
        assert!(world.run_to(Phase::Up, ms(60_000)) <= ms(200), "with seed {seed}");
    }
}

#[test]
fn five_addresses_none_of_which_answers_and_a_sixth_that_does() {
    let all: Vec<Address> = (1..=6).map(at).collect();
    let mut world = World::new(Settings::default(), 5, &all);
    for n in 1..=5 {
        world.set(n, Server::BlackHoled);
    }
    world.set(6, Server::Primary);
    assert!(world.run_to(Phase::Up, ms(2_000)) <= ms(1_250) + TRIP);
}

#[test]
fn many_new_addresses_push_out_none_of_their_own() {
    let mut world = World::serving(2, AGE);
    world.set(1, Server::Refusing);
    for n in 2..=7 {
        world.set(n, Server::BlackHoled);
    }
    world.set(2, Server::Slow(ms(30)));
    world.end_link();
    world.run_for(ms(10));
    world.answer = (2..=7).map(at).collect();
    assert!(world.run_to(Phase::Up, ms(100)) <= ms(80));
    assert_eq!(world.live().address, at(2));
}

#[test]
fn three_rounds_and_a_fresh_incarnation() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Refusing);
    world.end_link();
    while world.restarts() == 0 {
        world.run_for(ms(1));
    }
    assert_eq!(world.dials().len(), 3);
    world.run_for(ms(1_000));
    assert!(world.dials().len().div_ceil(3) - world.restarts() <= 1);
}

#[test]
fn pinned_and_unpinned() {
    let mut world = World::serving(1, AGE);
    world.set(2, Server::Primary);
    world.tell(Event::Pin);
    world.answer = vec![at(2)];
    world.run_for(AGE);
    assert_eq!(world.live().address, at(1));
    world.set(1, Server::Refusing);
    world.end_link();
    // Asked for once more while the pinned one is down: it stays the one.
    world.tell(Event::Pin);
    world.run_for(ms(10_000));
    assert_eq!(world.phase(), Phase::Recovering);
    assert!(world.dials().iter().all(|(_, address)| *address == at(1)));
    world.tell(Event::Unpin);
    world.run_to(Phase::Up, ms(1_100));
    assert_eq!(world.live().address, at(2));
}

#[test]
fn a_pin_overrules_the_attempts_that_are_under_way() {
    let mut world = World::serving(1, AGE);
    world.answer = vec![at(1), at(2)];
    world.set(2, Server::Slow(ms(300)));
    world.run_for(ms(3_000));
    world.set(1, Server::Mute);
    world.silence();
    world.run_for(ms(300));
    assert_eq!(world.dials().last().map(|(_, address)| address.clone()), Some(at(2)));
    world.tell(Event::Pin);
    world.run_for(ms(2_000));
    assert_eq!((world.phase(), world.live().address), (Phase::Suspect, at(1)));
    assert_eq!(world.count(|effect| matches!(effect, Effect::Cancel { .. })), 1);
}

#[test]
fn a_panic_costs_no_link() {
    let mut world = World::serving(1, AGE);
    let live = world.live();
    world.incarnate(Some(live.clone()));
    assert_eq!((world.phase(), world.live().epoch), (Phase::Up, live.epoch));
    assert_eq!(world.count(|effect| *effect == Effect::Resume { epoch: live.epoch }), 1);
    assert_eq!(world.dials(), []);
}

#[test]
fn a_demoted_link_is_adopted_as_what_it_is() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Replica);
    world.refuse();
    world.run_for(ms(3_000));
    assert!(world.restarts() > 0);
    let live = world.live();
    world.incarnate(Some(live.clone()));
    assert_eq!((world.phase(), world.live().epoch), (Phase::Demoted, live.epoch));
    assert_eq!(world.count(|effect| matches!(effect, Effect::Resume { .. })), 0);
    world.set(1, Server::Primary);
    assert!(world.run_to(Phase::Up, ms(600)) <= ms(500) + TRIP);
}

#[test]
fn incarnations_that_die_over_and_over_dial_no_faster() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::BlackHoled);
    world.end_link();
    for _ in 0..1_000 {
        world.run_for(ms(1));
        world.incarnate(None);
    }
    assert!(world.dials().len() <= 40, "{}", world.dials().len());
}

#[test]
fn a_link_lost_while_no_incarnation_was_there_counts_as_down() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Refusing);
    world.incarnate(None);
    assert_eq!(world.machine.down_since(), Some(world.now));
}

#[test]
fn a_report_that_comes_twice_does_not_cancel_the_link() {
    let mut world = World::serving(1, AGE);
    let epoch = world.live().epoch;
    world.tell(Event::AttemptReady { epoch, met: Met::Answered });
    assert_eq!(world.log, []);
}
