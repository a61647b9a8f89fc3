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
        let place = Reply::Array(vec![Reply::bulk("10.0.0.1"), Reply::Int(6379), Reply::bulk("id")]);
        let slots = Reply::Array(vec![Reply::Int(0), Reply::Int(16383), place]);
        node.answer("CLUSTER|SLOTS", Some(Reply::Array(vec![slots])));
        node.answer("CLUSTER|INFO", Some(Reply::bulk("cluster_state:ok\r\ncluster_current_epoch:1\r\n")));
        net.bind(SocketAddr::from(([10, 0, 0, 1], 6379)), node.clone());
        World { net, node }
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
