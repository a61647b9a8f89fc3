//! A cluster of one node for tests of what only the crate itself can see: scripted, on a network in memory.

use std::iter;
use std::net::SocketAddr;
use std::time::Duration;

use redis_tether_testkit::{FakeServer, Reply, SimNet};

use super::ClusterTether;
use crate::transport::in_memory::InMemory;
use crate::{ClusterSeed, ClusterTetherBuilder, Config};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A node that has all slots, and says so.
pub(super) struct World {
    net: SimNet,
    pub(super) node: FakeServer,
}

impl World {
    pub(super) fn new() -> World {
        let net = SimNet::new();
        let node = join(&net, 1);
        let world = World { net, node };
        world.says(16383, None);
        world
    }

    /// The node has the slots up to `last`, and such a replica.
    pub(super) fn says(&self, last: i64, replica: Option<&str>) {
        let nodes: Vec<&str> = iter::once("10.0.0.1").chain(replica).collect();
        self.node.answer("CLUSTER|SLOTS", Some(slots(&[(&nodes, 0, last)])));
    }

    /// Another node, at `10.0.0.` and this, which says nothing of slots yet.
    pub(super) fn join(&self, number: u8) -> FakeServer {
        join(&self.net, number)
    }

    pub(super) fn builder(&self) -> ClusterTetherBuilder {
        self.configured(|_| ())
    }

    pub(super) fn configured(&self, change: impl FnOnce(&mut Config)) -> ClusterTetherBuilder {
        let mut config = Config::cluster([ClusterSeed::new("10.0.0.1", 6379)]);
        change(&mut config);
        ClusterTether::builder(config).transport(InMemory(self.net.clone())).seed(7)
    }

    pub(super) async fn serving(&self) -> ClusterTether {
        let cluster = self.builder().start().await.expect("a valid configuration");
        cluster.ready(PATIENCE).await.expect("the node is well");
        cluster
    }
}

/// What nodes say of slots: of each range who has it, the primary first, its first and its last.
pub(super) fn slots(ranges: &[(&[&str], i64, i64)]) -> Reply {
    let place =
        |host: &&str| Reply::Array(vec![Reply::bulk(*host), Reply::Int(6379), Reply::bulk(format!("id of {host}"))]);
    let range = |(nodes, first, last): &(&[&str], i64, i64)| {
        let bounds = [Reply::Int(*first), Reply::Int(*last)].into_iter();
        Reply::Array(bounds.chain(nodes.iter().map(place)).collect())
    };
    Reply::Array(ranges.iter().map(range).collect())
}

fn join(net: &SimNet, number: u8) -> FakeServer {
    let node = FakeServer::new();
    node.answer("CLUSTER|INFO", Some(Reply::bulk("cluster_state:ok\r\ncluster_current_epoch:1\r\n")));
    net.bind(SocketAddr::from(([10, 0, 0, number], 6379)), node.clone());
    node
}
