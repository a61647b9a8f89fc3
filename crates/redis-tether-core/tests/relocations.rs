//! Looking elsewhere while a link serves, exact in virtual time: on DNS evidence, by hand, by age.

mod world;

use std::time::Duration;

use redis_tether_core::recovery::{Effect, Event, Phase, Settings, Teardown};
use world::{Server, World, at, ms};

const TRIP: Duration = World::TRIP;
const AGE: Duration = Duration::from_secs(60);

/// For so long the resolver gives one address at a time, another each time it is asked.
fn rotate(world: &mut World, addresses: &[u8], time: Duration) {
    let end = world.now + time;
    for n in addresses.iter().cycle() {
        if world.now >= end {
            return;
        }
        world.answer = vec![at(*n)];
        // The time after which an absence is confirmed, so that the next answer is another.
        world.run_for(ms(250));
    }
}

#[test]
fn moved_on_dns_evidence_after_two_absences_and_within_the_budget() {
    let mut world = World::serving(1, AGE);
    world.set(2, Server::Primary);
    world.answer = vec![at(2)];
    let took = {
        let start = world.now;
        while world.published() == 0 {
            world.run_for(ms(1));
            assert!(world.now - start < ms(3_000), "not moved");
        }
        world.now - start
    };
    assert!(took <= ms(2_000) + ms(250) + TRIP, "{took:?}");
    assert_eq!(world.count(|effect| *effect == Effect::ResolveAfter(ms(250))), 1);
    assert_eq!(world.teardowns(), [Teardown::Drain]);
    // And back: the budget rules.
    let moved_at = world.now;
    world.answer = vec![at(1)];
    world.run_until(moved_at + ms(9_999));
    assert_eq!(world.live().address, at(2));
    world.run_until(moved_at + ms(12_000) + TRIP);
    assert_eq!(world.live().address, at(1));
}

#[test]
fn dns_evidence_moves_to_nobody_but_a_primary() {
    let mut world = World::serving(1, AGE);
    let epoch = world.live().epoch;
    world.set(2, Server::Replica);
    world.answer = vec![at(2)];
    world.run_for(AGE);
    assert_eq!((world.phase(), world.live().epoch), (Phase::Up, epoch));
    world.set(2, Server::Primary);
    world.run_for(ms(5_000) + TRIP);
    assert_eq!(world.live().address, at(2));
}

#[test]
fn rotating_answers_do_not_move_while_the_address_reappears() {
    let mut world = World::serving(1, AGE);
    for n in 2..=3 {
        world.set(n, Server::Primary);
    }
    let epoch = world.live().epoch;
    for i in 0..200 {
        world.answer = if i % 2 == 0 { vec![at(2), at(3)] } else { vec![at(3), at(1)] };
        world.tell(Event::Resolved { addresses: world.answer.clone() });
        world.answer = vec![at(1)];
        world.run_for(ms(100));
    }
    assert_eq!(world.live().epoch, epoch);
    assert_eq!(world.dials(), []);
}

#[test]
fn reconnect_makes_before_it_breaks() {
    let mut world = World::serving(1, AGE);
    let old = world.live().epoch;
    world.tell(Event::Reconnect);
    assert_eq!((world.phase(), world.live().epoch), (Phase::Up, old));
    world.run_for(TRIP);
    assert!(world.live().epoch > old);
    assert_eq!(world.teardowns(), [Teardown::Drain]);
    // Where nobody answers, the old one stays.
    world.set(1, Server::Refusing);
    let old = world.live().epoch;
    world.tell(Event::Reconnect);
    world.run_for(AGE);
    assert_eq!((world.phase(), world.live().epoch), (Phase::Up, old));
}

#[test]
fn max_age_renews_and_does_not_forget_to() {
    let settings = Settings { max_age: Some(ms(30_000)), ..Settings::default() };
    let mut world = World::serving_with(settings, 1, ms(26_000));
    let old = world.live().epoch;
    world.set(1, Server::Mute);
    while world.dials().is_empty() {
        world.run_next();
    }
    world.tell(Event::Pin); // Gives up the search that has begun.
    world.tell(Event::Unpin);
    assert_eq!(world.live().epoch, old);
    world.set(1, Server::Primary);
    world.run_for(ms(10_000) + TRIP);
    assert!(world.live().epoch > old);
    assert_eq!(world.teardowns(), [Teardown::Drain]);
}

