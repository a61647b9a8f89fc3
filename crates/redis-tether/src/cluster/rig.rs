//! A cluster of one node for tests of what only the crate itself can see: scripted, on a network in memory.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use redis_tether_core::Address;
use redis_tether_testkit::{FakeServer, Reply, SimNet};

use super::ClusterTether;
use crate::transport::{BoxFuture, BoxedStream, Transport};
use crate::{ClusterSeed, ClusterTetherBuilder, Config};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

struct InMemory(SimNet);

impl Transport for InMemory {
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxedStream>> {
        let Address::Tcp(address) = address else { return Box::pin(async { Err(io::ErrorKind::Unsupported.into()) }) };
        let connecting = self.0.connect(*address);
        Box::pin(async move { Ok(Box::new(connecting.await?) as BoxedStream) })
    }
}

/// A node that has all slots, and says so.
pub(super) struct World {
    net: SimNet,
    pub(super) node: FakeServer,
}

impl World {
    pub(super) fn new() -> World {
        let (net, node) = (SimNet::new(), FakeServer::new());
        node.answer("CLUSTER|INFO", Some(Reply::bulk("cluster_state:ok\r\ncluster_current_epoch:1\r\n")));
        net.bind(SocketAddr::from(([10, 0, 0, 1], 6379)), node.clone());
        let world = World { net, node };
        world.says(16383, None);
        world
    }

    /// The node has the slots up to `last`, and such a replica.
    pub(super) fn says(&self, last: u16, replica: Option<&str>) {
        let place =
            |host: &str| Reply::Array(vec![Reply::bulk(host), Reply::Int(6379), Reply::bulk(format!("id of {host}"))]);
        let mut slots = vec![Reply::Int(0), Reply::Int(last.into()), place("10.0.0.1")];
        slots.extend(replica.map(place));
        self.node.answer("CLUSTER|SLOTS", Some(Reply::Array(vec![Reply::Array(slots)])));
    }

    pub(super) fn builder(&self) -> ClusterTetherBuilder {
        let config = Config::cluster([ClusterSeed::new("10.0.0.1", 6379)]);
        ClusterTether::builder(config).transport(InMemory(self.net.clone())).seed(7)
    }

    pub(super) async fn serving(&self) -> ClusterTether {
        let cluster = self.builder().start().await.expect("a valid configuration");
        cluster.ready(PATIENCE).await.expect("the node is well");
        cluster
    }
}
