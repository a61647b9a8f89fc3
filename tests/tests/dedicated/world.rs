//! Two fake servers in a network in memory, for what happens between the steps of making a dedicated connection and using it:
//! in virtual time, where that is exact.

use std::net::SocketAddr;

use redis_tether::CommandError;
use redis_tether_testkit::{FakeServer, SimNet};

use super::*;

const HOST: &str = "redis.test";

/// Two servers, of which the name means the first.
pub(crate) struct World {
    pub(crate) net: SimNet,
    pub(crate) dns: Dns,
    pub(crate) servers: [FakeServer; 2],
    pub(crate) addresses: [SocketAddr; 2],
}

impl World {
    pub(crate) fn new() -> World {
        let addresses = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 6379)));
        let servers = [FakeServer::new(), FakeServer::new()];
        let (net, dns) = (SimNet::new(), Dns::new());
        for (address, server) in addresses.iter().zip(&servers) {
            net.bind(*address, server.clone());
        }
        dns.set(HOST, vec![addresses[0].ip()]);
        World { net, dns, servers, addresses }
    }

    pub(crate) async fn tether(&self, config: Config) -> Tether {
        let builder = Tether::builder(config).seed(7);
        let builder = builder.transport(rig::InMemory(self.net.clone())).resolver(rig::resolver(&self.dns));
        builder.start().await.expect("a valid configuration")
    }

    pub(crate) async fn connected(&self) -> Tether {
        self.connected_with(settings()).await
    }

    pub(crate) async fn connected_with(&self, config: Config) -> Tether {
        let tether = self.tether(config).await;
        tether.ready(PATIENCE).await.expect("the server is well");
        tether
    }

    pub(crate) fn connections(&self) -> usize {
        self.net.links(self.addresses[0])
    }

    pub(crate) fn moves_to_the_second(&self) {
        self.dns.set(HOST, self.addresses.iter().map(SocketAddr::ip).collect::<Vec<_>>());
        self.servers[0].demote();
    }
}

pub(crate) fn settings() -> Config {
    Config::new(HOST, 6379)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Lets everything run until nothing can go on by itself.
pub(crate) async fn settle() {
    sleep(ms(1)).await;
}

pub(crate) fn spawn_dedicated(tether: &Tether) -> JoinHandle<Result<Dedicated, CommandError>> {
    let tether = tether.clone();
    tokio::spawn(async move { tether.dedicated().await })
}

pub(crate) async fn ping(mut connection: Dedicated) -> RedisResult<String> {
    redis::cmd("PING").query_async(&mut connection).await
}