#[test]
fn a_name_that_rotates_over_replicas_costs_few_dials() {
    for seed in 0..20 {
        let mut world = World::serving(seed, AGE);
        let epoch = world.live().epoch;
        for n in 2..=7 {
            world.set(n, Server::Replica);
        }
        rotate(&mut world, &[1, 2, 3, 4, 5, 6, 7], ms(60_000));
        let first = world.dials().len();
        rotate(&mut world, &[1, 2, 3, 4, 5, 6, 7], ms(300_000));
        let later = world.dials().len() - first;
        // The pace of those who reject: 138 ms on average for ten seconds, and 2.75 s after that.
        assert!(first <= 115 && later <= 5 * 30, "{first} dials in the first minute, {later} in five more");
        assert_eq!((world.phase(), world.live().epoch), (Phase::Up, epoch));
    }
}

#[test]
fn a_search_that_is_given_up_counts() {
    let mut world = World::serving(3, AGE);
    world.set(2, Server::Mute);
    // Its address is back before the attempt has timed out, again and again.
    for _ in 0..200 {
        world.answer = vec![at(2)];
        world.tell(Event::Resolved { addresses: vec![at(2)] });
        world.tell(Event::Resolved { addresses: vec![at(2)] });
        world.run_for(ms(5));
        world.answer = vec![at(1)];
        world.tell(Event::Resolved { addresses: vec![at(1)] });
        world.run_for(ms(5));
    }
    // 2 s at the floors of those who cannot be reached: 10 ms.
    assert!(world.dials().len() <= 100, "{} dials in 2 s", world.dials().len());
}

#[test]
fn a_search_that_a_suspicion_interrupts_counts() {
    let mut world = World::serving(3, AGE);
    world.set(2, Server::Mute);
    world.answer = vec![at(2)];
    for _ in 0..200 {
        world.tell(Event::Resolved { addresses: vec![at(2)] });
        world.tell(Event::Resolved { addresses: vec![at(2)] });
        world.run_for(ms(2));
        world.doubt();
        world.run_for(ms(3));
        assert_eq!(world.phase(), Phase::Up);
    }
    assert!(world.dials().len() <= 60, "{} dials in a second", world.dials().len());
}

#[test]
fn a_search_that_is_interrupted_counts_as_those_before_it_ended() {
    for seed in 0..20 {
        let mut world = World::serving(seed, AGE);
        world.set(2, Server::Replica);
        world.answer = vec![at(2)];
        world.run_for(ms(20_000));
        world.set(2, Server::Mute);
        world.log.clear();
        for _ in 0..100 {
            world.run_for(ms(47));
            world.doubt();
            world.run_for(ms(3));
            world.tell(Event::Resolved { addresses: vec![at(2)] });
            world.tell(Event::Resolved { addresses: vec![at(2)] });
        }
        // In 5 s: those beside the link at the late pace of rejections, half a second apart at least; those for the sake of
        // the suspicions at theirs.
        assert!(world.dials().len() <= 10 + 5 + 1, "{} dials with seed {seed}", world.dials().len());
    }
}

#[test]
fn once_the_name_has_settled_on_the_present_address_the_pace_begins_anew() {
    for seed in 0..20 {
        let mut world = World::serving(seed, AGE);
        world.set(2, Server::Replica);
        world.answer = vec![at(2)];
        world.run_for(AGE);
        assert_eq!(world.phase(), Phase::Up);
        world.answer = vec![at(1)];
        world.run_for(world.settings.swap_interval + ms(4_000));
        // It is not promoted yet when it is named.
        world.log.clear();
        world.answer = vec![at(2)];
        while world.dials().len() < 3 {
            world.run_next();
        }
        world.set(2, Server::Primary);
        world.run_for(ms(500) + TRIP);
        assert_eq!(world.live().address, at(2));
    }
}

#[test]
fn a_reconnect_by_hand_waits_for_the_fresh_answer() {
    let mut world = World::serving(1, AGE);
    world.set(2, Server::Primary);
    world.answer = vec![at(2)];
    world.tell(Event::Reconnect);
    assert_eq!(world.dials(), [], "the answer is not there yet");
    world.run_for(TRIP);
    assert_eq!(world.live().address, at(2));
    assert_eq!(world.dials().len(), 1);
}

#[test]
fn a_reconnect_by_hand_does_not_wait_for_a_mute_resolver() {
    let mut world = World::serving(1, AGE);
    let old = world.live().epoch;
    world.answer = vec![];
    let asked = world.now;
    world.tell(Event::Reconnect);
    world.run_until(asked + ms(249));
    assert_eq!(world.dials(), []);
    world.run_until(asked + ms(250) + TRIP);
    assert!(world.live().epoch > old);
    assert_eq!(world.dials(), [(asked + ms(250), at(1))]);
}

#[test]
fn a_reconnect_by_hand_does_not_wait_for_the_pace() {
    let mut world = World::serving(1, AGE);
    world.set(2, Server::Replica);
    world.answer = vec![at(2)];
    world.run_for(AGE);
    world.answer = vec![at(1)];
    let old = world.live().epoch;
    world.tell(Event::Reconnect);
    world.run_for(TRIP);
    assert!(world.live().epoch > old);
}

