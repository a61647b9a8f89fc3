//! A network that fails between a client and the nodes of a cluster, which announce where they are themselves: whoever connects there comes
//! to a fault proxy in front of the node.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use redis_tether::{Address, BoxedStream, Transport};
use redis_tether_testkit::{ClusterDeployment, Proxy};
use redis_tether_tests::servers::bind;
use tokio::net::TcpStream;

/// The proxy of each node, in their order. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Detours(Arc<[(std::net::SocketAddr, Proxy)]>);

impl Detours {
    pub(crate) async fn to(cluster: &ClusterDeployment) -> Detours {
        let mut proxies = Vec::new();
        for node in &cluster.nodes {
            let target = ClusterDeployment::client_addr(node);
            proxies.push((target, bind(async || Proxy::start(target).await).await));
        }
        Detours(proxies.into())
    }

    /// What is in front of the node with this number.
    pub(crate) fn before(&self, node: usize) -> &Proxy {
        &self.0[node].1
    }
}

impl Transport for Detours {
    fn connect(&self, address: &Address) -> Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send>> {
        let proxy = self.0.iter().find(|(target, _)| *address == Address::Tcp(*target)).map(|(_, proxy)| proxy.addr());
        Box::pin(async move {
            let stream = TcpStream::connect(proxy.ok_or(io::ErrorKind::HostUnreachable)?).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }
}
