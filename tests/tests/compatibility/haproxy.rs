//! HAProxy in TCP mode before a primary and its replica, as its recipes for Redis have it: who says `role:master` is up. The address
//! never moves; what is behind it does. Who is taken is the server itself, whose role the tether asks through the proxy.

use std::time::{Duration, Instant};

use redis_tether::redis::Value;
use redis_tether::{Outcome, PacingSettings, Role};
use redis_tether_testkit::gateway::Sessions;
use redis_tether_testkit::{Gateway, GatewayKind, ServerKind};
use redis_tether_tests::load::{Load, Tally};
use redis_tether_tests::on_each_server;
use redis_tether_tests::pace::most_dials;
use redis_tether_tests::servers::gateway_binary;
use tokio::time::sleep;

use super::{Front, SOON, held_by, is_connected, is_lost, is_off, pair_of, until_answered};

on_each_server!(
    a_planned_failover_behind_it,
    a_crash_behind_it,
    a_demoted_server_whose_sessions_it_keeps,
    nobody_behind_it_for_a_while,
);

const CALLERS: usize = 4;
async fn front(kind: ServerKind, sessions: Sessions) -> Front {
    let nodes = pair_of(kind).await;
    let binary = gateway_binary(GatewayKind::HaProxy);
    let servers = [nodes.primary.addr(), nodes.replica.addr()];
    let gateway = Gateway::builder(&binary, &servers).sessions(sessions).start().await.expect("a proxy");
    let front = Front::open(nodes, gateway, |_| {}).await;
    assert_eq!(front.tether.status().borrow().role, Some(Role::Primary));
    front
}

impl Front {
    /// Waits until the proxy leads to the new primary, and then until the load goes on. No more than what was in flight is
    /// uncertain.
    async fn moves_on(mut self, load: Load) -> (Front, Tally) {
        until_answered(self.gateway.addr(), &["SET", "moved", "1"], |answer| *answer == Value::Okay).await;
        let moved = Instant::now();
        if !self.leads_to_the_replica() {
            self.diary.until("the new primary", is_connected).await;
        }
        let recovered = moved.elapsed();
        load.go_on_for(100).await;
        let tally = load.finish().await;
        let [refused, not_sent] = [Outcome::Refused, Outcome::NotSent].map(|outcome| tally.with(outcome).len());
        assert_eq!((refused, not_sent), (0, 0), "held meanwhile: {:?}", tally.failed);
        assert!(tally.failed.len() <= CALLERS, "only what was in flight: {:?}", tally.failed);
        assert!(recovered < SOON, "{recovered:?}: {:#?}", self.diary.so_far());
        assert_eq!(self.tether.status().borrow().role, Some(Role::Primary));
        (self, tally)
    }

    fn leads_to_the_replica(&mut self) -> bool {
        let events = self.diary.so_far();
        let (lost, found) = (events.iter().rposition(is_off), events.iter().rposition(is_connected));
        found.is_some_and(|found| lost.is_none_or(|lost| lost < found))
    }
}

/// The server waits for its replica before it steps down, so that nothing is lost on the way.
async fn fail_over(front: &Front) {
    let (ip, port) = (front.nodes.replica_ip().to_string(), front.nodes.port().to_string());
    front.nodes.primary.command(&["FAILOVER", "TO", &ip, &port]).await.expect("the failover begins");
}

async fn a_planned_failover_behind_it(kind: ServerKind) {
    let front = front(kind, Sessions::Ended).await;
    let load = Load::start(&front.handle, CALLERS);
    load.go_on_for(100).await;
    fail_over(&front).await;
    let (front, tally) = front.moves_on(load).await;
    tally.assert_true_of(&held_by(&front.nodes.replica).await);
    front.tether.shutdown().await;
}

async fn a_crash_behind_it(kind: ServerKind) {
    let mut front = front(kind, Sessions::Ended).await;
    let load = Load::start(&front.handle, CALLERS);
    load.go_on_for(100).await;
    front.nodes.primary.kill().await.expect("killed");
    front.diary.until("the loss", is_lost).await;
    front.nodes.replica.promote().await.expect("promoted");
    let (front, mut tally) = front.moves_on(load).await;
    // What the replica had not yet got is gone, and that is not the tether's to tell.
    tally.done.clear();
    tally.assert_true_of(&held_by(&front.nodes.replica).await);
    front.tether.shutdown().await;
}

/// The link still leads to the old primary, and the old primary still answers: with READONLY.
async fn a_demoted_server_whose_sessions_it_keeps(kind: ServerKind) {
    let front = front(kind, Sessions::Kept).await;
    let load = Load::start(&front.handle, CALLERS);
    load.go_on_for(100).await;
    fail_over(&front).await;
    let (front, tally) = front.moves_on(load).await;
    tally.assert_true_of(&held_by(&front.nodes.replica).await);
    front.tether.shutdown().await;
}

/// It accepts everybody and hangs up. That is no server that stands no questions: nothing is learned from it, and the role is
/// known once there is one.
async fn nobody_behind_it_for_a_while(kind: ServerKind) {
    let mut front = front(kind, Sessions::Ended).await;
    front.nodes.primary.kill().await.expect("killed");
    front.diary.until("the loss", is_lost).await;
    let (lost, connections) = (Instant::now(), front.door.connections_accepted());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(front.diary.count(is_connected), 0, "{:#?}", front.diary.so_far());
    let met = front.door.connections_accepted() - connections;
    // A moment at least between two dials, each of which may make another two connections once a second, to ask less.
    let window = lost.elapsed();
    let most = most_dials(&PacingSettings::default().unreachable, window) + 2 * (1 + window.as_secs());
    assert!((2..=most).contains(&met), "{met} connections in {window:?}, of {most} at most");
    front.nodes.replica.promote().await.expect("promoted");
    front.diary.until("the new primary", is_connected).await;
    front.works().await;
    assert_eq!(front.tether.status().borrow().role, Some(Role::Primary));
    front.tether.shutdown().await;
}
