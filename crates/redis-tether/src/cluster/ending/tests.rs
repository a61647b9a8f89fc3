//! Ends that nobody else sees to.

use std::sync::Arc;

use redis::AsyncCommands;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout};

use crate::cluster::ClusterTether;
use crate::cluster::rig::{PATIENCE, World, slots};
use crate::cluster::supervisor::ClusterMsg;
use crate::control::ending::LIMIT;
use crate::{OutcomeExt, Phase, Reason};

use super::*;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// One that is not driven for as long as its limits are long.
fn patient() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

/// It has ended, and so have the tethers of its shards.
async fn has_ended(cluster: &ClusterTether, shards: &[Tether]) {
    assert!(cluster.common.stopped.is_cancelled() && cluster.common.ended.is_cancelled());
    assert!(cluster.common.tasks.is_closed() && cluster.shards().is_empty());
    for shard in shards {
        assert!(shard.control.stopped.is_cancelled() && shard.control.gate().link().is_none());
        assert_eq!(shard.status().borrow().phase, Phase::Stopped);
    }
    let asked = Instant::now();
    let error = cluster.handle().get::<_, Option<u32>>("key").await.expect_err("it has ended");
    assert_eq!(error.command_error().map(crate::CommandError::reason), Some(Reason::Stopped), "{error}");
    assert_eq!(asked.elapsed().as_secs(), 0);
}

/// Its runtime has polled none of its tasks: one that runs on the thread that started it polls none unless that waits.
#[test]
fn a_runtime_that_is_dropped_at_once_ends_it_too() {
    let home = runtime();
    let cluster = home.block_on(World::new().builder().start()).expect("a valid configuration");
    drop(home);
    runtime().block_on(has_ended(&cluster, &[]));
}

#[test]
fn a_runtime_that_is_dropped_ends_its_shards() {
    let home = runtime();
    let cluster = home.block_on(World::new().serving());
    let shards: Vec<_> = cluster.shards().iter().map(|shard| shard.tether.clone()).collect();
    assert_eq!(shards.len(), 1);
    drop(home);
    runtime().block_on(has_ended(&cluster, &shards));
}

/// A runtime that nobody drives, as that of an application whose `main` blocks.
#[test]
fn a_runtime_that_stands_still_keeps_nobody_from_ending_it() {
    let home = runtime();
    let cluster = home.block_on(World::new().serving());
    let shards: Vec<_> = cluster.shards().iter().map(|shard| shard.tether.clone()).collect();
    patient().block_on(async {
        cluster.shutdown().await;
        has_ended(&cluster, &shards).await;
    });
    drop(home);
}

/// The same where it had begun to end: its shards are no longer shown, and nobody sees them off.
#[test]
fn a_runtime_that_stands_still_in_the_middle_of_the_end_keeps_nobody_from_it() {
    let home = runtime();
    let world = World::new();
    let cluster = home.block_on(world.serving());
    let shards: Vec<_> = cluster.shards().iter().map(|shard| shard.tether.clone()).collect();
    home.block_on(async {
        // The end waits for what is in flight.
        let mut handle = shards[0].handle();
        world.node.hang();
        let read = world.node.bytes_read();
        drop(tokio::spawn(async move { handle.get::<_, Option<u32>>("key").await }));
        timeout(PATIENCE, world.node.wait_for_bytes(read + 1)).await.expect("waited for it").expect("it arrives");
        let _ = cluster.supervisor.send_message(ClusterMsg::ShutDown);
        let shown = async {
            while !cluster.common.rosters.borrow().has_ended {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, shown).await.expect("waited for the end to begin");
    });
    assert_eq!(cluster.common.counts.ending().len(), 1);
    patient().block_on(async {
        cluster.shutdown().await;
        has_ended(&cluster, &shards).await;
    });
    drop(home);
    let common = Arc::downgrade(&cluster.common);
    drop((cluster, shards));
    assert_eq!(common.strong_count(), 0, "what is still to be counted of a shard keeps it");
}

/// As one of an application's resolver that blocks its thread.
#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_end_is_left_behind() {
    let cluster = World::new().serving().await;
    let _left = cluster.common.tasks.spawn(std::future::pending::<()>());
    let begun = Instant::now();
    cluster.shutdown().await;
    let took = begun.elapsed();
    assert!(cluster.common.stopped.is_cancelled() && (LIMIT..LIMIT + LIMIT / 2).contains(&took), "{took:?}");
}

/// A shard that was gone before has as long for what is in flight to it as those that are there.
#[tokio::test(start_paused = true)]
async fn what_is_in_flight_to_a_shard_that_is_gone_is_waited_for_too() {
    let world = World::new();
    let other = world.join(2);
    let say = |ranges: &[(&[&str], i64, i64)]| {
        for node in [&world.node, &other] {
            node.answer("CLUSTER|SLOTS", Some(slots(ranges)));
        }
    };
    say(&[(&["10.0.0.1"], 0, 99), (&["10.0.0.2"], 100, 16383)]);
    let drain_timeout = 6 * LIMIT;
    let cluster = world.configured(|config| config.drain_timeout = drain_timeout);
    let cluster = cluster.start().await.expect("a valid configuration");
    cluster.ready(PATIENCE).await.expect("the nodes are well");
    let leaving = cluster.shards()[0].tether.clone();
    let mut handle = leaving.handle();
    let blocked = tokio::spawn(async move { handle.blpop::<_, (String, String)>("queue", 0.0).await });
    timeout(PATIENCE, world.node.wait_for_command("BLPOP", 1)).await.expect("waited for it").expect("it arrives");
    say(&[(&["10.0.0.2"], 0, 16383)]);
    cluster.common.surveyor.doubt();
    let is_gone = async { leaving.status().wait_for(|status| status.phase == Phase::Stopping).await.map(drop) };
    timeout(PATIENCE, is_gone).await.expect("waited for the shard to go").expect("it is drained");

    let shutdown = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.shutdown().await }
    });
    tokio::time::sleep(3 * LIMIT).await;
    assert!(!blocked.is_finished() && !shutdown.is_finished() && !cluster.common.stopped.is_cancelled());
    world.node.run(&["RPUSH", "queue", "value"]);
    shutdown.await.expect("no panic");
    assert_eq!(leaving.status().borrow().phase, Phase::Stopped);
    assert_eq!(blocked.await.expect("no panic").expect("it was drained").1, "value");
}
