//! Where the tether goes upon what sentinels say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{BoxFuture, Event, Query, Resolve, ResolveError, Tether};
use redis_tether_testkit::Dns;
use redis_tether_tests::pace::most_dials;
use redis_tether_tests::rig::{self, InMemory};
use redis_tether_tests::watch::Diary;
use tokio::time::{Instant, sleep};

use crate::world::{World, at, ms, sentinel, server};

/// Waits until the link leads to this server, and says how long that took.
async fn until_at(tether: &Tether, n: u8) -> Duration {
    let begun = Instant::now();
    let mut status = tether.status();
    let wanted = server(n).to_string();
    let is_there = status.wait_for(|status| status.address.as_ref().is_some_and(|at| at.to_string() == wanted));
    match tokio::time::timeout(ms(30_000), is_there).await {
        Ok(Ok(_)) => begun.elapsed(),
        _ => panic!("not at {wanted} after 30 s: {}", *tether.status().borrow()),
    }
}

/// Whoever leads the failover knows first. The old primary would take writes for seconds that are lost.
#[tokio::test(start_paused = true)]
async fn an_announced_move_is_made_at_once_and_loses_nothing() {
    let world = World::new();
    let tether = world.serving().await;
    let mut handle = tether.handle();
    for (n, epoch) in [(1, 2), (2, 3), (0, 4)] {
        world.promote(n);
        world.announce(world.listened_to().expect("one is"), n, epoch);
        handle.set::<_, _, ()>("key", n).await.expect("it moves without a gap");
        let took = until_at(&tether, n).await;
        assert!(took <= ms(20), "{took:?}");
        world.all_say(n, epoch);
        sleep(ms(5_000)).await;
    }
    tether.shutdown().await;
}

/// Another one leads each time, and the rest learn of it from each other, later.
#[tokio::test(start_paused = true)]
async fn whoever_leads_a_failover_is_heard() {
    let world = World::new();
    let tether = world.serving().await;
    for (by, n, epoch) in [(2, 1, 2), (0, 2, 3), (1, 0, 4)] {
        world.promote(n);
        world.announce(by, n, epoch);
        let took = until_at(&tether, n).await;
        assert!(took <= ms(20), "sentinel {by} was heard after {took:?}");
        world.all_say(n, epoch);
        sleep(ms(5_000)).await;
    }
    tether.shutdown().await;
}

/// One name is all that leads to them, and one that is down is tried again as slowly as befits an aside.
#[tokio::test(start_paused = true)]
async fn all_that_a_name_stands_for_are_listened_to_and_one_that_is_down_when_it_is_back() {
    let world = World::new();
    world.dns.set("sentinels.test", (0..3).map(|n| sentinel(n).ip()).collect());
    world.net.refuse(sentinel(2));
    let node = redis_tether::SentinelNode::new("sentinels.test", crate::world::PORT);
    let tether = world.start(redis_tether::Config::sentinel([node], crate::world::MASTER)).await;
    tether.ready(ms(1_000)).await.expect("the others say where it is");
    sleep(ms(500)).await;
    assert_eq!(world.ears(), [1, 1, 0]);
    let before = world.net.dials(sentinel(2));
    sleep(ms(60_000)).await;
    let tried = world.net.dials(sentinel(2)) - before;
    assert!((40..=100).contains(&tried), "tried {tried} times in a minute, of which some thirty are questions");
    world.net.heal(sentinel(2));
    sleep(ms(3_000)).await;
    assert_eq!(world.ears(), [1, 1, 1]);
    tether.shutdown().await;
}

/// Where a user of the sentinels may see no more than the address.
#[tokio::test(start_paused = true)]
async fn an_announced_move_is_made_where_epochs_are_denied() {
    let world = World::new();
    world.sentinels.iter().for_each(redis_tether_testkit::FakeSentinel::deny_epochs);
    let tether = world.serving().await;
    world.promote(1);
    world.announce(world.listened_to().expect("one is"), 1, 2);
    let took = until_at(&tether, 1).await;
    assert!(took <= ms(100), "{took:?}");
    tether.shutdown().await;
}

