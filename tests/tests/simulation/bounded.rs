//! Each kind of failure, exactly in virtual time, against the bound that the settings promise for it. The network takes no
//! time here, so what is measured is what the tether itself waits. Each scenario runs with many seeds, since jitter decides
//! how close to its bound a recovery comes; a late start of the fault moves it against the lookups and probes.

use std::time::Duration;

use redis_tether::redis::{RedisResult, cmd};
use redis_tether::{Event, Handle, Tether};
use redis_tether_testkit::FakeServer;
use tokio::time::{Instant, sleep};

use crate::world::*;

const SEEDS: u64 = 24;

/// A link of this age has settled: its loss is no rejection. Not the same moment of the probe's and the lookups' cycles for
/// each seed.
fn settled_for(seed: u64) -> Duration {
    ms(6_000 + seed * 229)
}

fn assert_within(bound: Duration, waits: u64, recoveries: &[Duration]) {
    let longest = recoveries.iter().max().expect("at least one");
    assert!(*longest <= bound + rounding(waits), "took {longest:?} of {bound:?}: {recoveries:?}");
    // A bound that nothing comes near is no bound; the jitter of so many seeds reaches half of it.
    assert!(*longest >= bound / 2, "the longest took {longest:?}, and the bound is {bound:?}");
}

/// The server at node 0 has `fault`, which ends after `lasting`. How long from then until the link serves.
async fn until_back(
    seed: u64,
    fault: impl Fn(&World, &FakeServer),
    lasting: Duration,
    end: impl Fn(&World, &FakeServer),
) -> Duration {
    let world = World::new(1);
    let tether = world.settled(seed, settled_for(seed)).await;
    fault(&world, &world.nodes[0]);
    sleep(lasting).await;
    end(&world, &world.nodes[0]);
    until_served(&tether).await
}

/// As [`until_back`], where the tether starts while the server has the fault.
async fn until_first(
    seed: u64,
    fault: impl Fn(&World, &FakeServer),
    lasting: Duration,
    end: impl Fn(&World, &FakeServer),
) -> Duration {
    let world = World::new(1);
    fault(&world, &world.nodes[0]);
    let tether = world.tether(config(), seed).await;
    sleep(lasting + ms(seed * 161)).await;
    end(&world, &world.nodes[0]);
    until_served(&tether).await
}

/// Until a link serves, which a write then has to show at once.
async fn until_served(tether: &Tether) -> Duration {
    let took = until_connected(tether, 0).await;
    let written = Instant::now();
    set(&mut tether.handle(), "served").await.expect("the link serves");
    assert_eq!(written.elapsed(), Duration::ZERO, "a write on a link that serves has to wait");
    took
}

fn crash(_: &World, server: &FakeServer) {
    server.crash();
}

fn restart(_: &World, server: &FakeServer) {
    server.restart();
}

#[test]
fn a_restart_at_the_same_address() {
    let young = with_seeds(SEEDS, async |seed| until_back(seed, crash, ms(2_000), restart).await);
    assert_within(bounds().same_address_young, 1, &young);
    let old = with_seeds(SEEDS, async |seed| until_back(seed, crash, ms(30_000), restart).await);
    assert_within(bounds().same_address_old, 1, &old);
}

#[test]
fn a_restart_while_the_dns_is_mute() {
    let mute = |world: &World, server: &FakeServer| {
        world.dns.hang(NAME);
        server.crash();
    };
    let young = with_seeds(SEEDS, async |seed| until_back(seed, mute, ms(2_000), restart).await);
    assert_within(bounds().same_address_unresolved_young, 2, &young);
    let old = with_seeds(SEEDS, async |seed| until_back(seed, mute, ms(30_000), restart).await);
    assert_within(bounds().same_address_unresolved_old, 2, &old);
}

