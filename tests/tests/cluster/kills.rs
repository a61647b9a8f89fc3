//! A cluster whose primaries are killed, one after the other, behind a network that delivers requests and cuts the connection before their
//! replies. Each value is written once, by itself or in a transaction, by callers with little time, with much, and with none; every
//! call ends; nothing is there twice, nor what its caller was told to be not; nothing that was confirmed is missing, but what a killed
//! primary had not told its replica (`losses.rs`), and nothing at all where that was waited for.
//!
//! `CHAOS_SEED=7` makes other choices, `CHAOS_SECONDS=300` goes on for so long.

use std::time::Duration;

use redis_tether::redis::RedisError;
use redis_tether::{ClusterTether, Outcome, OutcomeExt, Protocol};
use redis_tether_testkit::server::Info;
use redis_tether_testkit::{ClusterDeployment, Server, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::time::{Instant, sleep};

use super::chaos::{Seed, duration};
use super::detours::Detours;
use super::losses::unexplained;
use super::world::{Load, TURN, Tally, World, assert_once, held, twin};

/// How long faults strike where nobody asks for more.
const SECONDS: u64 = 7;

on_each_server!(nothing_is_executed_twice_though_primaries_die);

async fn nothing_is_executed_twice_though_primaries_die(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let detours = Detours::to(&world.cluster).await;
    let seed = Seed::chosen();
    let mut crowds = Vec::new();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let tether = world.builder(protocol).transport(detours.clone()).start().await.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the cluster is well");
        crowds.push(Crowd::start(tether, &world.cluster, protocol));
    }
    let mut mischief = Mischief::new(&world.cluster, &detours, fastrand::Rng::with_seed(seed.0));
    let (begun, time) = (Instant::now(), duration(SECONDS));
    while begun.elapsed() < time {
        mischief.kill().await;
        for crowd in &crowds {
            crowd.go_on().await;
        }
    }
    let mut lost = 0;
    for crowd in crowds {
        lost += crowd.finish(&mischief).await;
    }
    assert!(lost > 0, "no reply was cut off by {:?}", mischief.faults);
}

/// How a caller waits, and how long a call takes at most.
#[derive(Clone, Copy)]
enum Manner {
    /// Longer than a shard is away.
    Patient,
    Hasty,
    FailFast,
}

impl Manner {
    const ALL: [Manner; 3] = [Manner::Patient, Manner::Hasty, Manner::FailFast];

    fn deadline(self) -> Duration {
        match self {
            Manner::Patient => Duration::from_secs(30),
            Manner::Hasty | Manner::FailFast => Duration::from_millis(300),
        }
    }
}

/// The callers of one manner and one kind of write, one for each shard.
struct Group {
    manner: Manner,
    keys: Vec<String>,
    load: Load,
}

/// The callers of one tether.
struct Crowd {
    tether: ClusterTether,
    alone: Vec<Group>,
    together: Vec<Group>,
}

impl Crowd {
    fn start(tether: ClusterTether, cluster: &ClusterDeployment, protocol: Protocol) -> Crowd {
        let group = |name: &str, manner: Manner, start: fn(&_, _) -> Load| {
            let policy = tether.handle().policy().deadline(manner.deadline());
            let policy = if let Manner::FailFast = manner { policy.fail_fast() } else { policy };
            let name = format!("{name}-{protocol:?}-{}", manner as u8);
            let keys: Vec<_> = (0..ClusterDeployment::SHARDS).map(|shard| cluster.key_in(shard, &name)).collect();
            let load = start(&tether.handle().with_policy(policy), keys.clone());
            Group { manner, keys, load }
        };
        let alone = Manner::ALL.map(|manner| group("alone", manner, Load::start)).into();
        let together = Manner::ALL.map(|manner| group("together", manner, Load::of_transactions)).into();
        Crowd { alone, together, tether }
    }

    /// Waits until each group has got on.
    async fn go_on(&self) {
        for group in self.alone.iter().chain(&self.together) {
            group.load.go_on_for(20).await;
        }
    }

    /// Says how many calls have ended without anybody knowing what became of them.
    async fn finish(self, mischief: &Mischief<'_>) -> usize {
        let (mut handle, mut lost) = (self.tether.handle(), 0);
        let mut twins = Vec::new();
        for group in &self.together {
            twins.extend(group.keys.clone());
        }
        for Group { manner, keys, load } in self.alone.into_iter().chain(self.together) {
            let tallies = within(PATIENCE * 3, "the load to end", load.finish()).await;
            for (shard, (key, tally)) in keys.iter().zip(&tallies).enumerate() {
                let held = held(&mut handle, key).await;
                assert_once(&held, tally);
                let missing = unexplained(&tally.done, &held, &mischief.deaths[shard]);
                assert!(missing.is_empty(), "confirmed and not there: {missing:?}, among {:?}", mischief.faults);
                assert!(tally.longest <= manner.deadline() + PATIENCE, "{:?} for one call", tally.longest);
                lost += ambiguous(tally);
            }
        }
        for key in twins {
            let (held, twins) = (held(&mut handle, &key).await, held(&mut handle, &twin(&key)).await);
            assert_eq!(held, twins, "half of a transaction, among {:?}", mischief.faults);
        }
        self.tether.shutdown().await;
        lost
    }
}

