//! What a command that was sent elsewhere waits for.

use redis::{AsyncCommands, RedisResult};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::cluster::ClusterTether;
use crate::cluster::rig::{PATIENCE, World};
use crate::outcome::{CommandError, OutcomeExt, Reason};

use super::*;

const TAKES: Duration = Duration::from_secs(1);

/// It would wait for a survey, and there is none any more.
#[tokio::test(start_paused = true)]
async fn a_command_that_waits_for_a_survey_fails_when_the_cluster_ends() {
    let world = World::new();
    let cluster = world.serving().await;
    world.node.refuse("GET", Some("MOVED 12539 10.0.0.9:6379"));
    // It answers in a second, and then takes another one to answer the survey.
    world.node.slow(TAKES);
    let mut handle = cluster.handle();
    let command = tokio::spawn(async move { handle.get::<_, Option<u32>>("key").await });
    sleep(TAKES + TAKES / 2).await;
    assert!(cluster.stats().redirections == 1 && !command.is_finished());
    fails_with(cluster, command).await;
}

/// The node that it is sent to is somebody's replica by what is known, and gets no tether of its own.
#[tokio::test(start_paused = true)]
async fn a_command_that_waits_for_a_way_to_a_node_fails_when_the_cluster_ends() {
    let world = World::new();
    world.says(16383, Some("10.0.0.9"));
    let cluster = world.serving().await;
    world.node.refuse("GET", Some("ASK 12539 10.0.0.9:6379"));
    let mut handle = cluster.handle();
    let command = tokio::spawn(async move { handle.get::<_, Option<u32>>("key").await });
    sleep(INVITATION / 2).await;
    assert!(cluster.stats().redirections == 1 && !command.is_finished());
    fails_with(cluster, command).await;
}

/// The command fails as soon as the cluster is shut down.
async fn fails_with(cluster: ClusterTether, command: JoinHandle<RedisResult<Option<u32>>>) {
    let shutdown = tokio::spawn(async move { cluster.shutdown().await });
    let answer = timeout(Duration::from_millis(10), command).await.expect("it fails at once").expect("no panic");
    let error = answer.expect_err("it was sent elsewhere");
    assert_eq!(error.command_error().map(CommandError::reason), Some(Reason::Stopped), "{error}");
    timeout(PATIENCE, shutdown).await.expect("waited for the shutdown").expect("no panic");
}
