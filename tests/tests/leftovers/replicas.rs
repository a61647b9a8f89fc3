//! The links to replicas end with the tether whose replicas they are.

use std::net::SocketAddr;

use redis_tether::Tether;
use redis_tether::redis::AsyncCommands;
use redis_tether_testkit::{FakeListener, FakeServer};
use redis_tether_tests::fakes::{config, fake};
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::runtime::Runtime;

use super::counting::{Connects, Count};
use super::{rounds, start, two_threads};

/// A primary and its replica, and what keeps them listening.
fn servers(runtime: &Runtime) -> ((FakeServer, FakeListener), (FakeServer, FakeListener)) {
    runtime.block_on(async {
        let (primary, replica) = (fake().await, fake().await);
        replica.0.replicate_from(&primary.0);
        (primary, replica)
    })
}

async fn reading(primary: SocketAddr, replica: SocketAddr, count: &Count) -> Tether {
    let mut config = config(primary);
    config.drain_timeout = 3 * PATIENCE;
    (config.replicas.host, config.replicas.port) = (Some(replica.ip().to_string()), replica.port());
    let tether = start(config, count, Connects::Really).await;
    tether.ready(PATIENCE).await.expect("the primary is well");
    let mut replicas = tether.replicas();
    replicas.ready(PATIENCE).await.expect("the replica is well");
    let missing: Option<String> = replicas.get("key").await.expect("the replica answers");
    assert_eq!((missing, tether.stats().fallbacks), (None, 0));
    tether
}

#[test]
fn after_reads_from_replicas() {
    let runtime = two_threads();
    let ((_primary, primary), (_replica, replica)) = servers(&runtime);
    rounds(async |count| reading(primary.addr(), replica.addr(), count).await);
}

/// Nobody drains anything then.
#[test]
fn after_it_was_killed_with_a_read_at_a_replica() {
    let runtime = two_threads();
    let ((_primary, primary), (server, replica)) = servers(&runtime);
    rounds(async |count| {
        let tether = reading(primary.addr(), replica.addr(), count).await;
        let (blocked, mut replicas) = (server.commands("XREAD"), tether.replicas());
        // It is the application's task, and ends with the link.
        drop(tokio::spawn(async move {
            let mut read = redis_tether::redis::cmd("XREAD");
            read.arg("BLOCK").arg(0).arg("STREAMS").arg("stream").arg("$");
            read.query_async::<Option<String>>(&mut replicas).await
        }));
        server.wait_for_command("XREAD", blocked + 1).await.expect("it arrives");
        tether.actor().kill();
        tether
    });
}

/// Whoever dropped everything else may have kept a handle to replicas: it keeps the tether, and ends it.
#[test]
fn after_the_last_handle_to_replicas_was_dropped() {
    let runtime = two_threads();
    let ((_primary, primary), (_replica, replica)) = servers(&runtime);
    rounds(async |count| {
        let tether = reading(primary.addr(), replica.addr(), count).await;
        let (mut replicas, mut status) = (tether.replicas(), tether.status());
        drop(tether);
        let _: Option<String> = replicas.get("key").await.expect("it is kept");
        drop(replicas);
        let over = status.wait_for(|status| status.phase == redis_tether::Phase::Stopped);
        drop(within(PATIENCE, "the end", over).await);
        // Another, for the rounds to end.
        start(config(primary.addr()), count, Connects::Really).await
    });
}
