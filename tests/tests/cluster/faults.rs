//! A shard whose primary fails or hands over: that shard is back as soon as its replica is, and the others do not notice.

use std::time::Duration;

use redis_tether::{Outcome, OutcomeExt, Protocol};
use redis_tether_testkit::scenario::{OpenLoop, Operation};
use redis_tether_testkit::{ClusterDeployment, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::writer::Writer;
use tokio::time::{Instant, sleep};

use super::world::{Load, TURN, Tally, World, allowance, assert_once, held};

/// How soon after the replica took over its shard must serve.
const BOUND: Duration = Duration::from_millis(300);

/// How long no caller of another shard may wait for an answer, from the moment at which its command was due.
const GAP: Duration = Duration::from_millis(50);

/// Between two commands to another shard, answered or not.
const PERIOD: Duration = Duration::from_millis(5);

on_each_server!(a_killed_primary, a_frozen_primary, a_planned_failover);

/// Of two tethers, one for each version of the protocol, what the caller of the failed shard met.
pub(crate) async fn fail_over(world: &World, fault: impl AsyncFnOnce(&ClusterDeployment)) -> Vec<Tally> {
    let tethers = [world.tether(Protocol::Resp2).await, world.tether(Protocol::Resp3).await];
    let (mut loads, mut bystanders) = (Vec::new(), Vec::new());
    for (number, tether) in tethers.iter().enumerate() {
        loads.push(Load::start(&tether.handle(), vec![world.cluster.key_in(0, &format!("log{number}"))]));
        for shard in 1..ClusterDeployment::SHARDS {
            let bystander = Writer::new(tether.handle(), world.cluster.key_in(shard, ""));
            bystanders.push(OpenLoop::start(bystander, PERIOD));
        }
    }
    sleep(Duration::from_millis(200)).await;
    fault(&world.cluster).await;
    let taken_over = world.cluster.taken_over(world.cluster.replica(0)).await.expect("taken over");
    sleep(Duration::from_millis(700)).await;
    for bystander in bystanders {
        assert_unaffected(&bystander.finish().await);
    }
    let mut seen = Vec::new();
    for (number, load) in loads.into_iter().enumerate() {
        let tally = load.finish().await.remove(0);
        let first = tally.first_after(taken_over).expect("the shard serves again");
        let took = first - taken_over;
        assert!(took <= BOUND + allowance(Duration::from_millis(350)), "{took:?} after the replica took over");
        let key = world.cluster.key_in(0, &format!("log{number}"));
        assert_once(&held(&mut tethers[number].handle(), &key).await, &tally);
        seen.push(tally);
    }
    for tether in tethers {
        tether.shutdown().await;
    }
    seen
}

/// Since a command is due every so often, whatever became of those before, no gap can hide.
fn assert_unaffected(operations: &[Operation]) {
    let failed = operations.iter().find_map(|one| one.result.as_ref().err());
    assert_eq!(failed, None, "a command to another shard failed");
    let longest = operations.iter().map(Operation::took).max().unwrap_or_default();
    assert!(longest <= GAP + allowance(Duration::from_millis(200)), "a gap of {longest:?} at another shard");
    assert!(operations.len() > 100, "{} commands", operations.len());
}

/// Each caller has one command in flight.
pub(crate) fn assert_only_in_flight_failed(seen: &[Tally]) {
    for tally in seen {
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
    seen.iter().for_each(Tally::assert_none_failed);
}
