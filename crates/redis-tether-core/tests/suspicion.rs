//! What is held against a mute link, exact in virtual time: what clears it, what outlives the incarnation that found it,
//! and when another link may take its place.

mod world;

use std::time::Duration;

use redis_tether_core::recovery::{Effect, Event, HoldReason, Met, Phase, Settings, Sight, Teardown};
use world::{Server, World, at, ms};

const TRIP: Duration = World::TRIP;
const AGE: Duration = Duration::from_secs(60);

/// A link that serves and has just been found mute, and since when it was.
fn mute(server: Server, met: Met) -> (World, Duration) {
    let mut world = World::serving(1, AGE);
    world.met = met;
    world.set(1, server);
    let silent = world.now;
    world.run_for(ms(250));
    world.silence();
    (world, silent)
}

/// Another server is the primary from now on, and the name means it: a link to it serves at once.
fn taken_over(world: &mut World) {
    world.set(2, Server::Primary);
    world.answer = vec![at(2)];
    assert!(world.run_to(Phase::Up, ms(60)) <= ms(50) + TRIP);
    assert_eq!(world.live().address, at(2));
}

fn resumed(world: &World) -> usize {
    world.count(|effect| matches!(effect, Effect::Resume { .. }))
}

#[test]
fn hang_and_dns_move() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Mute);
    world.run_for(ms(250));
    world.silence();
    assert_eq!(world.phase(), Phase::Suspect);
    world.run_for(ms(750));
    assert_eq!(world.phase(), Phase::Suspect);
    taken_over(&mut world);
    assert_eq!(world.teardowns(), [Teardown::Abort]);
}

#[test]
fn a_slow_server_keeps_its_link() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Slow(ms(3_000)));
    let epoch = world.live().epoch;
    world.run_for(ms(250));
    world.silence();
    world.run_for(ms(2_750));
    world.hear();
    assert_eq!((world.phase(), world.live().epoch), (Phase::Up, epoch));
    assert_eq!((world.retired(), world.published()), (0, 0));
    assert_eq!(world.dials().len(), 1, "one side link, and its answer is not waited for");
}

#[test]
fn a_server_that_is_slow_again_and_again_meets_one_side_dial_a_second() {
    let mut world = World::serving(1, AGE);
    for _ in 0..40 {
        world.run_for(ms(250));
        world.silence();
        world.run_for(ms(50));
        world.hear();
    }
    assert!(world.dials().len() <= 13, "{}", world.dials().len());
    assert_eq!((world.retired(), world.published()), (0, 0));
}

#[test]
fn a_spare_waits_for_the_link_to_speak_after_all() {
    let mut world = World::serving(1, AGE);
    let epoch = world.live().epoch;
    world.silence();
    // The server comes back at 900 ms and answers both, the side link first.
    world.set(1, Server::Slow(ms(900)));
    world.incarnate(Some(world.live()));
    world.run_for(ms(250));
    world.silence();
    world.run_for(ms(1_100));
    assert_eq!(world.phase(), Phase::Suspect);
    world.hear();
    assert_eq!(world.live().epoch, epoch);
    assert_eq!((world.retired(), world.published()), (0, 0));
}

#[test]
fn a_mute_link_is_replaced_at_its_own_address_after_the_second_bound() {
    let mut world = World::serving(1, AGE);
    let suspected = world.now;
    world.silence();
    world.run_until(suspected + ms(999));
    assert_eq!(world.phase(), Phase::Suspect);
    world.run_until(suspected + ms(1_000));
    assert_eq!(world.phase(), Phase::Up);
    // The server answers: it may be pausing writes, and what it owes the old link may come yet.
    assert_eq!(world.teardowns(), [Teardown::Drain]);
    assert_eq!(world.dials().len(), 1);
}

#[test]
fn a_spare_is_not_dialled_for_again_and_not_put_off() {
    let mut world = World::serving(1, AGE);
    world.answer = vec![at(1), at(2)];
    world.set(2, Server::Replica);
    world.run_for(ms(3_000));
    let suspected = world.now;
    world.silence();
    world.run_until(suspected + ms(1_000));
    assert_eq!(world.phase(), Phase::Up);
    assert_eq!(world.dials().iter().filter(|(_, address)| *address == at(1)).count(), 1);
}

