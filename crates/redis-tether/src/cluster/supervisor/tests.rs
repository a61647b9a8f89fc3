//! What is told of shards.

use tokio::time::timeout;

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