#[test]
fn a_crash_and_the_name_moves() {
    let moves = |lasting: Duration| {
        with_seeds(SEEDS, async |seed| {
            let world = World::new(2);
            let mut config = config();
            // Incarnations that give up ask besides, of which the bound knows nothing: another's answer may serve them.
            config.failures_before_resolve = 1_000;
            let tether = world.tether(config, seed).await;
            until_connected(&tether, 0).await;
            sleep(settled_for(seed)).await;
            world.nodes[0].crash();
            world.nodes[1].promote();
            sleep(lasting + ms(seed)).await;
            world.name_means(&[1]);
            until_connected(&tether, 1).await
        })
    };
    assert_within(bounds().moved_young, 1, &moves(ms(1_000)));
    assert_within(bounds().moved_old, 1, &moves(ms(20_000)));
}

/// What accepts and says no: until it is well, early and late in the outage.
fn assert_rejected(fault: impl Fn(&World, &FakeServer), end: impl Fn(&World, &FakeServer)) {
    let young = with_seeds(SEEDS, async |seed| until_first(seed, &fault, ms(3_000), &end).await);
    assert_within(bounds().rejected_young, 1, &young);
    let old = with_seeds(SEEDS, async |seed| until_first(seed, &fault, ms(40_000), &end).await);
    assert_within(bounds().rejected_old, 1, &old);
}

fn healed(_: &World, server: &FakeServer) {
    server.heal();
}

#[test]
fn a_server_that_loads_its_dataset() {
    assert_rejected(|_, server| server.start_loading(), healed);
}

#[test]
fn a_server_without_room_for_another_client() {
    assert_rejected(|_, server| server.max_clients(Some(0)), healed);
}

#[test]
fn a_server_that_answers_garbage() {
    assert_rejected(|_, server| server.garbage(), healed);
}

#[test]
fn a_server_that_hangs_up_on_everything() {
    let hang_up = |world: &World, _: &FakeServer| world.net.bind_with(address(0), drop);
    assert_rejected(hang_up, |world, server| world.net.bind(address(0), server.clone()));
}

#[test]
fn a_server_that_is_a_replica() {
    assert_rejected(|_, server| server.demote(), |_, server| server.promote());
}

#[test]
fn a_password_that_changes_and_changes_back() {
    let change = |_: &World, server: &FakeServer| {
        server.require_password(Some("another"));
        server.kill_connections();
    };
    let back = |_: &World, server: &FakeServer| server.require_password(None);
    let took = with_seeds(SEEDS, async |seed| until_back(seed, change, ms(5_000), back).await);
    assert_within(bounds().rejected_young, 1, &took);
}

/// It closes every connection after one reply, so that a link which is asked nothing can be published and be lost at its
/// first command. Then the loss counts as a rejection.
#[test]
fn a_server_that_closes_after_every_reply() {
    let took = with_seeds(SEEDS, async |seed| {
        until_back(seed, |_, server| server.close_after_reply(), ms(8_000), healed).await
    });
    assert!(took.iter().all(|took| *took <= bounds().rejected_young + rounding(1)), "{took:?}");
}

#[test]
fn a_black_holed_address() {
    let (hole, heal) = (
        |world: &World, _: &FakeServer| world.net.black_hole(address(0)),
        |world: &World, _: &FakeServer| world.net.heal(address(0)),
    );
    // A connect that hangs is answered when the hole is gone, so that only the pause between two of them counts.
    let young = with_seeds(SEEDS, async |seed| until_first(seed, hole, ms(500), heal).await);
    assert!(young.iter().all(|took| *took <= bounds().black_holed_young + rounding(2)), "{young:?}");
    let old = with_seeds(SEEDS, async |seed| until_first(seed, hole, ms(30_000), heal).await);
    assert!(old.iter().all(|took| *took <= bounds().black_holed_old + rounding(2)), "{old:?}");
}

