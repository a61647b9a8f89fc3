//! Slots that move from shard to shard under load, and a cluster whose every node is replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use redis_tether::redis::{self, AsyncCommands};
use redis_tether::{ClusterHandle, ClusterTether, Protocol, Shard};
use redis_tether_testkit::server::Announced;
use redis_tether_testkit::{ClusterDeployment, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::{server_binary, without_slow_lookups};
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::world::{Load, TURN, Tally, World, allowance, assert_once, held};

/// How many slots each shard has, and one of them one more.
const SHARD: u16 = 16384 / 3;

on_each_server!(half_of_the_slots, some_of_the_slots_over_tls, what_stays_is_seen_by_a_scan, every_node_replaced);

async fn half_of_the_slots(kind: ServerKind) {
    let _turn = TURN.lock().await;
    move_on(&World::new(kind).await, SHARD / 2).await;
}

/// Each node that a redirection names has a certificate of its own.
async fn some_of_the_slots_over_tls(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::over_tls(kind, Announced::Names).await;
    move_on(&world, SHARD / 16).await;
}

/// From each of the three shards so many slots go to the next.
async fn move_on(world: &World, slots: u16) {
    let tethers = [world.tether(Protocol::Resp2).await, world.tether(Protocol::Resp3).await];
    let mut loads = Vec::new();
    let mut others = Vec::new();
    for (number, tether) in tethers.iter().enumerate() {
        loads.push(Load::start(&tether.handle(), (0..12).map(|key| format!("log{number}-{key}")).collect()));
        others.push(multi_key(tether.handle(), number));
    }
    // One after another: nodes that hand keys on in a circle wait for each other.
    for shard in 0..3u16 {
        let (from, to) = (usize::from(shard), usize::from((shard + 1) % 3));
        world.cluster.reshard(shard * SHARD..shard * SHARD + slots, from, to).await.expect("moved");
    }
    for other in &others {
        other.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    for (_, task) in others {
        let rounds = within(PATIENCE * 2, "the callers of several keys", task).await.expect("none of them failed");
        assert!(rounds > 10, "{rounds} rounds");
    }
    for (number, load) in loads.into_iter().enumerate() {
        let tallies = load.finish().await;
        tallies.iter().for_each(Tally::assert_none_failed);
        for (key, tally) in tallies.iter().enumerate() {
            let held = held(&mut tethers[number].handle(), &format!("log{number}-{key}")).await;
            assert_once(&held, tally);
            assert_eq!(held.len(), tally.done.len(), "what was confirmed is there");
        }
    }
    assert!(tethers[0].stats().redirections > 0, "nothing moved under the load");
    for tether in tethers {
        tether.shutdown().await;
    }
}

type Stop = std::sync::Arc<std::sync::atomic::AtomicBool>;

/// Commands of several keys, of one slot and of many; transactions; pipelines.
fn multi_key(mut handle: ClusterHandle, number: usize) -> (Stop, JoinHandle<u64>) {
    let stop = Stop::default();
    let is_over = stop.clone();
    let task = tokio::spawn(async move {
        let mut round = 0u64;
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            round += 1;
            let pairs: Vec<(String, u64)> = (0..8).map(|key| (format!("m{number}-{key}"), round)).collect();
            handle.mset::<_, _, ()>(&pairs).await.expect("MSET");
            let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
            let values: Vec<u64> = handle.mget(&keys).await.expect("MGET");
            assert_eq!(values, vec![round; 8]);
            let tag = format!("{{t{number}-{}}}", round % 16);
            let together = [(format!("{tag}a"), round), (format!("{tag}b"), round)];
            handle.mset::<_, _, ()>(&together).await.expect("MSET of one slot");
            let mut transaction = redis::pipe();
            transaction.atomic().set(format!("{tag}a"), round).ignore().get(format!("{tag}b"));
            let (value,): (u64,) = transaction.query_async(&mut handle).await.expect("a transaction");
            assert_eq!(value, round);
            let mut pipeline = redis::pipe();
            for key in &keys {
                pipeline.incr(key, 1);
            }
            let values: Vec<u64> = pipeline.query_async(&mut handle).await.expect("a pipeline");
            assert_eq!(values, vec![round + 1; 8]);
            sleep(Duration::from_millis(1)).await;
        }
        round
    });
    (stop, task)
}

/// The second and the third part of the scan come after some slots have moved from the first shard to the second, lowest first.
async fn what_stays_is_seen_by_a_scan(kind: ServerKind) {
    const KEYS: usize = 100;
    const MOVES: u16 = 2;
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let tether = world.tether(Protocol::Resp3).await;
    let mut handle = tether.handle();
    let of_shard = |shard| (0..KEYS).map(move |number| (shard, format!("s{number}")));
    let names = (0..3).flat_map(of_shard);
    // Their slots are none of the first.
    let keys: Vec<String> = names.map(|(shard, name)| world.cluster.key_in(shard, &name)).collect();
    for key in &keys {
        handle.set::<_, _, ()>(key, 1).await.expect("set");
    }
    let (mut seen, mut cursor, mut moved) = (BTreeSet::new(), 0u64, 0u16);
    loop {
        let mut part = redis::cmd("SCAN");
        part.arg(cursor).arg("COUNT").arg(20);
        let (next, some): (u64, Vec<String>) =
            within(PATIENCE, "a part of the scan", part.query_async(&mut handle)).await.expect("no shard is dissolved");
        seen.extend(some);
        cursor = next;
        if cursor == 0 {
            break;
        }
        if moved < MOVES {
            world.cluster.reshard(moved * 10..(moved + 1) * 10, 0, 1).await.expect("moved");
            moved += 1;
            until_known(&tether, moved * 10 - 1).await;
        }
    }
    assert_eq!(moved, MOVES, "the scan was over too soon");
    let unseen: Vec<_> = keys.iter().filter(|key| !seen.contains(*key)).collect();
    assert!(unseen.is_empty(), "{} of {} keys that stayed: {unseen:?}", unseen.len(), keys.len());
    tether.shutdown().await;
}

/// That this slot is where the second third of them is.
async fn until_known(tether: &ClusterTether, slot: u16) {
    let has = |shard: &Shard, slot| shard.slots.iter().any(|range| range.contains(&slot));
    within(PATIENCE, "it to be known where the slots are", async {
        while !tether.shards().iter().any(|shard| has(shard, slot) && has(shard, 9084)) {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The name of the configuration endpoint is all that leads to the new ones.
async fn every_node_replaced(kind: ServerKind) {
    const BOUND: Duration = Duration::from_secs(1);
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let successor =
        ClusterDeployment::start_beside(&server_binary(kind), &world.cluster).await.expect("another cluster");
    let tether = async |protocol| world.serving(without_slow_lookups(world.config(protocol))).await;
    let tethers = [tether(Protocol::Resp2).await, tether(Protocol::Resp3).await];
    for node in &world.cluster.nodes {
        node.kill().await.expect("killed");
    }
    let mut waiting = Vec::new();
    for tether in &tethers {
        for shard in 0..ClusterDeployment::SHARDS {
            let (mut handle, key) = (tether.handle(), world.cluster.key_in(shard, "k"));
            waiting.push(tokio::spawn(async move { handle.set::<_, _, ()>(key, "v").await }));
        }
    }
    sleep(Duration::from_millis(500)).await;
    world.name(&successor);
    let named = Instant::now();
    for command in waiting {
        let answer = within(PATIENCE, "a command", command).await.expect("no panic");
        answer.expect("it was held until the successor was found");
    }
    let took = named.elapsed();
    assert!(took <= BOUND + allowance(Duration::from_secs(2)), "{took:?} after the name led there");
    for tether in tethers {
        tether.shutdown().await;
    }
}
