//! A shard whose primary fails or hands over: that shard is back as soon as its replica is, and the others do not notice.

use std::time::Duration;

use redis_tether::{Outcome, OutcomeExt, Protocol};
use redis_tether_testkit::{ClusterDeployment, ServerKind};
use redis_tether_tests::on_each_server;
use tokio::time::{Instant, sleep};

use super::world::{Load, TURN, Tally, World, allowance, assert_once, held};

/// How soon after the replica took over its shard must serve.
const BOUND: Duration = Duration::from_millis(300);

/// How long no caller of another shard may wait for an answer.
const GAP: Duration = Duration::from_millis(50);

on_each_server!(a_killed_primary, a_frozen_primary, a_planned_failover);

/// Of two tethers, one for each version of the protocol: what the caller of the failed shard met, and those of the others.
pub(crate) struct Seen {
    pub(crate) failed_shard: Vec<Tally>,
    others: Vec<Tally>,
}

pub(crate) async fn fail_over(world: &World, fault: impl AsyncFnOnce(&ClusterDeployment)) -> Seen {
    let tethers = [world.tether(Protocol::Resp2).await, world.tether(Protocol::Resp3).await];
    let mut loads = Vec::new();
    for (number, tether) in tethers.iter().enumerate() {
        let keys = (0..ClusterDeployment::SHARDS).map(|shard| world.cluster.key_in(shard, &format!("log{number}")));
        loads.push(Load::start(&tether.handle(), keys.collect()));
    }
    sleep(Duration::from_millis(200)).await;
    fault(&world.cluster).await;
    let taken_over = world.cluster.taken_over(world.cluster.replica(0)).await.expect("taken over");
    sleep(Duration::from_millis(700)).await;
    let mut seen = Seen { failed_shard: Vec::new(), others: Vec::new() };
    for load in loads {
        let mut tallies = load.finish().await;
        seen.others.extend(tallies.drain(1..));
        seen.failed_shard.extend(tallies);
    }
    for (number, tally) in seen.failed_shard.iter().enumerate() {
        let first = tally.first_after(taken_over).expect("the shard serves again");
        let took = first - taken_over;
        assert!(took <= BOUND + allowance(Duration::from_millis(350)), "{took:?} after the replica took over");
        let key = world.cluster.key_in(0, &format!("log{number}"));
        assert_once(&held(&mut tethers[number].handle(), &key).await, tally);
    }
    for tally in &seen.others {
        tally.assert_none_failed();
        assert!(tally.slowest <= GAP + allowance(Duration::from_millis(200)), "a gap of {:?}", tally.slowest);
    }
    for tether in tethers {
        tether.shutdown().await;
    }
    seen
}

/// Each caller has one command in flight.
pub(crate) fn assert_only_in_flight_failed(seen: &Seen) {
    for tally in &seen.failed_shard {
        assert!(tally.failed.len() <= 1, "{} failed: {:?}", tally.failed.len(), tally.failed);
        for (_, error) in &tally.failed {
            assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
        }
    }
}

async fn a_killed_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seen = fail_over(&world, async |all| all.primary(0).kill().await.expect("killed")).await;
    assert_only_in_flight_failed(&seen);
}

async fn a_frozen_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seen = fail_over(&world, async |all| all.primary(0).freeze().await.expect("frozen")).await;
    assert_only_in_flight_failed(&seen);
}

async fn a_planned_failover(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let begun = Instant::now();
    let seen = fail_over(&world, async |all| all.failover(0).await.expect("begun")).await;
    assert!(begun.elapsed() < Duration::from_secs(30));
    seen.failed_shard.iter().for_each(Tally::assert_none_failed);
}
