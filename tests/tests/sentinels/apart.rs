//! Sentinels that are not spoken to as the servers behind them are: in plain before servers that speak TLS alone, and over TLS before
//! servers that know of none.

use redis_tether::{Endpoint, Protocol, Readiness, SentinelTls};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::reason;

use crate::kill;
use crate::world::{TURN, World, assert_only_in_flight_failed};

on_each_server!(sentinels_over_tls_before_plain_servers);

async fn assert_followed(world: &World) {
    let seen = world.fail_over(kill).await;
    assert_only_in_flight_failed(&seen);
    world.assert_kept(&seen).await;
}

/// One who speaks with the sentinels as with the servers is told so.
async fn assert_not_spoken_to_alike(world: &World, words: &str) {
    let mut config = world.config(Protocol::Resp2);
    let Endpoint::Sentinel(sentinels) = &mut config.endpoint else { panic!("sentinels") };
    sentinels.tls = SentinelTls::AsServers;
    let tether = world.tether(config).await;
    reason(words, async |limit| tether.ready(limit).await).await;
    assert_eq!(tether.status().borrow().readiness(), Readiness::Down);
    tether.shutdown().await;
}

async fn sentinels_over_tls_before_plain_servers(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::with_tls_sentinels(kind).await;
    assert_not_spoken_to_alike(&world, "sentinel_tls=true where servers speak plainly").await;
    assert_followed(&world).await;
}

/// Redis alone: the Valkey that people can install from a package index is built without TLS.
#[tokio::test]
async fn plain_sentinels_before_servers_over_tls() {
    let _turn = TURN.lock().await;
    let world = World::with_plain_sentinels(ServerKind::Redis).await;
    assert_not_spoken_to_alike(&world, "sentinel_tls=false where servers speak TLS").await;
    assert_followed(&world).await;
}
