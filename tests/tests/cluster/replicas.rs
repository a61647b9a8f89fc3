//! Reads from the replicas of a cluster, counted at its nodes.

use redis_tether::redis::{AsyncCommands, RedisResult, Value, cmd, pipe};
use redis_tether::{Outcome, OutcomeExt, Protocol, Reason};
use redis_tether_testkit::{ClusterDeployment, Server, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{PATIENCE, within};

use crate::world::{TURN, World};

on_each_server!(reads_go_to_the_replicas_of_each_shard, a_replica_that_takes_over, a_command_before_the_first_survey);

const SHARDS: usize = 3;

/// How often this node has executed a `GET` and an `MGET`.
async fn reads_at(server: &Server) -> u64 {
    let info = server.command(&["INFO", "commandstats"]).await.expect("it answers").text().unwrap_or_default();
    let calls = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="))?;
        line.split(',').next()?.parse::<u64>().ok()
    };
    calls("cmdstat_get").unwrap_or_default() + calls("cmdstat_mget").unwrap_or_default()
}

/// Of the primaries, and of the replicas.
pub(super) async fn reads(world: &World) -> (Vec<u64>, Vec<u64>) {
    let (mut primaries, mut replicas) = (Vec::new(), Vec::new());
    for shard in 0..SHARDS {
        primaries.push(reads_at(world.cluster.primary(shard)).await);
        replicas.push(reads_at(world.cluster.replica(shard)).await);
    }
    (primaries, replicas)
}

/// A key in each shard, whose value it is, at all of its nodes.
pub(super) async fn written(world: &World, tether: &redis_tether::ClusterTether) -> Vec<String> {
    let mut handle = tether.handle();
    let keys: Vec<String> = (0..SHARDS).map(|shard| world.cluster.key_in(shard, "read")).collect();
    for key in &keys {
        let _: () = handle.set(key, key).await.expect("a write");
    }
    for shard in 0..SHARDS {
        let synced =
            |info: &redis_tether_testkit::server::Info| info.field("db0").is_some_and(|db| db.starts_with("keys=1"));
        world.cluster.replica(shard).wait_for("the key", PATIENCE, synced).await.expect("replicated");
    }
    keys
}

async fn reads_go_to_the_replicas_of_each_shard(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let tether = world.reader(protocol).await;
        let keys = written(&world, &tether).await;
        let mut replicas = tether.replicas();
        replicas.ready(PATIENCE).await.expect("each shard has a replica");
        let before = reads(&world).await;
        for key in &keys {
            for _ in 0..10 {
                let value: String = replicas.get(key).await.expect("a replica answers");
                assert_eq!(value, *key);
            }
        }
        let all: Vec<String> = replicas.mget(&keys).await.expect("one of each shard answers");
        assert_eq!(all, keys);
        let mut piped = pipe();
        for key in &keys {
            piped.get(key);
        }
        let all: Vec<String> = piped.query_async(&mut replicas).await.expect("one of each shard answers");
        assert_eq!(all, keys);
        let after = reads(&world).await;
        assert_eq!(after.0, before.0, "{protocol:?}: no primary was asked");
        let each: Vec<_> = after.1.iter().zip(&before.1).map(|(after, before)| after - before).collect();
        assert_eq!(each, [12; SHARDS], "{protocol:?}");
        assert_eq!(tether.stats().redirections, 0);

        let mut found: Vec<String> = cmd("KEYS").arg("*").query_async(&mut replicas).await.expect("all keys");
        found.sort_unstable();
        let mut expected = keys.clone();
        expected.sort_unstable();
        assert_eq!(found, expected);
        let refused: RedisResult<Value> = replicas.del(&keys).await;
        let error = refused.expect_err("a write");
        let told = error.command_error().expect("an error of the tether's");
        assert_eq!(
            (told.outcome(), told.reason(), told.cause()),
            (Outcome::NotSent, Reason::NotForReplicas, Some("DEL"))
        );
        tether.shutdown().await;
    }
}

/// Its shard is left without one, and reads go to the primary that it has become, until the old one comes back and follows it.
async fn a_replica_that_takes_over(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let tether = world.reader(Protocol::Resp2).await;
    let keys = written(&world, &tether).await;
    let mut replicas = tether.replicas();
    replicas.ready(PATIENCE).await.expect("each shard has a replica");
    let (new, old) = (world.cluster.replica(0), world.cluster.primary(0));
    world.cluster.failover(0).await.expect("begun");
    world.cluster.taken_over(new).await.expect("taken over");
    old.kill().await.expect("killed");
    let mut read = async || -> RedisResult<String> { replicas.get(&keys[0]).await };
    let shard = tether.shards().into_iter().find(|shard| *shard.slots[0].start() == 0).expect("it has slots");
    let mut status = shard.tether.status();
    let is_there =
        status.wait_for(|status| status.address.as_ref().is_some_and(|at| at.to_string() == new.addr().to_string()));
    let _ = within(PATIENCE, "the shard to be at its new primary", is_there).await.expect("the tether lives");
    // The first may be on their way to the old one, if it was known as a replica before it was killed.
    within(PATIENCE, "a read", async { while read().await.is_err() {} }).await;
    let before = reads_at(new).await;
    for _ in 0..10 {
        assert_eq!(read().await.expect("it answers"), keys[0]);
    }
    assert_eq!(reads_at(new).await, before + 10, "the new primary stands in");

    old.restart().await.expect("it comes back");
    ClusterDeployment::elect_nobody(old).await.expect("it obeys");
    let mut old_reads = async || {
        assert_eq!(read().await.expect("somebody answers"), keys[0]);
        reads_at(old).await
    };
    let before = reads_at(old).await;
    within(PATIENCE, "the old primary to be read from", async { while old_reads().await == before {} }).await;
    let before = reads_at(new).await;
    for _ in 0..10 {
        old_reads().await;
    }
    assert_eq!(reads_at(new).await, before, "the new primary is spared");
    tether.shutdown().await;
}

/// It waits for whoever has its slot, and for no longer.
async fn a_command_before_the_first_survey(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let resolver = redis_tether_tests::rig::resolver(&world.dns);
    let tether = redis_tether::ClusterTether::builder(world.config(Protocol::Resp2)).resolver(resolver).start().await;
    let tether = tether.expect("a valid configuration");
    let begun = tokio::time::Instant::now();
    let mut handle = tether.handle();
    let _: () = within(PATIENCE, "a write", handle.set("key", "value")).await.expect("held until there is a layout");
    assert!(begun.elapsed() < PATIENCE / 4, "{:?}", begun.elapsed());
    tether.shutdown().await;
}
