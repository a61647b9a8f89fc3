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
        cluster.primary(0).kill().await.expect("killed");
        cluster.taken_over(cluster.replica(0)).await.expect("taken over");
        cluster.failover(1).await.expect("begun");
        cluster.taken_over(cluster.replica(1)).await.expect("taken over");

        let key = cluster.key_in(2, "k");
        let Reply::Int(slot) = cluster.nodes[2].command(&["CLUSTER", "KEYSLOT", &key]).await.expect("an answer") else {
            panic!("a slot is a number");
        };
        let slot = u16::try_from(slot).expect("a slot");
        cluster.reshard(slot..slot + 1, 2, 4).await.expect("moved");
        let value = cluster.nodes[4].command(&["GET", &key]).await.expect("its own key by now");
        assert_eq!(value.text().as_deref(), Some("v"));
    }
}
