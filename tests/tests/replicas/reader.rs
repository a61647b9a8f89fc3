//! A name that means replicas, as managed services have one for reads.

use std::time::Duration;

use redis_tether::redis::{self, AsyncCommands, RedisResult, Value};
use redis_tether::{Event, Protocol, ReplicaHandle};
use redis_tether_testkit::ServerKind;
use redis_tether_testkit::server::Info;
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::unsuspecting;
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::task::JoinHandle;

use crate::world::{KEY, READER, Readers, World, gets_at, serving, settled};

on_each_server!(a_name_that_moves, a_name_that_means_the_primary, whom_it_names_must_be_a_replica_that_serves);

/// From the one replica to the other: healthy, the one is left only after a while; dead, at once.
async fn a_name_that_moves(kind: ServerKind) {
    let world = World::new(kind).await;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut config = world.at_reader(protocol);
        config.resolve.swap_budget = Duration::from_millis(500);
        config.resolve.interval = Duration::from_millis(200);
        let [one, other] = &world.replicas[..] else { panic!("two replicas") };
        world.dns.set(READER, vec![one.addr().ip()]);
        let tether = world.tether(config).await;
        let replicas = tether.replicas();
        serving(&replicas, &tether, 1).await;
        let readers = Readers::start(&replicas, 4);
        let before = gets_at(other).await;
        readers.go_on_for(100).await;
        assert_eq!(gets_at(other).await, before, "it is not named");

        let mut diary = Diary::of(&tether);
        // It is left while it has yet to answer this. Readers wait behind it.
        let waiting = reads_a_stream(replicas.clone());
        let is_waiting = |info: &Info| info.field("blocked_clients") == Some("1");
        one.wait_for("the read that waits", PATIENCE, is_waiting).await.expect("it waits there");
        world.dns.set(READER, vec![other.addr().ip()]);
        let left = one.addr().to_string();
        let is_left = |event: &Event| matches!(event, Event::ReplicaRemoved { replica, .. } if **replica == *left);
        diary.until("the one to be left", is_left).await;
        serving(&replicas, &tether, 1).await;
        readers.go_round().await;
        let before = gets_at(one).await;
        readers.go_on_for(100).await;
        assert_eq!(gets_at(one).await, before, "it is not named any more");
        assert!(readers.finish().await.is_empty(), "a move costs nothing");
        let waited = within(PATIENCE, "the read that waited", waiting).await.expect("no panic");
        assert_eq!(waited.expect("it was answered by the one that was left"), Value::Nil);
        assert_eq!(tether.stats().fallbacks, 0);
        tether.shutdown().await;
    }
}

/// For what is not written to it within two seconds.
fn reads_a_stream(mut replicas: ReplicaHandle) -> JoinHandle<RedisResult<Value>> {
    let words = ["BLOCK", "2000", "STREAMS", "stream", "0"];
    tokio::spawn(async move { redis::cmd("XREAD").arg(&words).query_async(&mut replicas).await })
}

/// As a service's does that has lost its replicas.
async fn a_name_that_means_the_primary(kind: ServerKind) {
    let world = World::new(kind).await;
    let config = world.at_reader(Protocol::Resp2);
    world.dns.set(READER, vec![world.primary.addr().ip()]);
    let tether = world.tether(config).await;
    let mut replicas = tether.replicas();
    let value: String = replicas.get(KEY).await.expect("the primary answers");
    assert_eq!((value.as_str(), tether.stats().fallbacks), ("value", 1));
    replicas.ready(Duration::from_millis(100)).await.expect_err("there is none");
    // Named as well, the replica is found beside it.
    world.dns.set(READER, vec![world.primary.addr().ip(), world.replicas[0].addr().ip()]);
    settled(&tether, "the replica to serve", || replicas.members().iter().any(redis_tether::Replica::serves)).await;
    assert_eq!(replicas.members().len(), 1, "the primary is none of them");
    let before = world.gets().await;
    for _ in 0..10 {
        let _: String = replicas.get(KEY).await.expect("the replica answers");
    }
    let after = world.gets().await;
    assert_eq!((after[0], after[1]), (before[0], before[1] + 10));
    tether.shutdown().await;
}

/// Whatever the name says, each is asked itself: when its link is made, and after that.
async fn whom_it_names_must_be_a_replica_that_serves(kind: ServerKind) {
    let world = World::new(kind).await;
    let mut config = world.at_reader(Protocol::Resp2);
    config.detection.probe_interval = Duration::from_millis(500);
    let one = &world.replicas[0];
    one.promote().await.expect("promoted");
    let tether = world.tether(unsuspecting(config)).await;
    let mut diary = Diary::of(&tether);
    let replicas = tether.replicas();
    let name = one.addr().to_string();
    let of_one = |event: &Event, is_it: fn(&Event) -> bool| matches!(event, Event::Replica { replica, event, .. } if **replica == *name && is_it(event));
    let refused =
        |event: &Event| matches!(event, Event::DialFailed { kind: redis_tether::FailureKind::NotReplica, .. });
    diary.until("the primary to be refused", |event| of_one(event, refused)).await;
    serving(&replicas, &tether, 1).await;

    one.replicate(&world.primary).await.expect("a replica");
    serving(&replicas, &tether, 2).await;
    let readers = Readers::start(&replicas, 4);
    readers.go_on_for(50).await;
    let left = |event: &Event| matches!(event, Event::Demoted { .. });
    one.promote().await.expect("promoted");
    diary.until("the promoted one to be left", |event| of_one(event, left)).await;
    settled(&tether, "it to serve no more", || replicas.members().iter().filter(|one| one.serves()).count() == 1).await;

    // One that refuses without its primary: what it refuses, the other one answers.
    one.replicate(&world.primary).await.expect("a replica");
    serving(&replicas, &tether, 2).await;
    one.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).await.expect("it obeys");
    one.command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("it obeys");
    diary.until("the one that refuses to be left", |event| of_one(event, left)).await;
    readers.go_on_for(50).await;
    assert!(readers.finish().await.is_empty(), "none of that costs a read");
    assert_eq!(tether.stats().fallbacks, 0);
    tether.shutdown().await;
}