/// Nothing else fails here than what the tether itself gives up.
fn ambiguous(tally: &Tally) -> usize {
    let outcome = |(value, error): &(String, RedisError)| error.outcome().unwrap_or_else(|| panic!("{value}: {error}"));
    tally.failed.iter().filter(|failed| outcome(failed) == Outcome::Ambiguous).count()
}

/// What does harm to a cluster, and knows what it has done.
struct Mischief<'a> {
    cluster: &'a ClusterDeployment,
    detours: &'a Detours,
    rng: fastrand::Rng,
    faults: Vec<String>,
    /// Of each shard, when a primary was dead that may have confirmed what its replica did not have.
    deaths: [Vec<Instant>; ClusterDeployment::SHARDS],
}

impl<'a> Mischief<'a> {
    fn new(cluster: &'a ClusterDeployment, detours: &'a Detours, rng: fastrand::Rng) -> Mischief<'a> {
        Mischief { cluster, detours, rng, faults: Vec::new(), deaths: Default::default() }
    }

    /// Kills the primary of a shard, has its replica take over, and the dead one come back as a replica; replies are cut off meanwhile.
    async fn kill(&mut self) {
        let shard = self.rng.usize(..ClusterDeployment::SHARDS);
        let [primary, replica] = self.nodes_of(shard).await;
        self.cut_replies(400, None).await;
        let (dying, heir) = (&self.cluster.nodes[primary], &self.cluster.nodes[replica]);
        let loses = self.rng.bool();
        if loses {
            fall_behind(dying, heir).await;
            sleep(Duration::from_millis(self.rng.u64(..50))).await;
        } else {
            catch_up(dying, heir).await;
        }
        self.faults.push(format!("node {primary} is killed; its replica has all that it had: {}", !loses));
        dying.kill().await.expect("killed");
        if loses {
            self.deaths[shard].push(Instant::now());
            heir.thaw().expect("thawed");
        }
        self.detours.before(primary).refuse();
        self.cut_replies(600, Some(primary)).await;
        // By itself: without votes, so that none can be refused or come too late.
        heir.command(&["CLUSTER", "FAILOVER", "TAKEOVER"]).await.expect("it takes over");
        self.cluster.taken_over(heir).await.expect("taken over");
        self.cut_replies(600, Some(primary)).await;
        dying.restart().await.expect("it comes back");
        ClusterDeployment::elect_nobody(dying).await.expect("it obeys");
        // It has lost everything, and takes itself for the primary until the others tell it otherwise. Nobody is to write to it until
        // then: a server would lose that.
        let is_replica =
            |info: &Info| info.field("role") == Some("slave") && info.field("master_link_status") == Some("up");
        dying.wait_for("the dead one to be a replica", PATIENCE, is_replica).await.expect("a replica in sync");
        self.detours.before(primary).pass();
    }

    /// Who leads this shard, and who follows.
    async fn nodes_of(&self, shard: usize) -> [usize; 2] {
        let nodes = [shard, shard + ClusterDeployment::SHARDS];
        match self.cluster.nodes[shard].is_primary().await.expect("it answers") {
            true => nodes,
            false => [nodes[1], nodes[0]],
        }
    }

    /// For so long at most, the connections to one node and another are cut when their next reply comes, or within it. One node is spared,
    /// since it is not there.
    async fn cut_replies(&mut self, longest_ms: u64, spared: Option<usize>) {
        let (begun, time) = (Instant::now(), Duration::from_millis(self.rng.u64(..longest_ms)));
        while begun.elapsed() < time {
            let node = self.rng.usize(..self.cluster.nodes.len());
            if Some(node) == spared {
                continue;
            }
            let bytes = if self.rng.bool() { 0 } else { self.rng.u64(1..200) };
            self.faults.push(format!("replies of node {node} are cut after {bytes} bytes"));
            self.detours.before(node).cut_reply_after(bytes);
            sleep(Duration::from_millis(self.rng.u64(5..40))).await;
            self.detours.before(node).pass();
            sleep(Duration::from_millis(self.rng.u64(20..120))).await;
        }
    }
}

/// What is confirmed from now on, the replica does not hear of.
async fn fall_behind(primary: &Server, replica: &Server) {
    // It would be back at once.
    replica.freeze().await.expect("frozen");
    primary.command(&["CLIENT", "KILL", "TYPE", "replica"]).await.expect("cut off");
}

/// Writes are put off from now on, and all that was confirmed is at the replica.
async fn catch_up(primary: &Server, replica: &Server) {
    let pause = PATIENCE.as_millis().to_string();
    primary.command(&["CLIENT", "PAUSE", &pause, "WRITE"]).await.expect("writes are put off");
    let offset = primary.full_info().await.expect("the offset").number("master_repl_offset").expect("an offset");
    let is_there = |info: &Info| info.number("slave_repl_offset").is_some_and(|there| there >= offset);
    replica.wait_for("the replica to catch up", PATIENCE, is_there).await.expect("caught up");
}
