//! A tether that is connected to a fake server, on the loopback or in memory: where tests begin that are about the tether and not
//! about servers.

use std::net::{Ipv4Addr, SocketAddr};

use redis_tether::{Config, Tether};
use redis_tether_testkit::{FakeListener, FakeServer, SimNet};

use crate::rig::InMemory;
use crate::watch::PATIENCE;

/// A server, listening on a port of its own.
///
/// # Panics
/// Where the loopback has no free port.
pub async fn fake() -> (FakeServer, FakeListener) {
    let server = FakeServer::new();
    let listener = server.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a free port");
    (server, listener)
}

/// The defaults, for a server at this address.
#[must_use]
pub fn config(addr: SocketAddr) -> Config {
    Config::new(addr.ip().to_string(), addr.port())
}

/// A tether that serves.
///
/// # Panics
/// Where the configuration is invalid or the server does not let it in.
pub async fn connected(config: Config) -> Tether {
    let tether = Tether::start(config).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    tether
}

/// A tether that serves from this server, over a network in memory: where time is virtual, a real socket might not be heard in time.
///
/// # Panics
/// Where the configuration is invalid or the server does not let it in.
pub async fn connected_in_memory(server: &FakeServer, change: impl FnOnce(&mut Config)) -> Tether {
    let tether = started_in_memory(server, change).await;
    tether.ready(PATIENCE).await.expect("the server is well");
    tether
}

/// The same, whether it is let in or not.
///
/// # Panics
/// Where the configuration is invalid.
pub async fn started_in_memory(server: &FakeServer, change: impl FnOnce(&mut Config)) -> Tether {
    let (net, addr) = (SimNet::new(), SocketAddr::from(([10, 0, 0, 1], 6379)));
    net.bind(addr, server.clone());
    let mut config = config(addr);
    change(&mut config);
    Tether::builder(config).transport(InMemory(net)).seed(7).start().await.expect("a valid configuration")
}