#[test]
fn a_stalled_runtime_gives_no_verdict() {
    for server in [Server::Primary, Server::Mute] {
        let mut world = World::serving(1, AGE);
        let epoch = world.live().epoch;
        world.set(1, server);
        world.silence();
        world.run_for(TRIP * 2);
        world.tick_late = Settings::STALL;
        world.run_for(ms(2_900));
        assert_eq!((world.phase(), world.live().epoch, world.retired()), (Phase::Suspect, epoch, 0));
        world.hear();
        assert_eq!((world.phase(), world.live().epoch), (Phase::Up, epoch));
    }
}

#[test]
fn a_stall_beyond_dead_after_leaves_one_more_window() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Mute);
    world.silence();
    world.run_for(ms(100));
    world.now += ms(6_000);
    world.tell(Event::Tick);
    assert_eq!((world.phase(), world.retired()), (Phase::Suspect, 0));
    let left = world.now;
    world.run_until(left + ms(249));
    assert_eq!(world.phase(), Phase::Suspect);
    world.run_until(left + ms(250));
    assert_eq!(world.phase(), Phase::Recovering);
}

#[test]
fn dead_after() {
    let mut world = World::serving(1, AGE);
    world.set(1, Server::Mute);
    let silent = world.now;
    world.run_for(ms(250));
    world.silence();
    world.run_until(silent + ms(4_999));
    assert_eq!(world.phase(), Phase::Suspect);
    world.run_until(silent + ms(5_000));
    assert_eq!(world.phase(), Phase::Recovering);
    assert_eq!(world.teardowns(), [Teardown::Abort]);
    world.set(1, Server::Primary);
    assert!(world.run_to(Phase::Up, ms(3_200)) <= ms(3_100) + TRIP, "the dial that hangs, and the pace");
}

#[test]
fn a_suspect_that_refuses_waits_for_the_pace_if_it_was_young() {
    let mut world = World::serving(1, ms(300));
    world.set(1, Server::Mute);
    world.silence();
    let epoch = world.live().epoch;
    world.log.clear();
    world.tell(Event::Probed { epoch, sight: Sight::Unfit });
    assert_eq!(world.phase(), Phase::Demoted);
    world.run_for(ms(100));
    assert_eq!(world.count(|effect| matches!(effect, Effect::Probe { .. })), 0);
}

/// A runtime that is late every time comes to a verdict on a mute link all the same, after so many that were void.
/// A planned failover: writes are paused, the replica is asked while it still is one, and then the roles change.
#[test]
fn a_suspect_that_refuses_begins_the_pace_anew_if_it_was_settled() {
    for seed in 0..20 {
        let mut world = World::serving(seed, AGE);
        world.answer = vec![at(1), at(2)];
        world.tell(Event::Resolved { addresses: world.answer.clone() });
        world.set(1, Server::Mute);
        world.set(2, Server::Replica);
        world.run_for(ms(250));
        world.silence();
        world.run_for(ms(700));
        let asked = world.dials().iter().filter(|(_, address)| *address == at(2)).count();
        assert!(asked > 2, "the replica is asked again and again: {:?}", world.dials());
        assert_eq!(world.phase(), Phase::Suspect);
        world.set(1, Server::Replica);
        world.set(2, Server::Primary);
        world.refuse();
        // Both are asked: the one that refused first.
        let took = world.run_to(Phase::Up, ms(1_000));
        assert!(took <= TRIP * 2, "{took:?}");
        assert_eq!(world.live().address, at(2));
    }
}

#[test]
fn a_runtime_that_is_always_late_comes_to_a_verdict() {
    let mut world = World::serving(1, ms(10_000));
    world.silence();
    world.run_for(World::TRIP * 2);
    for void in 0..Settings::VOID_VERDICTS {
        assert_eq!((world.phase(), world.retired()), (Phase::Suspect, 0), "after {void} void verdicts");
        world.now = world.machine.next_due().expect("a verdict is due") + Settings::STALL;
        world.tell(Event::Tick);
    }
    assert_eq!(world.phase(), Phase::Suspect);
    world.now = world.machine.next_due().expect("a verdict is due") + Settings::STALL;
    world.tell(Event::Tick);
    assert_eq!((world.phase(), world.retired()), (Phase::Up, 1));
}

