//! Replicas that die, hang, lose their primary or are promoted, under reads.

use std::time::Duration;

use redis_tether::redis::{AsyncCommands, RedisResult};
use redis_tether::{Config, Event, Fallback, Outcome, OutcomeExt, Protocol, Replica, Retry, Tether};
use redis_tether_testkit::{Server, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::unsuspecting;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::time::sleep;

use crate::world::{KEY, Readers, World, assert_only_in_flight_failed, diary, gets_at, serving, settled};

on_each_server!(
    a_killed_replica,
    a_killed_replica_costs_nothing_where_reads_are_sent_again,
    a_frozen_replica,
    a_promoted_replica,
    replicas_that_lost_their_primary,
    replicas_that_their_primary_does_not_know_yet,
    all_replicas_dead,
    reads_wait_for_a_replica_where_the_primary_is_not_to_be_asked
);

const CALLERS: usize = 8;

/// So many of the reads that are done from now on may have been executed before: one of each caller.
const IN_FLIGHT: u64 = CALLERS as u64;

/// Asks each replica often what it is.
fn asking(mut config: Config) -> Config {
    config.detection.probe_interval = Duration::from_millis(500);
    unsuspecting(config)
}

/// Gives up a replica that falls silent, but not one that a machine under load keeps from answering for two seconds: the other one
/// is to serve all the time.
fn hasty(config: Config) -> Config {
    let mut config = asking(config);
    config.detection.suspect_after = Duration::from_millis(2500);
    config.detection.dead_after = Duration::from_secs(4);
    config
}

async fn reading(world: &World, config: Config) -> (Tether, Readers) {
    let tether = world.tether(config).await;
    let replicas = tether.replicas();
    serving(&replicas, &tether, 2).await;
    let readers = Readers::start(&replicas, CALLERS);
    readers.go_on_for(100).await;
    (tether, readers)
}

fn of(server: &Server) -> String {
    server.addr().to_string()
}

async fn a_killed_replica(kind: ServerKind) {
    let world = World::new(kind).await;
    for (protocol, dying) in [(Protocol::Resp2, 0), (Protocol::Resp3, 1)] {
        let (tether, readers) = reading(&world, asking(world.config(protocol))).await;
        world.replicas[dying].kill().await.expect("killed");
        readers.go_on_for(200).await;
        settled(&tether, "the dead one to leave the set", || tether.replicas().members().len() == 1).await;
        assert_only_in_flight_failed(&readers.finish().await, CALLERS);
        assert_eq!(tether.stats().fallbacks, 0, "the other one was there");
        tether.shutdown().await;
        world.replicas[dying].restart().await.expect("it comes back");
        world.replicas[dying].replicate(&world.primary).await.expect("a replica");
    }
}

async fn a_killed_replica_costs_nothing_where_reads_are_sent_again(kind: ServerKind) {
    let world = World::new(kind).await;
    let mut config = world.config(Protocol::Resp2);
    config.commands.retry = Retry::ReadOnly;
    let (tether, readers) = reading(&world, hasty(config)).await;
    let before = gets_at(&world.replicas[1]).await;
    // Suspected, for the reads that it was sent and does not answer.
    let (name, mut diary) = (of(&world.replicas[0]), diary(&tether));
    world.replicas[0].freeze().await.expect("frozen");
    let is_suspected = |event: &Event| matches!(event, Event::Replica { replica, event, .. } if **replica == *name && matches!(**event, Event::Suspected { .. }));
    diary.until("the suspicion", is_suspected).await;
    world.replicas[0].kill().await.expect("killed");
    readers.go_on_for(200).await;
    assert!(readers.finish().await.is_empty(), "they went to the other one");
    assert!(tether.stats().resent_ambiguous > 0, "nothing was in flight");
    assert!(gets_at(&world.replicas[1]).await >= before + 200 - IN_FLIGHT);
    tether.shutdown().await;
}

async fn a_frozen_replica(kind: ServerKind) {
    let world = World::new(kind).await;
    let (tether, readers) = reading(&world, hasty(world.config(Protocol::Resp3))).await;
    world.replicas[0].freeze().await.expect("frozen");
    readers.go_on_for(200).await;
    let frozen = of(&world.replicas[0]);
    settled(&tether, "the frozen one to be given up", || {
        tether.replicas().members().iter().all(|replica| *replica.name != *frozen || !replica.serves())
    })
    .await;
    readers.go_on_for(200).await;
    world.replicas[0].thaw().expect("it goes on");
    serving(&tether.replicas(), &tether, 2).await;
    assert_only_in_flight_failed(&readers.finish().await, CALLERS);
    assert_eq!(tether.stats().fallbacks, 0, "the other one was there");
    tether.shutdown().await;
}

/// It is a primary beside the primary, and gets no reads any more.
async fn a_promoted_replica(kind: ServerKind) {
    let world = World::new(kind).await;
    let (tether, readers) = reading(&world, asking(world.config(Protocol::Resp2))).await;
    let promoted = of(&world.replicas[0]);
    let mut diary = diary(&tether);
    world.replicas[0].promote().await.expect("promoted");
    let left = |event: &Event| match event {
        Event::ReplicaRemoved { replica, .. } => **replica == *promoted,
        Event::Replica { replica, event, .. } => **replica == *promoted && matches!(**event, Event::Demoted { .. }),
        _ => false,
    };
    diary.until("the promoted one to leave", left).await;
    settled(&tether, "the promoted one to be gone", || {
        tether.replicas().members().iter().all(|replica| *replica.name != *promoted || !replica.serves())
    })
    .await;
    readers.go_round().await;
    let before = gets_at(&world.replicas[0]).await;
    readers.go_on_for(200).await;
    assert_eq!(gets_at(&world.replicas[0]).await, before, "no read goes to a primary that is not ours");
    assert!(readers.finish().await.is_empty(), "it answered until it was left");
    tether.shutdown().await;
}

/// What it answers grows older and older, so that it is asked no more; but the last who answer at all are asked on.
async fn replicas_that_lost_their_primary(kind: ServerKind) {
    let world = World::new(kind).await;
    let (tether, readers) = reading(&world, asking(world.at_reader(Protocol::Resp2))).await;
    let [orphan, other] = &world.replicas[..] else { panic!("two replicas") };
    // Where nobody listens, as after a partition.
    orphan.command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("it obeys");
    let name = of(orphan);
    let replicas = tether.replicas();
    settled(&tether, "the orphan to be known for one", || {
        replicas.members().iter().any(|replica| *replica.name == *name && !replica.has_primary)
    })
    .await;
    readers.go_round().await;
    let before = gets_at(orphan).await;
    readers.go_on_for(200).await;
    assert_eq!(gets_at(orphan).await, before, "nothing is read from what is out of sync");
    assert!(replicas.members().iter().all(Replica::serves), "its link stays");

    // Without the primary, and without anybody who had it, the old is better than nothing.
    world.primary.kill().await.expect("killed");
    settled(&tether, "both to have lost their primary", || {
        replicas.members().iter().all(|replica| !replica.has_primary)
    })
    .await;
    let before = gets_at(orphan).await + gets_at(other).await;
    readers.go_on_for(200).await;
    assert!(gets_at(orphan).await + gets_at(other).await >= before + 200 - IN_FLIGHT);
    assert!(readers.finish().await.is_empty(), "no read was lost by all that");
    assert_eq!(tether.stats().fallbacks, 0);
    tether.shutdown().await;
}

/// It has just begun, and tells of none: those that had it are kept, for what they have.
async fn replicas_that_their_primary_does_not_know_yet(kind: ServerKind) {
    let world = World::new(kind).await;
    let mut config = world.config(Protocol::Resp2);
    config.replicas.fallback = Fallback::None;
    let (tether, readers) = reading(&world, asking(config)).await;
    world.primary.kill().await.expect("killed");
    for replica in &world.replicas {
        // Where nobody listens, so that they do not come back to it.
        replica.command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("it obeys");
    }
    let replicas = tether.replicas();
    settled(&tether, "both to have lost their primary", || {
        replicas.members().iter().all(|replica| !replica.has_primary)
    })
    .await;
    world.primary.restart().await.expect("it comes back");
    // A dial by `HELLO` does not ask that.
    let asked = async || world.primary.command(&["INFO", "commandstats"]).await.expect("it answers").text();
    let is_told = |stats: Option<String>| stats.is_some_and(|stats| stats.contains("cmdstat_role:"));
    within(PATIENCE, "the primary to be asked for its replicas twice", async {
        for _ in 0..2 {
            while !is_told(asked().await) {
                sleep(Duration::from_millis(5)).await;
            }
            world.primary.command(&["CONFIG", "RESETSTAT"]).await.expect("it obeys");
        }
    })
    .await;
    assert_eq!(replicas.members().len(), 2);
    let before = gets_at(&world.replicas[0]).await + gets_at(&world.replicas[1]).await;
    readers.go_on_for(100).await;
    assert!(gets_at(&world.replicas[0]).await + gets_at(&world.replicas[1]).await >= before + 100 - IN_FLIGHT);
    assert!(readers.finish().await.is_empty(), "no read was lost by all that");
    tether.shutdown().await;
}

async fn all_replicas_dead(kind: ServerKind) {
    let world = World::new(kind).await;
    let (tether, readers) = reading(&world, asking(world.config(Protocol::Resp2))).await;
    let before = gets_at(&world.primary).await;
    for replica in &world.replicas {
        replica.kill().await.expect("killed");
    }
    readers.go_on_for(200).await;
    assert_only_in_flight_failed(&readers.finish().await, 2 * CALLERS);
    assert!(gets_at(&world.primary).await >= before + 150, "the primary stands in");
    assert!(tether.stats().fallbacks >= 150);
    tether.shutdown().await;
}

async fn reads_wait_for_a_replica_where_the_primary_is_not_to_be_asked(kind: ServerKind) {
    let world = World::new(kind).await;
    let mut config = asking(world.config(Protocol::Resp2));
    config.replicas.fallback = Fallback::None;
    config.commands.hold_window = PATIENCE;
    config.commands.deadline = PATIENCE;
    let tether = world.tether(config).await;
    let mut replicas = tether.replicas();
    // Held until the first link is up.
    let value: String = replicas.get(KEY).await.expect("a replica answers");
    assert_eq!(value, "value");
    serving(&replicas, &tether, 2).await;
    for replica in &world.replicas {
        replica.kill().await.expect("killed");
    }
    settled(&tether, "both to be lost", || replicas.members().iter().all(|replica| !replica.serves())).await;
    let before = gets_at(&world.primary).await;
    let waiting = tokio::spawn(async move {
        let read: RedisResult<String> = replicas.get(KEY).await;
        read
    });
    world.replicas[1].restart().await.expect("it comes back");
    world.replicas[1].replicate(&world.primary).await.expect("a replica");
    let read = within(PATIENCE, "the read", waiting).await.expect("no panic");
    if let Err(error) = &read {
        // Sent to one that was loading, or died: never to the primary.
        assert_ne!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    }
    assert_eq!(read.expect("held until there was one"), "value");
    assert_eq!(gets_at(&world.primary).await, before);
    tether.shutdown().await;
}