/// Nobody announced it, or nobody heard: the poll finds it.
#[tokio::test(start_paused = true)]
async fn a_missed_announcement_is_made_up_for() {
    let world = World::new();
    let tether = world.serving().await;
    world.promote(1);
    world.all_say(1, 2);
    let took = until_at(&tether, 1).await;
    assert!(took <= ms(2_400) + ms(50), "the settled pace: {took:?}");
    tether.shutdown().await;
}

/// It is a replica, whatever the epoch of who says otherwise: a link in order stays.
#[tokio::test(start_paused = true)]
async fn a_lie_moves_nobody() {
    let world = World::new();
    let tether = world.serving().await;
    let mut diary = Diary::of(&tether);
    for epoch in 2..12 {
        world.announce(world.listened_to().expect("one is"), 1, epoch);
        sleep(ms(3_000)).await;
        assert_eq!(at(&tether), Some(server(0)));
    }
    assert_eq!(diary.count(|event| matches!(event, Event::Connected { .. } | Event::Retired { .. })), 0);
    let dials = diary.count(|event| matches!(event, Event::Dialling { .. }));
    let most = most_dials(&world.config().pacing.rejected, ms(30_000));
    assert!(dials as u64 <= most, "{dials} in 30 s, the pace of refusals allows {most}");
    tether.shutdown().await;
}

/// A lie, and the truth from others: the replica is asked in vain, and the primary found behind it.
#[tokio::test(start_paused = true)]
async fn behind_a_lie_the_truth_is_found() {
    let world = World::new();
    world.sentinels[1].say(&server(2).ip().to_string(), 6379, 99);
    let tether = world.start(world.config()).await;
    tether.ready(ms(1_000)).await.expect("the others say where it is");
    assert_eq!(at(&tether), Some(server(0)));
    tether.shutdown().await;
}

/// It was cut off during a failover and believes what it knew: its epoch says so.
#[tokio::test(start_paused = true)]
async fn who_knows_only_an_earlier_configuration_is_not_believed() {
    let world = World::new();
    world.promote(1);
    world.all_say(1, 5);
    world.sentinels[0].say(&server(0).ip().to_string(), 6379, 4);
    world.sentinels[2].say(&server(0).ip().to_string(), 6379, 4);
    let tether = world.start(world.config()).await;
    tether.ready(ms(1_000)).await.expect("a primary");
    assert_eq!(at(&tether), Some(server(1)), "the later configuration, though most say otherwise");
    let epoch = tether.status().borrow().epoch;
    sleep(ms(60_000)).await;
    assert_eq!(tether.status().borrow().epoch, epoch, "no flapping");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_silent_and_the_dead_hold_up_nobody() {
    let world = World::new();
    world.sentinels[0].hang();
    world.net.refuse(sentinel(1));
    let begun = Instant::now();
    let tether = world.start(world.config()).await;
    tether.ready(ms(1_000)).await.expect("one of them answers");
    assert!(begun.elapsed() <= ms(100), "{:?}", begun.elapsed());
    tether.shutdown().await;
}

/// Its socket stays open, and nothing comes.
#[tokio::test(start_paused = true)]
async fn a_frozen_sentinel_is_not_listened_to_for_long() {
    let world = World::new();
    let tether = world.serving().await;
    let frozen = world.listened_to().expect("one is");
    world.sentinels[frozen].hang();
    // The ping behind a quiet subscription, and its limit.
    sleep(ms(3_000 + 1_000 + 500)).await;
    let others: Vec<_> = (0..3).filter(|n| *n != frozen && world.sentinels[*n].subscribers() > 0).collect();
    assert_eq!(others.len(), 2, "the others are listened to: {others:?}");
    world.promote(1);
    world.announce(others[0], 1, 2);
    let took = until_at(&tether, 1).await;
    assert!(took <= ms(20), "{took:?}");
    tether.shutdown().await;
}

/// With `announce-hostnames` they say names.
#[tokio::test(start_paused = true)]
async fn announced_names_are_resolved() {
    let world = World::new();
    world.dns.set("node-a.test", vec![server(0).ip()]);
    world.sentinels.iter().for_each(|sentinel| sentinel.say("node-a.test", 6379, 1));
    let tether = world.serving().await;
    tether.shutdown().await;
}

/// Names of sentinels, and of the primary where names are announced, as with any endpoint: asked anew once something is wrong.
#[tokio::test(start_paused = true)]
async fn times_to_live_count_while_all_is_well_and_no_longer() {
    let world = World::new();
    world.dns.set("node-a.test", vec![server(0).ip()]);
    world.sentinels.iter().for_each(|sentinel| sentinel.say("node-a.test", 6379, 1));
    let minding = Minding { dns: world.dns.clone(), asked: Arc::default() };
    let asked = || std::mem::take(&mut *minding.asked.lock().expect("no panic"));
    let builder = Tether::builder(world.config()).resolver(minding.clone()).transport(InMemory(world.net.clone()));
    let tether = builder.start().await.expect("a valid configuration");
    tether.ready(ms(1_000)).await.expect("the primary is well");
    sleep(ms(5_000)).await;
    asked();
    sleep(ms(20_000)).await;
    let settled = asked();
    assert!(settled.len() > 10 && settled.iter().all(|query| query.within_ttl), "{settled:?}");
    world.servers[0].crash();
    sleep(ms(1_000)).await;
    let anew: Vec<_> = asked().into_iter().filter(|query| !query.within_ttl).map(|query| query.host).collect();
    for name in ["one.test", "two.test", "three.test", "node-a.test"] {
        assert!(anew.iter().any(|asked| asked == name), "{name} is not asked for anew: {anew:?}");
    }
    tether.shutdown().await;
}

/// Notes what it is asked.
#[derive(Clone)]
struct Minding {
    dns: Dns,
    asked: Arc<Mutex<Vec<Query>>>,
}

impl Resolve for Minding {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        self.asked.lock().expect("no panic").push(query.clone());
        rig::resolver(&self.dns).resolve(query)
    }
}

