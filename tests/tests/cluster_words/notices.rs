//! Endpoints that lead to the cluster for now: what is said of them, while it is served.

use redis_tether::redis::AsyncCommands;
use redis_tether::{ClusterNotice, ClusterSeed, ClusterTether, Config};
use redis_tether_testkit::Reply;
use tokio::time::sleep;

use super::world::{Entry, FIRST, SECOND, World, addr, announced, ms};

/// What is said once the endpoint has been looked at, of a tether that serves all slots.
async fn noticed(tether: &ClusterTether) -> Option<ClusterNotice> {
    tether.ready(ms(1_000)).await.expect("the nodes are well");
    for key in [FIRST, SECOND] {
        tether.handle().set::<_, _, ()>(key, 1).await.expect("it is served");
    }
    sleep(ms(500)).await;
    tether.status().notice
}

#[tokio::test(start_paused = true)]
async fn a_name_of_one_node_until_it_is_one_of_all() {
    let world = World::new(2);
    world.name(&[0]);
    let tether = world.start(world.config()).await;
    let notice = noticed(&tether).await;
    assert!(matches!(notice, Some(ClusterNotice::OneNode { nodes: 2, .. })), "{notice:?}");
    let told = tether.status().to_string();
    assert!(
        told.contains("cluster.test:6379 leads to one of 2 nodes") && told.contains("configuration endpoint"),
        "{told}"
    );
    world.name(&[0, 1]);
    sleep(ms(60_000)).await;
    assert_eq!(tether.status().notice, None, "it was looked at again");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_one_node_announces_as_its_own() {
    let world = World::new(2);
    let half = |first, last, node| Reply::Array(vec![Reply::Int(first), Reply::Int(last), node]);
    let place = |node: usize| announced(&format!("node-{node}.test"), &format!("id{node}"));
    for node in 0..2 {
        world.dns.set(&format!("node-{node}.test"), vec![addr(node).ip()]);
        world.says_raw(node, vec![half(0, 8191, place(0)), half(8192, 16383, place(1))], "ok", 1);
    }
    let tether = world.start(Config::cluster([ClusterSeed::new("Node-1.test", addr(1).port())])).await;
    assert!(noticed(&tether).await.is_some());
    tether.shutdown().await;
}

/// A node's, and a balancer's: it cannot come to mean another.
#[tokio::test(start_paused = true)]
async fn an_address() {
    let world = World::new(2);
    world.net.bind(addr(9), world.nodes[0].clone());
    for place in [addr(0), addr(9)] {
        let tether = world.start(Config::cluster([ClusterSeed::new(place.ip().to_string(), place.port())])).await;
        assert!(noticed(&tether).await.is_some(), "{place}");
        tether.shutdown().await;
    }
}

/// All nodes, several seeds, a balancer before the nodes, the only node that there is.
#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_what_leads_to_the_cluster() {
    let world = World::new(2);
    let several = Config::cluster([0, 1].map(|node| ClusterSeed::new(addr(node).ip().to_string(), addr(node).port())));
    for config in [world.config(), several] {
        let tether = world.start(config).await;
        assert_eq!(noticed(&tether).await, None);
        tether.shutdown().await;
    }
    world.net.bind(addr(9), world.nodes[0].clone());
    world.name(&[9]);
    let tether = world.start(world.config()).await;
    assert_eq!(noticed(&tether).await, None, "it is no node's");
    tether.shutdown().await;
    let world = World::new(1);
    world.all_say(&[Entry(0, 16383, 0, None)], 1);
    let tether = world.start(world.config()).await;
    assert_eq!(noticed(&tether).await, None, "there is no other");
    tether.shutdown().await;
}
