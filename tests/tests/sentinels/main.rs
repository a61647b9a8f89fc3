//! Sentinels over real servers: the primary is killed, frozen, or asked to step down, and the tether is where they say. Two
//! tethers are put to each failover, one for each version of the protocol. What is measured begins with the first
//! `+switch-master` that any sentinel says, heard at a subscription of the test's own.

mod apart;
mod credentials;
mod defaults;
mod scenarios;
mod tls;
mod world;

use std::net::SocketAddr;

use redis_tether::{Config, Protocol, SentinelNode, Tether};
use redis_tether_testkit::{SentinelDeployment, ServerKind};
use redis_tether_tests::fakes::config;
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::reason;

use world::{TURN, World, assert_only_in_flight_failed};

on_each_server!(
    a_killed_primary,
    a_frozen_primary,
    a_planned_failover,
    sentinels_that_moved,
    sentinels_with_a_password,
    the_wrong_ends
);

/// The primary, and the sentinels notice.
pub(crate) async fn kill(all: &SentinelDeployment) {
    all.take_for_down_after(SentinelDeployment::QUICKLY).await.expect("told");
    all.nodes[0].kill().await.expect("killed");
}

pub(crate) async fn freeze(all: &SentinelDeployment) {
    all.take_for_down_after(SentinelDeployment::QUICKLY).await.expect("told");
    all.nodes[0].freeze().await.expect("frozen");
}

async fn a_killed_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seen = world.fail_over(kill).await;
    assert_only_in_flight_failed(&seen);
    world.assert_kept(&seen).await;
}

async fn a_frozen_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seen = world.fail_over(freeze).await;
    assert_only_in_flight_failed(&seen);
    world.assert_kept(&seen).await;
}

async fn a_planned_failover(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seen = world.fail_over(async |all| all.failover().await.expect("begun")).await;
    seen.iter().for_each(|seen| seen.tally.assert_none_failed());
}

/// All of them, at once: only their names lead to their successors. Those know nothing of the failover before.
async fn sentinels_that_moved(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let mut world = World::new(kind).await;
    let before = world.witness("before", Protocol::Resp2).await;
    world.deployment.replace_sentinels().await.expect("other sentinels");
    world.name_sentinels();
    let seen = world.fail_over(kill).await;
    assert_only_in_flight_failed(&seen);
    world.assert_kept(&seen).await;
    // One that was there before they moved has followed as well.
    before.load.go_on_for(50).await;
    let status = before.tether.status().borrow().clone();
    assert_eq!(status.address.map(|address| address.to_string()), Some(seen[0].to.to_string()));
    let tally = before.load.finish().await;
    tally.assert_none_too_often(&world.values_at(seen[0].to, "before").await);
    before.tether.shutdown().await;
}

/// And a user there who may do no more than the documentation says.
async fn sentinels_with_a_password(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::with_passwords(kind).await;
    let seen = world.fail_over(async |all| all.failover().await.expect("begun")).await;
    seen.iter().for_each(|seen| seen.tally.assert_none_failed());
}

/// A server's URL to a sentinel, a sentinels' URL to a server, another master's name.
async fn the_wrong_ends(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let (sentinel, server) = (world.deployment.sentinel_addrs()[0], world.deployment.nodes[0].addr());
    let node = |addr: SocketAddr| SentinelNode::new(addr.ip().to_string(), addr.port());
    let cases = [
        (config(sentinel), "is a sentinel, not a server: use redis+sentinel:// with its master's name"),
        (Config::sentinel([node(server)], "mymaster"), "is no sentinel (it does not know the command)"),
        (Config::sentinel([node(sentinel)], "other"), "knows no master called other"),
    ];
    for (config, expected) in cases {
        let tether = Tether::start(config).await.expect("a valid configuration");
        reason(expected, async |limit| tether.ready(limit).await).await;
        tether.shutdown().await;
    }
}
