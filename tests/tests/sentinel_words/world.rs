//! Three servers, of which the first is the primary, and three sentinels that say so, each under a name of its own.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::{Config, SentinelNode, Tether};
use redis_tether_testkit::{Dns, FakeSentinel, FakeServer, SimNet};
use redis_tether_tests::rig::{self, InMemory};

pub(crate) const MASTER: &str = "mymaster";
pub(crate) const PORT: u16 = 26379;
const NAMES: [&str; 3] = ["one.test", "two.test", "three.test"];

pub(crate) struct World {
    pub(crate) net: SimNet,
    pub(crate) dns: Dns,
    pub(crate) servers: Vec<FakeServer>,
    pub(crate) sentinels: Vec<FakeSentinel>,
}

/// Where a server is.
pub(crate) fn server(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6379))
}

/// Where a sentinel is.
pub(crate) fn sentinel(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, n], PORT))
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl World {
    pub(crate) fn new() -> World {
        let servers: Vec<_> = (0..3).map(|_| FakeServer::new()).collect();
        let sentinels: Vec<_> = (0..3).map(|_| FakeSentinel::new(MASTER)).collect();
        let world = World { net: SimNet::new(), dns: Dns::new(), servers, sentinels };
        for (n, node) in (0..).zip(&world.servers) {
            world.net.bind(server(n), node.clone());
            if n > 0 {
                node.replicate_from(&world.servers[0]);
            }
        }
        for (n, one) in (0..).zip(&world.sentinels) {
            let served = one.clone();
            world.net.bind_with(sentinel(n), move |io| served.serve(io));
            world.dns.set(NAMES[usize::from(n)], vec![sentinel(n).ip()]);
        }
        world.all_say(0, 1);
        world
    }

    /// From now on every sentinel says that this server is the primary.
    pub(crate) fn all_say(&self, n: u8, epoch: u64) {
        self.sentinels.iter().for_each(|sentinel| sentinel.say(&server(n).ip().to_string(), 6379, epoch));
    }

    /// One sentinel tells whoever listens that this server is the primary now.
    pub(crate) fn announce(&self, by: usize, n: u8, epoch: u64) {
        self.sentinels[by].announce(&server(n).ip().to_string(), 6379, epoch);
    }

    /// A planned failover: this server takes over, and the others follow it.
    pub(crate) fn promote(&self, n: u8) {
        self.servers[usize::from(n)].promote();
    }

    /// Which sentinel is listened to.
    pub(crate) fn listened_to(&self) -> Option<usize> {
        self.sentinels.iter().position(|sentinel| sentinel.subscribers() > 0)
    }

    /// How often each sentinel is listened to.
    pub(crate) fn ears(&self) -> Vec<u64> {
        self.sentinels.iter().map(FakeSentinel::subscribers).collect()
    }

    pub(crate) fn questions(&self) -> u64 {
        self.sentinels.iter().map(FakeSentinel::questions).sum()
    }

    pub(crate) fn config(&self) -> Config {
        Config::sentinel(NAMES.map(|name| SentinelNode::new(name, PORT)), MASTER)
    }

    pub(crate) async fn start(&self, config: Config) -> Tether {
        let builder = Tether::builder(config).resolver(rig::resolver(&self.dns)).seed(7);
        builder.transport(InMemory(self.net.clone())).start().await.expect("a valid configuration")
    }

    /// A tether that serves from the first server and listens to a sentinel.
    pub(crate) async fn serving(&self) -> Tether {
        let tether = self.start(self.config()).await;
        tether.ready(ms(1_000)).await.expect("the primary is well");
        assert_eq!(at(&tether), Some(server(0)));
        tokio::time::sleep(ms(100)).await;
        assert!(self.listened_to().is_some(), "nobody is listened to");
        tether
    }
}

/// Where the tether's link leads.
pub(crate) fn at(tether: &Tether) -> Option<SocketAddr> {
    let address = tether.status().borrow().address.clone();
    address.map(|address| address.to_string().parse().expect("an address"))
}
