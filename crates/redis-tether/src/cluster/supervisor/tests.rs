//! What is told of shards, and of surveys.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;
use crate::Event;
use crate::cluster::rig::{PATIENCE, World};

/// On threads of its own a tether has begun before whoever started it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_that_is_told_of_a_shard_is_that_it_is_there_and_the_next_its_address() {
    let world = World::new();
    world.node.hang();
    let cluster = world.builder().start().await.expect("a valid configuration");
    let mut events = cluster.events();
    world.node.resume();
    let first = timeout(PATIENCE, events.recv()).await.expect("waited for the shard").expect("the cluster lives");
    assert!(matches!(first, ClusterEvent::ShardAdded { .. }), "{first}");
    let next = timeout(PATIENCE, events.recv()).await.expect("waited for its address").expect("the cluster lives");
    assert!(matches!(&next, ClusterEvent::Shard { event: Event::AddressesChanged { .. }, .. }), "{next}");
    cluster.shutdown().await;
}

/// Whose failure is told of as that of all is whoever's came first: each survey may have another one.
#[tokio::test(start_paused = true)]
async fn surveys_that_fail_one_way_and_another_are_told_of_once() {
    let world = World::new();
    let cluster = world.serving().await;
    let mut events = cluster.events();
    let fail = async |error: String| {
        world.node.refuse("CLUSTER|SLOTS", Some(&error));
        let surveys = cluster.stats().surveys;
        cluster.common.surveyor.doubt();
        let fails = async {
            while cluster.stats().surveys < surveys + 3 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, fails).await.expect("waited for surveys");
        let told = cluster.common.surveyor.found().borrow().error.as_ref().map(ToString::to_string);
        assert!(told.as_ref().is_some_and(|told| told.contains(&error)), "{told:?}");
    };
    for round in 0..2 {
        for nth in 0..5 {
            fail(format!("ERR out of order, {nth}")).await;
        }
        let told = std::iter::from_fn(|| events.try_recv().ok());
        let told: Vec<_> = told.filter(|event| matches!(event, ClusterEvent::SurveyFailed { .. })).collect();
        assert_eq!(told.len(), 1, "round {round}: {told:?}");
        world.says(16383, None);
        cluster.common.surveyor.doubt();
        let mut found = cluster.common.surveyor.found();
        let heals = found.wait_for(|found| found.error.is_none());
        drop(timeout(PATIENCE, heals).await.expect("waited for a survey that succeeds").expect("the cluster lives"));
        // It is to be seen before it fails again.
        sleep(Duration::from_millis(1)).await;
    }
    cluster.shutdown().await;
}