#[test]
fn a_false_suspicion_is_cleared_by_the_answer_to_a_probe() {
    let mut world = World::serving(1, AGE);
    let epoch = world.live().epoch;
    // Nothing more is sent, so that nothing else would be heard.
    world.doubt();
    assert_eq!(world.phase(), Phase::Suspect);
    assert_eq!(world.run_to(Phase::Up, ms(1_000)), TRIP);
    assert_eq!((world.live().epoch, world.retired()), (epoch, 0));
}

#[test]
fn an_unasked_spare_waits_until_the_link_is_given_up() {
    for server in [Server::Mute, Server::Primary] {
        let (mut world, silent) = mute(server, Met::Unasked);
        let old = world.live().epoch;
        world.run_until(silent + ms(4_999));
        assert_eq!((world.phase(), world.live().epoch, world.retired()), (Phase::Suspect, old, 0));
        world.run_until(silent + ms(5_000));
        assert_eq!((world.phase(), world.teardowns()), (Phase::Up, vec![Teardown::Abort]));
        assert_eq!(world.dials().len(), 1, "the spare was at hand");
    }
}

#[test]
fn an_unasked_spare_is_dropped_when_the_link_speaks() {
    let (mut world, _) = mute(Server::Slow(ms(3_000)), Met::Unasked);
    let old = world.live().epoch;
    world.run_for(ms(2_750));
    world.hear();
    assert_eq!((world.phase(), world.live().epoch, world.retired()), (Phase::Up, old, 0));
    assert_eq!(world.count(|effect| matches!(effect, Effect::Cancel { .. })), 1);
}

#[test]
fn an_unasked_spare_serves_when_the_link_ends() {
    let (mut world, _) = mute(Server::Primary, Met::Unasked);
    world.run_for(ms(100));
    world.end_link();
    assert_eq!((world.phase(), world.dials().len()), (Phase::Up, 1));
}

/// Writes are paused, and behind them everything on their connection, until a replica has taken over.
#[test]
fn what_a_server_owes_that_hands_over_is_waited_for() {
    let (mut world, _) = mute(Server::Primary, Met::Answered);
    world.run_for(ms(300));
    taken_over(&mut world);
    assert_eq!(world.teardowns(), [Teardown::Linger(Settings::default().replace_after)]);
}

#[test]
fn an_unasked_link_to_another_address_is_taken_at_once() {
    let (mut world, _) = mute(Server::Mute, Met::Unasked);
    world.run_for(ms(500));
    taken_over(&mut world);
    assert_eq!(world.teardowns(), [Teardown::Abort]);
}

#[test]
fn a_suspect_link_is_adopted_as_what_it_is() {
    let (mut world, silent) = mute(Server::Mute, Met::Answered);
    let live = world.live();
    world.run_for(ms(300));
    world.log.clear();
    world.incarnate(Some(live.clone()));
    let epoch = live.epoch;
    assert_eq!((world.phase(), world.live(), resumed(&world)), (Phase::Suspect, live, 0));
    for effect in
        [Effect::Hold { epoch, reason: HoldReason::Suspect }, Effect::Listen { epoch }, Effect::Probe { epoch }]
    {
        assert_eq!(world.count(|wanted| *wanted == effect), 1, "{effect:?} is missing");
    }
    // The bound counts from when it fell silent.
    world.run_until(silent + ms(4_999));
    assert_eq!(world.phase(), Phase::Suspect);
    world.run_until(silent + ms(5_000));
    assert_eq!((world.phase(), world.teardowns()), (Phase::Recovering, vec![Teardown::Abort]));
}

#[test]
fn an_adopted_suspect_is_replaced_within_the_second_bound() {
    let (mut world, silent) = mute(Server::Primary, Met::Answered);
    world.run_for(ms(300));
    world.incarnate(Some(world.live()));
    world.run_to(Phase::Up, ms(2_000));
    assert!(world.now <= silent + ms(1_500) + TRIP, "{:?}", world.now - silent);
    assert_eq!(world.teardowns(), [Teardown::Drain]);
}