/// The age at which a link that was set up by this seed is renewed.
fn age_at_renewal(seed: u64) -> Duration {
    let settings = Settings { max_age: Some(ms(30_000)), ..Settings::default() };
    let mut world = World::serving_with(settings, seed, ms(10_000));
    let live = world.live();
    while world.published() == 0 {
        world.run_next();
    }
    world.now - live.since
}

#[test]
fn a_fleet_does_not_renew_in_step() {
    let ages: Vec<Duration> = (0..50).map(age_at_renewal).collect();
    assert!(ages.iter().all(|age| (ms(27_000)..=ms(30_000) + TRIP).contains(age)), "{ages:?}");
    let (least, most) = (ages.iter().min().expect("50"), ages.iter().max().expect("50"));
    assert!(*most - *least >= ms(2_000), "all between {least:?} and {most:?}");
}

/// A suspicion, or an incarnation that dies, draws no new age.
#[test]
fn a_link_keeps_the_age_that_was_drawn_for_it() {
    let settings = Settings { max_age: Some(ms(30_000)), ..Settings::default() };
    let mut world = World::serving_with(settings, 1, ms(10_000));
    let live = world.live();
    world.silence();
    world.hear();
    world.incarnate(Some(live.clone()));
    assert_eq!(world.live(), live);
    assert_eq!(world.machine.next_due(), live.renew_at);
}

/// No second absence, no budget: whoever appoints primaries has said so. The old link finishes what is in flight.
#[test]
fn an_announced_move_is_made_at_once() {
    let mut world = World::serving(1, AGE);
    for n in [2, 1, 3] {
        world.set(n, Server::Primary);
        world.answer = vec![at(n)];
        let teardowns = world.teardowns().len();
        world.tell(Event::Moved { addresses: vec![at(n)] });
        assert_eq!(world.phase(), Phase::Up, "the old link serves until there is another");
        world.run_for(TRIP);
        assert_eq!(world.live().address, at(n));
        assert_eq!(world.teardowns()[teardowns..], [Teardown::Drain]);
    }
}

/// The announced primary is none, and others go on naming ours: it is asked at the pace of relocations, and nothing moves.
#[test]
fn an_announced_move_is_made_to_nobody_but_a_primary() {
    let mut world = World::serving(1, AGE);
    let epoch = world.live().epoch;
    world.set(2, Server::Replica);
    world.answer = vec![at(2), at(1)];
    for _ in 0..100 {
        world.tell(Event::Moved { addresses: vec![at(2)] });
        world.run_for(ms(600));
        assert_eq!((world.phase(), world.live().epoch), (Phase::Up, epoch));
    }
    assert!(world.dials().iter().all(|(_, address)| *address == at(2)), "ours is known: {:?}", world.dials());
    // The first who is asked names ours again: nobody looks elsewhere any more.
    world.answer = vec![at(1)];
    world.tell(Event::Resolved { addresses: vec![at(1)] });
    let dials = world.dials().len();
    world.set(2, Server::Primary);
    world.run_for(AGE);
    assert_eq!((world.dials().len(), world.live().epoch), (dials, epoch));
}

#[test]
fn a_pin_holds_against_an_announced_move() {
    let mut world = World::serving(1, AGE);
    world.set(2, Server::Primary);
    world.answer = vec![at(2)];
    world.tell(Event::Pin);
    world.tell(Event::Moved { addresses: vec![at(2)] });
    world.run_for(AGE);
    assert_eq!((world.dials(), world.live().address), (vec![], at(1)));
}

/// An announcement ends an outage: the address is news, and news are tried at once.
#[test]
fn an_announced_address_is_tried_at_once_in_an_outage() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Refusing);
    world.end_link();
    world.run_for(ms(20_000));
    world.set(2, Server::Primary);
    world.tell(Event::Moved { addresses: vec![at(2)] });
    world.run_for(TRIP);
    assert_eq!((world.phase(), world.live().address), (Phase::Up, at(2)));
}

#[test]
fn what_a_search_had_not_begun_when_its_link_was_lost_waits_for_the_pace() {
    let mut world = World::new(Settings::default(), 0, &[at(3), at(1)]);
    world.set(1, Server::Primary);
    (2..=3).for_each(|n| world.set(n, Server::Replica));
    world.run_to(Phase::Up, ms(5));
    world.tell(Event::Moved { addresses: vec![at(2), at(3)] });
    world.end_link();
    world.run_for(TRIP * 2);
    let dialled: Vec<_> = world.dials().into_iter().map(|(_, address)| address).collect();
    assert_eq!(dialled, [at(3), at(1), at(2)], "the link had not settled, and 3 had just refused");
}
