//! The simulated world: fake servers on an in-memory network, a DNS that is scripted, and tethers that know nothing of
//! either being unreal. Made by every test of this target. It opens no socket and starts no thread, so that under tokio's
//! paused clock the same seed takes the same course to the last event.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis_tether::{Address, BoxedStream, Config, Event, Handle, Phase, Status, Tether, Transport, resolve_fn};
use redis_tether_core::RecoveryBounds;
use redis_tether_testkit::{Dns, FakeServer, SimNet};
use tokio::io::copy_bidirectional;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use tokio::time::{Instant, timeout};

use crate::scissors::Scissors;

/// The name under which tethers know their primary.
pub(crate) const NAME: &str = "redis.test";

/// The port of every node.
const PORT: u16 = 6379;

/// A safety net for waits that no bound is asserted for. Virtual time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// See the head of this file.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) net: SimNet,
    pub(crate) dns: Dns,
    pub(crate) nodes: Vec<FakeServer>,
    pub(crate) scissors: Scissors,
}

impl World {
    /// Node 0 is the primary that the name means; the others are replicas of it.
    pub(crate) fn new(nodes: usize) -> World {
        let nodes = (0..nodes).map(|_| FakeServer::new()).collect();
        let world = World { net: SimNet::new(), dns: Dns::new(), nodes, scissors: Scissors::default() };
        for (node, server) in world.nodes.iter().enumerate() {
            world.net.bind(address(node), server.clone());
            if node > 0 {
                server.replicate_from(&world.nodes[0]);
            }
        }
        world.name_means(&[0]);
        world
    }

    /// From now on the name means these nodes.
    pub(crate) fn name_means(&self, nodes: &[usize]) {
        self.dns.set(NAME, nodes.iter().map(|node| ip(*node)).collect());
    }

    /// The node becomes the primary, and all others that are up its replicas. The name is left alone.
    pub(crate) fn promote(&self, primary: usize) {
        self.nodes[primary].promote();
        for (node, server) in self.nodes.iter().enumerate() {
            if node != primary {
                server.replicate_from(&self.nodes[primary]);
            }
        }
    }

    /// A tether of this world; not connected yet.
    pub(crate) async fn tether(&self, config: Config, seed: u64) -> Tether {
        let dns = self.dns.clone();
        let resolver = resolve_fn(move |host, port| {
            let dns = dns.clone();
            async move { dns.lookup(&host, port).await }
        });
        let transport = SimTransport { net: self.net.clone(), scissors: self.scissors.clone() };
        let builder = Tether::builder(config).transport(transport).resolver(resolver).seed(seed);
        builder.start().await.expect("the configuration is valid")
    }

    /// A tether with the defaults that serves from the primary at node 0, and has for `age`.
    pub(crate) async fn settled(&self, seed: u64, age: Duration) -> Tether {
        let tether = self.tether(config(), seed).await;
        until_connected(&tether, 0).await;
        tokio::time::sleep(age).await;
        tether
    }

    /// Puts a firewall before the node, which can be told to forget the links that it knows: from then on nothing comes
    /// through them either way, and neither end is told. New ones it lets through.
    pub(crate) fn forgetful(&self, node: usize) -> Arc<Notify> {
        let forget = Arc::new(Notify::new());
        let (server, told) = (self.nodes[node].clone(), forget.clone());
        self.net.bind_with(address(node), move |mut outside| {
            let (mut inside, end) = tokio::io::duplex(64 * 1024);
            server.serve(end);
            // Those that wait now are told, and nobody who comes later.
            let forgotten = told.clone().notified_owned();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = forgotten => std::future::pending().await,
                    _ = copy_bidirectional(&mut outside, &mut inside) => {}
                }
            });
        });
        forget
    }

    /// All dials of all nodes, in order.
    pub(crate) fn dials(&self) -> u64 {
        (0..self.nodes.len()).map(|node| self.net.dials(address(node))).sum()
    }

    /// How often values that hold `id` were written, all nodes together; and `INCR`s of a key that is `id`.
    pub(crate) fn executions(&self, id: &str) -> usize {
        let is_it = |arg: &Vec<u8>| arg.as_slice() == id.as_bytes();
        self.nodes.iter().flat_map(FakeServer::writes).filter(|write| write.args.iter().any(is_it)).count()
    }
}

/// The defaults, for the world's name.
pub(crate) fn config() -> Config {
    Config::new(NAME, PORT)
}

/// What the defaults promise.
pub(crate) fn bounds() -> RecoveryBounds {
    config().recovery_bounds().expect("the defaults are valid")
}

/// tokio's timers fire on whole milliseconds, so each wait of a chain may end up to one later than it was meant to.
pub(crate) fn rounding(waits: u64) -> Duration {
    Duration::from_millis(waits)
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Events that have come so far.
pub(crate) fn drain(events: &mut Receiver<Event>) -> Vec<Event> {
    let mut all = Vec::new();
    loop {
        match events.try_recv() {
            Ok(event) => all.push(event),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return all,
            Err(TryRecvError::Lagged(missed)) => panic!("{missed} events were missed"),
        }
    }
}

/// Runs a scenario with many seeds, each in a runtime and a virtual time of its own, and hands back what each returned.
pub(crate) fn with_seeds<T>(seeds: u64, scenario: impl AsyncFn(u64) -> T) -> Vec<T> {
    let run = |seed| {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(scenario(seed))
    };
    (0..seeds).map(run).collect()
}

pub(crate) fn ip(node: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(node + 1).expect("few nodes")])
}

pub(crate) fn address(node: usize) -> SocketAddr {
    SocketAddr::new(ip(node), PORT)
}

/// Waits until the tether serves from `node`. Returns how long that took.
pub(crate) async fn until_connected(tether: &Tether, node: usize) -> Duration {
    let here = Address::Tcp(address(node));
    let is_here = move |status: &Status| status.phase == Phase::Connected && status.address.as_ref() == Some(&here);
    until(tether, &format!("a link to node {node}"), is_here).await
}

/// Waits until the status is as wanted. Returns how long that took.
pub(crate) async fn until(tether: &Tether, what: &str, wanted: impl FnMut(&Status) -> bool) -> Duration {
    let start = Instant::now();
    let mut status = tether.status();
    match timeout(PATIENCE, status.wait_for(wanted)).await {
        Ok(Ok(_)) => start.elapsed(),
        Ok(Err(_)) => panic!("the tether is gone while {what} was waited for"),
        Err(_) => panic!("waited {PATIENCE:?} for {what}: {}", tether.status().borrow().clone()),
    }
}

/// Sends a `SET` of a value of its own.
pub(crate) async fn set(handle: &mut Handle, id: &str) -> redis_tether::redis::RedisResult<()> {
    redis_tether::redis::cmd("SET").arg("key").arg(id).query_async(handle).await
}

/// Dials the simulated network.
struct SimTransport {
    net: SimNet,
    scissors: Scissors,
}

impl Transport for SimTransport {
    fn connect(&self, address: &Address) -> Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send>> {
        let Address::Tcp(address) = address else {
            return Box::pin(async { Err(io::ErrorKind::Unsupported.into()) });
        };
        let (address, connecting, scissors) = (*address, self.net.connect(*address), self.scissors.clone());
        Box::pin(async move {
            let stream: BoxedStream = Box::new(scissors.around(address, connecting.await?));
            Ok(stream)
        })
    }
}
