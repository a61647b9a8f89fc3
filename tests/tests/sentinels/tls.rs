//! Sentinels and servers that speak TLS and nothing else, to clients and to each other, and ask for passwords. Redis alone: the
//! Valkey that people can install from a package index is built without TLS.

use std::time::Duration;

use redis_tether::{Protocol, Readiness};
use redis_tether_testkit::{SentinelDeployment, ServerKind};
use redis_tether_tests::watch::{counted, reason};
use tokio::time::{Instant, sleep_until};

use crate::world::{CERTIFIED, TURN, World, assert_only_in_flight_failed};
use crate::{freeze, kill};

async fn fail_over(fault: impl AsyncFnOnce(&SentinelDeployment)) {
    let _turn = TURN.lock().await;
    let world = World::over_tls(ServerKind::Redis).await;
    let seen = world.fail_over(fault).await;
    assert_only_in_flight_failed(&seen);
    world.assert_kept(&seen).await;
}

#[tokio::test]
async fn a_killed_primary() {
    fail_over(kill).await;
}

#[tokio::test]
async fn a_frozen_primary() {
    fail_over(freeze).await;
}

#[tokio::test]
async fn a_planned_failover() {
    let _turn = TURN.lock().await;
    let world = World::over_tls(ServerKind::Redis).await;
    let seen = world.fail_over(async |all| all.failover().await.expect("begun")).await;
    seen.iter().for_each(|seen| seen.tally.assert_none_failed());
}

/// Each is told as what it is and with what to do, and is tried again slowly.
#[tokio::test]
async fn what_people_get_wrong() {
    let _turn = TURN.lock().await;
    let world = World::over_tls(ServerKind::Redis).await;
    let right = world.config(Protocol::Resp2);
    let tls = right.tls.clone().expect("it was set");
    let (mut plain, mut bare) = (right.clone(), right.clone());
    plain.tls = None;
    bare.tls.as_mut().expect("it was set").cert_file = None;
    bare.tls.as_mut().expect("it was set").key_file = None;
    let named = right.clone().with_tls(tls.with_server_name("other.test"));
    let mut unnamed = right.clone();
    unnamed.tls.as_mut().expect("it was set").server_name = None;
    let cases = [
        (named, format!("the server's certificate is for {CERTIFIED}, not for other.test: set tls.server_name")),
        (unnamed, format!("the server's certificate is for {CERTIFIED}, not for 127.")),
        (plain, "it speaks TLS at this port: use rediss+sentinel://".to_owned()),
        (bare, "set tls.cert_file and tls.key_file".to_owned()),
    ];
    for (config, expected) in cases {
        let (tether, begun) = (world.tether(config).await, Instant::now());
        let said = reason(&expected, async |limit| tether.ready(limit).await).await;
        assert!(said.contains("sentinel"), "{said}");
        assert_eq!(tether.status().borrow().readiness(), Readiness::Down);
        // At the pace of refusals: 50, 100, 200 ms and then a quarter of a second, with jitter down to the half.
        sleep_until(begun + Duration::from_secs(1)).await;
        let asked = counted("the sentinels to be asked again", 2, async || tether.stats().lookups).await;
        let most = 7 + 8 * (1 + begun.elapsed().as_secs());
        assert!(asked <= most, "asked {asked} times in {:?}", begun.elapsed());
        tether.shutdown().await;
    }
}
