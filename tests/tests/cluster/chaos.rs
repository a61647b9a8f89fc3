//! A cluster to which everything happens at once: connections cut, nodes frozen for a moment, primaries that hand over, slots that move.
//! Each value is written once, and each counter counts what it is told; in the end nothing is there twice, and nothing that was
//! confirmed is missing.

use std::time::Duration;

use redis_tether::Protocol;
use redis_tether_testkit::{ClusterDeployment, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::time::{Instant, sleep};

use super::world::{Load, TURN, World, assert_once, held};

/// What makes the order of faults; it is printed when a run fails.
const SEED: u64 = 5;

const FOR: Duration = Duration::from_secs(12);

const CALLERS: usize = 9;

on_each_server!(nothing_is_executed_twice);

async fn nothing_is_executed_twice(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let tether = world.tether(Protocol::Resp3).await;
    let keys: Vec<String> = (0..CALLERS).map(|caller| format!("log-{caller}")).collect();
    let load = Load::start(&tether.handle(), keys.clone());
    let faults = wreak(&world.cluster, fastrand::Rng::with_seed(SEED)).await;
    let tallies = within(PATIENCE * 3, "the load to end", load.finish()).await;
    let done: usize = tallies.iter().map(|tally| tally.done.len()).sum();
    assert!(done > 500, "{done} writes were done among {faults:?}");
    for (key, tally) in keys.iter().zip(&tallies) {
        let held = held(&mut tether.handle(), key).await;
        assert_once(&held, tally);
        // No primary died with writes that no replica had: handing over loses none, and a node that was frozen for a moment stays.
        let missing: Vec<_> = tally.done.iter().filter(|value| !held.contains_key(*value)).collect();
        assert!(missing.is_empty(), "confirmed and not there: {missing:?}, among {faults:?}");
    }
    assert!(tether.stats().redirections > 0, "nobody was sent elsewhere among {faults:?}");
    tether.shutdown().await;
}

/// Does harm for a while, and says what was done.
async fn wreak(cluster: &ClusterDeployment, mut rng: fastrand::Rng) -> Vec<String> {
    let begun = Instant::now();
    let (mut faults, mut moved) = (Vec::new(), 0u16);
    while begun.elapsed() < FOR {
        let node = rng.usize(..cluster.nodes.len());
        match rng.u32(..5) {
            0 => {
                faults.push(format!("the clients of node {node} are cut off"));
                cluster.nodes[node].kill_clients().await.expect("cut off");
            }
            1 => {
                let time = Duration::from_millis(rng.u64(50..400));
                faults.push(format!("node {node} is frozen for {time:?}"));
                cluster.nodes[node].freeze().await.expect("frozen");
                sleep(time).await;
                cluster.nodes[node].thaw().expect("thawed");
            }
            2 => {
                faults.push(format!("node {node} takes over, if it is a replica"));
                // A primary refuses, and so does one that is being asked already.
                let _ = cluster.nodes[node].command(&["CLUSTER", "FAILOVER"]).await;
            }
            3 => {
                let (from, to) = match primaries(cluster).await {
                    Some(primaries) => (primaries[0], primaries[1]),
                    None => continue,
                };
                faults.push(format!("slots {moved}.. go from node {from} to node {to}"));
                // Where somebody takes over meanwhile it is refused, half-way perhaps: then it is a slot that is on its way.
                let _ = cluster.reshard(moved..moved + 10, from, to).await;
                moved += 10;
            }
            _ => sleep(Duration::from_millis(rng.u64(20..200))).await,
        }
    }
    faults
}

/// Who leads the first shard and the second.
async fn primaries(cluster: &ClusterDeployment) -> Option<[usize; 2]> {
    let mut found = [None; 2];
    for (shard, found) in found.iter_mut().enumerate() {
        for node in [shard, shard + ClusterDeployment::SHARDS] {
            if cluster.nodes[node].is_primary().await.unwrap_or(false) {
                *found = Some(node);
            }
        }
    }
    Some([found[0]?, found[1]?])
}
