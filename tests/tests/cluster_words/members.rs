//! Replicas that some nodes tell of and others do not: nodes learn of them one after another.

use redis_tether::redis::AsyncCommands;
use redis_tether::{ClusterReplicaHandle, ClusterTether};
use redis_tether_testkit::Reply;
use redis_tether_tests::watch::PATIENCE;
use tokio::time::sleep;

use super::world::{Entry, FIRST, HALVES, World, ms};

/// The first shard with node 2 as its replica.
const WITH_REPLICA: [Entry; 2] = [Entry(0, 8191, 0, Some(2)), Entry(8192, 16383, 1, None)];

/// Longer than one that serves is kept that nobody tells of any more.
const LONG: u64 = 10_000;

/// Some surveys, and far less.
const A_WHILE: u64 = 6_000;

/// So many nodes, of which the third follows the first, and nobody says so.
fn world(nodes: usize) -> World {
    let world = World::new(nodes);
    world.nodes[2].replicate_from(&world.nodes[0]);
    world.nodes[2].answer("READONLY", Some(Reply::Simple("OK".to_owned())));
    world
}

/// The handle, once there is a replica at the first shard.
async fn reading(tether: &ClusterTether) -> ClusterReplicaHandle {
    let replicas = tether.replicas();
    let shards = tether.shards();
    let first = shards.iter().find(|shard| *shard.slots[0].start() == 0).expect("it has slots");
    first.tether.replicas().ready(PATIENCE).await.expect("it has a replica");
    replicas
}

async fn is_read_from_the_replica(world: &World, replicas: &mut ClusterReplicaHandle) -> bool {
    let before = world.nodes[2].commands("GET");
    replicas.get::<_, Option<u32>>(FIRST).await.expect("somebody answers");
    world.nodes[2].commands("GET") > before
}

/// Most of the nodes are heard in each survey, and so is one that knows of it.
#[tokio::test(start_paused = true)]
async fn one_that_one_node_does_not_tell_of() {
    for ignorant in 0..3 {
        let world = world(3);
        world.all_say(&WITH_REPLICA, 1);
        world.says(ignorant, &HALVES, 1);
        let mut config = world.config();
        config.resolve.swap_budget = ms(1);
        let tether = world.start(config).await;
        tether.ready(ms(1_000)).await.expect("the nodes are well");
        let mut replicas = reading(&tether).await;
        for _ in 0..A_WHILE / 500 {
            assert!(is_read_from_the_replica(&world, &mut replicas).await, "node {ignorant} is ignorant");
            sleep(ms(500)).await;
        }
        tether.shutdown().await;
    }
}

/// It may be that those who know of it are not asked. If it is still so after a while, it is gone.
#[tokio::test(start_paused = true)]
async fn one_that_serves_and_nobody_tells_of() {
    let world = world(3);
    world.all_say(&WITH_REPLICA, 1);
    let tether = world.serving().await;
    let mut replicas = reading(&tether).await;
    world.all_say(&HALVES, 1);
    sleep(ms(A_WHILE)).await;
    assert!(is_read_from_the_replica(&world, &mut replicas).await, "it is kept");
    sleep(ms(LONG)).await;
    assert!(!is_read_from_the_replica(&world, &mut replicas).await, "the primary stands in");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_followed_another_primary() {
    is_left_at_once(4, &[Entry(0, 8191, 3, None), Entry(8192, 16383, 1, None)], 2).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_of_another_shard() {
    is_left_at_once(3, &[Entry(0, 8191, 0, None), Entry(8192, 16383, 1, Some(2))], 1).await;
}

/// By this map it may have other data: there is nothing to wait for.
async fn is_left_at_once(nodes: usize, map: &[Entry], epoch: u64) {
    let world = world(nodes);
    world.all_say(&WITH_REPLICA, 1);
    let tether = world.serving().await;
    let mut replicas = reading(&tether).await;
    world.all_say(map, epoch);
    sleep(ms(A_WHILE)).await;
    assert!(!is_read_from_the_replica(&world, &mut replicas).await, "it is left");
    tether.shutdown().await;
}
