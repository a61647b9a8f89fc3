//! A cluster to which everything happens at once: connections cut, nodes frozen for a moment, primaries that hand over, slots that move.
//! Each value is written once, by itself or in a transaction; in the end nothing is there twice, and nothing that was confirmed is
//! missing, but where the servers themselves lose it. (Primaries that die have a file of their own, `kills.rs`.)
//!
//! `CHAOS_SEED=7` makes other choices, `CHAOS_SECONDS=300` goes on for so long.

use std::time::Duration;

use redis_tether::{ClusterTether, Protocol};
use redis_tether_testkit::{ClusterDeployment, Reply, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::time::{Instant, sleep};

use super::world::{Load, TURN, World, assert_once, held, twin};

/// What makes the order of faults where nobody asks for another one, as `CHAOS_SEED=7` does.
const SEED: u64 = 5;

/// How long faults strike where nobody asks for more, as `CHAOS_SECONDS=300` does.
const SECONDS: u64 = 12;

/// Printed when a run fails.
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn chosen() -> Seed {
        Seed(asked_for("CHAOS_SEED").unwrap_or(SEED))
    }
}

/// How long faults strike.
pub(crate) fn duration(seconds: u64) -> Duration {
    Duration::from_secs(asked_for("CHAOS_SECONDS").unwrap_or(seconds))
}

fn asked_for(variable: &str) -> Option<u64> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("{variable} is no number: {number}")))
}

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "for whoever runs the test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with CHAOS_SEED={}", self.0);
        }
    }
}

/// Of each tether, so many who send one command at a time and so many who send transactions.
const CALLERS: usize = 6;

/// Far below the time after which nodes take each other for down: the replica is not to be elected.
const LONGEST_FREEZE_MS: u64 = 200;

on_each_server!(nothing_is_executed_twice);

async fn nothing_is_executed_twice(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seed = Seed::chosen();
    let mut crowds = Vec::new();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        crowds.push(Crowd::start(world.tether(protocol).await, protocol));
    }
    let wreckage = wreak(&world.cluster, fastrand::Rng::with_seed(seed.0)).await;
    for crowd in crowds {
        crowd.finish(&world.cluster, &wreckage).await;
    }
}

/// What was done to a cluster.
struct Wreckage {
    faults: Vec<String>,
    /// The slots below this were on their way at some time.
    moved: u16,
}

impl Wreckage {
    /// Whether what is confirmed under this key stays. A takeover forgets which slots were on their way (Redis, and Valkey before 8): the
    /// new primary makes a key anew that had gone ahead, and what is behind it is deleted when the slot's owner is settled.
    async fn spares(&self, cluster: &ClusterDeployment, key: &str) -> bool {
        let slot = cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).await.expect("it knows");
        let Reply::Int(slot) = slot else { panic!("{slot:?}") };
        slot >= i64::from(self.moved)
    }
}

/// The callers of one tether.
struct Crowd {
    tether: ClusterTether,
    keys: Vec<String>,
    load: Load,
    together: Vec<String>,
    transactions: Load,
}

impl Crowd {
    fn start(tether: ClusterTether, protocol: Protocol) -> Crowd {
        let keys = |what| (0..CALLERS).map(|caller| format!("{what}-{protocol:?}-{caller}")).collect::<Vec<_>>();
        let (keys, together) = (keys("log"), keys("together"));
        let load = Load::start(&tether.handle(), keys.clone());
        let transactions = Load::of_transactions(&tether.handle(), together.clone());
        Crowd { tether, keys, load, together, transactions }
    }

    async fn finish(self, cluster: &ClusterDeployment, wreckage: &Wreckage) {
        let faults = &wreckage.faults;
        let mut handle = self.tether.handle();
        for (keys, load) in [(&self.keys, self.load), (&self.together, self.transactions)] {
            let tallies = within(PATIENCE * 3, "the load to end", load.finish()).await;
            let done: usize = tallies.iter().map(|tally| tally.done.len()).sum();
            assert!(done > 200, "{done} writes were done among {faults:?}");
            for (key, tally) in keys.iter().zip(&tallies) {
                let held = held(&mut handle, key).await;
                assert_once(&held, tally);
                if wreckage.spares(cluster, key).await {
                    // No primary died with writes that no replica had: handing over loses none, and a node that was frozen for a
                    // moment stays.
                    let missing: Vec<_> =
                        tally.done.iter().map(|done| &done.value).filter(|value| !held.contains_key(*value)).collect();
                    assert!(missing.is_empty(), "confirmed and not there: {missing:?}, among {faults:?}");
                }
            }
        }
        for key in &self.together {
            if !wreckage.spares(cluster, key).await {
                continue;
            }
            let (held, twins) = (held(&mut handle, key).await, held(&mut handle, &twin(key)).await);
            assert_eq!(held, twins, "half of a transaction, among {faults:?}");
        }
        assert!(self.tether.stats().redirections > 0, "nobody was sent elsewhere among {faults:?}");
        self.tether.shutdown().await;
    }
}

/// Does harm for a while, and says what was done.
async fn wreak(cluster: &ClusterDeployment, mut rng: fastrand::Rng) -> Wreckage {
    let (begun, time) = (Instant::now(), duration(SECONDS));
    let (mut faults, mut moved) = (Vec::new(), 0u16);
    while begun.elapsed() < time {
        let node = rng.usize(..cluster.nodes.len());
        match rng.u32(..5) {
            0 => {
                faults.push(format!("the clients of node {node} are cut off"));
                cluster.nodes[node].kill_clients().await.expect("cut off");
            }
            1 => {
                let time = Duration::from_millis(rng.u64(20..LONGEST_FREEZE_MS));
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
    Wreckage { faults, moved }
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
