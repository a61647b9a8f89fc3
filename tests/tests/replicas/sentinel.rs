//! Replicas that sentinels know of: they come and go, and one of them becomes the primary.

use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Protocol, SentinelNode, Tether};
use redis_tether_testkit::{SentinelDeployment, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::{protocol_for, server_binary, unsuspecting};
use redis_tether_tests::watch::PATIENCE;

use crate::world::{KEY, Readers, assert_only_in_flight_failed, gets_at, serving, settled};

const CALLERS: usize = 4;

on_each_server!(replicas_come_and_go);

async fn started(deployment: &SentinelDeployment, protocol: Protocol) -> Tether {
    let addrs = deployment.sentinel_addrs();
    let nodes = addrs.iter().map(|addr| SentinelNode::new(addr.ip().to_string(), addr.port()));
    let mut config = Config::sentinel(nodes, SentinelDeployment::MASTER);
    config.protocol = protocol;
    config.resolve.interval = Duration::from_millis(500);
    config.detection.probe_interval = Duration::from_millis(500);
    let tether = Tether::start(unsuspecting(config)).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the primary is well");
    tether
}

async fn replicas_come_and_go(kind: ServerKind) {
    let deployment = SentinelDeployment::start(&server_binary(kind)).await;
    let deployment = deployment.expect("servers and sentinels");
    let tether = started(&deployment, protocol_for(kind)).await;
    let _: () = tether.handle().set(KEY, "value").await.expect("a write");
    let waited: i64 = redis_tether::redis::cmd("WAIT")
        .arg(2)
        .arg(10_000)
        .query_async(&mut tether.handle())
        .await
        .expect("acknowledged");
    assert_eq!(waited, 2);
    let replicas = tether.replicas();
    serving(&replicas, &tether, 2).await;
    let readers = Readers::start(&replicas, CALLERS);
    readers.go_on_for(100).await;
    assert_eq!(tether.stats().fallbacks, 0);

    // One dies, the sentinels notice, and when it is back they say so. The primary, which may be late, is to stay.
    deployment.take_for_down_after(Duration::from_secs(2)).await.expect("told");
    deployment.nodes[1].kill().await.expect("killed");
    settled(&tether, "the dead one to be left out", || replicas.members().len() == 1).await;
    deployment.take_for_down_after(PATIENCE).await.expect("told");
    readers.go_on_for(100).await;
    deployment.nodes[1].restart().await.expect("it comes back");
    deployment.nodes[1].replicate(&deployment.nodes[0]).await.expect("a replica");
    serving(&replicas, &tether, 2).await;

    // A replica is promoted, and what was the primary follows it.
    deployment.failover().await.expect("begun");
    let primary = async || {
        let status = tether.status().borrow().clone();
        let address = status.address.map(|address| address.to_string());
        deployment.nodes.iter().position(|node| Some(node.addr().to_string()) == address)
    };
    let promoted = loop {
        match primary().await {
            Some(place) if place != 0 => break place,
            _ => {
                settled(&tether, "the tether to move", || {
                    let address = tether.status().borrow().address.clone();
                    address.is_some_and(|address| address.to_string() != deployment.nodes[0].addr().to_string())
                })
                .await
            }
        }
    };
    // The sentinels would have it do so eight seconds later.
    deployment.nodes[0].replicate(&deployment.nodes[promoted]).await.expect("a replica");
    let name = deployment.nodes[promoted].addr().to_string();
    let others = || replicas.members().iter().filter(|one| one.serves() && *one.name != *name).count();
    settled(&tether, "both others to serve as replicas", || others() == 2 && replicas.members().len() == 2).await;
    readers.go_round().await;
    let before = gets_at(&deployment.nodes[promoted]).await;
    readers.go_on_for(100).await;
    assert_eq!(gets_at(&deployment.nodes[promoted]).await, before, "a primary gets no reads");
    // Those that were in flight to the one that died, and to the two whose clients the sentinels had closed.
    assert_only_in_flight_failed(&readers.finish().await, 3 * CALLERS);
    tether.shutdown().await;
}