/// The connects that hung stay lost: a firewall dropped them, and only new ones get through.
#[test]
fn a_black_hole_that_swallows_what_it_was_sent() {
    // Early enough that the connect that hangs then is given up while the outage is young.
    let young = with_seeds(SEEDS, async |seed| swallowed(seed, ms(500)).await);
    assert_within(bounds().black_holed_young, 2, &young);
    let old = with_seeds(SEEDS, async |seed| swallowed(seed, ms(30_000)).await);
    assert_within(bounds().black_holed_old, 2, &old);
}

async fn swallowed(seed: u64, lasting: Duration) -> Duration {
    let world = World::new(1);
    // A dial that finds this delay keeps it, even when it is taken back.
    world.net.connect_delay(address(0), ms(3_600_000));
    let tether = world.tether(config(), seed).await;
    sleep(lasting + ms(seed * 161)).await;
    world.net.connect_delay(address(0), Duration::ZERO);
    until_served(&tether).await
}

#[test]
fn a_server_that_accepts_and_never_speaks() {
    let swallow = |world: &World, _: &FakeServer| {
        world.net.bind_with(address(0), |stream| {
            tokio::spawn(async move {
                let _held = stream;
                std::future::pending::<()>().await;
            });
        });
    };
    let back = |world: &World, server: &FakeServer| world.net.bind(address(0), server.clone());
    let young = with_seeds(SEEDS, async |seed| until_first(seed, swallow, ms(500), back).await);
    assert_within(bounds().mute_server_young, 2, &young);
    let old = with_seeds(SEEDS, async |seed| until_first(seed, swallow, ms(30_000), back).await);
    assert_within(bounds().mute_server_old, 2, &old);
}

#[test]
fn a_server_that_drips_a_byte_a_second() {
    let drip = |_: &World, server: &FakeServer| server.drip(Some(ms(1_000)));
    let took = with_seeds(SEEDS, async |seed| until_first(seed, drip, ms(10_000), healed).await);
    assert!(took.iter().all(|took| *took <= bounds().mute_server_old + rounding(2)), "{took:?}");
}

#[test]
fn one_of_two_addresses_is_a_black_hole() {
    for first in [[0, 1], [1, 0]] {
        let took = with_seeds(SEEDS, async |seed| {
            let world = World::new(2);
            world.net.black_hole(address(1));
            world.name_means(&first);
            let tether = world.tether(config(), seed).await;
            until_connected(&tether, 0).await
        });
        let bound = bounds().each_hanging_address;
        assert!(took.iter().all(|took| *took <= bound + rounding(1)), "{first:?}: {took:?}");
    }
}

/// The primary hangs, the other is promoted, and the name moves at once.
async fn hung(seed: u64, under_load: bool) -> Duration {
    let world = World::new(2);
    let tether = world.settled(seed, settled_for(seed)).await;
    world.nodes[0].hang();
    world.nodes[1].promote();
    world.name_means(&[1]);
    if under_load {
        let mut handle = tether.handle();
        tokio::spawn(async move { set(&mut handle, "in flight").await });
    }
    until_connected(&tether, 1).await
}

#[test]
fn the_primary_hangs_and_the_name_moves() {
    assert_within(bounds().hung_under_load, 1, &with_seeds(SEEDS, async |seed| hung(seed, true).await));
    assert_within(bounds().hung_idle, 2, &with_seeds(SEEDS, async |seed| hung(seed, false).await));
}

async fn half_open(seed: u64, under_load: bool) -> Duration {
    let world = World::new(1);
    let forget = world.forgetful(0);
    let tether = world.settled(seed, settled_for(seed)).await;
    let before = tether.status().borrow().epoch;
    forget.notify_waiters();
    if under_load {
        let mut handle = tether.handle();
        tokio::spawn(async move { set(&mut handle, "in flight").await });
    }
    until(&tether, "another link", |status| status.phase == redis_tether::Phase::Connected && status.epoch != before)
        .await
}