/// As a headless service in Kubernetes has it.
#[tokio::test(start_paused = true)]
async fn one_name_may_stand_for_all_sentinels() {
    let world = World::new();
    world.dns.set("sentinels.test", (0..3).map(|n| sentinel(n).ip()).collect());
    world.net.refuse(sentinel(0));
    let node = redis_tether::SentinelNode::new("sentinels.test", crate::world::PORT);
    let tether = world.start(redis_tether::Config::sentinel([node], crate::world::MASTER)).await;
    tether.ready(ms(1_000)).await.expect("the other two say where it is");
    world.servers[0].crash();
    world.promote(1);
    world.all_say(1, 2);
    let took = until_at(&tether, 1).await;
    assert!(took <= ms(100), "{took:?}");
    tether.shutdown().await;
}

/// A resolver that is down during the outage: sentinels are asked where they were.
#[tokio::test(start_paused = true)]
async fn without_dns_the_sentinels_are_asked_where_they_were() {
    let world = World::new();
    let tether = world.serving().await;
    for name in ["one.test", "two.test", "three.test"] {
        world.dns.hang(name);
    }
    world.servers[0].crash();
    world.promote(1);
    world.all_say(1, 2);
    let took = until_at(&tether, 1).await;
    assert!(took <= ms(500), "{took:?}");
    tether.shutdown().await;
}

/// One question an interval, whoever it is put to; and nothing is left of it in the end.
#[tokio::test(start_paused = true)]
async fn while_all_is_well_little_is_asked_and_in_the_end_nothing_is_left() {
    let world = World::new();
    let tether = world.serving().await;
    let before = world.questions();
    sleep(ms(60_000)).await;
    let asked = world.questions() - before;
    assert!((24..=38).contains(&asked), "{asked} questions in a minute");
    assert!(world.sentinels.iter().all(|sentinel| sentinel.questions() > 5), "each in turn");
    tether.shutdown().await;
    // The other ends hear of it in their own tasks.
    sleep(ms(1)).await;
    assert_eq!(world.listened_to(), None);
    let asked = world.questions();
    sleep(ms(60_000)).await;
    assert_eq!(world.questions(), asked);
}