#[test]
fn a_link_that_spoke_while_nobody_listened_is_cleared() {
    let (mut world, _) = mute(Server::Mute, Met::Answered);
    let live = world.live();
    world.run_for(ms(300));
    world.speak_unheard();
    world.incarnate(Some(live.clone()));
    world.run_for(Duration::ZERO);
    assert_eq!((world.phase(), world.live(), world.retired()), (Phase::Up, live, 0));
}

#[test]
fn an_incarnation_that_comes_after_the_verdict_was_due_listens_first() {
    for late in [10, 2_000] {
        let (mut world, silent) = mute(Server::Mute, Met::Answered);
        let live = world.live();
        world.now = silent + world.settings.dead_after + ms(late);
        world.incarnate(Some(live));
        let begun = world.now;
        world.run_until(begun + ms(249));
        assert_eq!(world.phase(), Phase::Suspect, "{late} ms late");
        world.run_until(begun + ms(250));
        assert_eq!(world.phase(), Phase::Recovering, "{late} ms late");
    }
}

#[test]
fn incarnations_that_die_over_and_over_neither_clear_a_mute_link_nor_put_off_the_verdict() {
    let (mut world, silent) = mute(Server::Mute, Met::Answered);
    while world.phase() == Phase::Suspect {
        world.run_for(ms(100));
        let live = world.machine.live().cloned();
        world.incarnate(live);
        let limit = silent + ms(5_000) + ms(250) * (Settings::VOID_VERDICTS + 1);
        assert!(world.now <= limit, "still no verdict at {:?}", world.now - silent);
    }
    assert_eq!((world.phase(), resumed(&world)), (Phase::Recovering, 0));
}

#[test]
fn incarnations_that_die_over_and_over_meet_one_side_dial_a_second() {
    let (mut world, _) = mute(Server::Primary, Met::Answered);
    let begun = world.now;
    while world.now < begun + ms(4_000) && world.phase() == Phase::Suspect {
        world.run_for(ms(50));
        let live = world.machine.live().cloned();
        world.incarnate(live);
    }
    assert!(world.dials().len() <= 5, "{} side dials in {:?}", world.dials().len(), world.now - begun);
}

/// Operators ask for a new link when the present one looks bad.
#[test]
fn a_reconnect_by_hand_outlives_the_suspicion() {
    for asked_before in [true, false] {
        let mut world = World::serving(1, AGE);
        let epoch = world.live().epoch;
        world.set(1, Server::Slow(ms(3_000)));
        world.run_for(ms(250));
        if asked_before {
            world.tell(Event::Reconnect);
        }
        world.silence();
        if !asked_before {
            world.tell(Event::Reconnect);
        }
        world.run_for(ms(300));
        world.set(1, Server::Primary);
        world.hear();
        assert_eq!((world.phase(), world.live().epoch), (Phase::Up, epoch), "it has spoken");
        world.run_for(ms(250) + TRIP);
        assert!(world.live().epoch > epoch, "asked before: {asked_before}");
        assert_eq!(world.teardowns(), [Teardown::Drain]);
        let epoch = world.live().epoch;
        world.run_for(AGE);
        assert_eq!(world.live().epoch, epoch, "once is enough");
    }
}

/// The later order counts.
#[test]
fn a_pin_takes_a_reconnect_back() {
    let mut world = World::serving(1, AGE);
    let epoch = world.live().epoch;
    world.answer = vec![];
    world.tell(Event::Reconnect);
    world.tell(Event::Pin);
    world.set(1, Server::Slow(ms(3_000)));
    world.run_for(ms(250));
    world.silence();
    world.run_for(ms(300));
    world.set(1, Server::Primary);
    world.hear();
    world.run_for(AGE);
    assert_eq!(world.live().epoch, epoch);
}

#[test]
fn an_incarnation_that_dies_after_a_side_dial_that_was_put_off_does_not_dial_at_once() {
    let mut world = World::serving(1, AGE);
    world.silence();
    world.hear();
    world.silence();
    // Right after a false suspicion.
    world.run_for(ms(1_000));
    assert_eq!(world.dials().len(), 2);
    world.run_for(TRIP);
    let live = world.live();
    world.incarnate(Some(live));
    world.run_for(ms(900));
    assert_eq!(world.dials().len(), 2, "{:?}", world.dials());
}