#[test]
fn the_link_alone_is_dead() {
    assert_within(bounds().half_open_under_load, 3, &with_seeds(SEEDS, async |seed| half_open(seed, true).await));
    assert_within(bounds().half_open_idle, 3, &with_seeds(SEEDS, async |seed| half_open(seed, false).await));
}

/// The name is `before` the demotion and `after` it.
async fn demoted(
    seed: u64,
    [before, after]: [&[usize]; 2],
    keep_busy: impl AsyncFn(&mut Handle) -> RedisResult<()>,
) -> Duration {
    let world = World::new(2);
    world.name_means(before);
    let tether = world.settled(seed, settled_for(seed)).await;
    world.promote(1);
    world.name_means(after);
    let mut handle = tether.handle();
    let start = Instant::now();
    while tether.status().borrow().address != Some(redis_tether::Address::Tcp(address(1))) {
        keep_busy(&mut handle).await.expect("held or answered");
        sleep(ms(1)).await;
        assert!(start.elapsed() < PATIENCE, "still at the demoted node after {PATIENCE:?}");
    }
    start.elapsed()
}

async fn read(handle: &mut Handle) -> RedisResult<()> {
    cmd("GET").arg("key").query_async::<Option<String>>(handle).await.map(drop)
}

#[test]
fn demoted_in_place_and_the_name_moves() {
    let moves: [&[usize]; 2] = [&[0], &[1]];
    let writing = with_seeds(SEEDS, async |seed| demoted(seed, moves, async |handle| set(handle, "write").await).await);
    assert!(writing.iter().all(|took| *took <= bounds().demoted_writing + rounding(2)), "{writing:?}");
    let reading = with_seeds(SEEDS, async |seed| demoted(seed, moves, read).await);
    assert_within(bounds().demoted_reading, 2, &reading);
}

/// The name means both all the time: nothing but the probe can notice.
#[test]
fn demoted_in_place_while_there_are_only_reads() {
    let stays: [&[usize]; 2] = [&[0, 1], &[0, 1]];
    let reading = with_seeds(SEEDS, async |seed| demoted(seed, stays, read).await);
    assert_within(bounds().demoted_reading, 2, &reading);
}

#[test]
fn the_name_moves_and_the_old_primary_goes_on() {
    let took = with_seeds(SEEDS, async |seed| {
        let world = World::new(2);
        let tether = world.settled(seed, settled_for(seed)).await;
        let mut events = tether.events();
        world.nodes[1].promote();
        world.name_means(&[1]);
        let once = until_connected(&tether, 1).await;
        assert!(drain(&mut events).iter().any(|event| matches!(event, Event::Retired { drained: true, .. })));
        world.name_means(&[0]);
        (once, until_connected(&tether, 0).await)
    });
    let (once, again): (Vec<_>, Vec<_>) = took.into_iter().unzip();
    assert_within(bounds().moved_on_dns_evidence, 2, &once);
    assert_within(bounds().moved_again_on_dns_evidence, 3, &again);
}

/// Valkey's `FAILOVER`: both nodes refuse writes for a while.
#[test]
fn both_nodes_are_read_only_for_two_seconds() {
    let took = with_seeds(SEEDS, async |seed| {
        let world = World::new(2);
        let tether = world.settled(seed, settled_for(seed)).await;
        world.name_means(&[0, 1]);
        sleep(ms(3_000)).await;
        let mut events = tether.events();
        world.nodes.iter().for_each(FakeServer::demote);
        let mut handle = tether.handle();
        let write = tokio::spawn(async move { set(&mut handle, "held").await });
        sleep(ms(2_000)).await;
        world.promote(1);
        let took = until_connected(&tether, 1).await;
        write.await.expect("no panic").expect("held until there is a primary");
        assert_eq!(world.executions("held"), 1);
        let events = drain(&mut events);
        let links = events.iter().filter(|event| matches!(event, Event::Connected { .. })).count();
        assert_eq!(links, 1, "it thrashes: {events:?}");
        took
    });
    assert_within(bounds().rejected_young, 1, &took);
}
