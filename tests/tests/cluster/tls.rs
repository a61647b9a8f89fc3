//! A cluster whose nodes speak TLS, each with a certificate for what it announces itself as and for nothing else.

use redis_tether::redis::AsyncCommands;
use redis_tether::{ClusterTether, Event, FailureKind, Protocol};
use redis_tether_testkit::server::Announced;
use redis_tether_testkit::{ClusterDeployment, ServerKind};
use redis_tether_tests::servers::{protocol_for, server_binary};
use redis_tether_tests::watch::{Diary, PATIENCE, reason};
use redis_tether_tests::{on_each_server, rig};

use super::faults::{Seen, assert_only_in_flight_failed, fail_over, freeze, kill};
use super::replicas::{reads, written};
use super::world::{TURN, World};

on_each_server!(
    a_killed_primary,
    a_frozen_primary,
    a_planned_failover,
    a_certificate_for_another_name,
    reads_go_to_the_replicas_of_each_shard,
);

async fn a_killed_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::over_tls(kind, Announced::Names).await;
    let seen = fail_over(&world, kill).await;
    assert_only_in_flight_failed(&seen);
}

async fn a_frozen_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::over_tls(kind, Announced::Names).await;
    let seen = fail_over(&world, freeze).await;
    assert_only_in_flight_failed(&seen);
}

async fn a_planned_failover(kind: ServerKind) {
    let _turn = TURN.lock().await;
    // Only servers that speak TLS themselves tell clients the port at which they do.
    let announced = if server_binary(kind).speaks_tls() { Announced::Addresses } else { Announced::Names };
    let world = World::over_tls(kind, announced).await;
    let seen = fail_over(&world, async |all| all.failover(0).await.expect("begun")).await;
    seen.iter().for_each(Seen::assert_none_failed);
}

/// One node's is for another: its shard says so and goes on trying, and the others serve.
async fn a_certificate_for_another_name(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::over_tls(kind, Announced::Names).await;
    let files = world.cluster.tls_files(0).expect("it speaks TLS");
    let theirs = files.authority().issue(&["other.test"]).expect("a certificate");
    files.put_server(&theirs).expect("written");
    world.cluster.primary(0).reload_tls().await.expect("the server takes it");
    let tether = world.start(Protocol::Resp3).await;
    let name = ClusterDeployment::hostname(0);
    let words = format!("is for other.test, not for {name}: set tls.server_name");
    reason(&words, async |limit| tether.ready(limit).await).await;
    let mut handle = tether.handle();
    for shard in 1..ClusterDeployment::SHARDS {
        handle.set::<_, _, ()>(world.cluster.key_in(shard, "key"), 1).await.expect("its certificate is good");
    }
    let shards = tether.shards();
    let failed = shards.iter().find(|shard| *shard.slots[0].start() == 0).expect("it has slots");
    let mut diary = Diary::of(&failed.tether);
    let refused = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Tls, .. });
    diary.until("a failed dial", refused).await;
    files.renew_server().expect("renewed");
    world.cluster.primary(0).reload_tls().await.expect("the server takes it");
    tether.ready(PATIENCE).await.expect("it was tried again");
    tether.shutdown().await;
}

/// Each has a certificate for the name that it announces, as the primaries have.
async fn reads_go_to_the_replicas_of_each_shard(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::over_tls(kind, Announced::Names).await;
    let tether = world.reader(protocol_for(kind)).await;
    let keys = written(&world, &tether).await;
    let mut replicas = tether.replicas();
    replicas.ready(PATIENCE).await.expect("each shard has a replica");
    let before = reads(&world).await;
    for key in &keys {
        let value: String = replicas.get(key).await.expect("a replica answers");
        assert_eq!(value, *key);
    }
    let after = reads(&world).await;
    assert_eq!(after.0, before.0, "no primary was asked");
    assert!(after.1.iter().zip(&before.1).all(|(after, before)| *after == before + 1), "{after:?} after {before:?}");
    tether.shutdown().await;
}

/// One name that all certificates are for is enough, whatever nodes announce.
#[tokio::test]
async fn a_name_in_common_goes_before_what_is_announced() {
    let _turn = TURN.lock().await;
    let world = World::over_tls(ServerKind::Redis, Announced::Names).await;
    let mut config = world.config(Protocol::Resp2);
    let tls = config.tls.take().expect("it speaks TLS").with_server_name("common.test");
    config.tls = Some(tls);
    let tether = ClusterTether::builder(config).resolver(rig::resolver(&world.dns)).start().await.expect("valid");
    reason("not for common.test", async |limit| tether.ready(limit).await).await;
    tether.shutdown().await;
}
