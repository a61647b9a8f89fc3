//! Nodes that say of their cluster what they are told to say.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::{ClusterSeed, ClusterTether, Config};
use redis_tether_testkit::{Dns, FakeServer, Reply, SimNet};
use redis_tether_tests::rig::{self, InMemory};

/// The configuration endpoint.
const NAME: &str = "cluster.test";
const PORT: u16 = 6379;

/// A key of the first half of the slots, which node 0 has, and one of the second, which node 1 has. Their slots are these.
pub(crate) const FIRST: &str = "b";
pub(crate) const FIRST_SLOT: u16 = 3300;
pub(crate) const SECOND: &str = "a";

pub(crate) struct World {
    pub(crate) net: SimNet,
    pub(crate) dns: Dns,
    pub(crate) nodes: Vec<FakeServer>,
}

/// Slots, their primary, and its replica if there is one, by their numbers.
pub(crate) struct Entry(pub(crate) u16, pub(crate) u16, pub(crate) usize, pub(crate) Option<usize>);

/// Half of the slots each.
pub(crate) const HALVES: [Entry; 2] = [Entry(0, 8191, 0, None), Entry(8192, 16383, 1, None)];

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node).expect("few nodes")], PORT))
}

impl World {
    /// So many nodes, of which the first two have half of the slots each, and all say so.
    pub(crate) fn new(nodes: usize) -> World {
        let nodes: Vec<_> = (0..nodes).map(|_| FakeServer::new()).collect();
        let world = World { net: SimNet::new(), dns: Dns::new(), nodes };
        for (number, node) in world.nodes.iter().enumerate() {
            world.net.bind(addr(number), node.clone());
        }
        world.dns.set(NAME, (0..world.nodes.len()).map(|number| addr(number).ip()).collect());
        world.all_say(&HALVES, 1);
        world
    }

    /// The configuration endpoint leads to these and no others.
    pub(crate) fn name(&self, nodes: &[usize]) {
        self.dns.set(NAME, nodes.iter().map(|number| addr(*number).ip()).collect());
    }

    pub(crate) fn all_say(&self, map: &[Entry], epoch: u64) {
        (0..self.nodes.len()).for_each(|node| self.says(node, map, epoch));
    }

    pub(crate) fn says(&self, node: usize, map: &[Entry], epoch: u64) {
        let place = |number: usize| announced(&addr(number).ip().to_string(), &format!("id{number}"));
        let entry = |Entry(first, last, primary, replica): &Entry| {
            let mut fields = vec![Reply::Int((*first).into()), Reply::Int((*last).into()), place(*primary)];
            fields.extend(replica.map(place));
            Reply::Array(fields)
        };
        self.says_raw(node, map.iter().map(entry).collect(), "ok", epoch);
    }

    pub(crate) fn says_raw(&self, node: usize, entries: Vec<Reply>, state: &str, epoch: u64) {
        let info = format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n");
        self.nodes[node].answer("CLUSTER|SLOTS", Some(Reply::Array(entries)));
        self.nodes[node].answer("CLUSTER|INFO", Some(Reply::bulk(info)));
    }

    pub(crate) fn config(&self) -> Config {
        Config::cluster([ClusterSeed::new(NAME, PORT)])
    }

    pub(crate) async fn start(&self, config: Config) -> ClusterTether {
        let builder = ClusterTether::builder(config).resolver(rig::resolver(&self.dns)).seed(7);
        builder.transport(InMemory(self.net.clone())).start().await.expect("a valid configuration")
    }

    pub(crate) async fn serving(&self) -> ClusterTether {
        let tether = self.start(self.config()).await;
        tether.ready(ms(1_000)).await.expect("the nodes are well");
        tether
    }
}

/// A node as an answer has it.
pub(crate) fn announced(host: &str, id: &str) -> Reply {
    Reply::Array(vec![Reply::bulk(host), Reply::Int(PORT.into()), Reply::bulk(id)])
}
