//! A tether that is connected to a fake server on the loopback: where tests begin that are about the tether and not about
//! servers.

use std::net::{Ipv4Addr, SocketAddr};

use redis_tether::{Config, Tether};
use redis_tether_testkit::{FakeListener, FakeServer};

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
