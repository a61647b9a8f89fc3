//! What twemproxy and Envoy have in common: they know one server, wait for it where it is gone, and are restarted before another one; and
//! they pass on what a server says that is a primary no more.

use std::time::{Duration, Instant};

use redis_tether::redis::{AsyncCommands, RedisError, Value};
use redis_tether::{Outcome, Role};
use redis_tether_testkit::GatewayKind;
use redis_tether_tests::load::{Load, Tally};
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::time::sleep;

use super::{Front, SOON, ask, held_by, is_connected, is_lost};

/// How people have them follow a failover: the configuration is written anew, and the proxy is restarted.
async fn is_restarted_before_another_server(kind: GatewayKind, role: Role) {
    let mut front = Front::before_the_primary(kind).await;
    let load = Load::start(&front.handle, 4);
    load.go_on_for(100).await;
    front.gateway.kill().await.expect("killed");
    front.diary.until("the loss", is_lost).await;
    front.promote_the_replica().await;
    front.gateway.restart_before(&[front.nodes.replica.addr()]).await.expect("restarted");
    let there = Instant::now();
    front.diary.until("another link", is_connected).await;
    let recovered = there.elapsed();
    load.go_on_for(100).await;
    let tally = load.finish().await;
    assert!(tally.with(Outcome::Refused).is_empty() && tally.with(Outcome::NotSent).is_empty(), "held meanwhile");
    assert!(tally.failed.len() <= 4, "only what was in flight: {:?}", tally.failed);
    tally.assert_true_of(&held_by(&front.nodes.replica).await);
    assert!(recovered < SOON, "{recovered:?}");
    assert_eq!(front.tether.status().borrow().role, Some(role));
    front.tether.shutdown().await;
}

/// Under load; the link to the proxy is none the worse for it. `meanwhile` is given the first error that somebody met.
pub(super) async fn its_server_is_away_for_a_while(
    kind: GatewayKind,
    meanwhile: impl AsyncFnOnce(&mut Front, RedisError),
) -> Tally {
    let mut front = Front::before_the_primary(kind).await;
    let epoch = front.tether.status().borrow().epoch;
    let load = Load::start(&front.handle, 4);
    load.go_on_for(100).await;
    front.nodes.primary.kill().await.expect("killed");
    let first = within(PATIENCE, "the proxy to notice", async {
        loop {
            if let Err(error) = front.handle.set::<_, _, ()>("key", "value").await {
                return error;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    meanwhile(&mut front, first).await;
    front.nodes.primary.restart().await.expect("restarted");
    let back = Instant::now();
    load.go_on_for(100).await;
    let recovered = back.elapsed();
    let tally = load.finish().await;
    // It may have been suspected, and dialled anew, for as long as the proxy waited.
    assert_eq!(front.tether.status().borrow().epoch, epoch, "{:#?}", front.diary.so_far());
    assert!(recovered < SOON, "{recovered:?}");
    front.tether.shutdown().await;
    tally
}

/// Nobody can tell that from the proxy's own answers. The command is held and sent again at the pace of dials, which end at the
/// proxy each, until the server behind it is a primary.
async fn has_its_server_demoted_for_a_while(kind: GatewayKind) {
    let mut front = Front::before_the_primary(kind).await;
    front.works().await;
    let connections = front.door.connections_accepted();
    let demoted = Instant::now();
    front.nodes.primary.command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("demoted");
    let mut handle = front.tether.handle();
    let sent = tokio::spawn(async move { ask(&mut handle, &["INCR", "n"]).await });
    sleep(Duration::from_secs(1)).await;
    let (met, most) = (front.door.connections_accepted() - connections, front.most_dials_since(demoted));
    assert!((2..=most).contains(&met), "{met} connections, of {most} at most: {:#?}", front.diary.so_far());
    front.nodes.primary.promote().await.expect("promoted");
    let back = Instant::now();
    let answer = within(PATIENCE, "the answer", sent).await.expect("no panic");
    assert_eq!(answer, Ok(Value::Int(1)));
    assert!(back.elapsed() < SOON, "{:?}", back.elapsed());
    front.works().await;
    front.tether.shutdown().await;
}

#[tokio::test]
async fn a_twemproxy_is_restarted_before_another_server() {
    is_restarted_before_another_server(GatewayKind::Twemproxy, Role::Unknown).await;
}

#[tokio::test]
async fn an_envoy_is_restarted_before_another_server() {
    is_restarted_before_another_server(GatewayKind::Envoy, Role::Primary).await;
}

#[tokio::test]
async fn a_twemproxy_has_its_server_demoted_for_a_while() {
    has_its_server_demoted_for_a_while(GatewayKind::Twemproxy).await;
}

#[tokio::test]
async fn an_envoy_has_its_server_demoted_for_a_while() {
    has_its_server_demoted_for_a_while(GatewayKind::Envoy).await;
}
