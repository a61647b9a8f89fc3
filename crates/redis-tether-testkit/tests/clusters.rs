//! Real clusters: they come together, fail over, and hand slots on with their keys.

mod common;

use redis_tether_testkit::{ClusterDeployment, Reply, ServerBinary};

#[tokio::test]
async fn a_replica_takes_over_and_slots_move() {
    for binary in ServerBinary::all() {
        let cluster = ClusterDeployment::start(&binary).await.expect("a cluster");
        for shard in 0..ClusterDeployment::SHARDS {
            let key = cluster.key_in(shard, "k");
            cluster.primary(shard).command(&["SET", &key, "v"]).await.expect("its own key");
        }
        cluster.elect_after(ClusterDeployment::QUICKLY).await.expect("taken");
        cluster.primary(0).kill().await.expect("killed");
        cluster.taken_over(cluster.replica(0)).await.expect("taken over");
        cluster.failover(1).await.expect("begun");
        cluster.taken_over(cluster.replica(1)).await.expect("taken over");

        let key = cluster.key_in(2, "k");
        move_key(&cluster, &key, 2, 4).await;
    }
}

/// Among themselves, nodes speak TLS as well, if they can.
#[tokio::test]
async fn slots_move_over_tls() {
    for binary in ServerBinary::all() {
        let cluster = ClusterDeployment::start_over_tls_behind(&binary, "cluster.test").await.expect("a cluster");
        let key = cluster.key_in(0, "k");
        cluster.primary(0).command(&["SET", &key, "v"]).await.expect("its own key");
        move_key(&cluster, &key, 0, 1).await;
    }
}

async fn move_key(cluster: &ClusterDeployment, key: &str, from: usize, to: usize) {
    let Reply::Int(slot) = cluster.nodes[from].command(&["CLUSTER", "KEYSLOT", key]).await.expect("an answer") else {
        panic!("a slot is a number");
    };
    let slot = u16::try_from(slot).expect("a slot");
    cluster.reshard(slot..slot + 1, from, to).await.expect("moved");
    let value = cluster.nodes[to].command(&["GET", key]).await.expect("its own key by now");
    assert_eq!(value.text().as_deref(), Some("v"));
}
