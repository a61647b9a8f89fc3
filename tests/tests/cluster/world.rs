//! A cluster behind a name, handles to it, and callers on each shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_tether::redis::{self, AsyncCommands, RedisError, RedisResult};
use redis_tether::{ClusterHandle, ClusterSeed, ClusterTether, ClusterTetherBuilder, Config, OutcomeExt, Protocol};
use redis_tether_testkit::server::Announced;
use redis_tether_testkit::{ClusterDeployment, Dns, Reply, ServerKind};
use redis_tether_tests::rig;
use redis_tether_tests::servers::{server_binary, unsuspecting};
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The configuration endpoint; the DNS decides what it means.
const NAME: &str = "cluster.test";

/// One cluster at a time: each test measures time, and two of them would measure each other.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

/// What a loaded machine may add to a bound: debug builds run beside other tests, and six servers beside them, on as little as two
/// cores. A release build is held to the bound as it is.
pub(crate) fn allowance(debug: Duration) -> Duration {
    if cfg!(debug_assertions) { debug } else { Duration::ZERO }
}

pub(crate) struct World {
    pub(crate) cluster: ClusterDeployment,
    pub(crate) dns: Dns,
    seeds: Vec<ClusterSeed>,
}

impl World {
    /// Nobody takes over who was not told to, however long a loaded machine keeps a node from answering: an election loses what only the
    /// old primary had. Where one is wanted, the cluster is told just before.
    pub(crate) async fn new(kind: ServerKind) -> World {
        World::of(ClusterDeployment::start(&server_binary(kind)).await.expect("a cluster"))
    }

    /// One whose nodes speak TLS, each with a certificate of its own.
    pub(crate) async fn over_tls(kind: ServerKind, announced: Announced) -> World {
        let cluster = ClusterDeployment::start_over_tls(&server_binary(kind), announced).await.expect("a cluster");
        let mut world = World::of(cluster);
        // The nodes of one shard: what the others have certificates for, only the cluster says.
        let port = ClusterDeployment::client_addr(world.cluster.primary(1)).port();
        let seed = |number: usize| match announced {
            Announced::Names => ClusterDeployment::hostname(number),
            _ => world.cluster.nodes[number].addr().ip().to_string(),
        };
        world.seeds = [1, 1 + ClusterDeployment::SHARDS].map(|number| ClusterSeed::new(seed(number), port)).into();
        for (number, node) in world.cluster.nodes.iter().enumerate() {
            let at = node.tls_addr().expect("it speaks TLS");
            world.dns.set(&ClusterDeployment::hostname(number), vec![at.ip()]);
        }
        world
    }

    fn of(cluster: ClusterDeployment) -> World {
        let seeds = vec![ClusterSeed::new(NAME, ClusterDeployment::client_addr(&cluster.nodes[0]).port())];
        let world = World { cluster, dns: Dns::new(), seeds };
        world.name(&world.cluster);
        world
    }

    /// The name means these nodes from now on.
    pub(crate) fn name(&self, cluster: &ClusterDeployment) {
        self.dns.set(NAME, cluster.nodes.iter().map(|node| ClusterDeployment::client_addr(node).ip()).collect());
    }

    pub(crate) fn config(&self, protocol: Protocol) -> Config {
        let mut config = Config::cluster(self.seeds.clone());
        config.protocol = protocol;
        config.tls = self.cluster.tls_files(0).map(redis_tether_tests::tls::settings);
        // Replicas wait for a majority that takes the primary for down, and are elected; that is not what is measured.
        config.commands.hold_window = Duration::from_secs(30);
        config.commands.deadline = Duration::from_secs(30);
        config
    }

    /// One that may not get ready.
    pub(crate) async fn start(&self, protocol: Protocol) -> ClusterTether {
        self.builder(protocol).start().await.expect("a valid configuration")
    }

    pub(crate) fn builder(&self, protocol: Protocol) -> ClusterTetherBuilder {
        self.builder_of(self.config(protocol))
    }

    fn builder_of(&self, config: Config) -> ClusterTetherBuilder {
        ClusterTether::builder(config).resolver(rig::resolver(&self.dns))
    }

    /// One that reads from a replica that is late by seconds all the same.
    pub(crate) async fn reader(&self, protocol: Protocol) -> ClusterTether {
        self.serving(unsuspecting(self.config(protocol))).await
    }

    pub(crate) async fn tether(&self, protocol: Protocol) -> ClusterTether {
        self.serving(self.config(protocol)).await
    }

    pub(crate) async fn serving(&self, config: Config) -> ClusterTether {
        let tether = self.builder_of(config).start().await.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the cluster is well");
        tether
    }
}

/// Between two writes of one caller.
const PAUSE: Duration = Duration::from_millis(1);

/// Callers that append values to lists, each value once.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Successes,
    callers: Vec<(usize, JoinHandle<Tally>)>,
}

/// What a caller was told.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) done: Vec<Done>,
    pub(crate) failed: Vec<(String, RedisError)>,
    /// So long the longest of them took.
    pub(crate) longest: Duration,
}

/// A write that was confirmed.
pub(crate) struct Done {
    pub(crate) value: String,
    pub(crate) begun: Instant,
}

/// How many commands of one or several callers have succeeded so far.
#[derive(Clone)]
pub(crate) struct Successes(Arc<watch::Sender<u64>>);

impl Successes {
    pub(crate) fn none() -> Successes {
        Successes(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn one_more(&self) {
        self.0.send_modify(|done| *done += 1);
    }

    /// Waits until there are so many more than now.
    pub(crate) async fn go_on_for(&self, more: u64) {
        let mut done = self.0.subscribe();
        let goal = *done.borrow() + more;
        let reached = done.wait_for(|done| *done >= goal);
        let _ = within(PATIENCE, &format!("{more} commands to succeed"), reached).await.expect("this is the other end");
    }
}

impl Load {
    /// One caller for each of these keys.
    pub(crate) fn start(handle: &ClusterHandle, keys: Vec<String>) -> Load {
        Load::of(handle, keys, Write::Alone)
    }

    /// The same, where each value goes to the key and to its [`twin`], in one transaction.
    pub(crate) fn of_transactions(handle: &ClusterHandle, keys: Vec<String>) -> Load {
        Load::of(handle, keys, Write::Together)
    }

    fn of(handle: &ClusterHandle, keys: Vec<String>, write: Write) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Successes::none());
        let call = |key| tokio::spawn(call(key, write, handle.clone(), stop.clone(), done.clone()));
        let callers = keys.into_iter().map(call).enumerate().collect();
        Load { stop, done, callers }
    }

    /// Waits until so many writes more than now are done.
    pub(crate) async fn go_on_for(&self, writes: u64) {
        self.done.go_on_for(writes).await;
    }

    pub(crate) async fn finish(self) -> Vec<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tallies = Vec::new();
        for (caller, task) in self.callers {
            let what = format!("caller {caller} to finish");
            tallies.push(within(PATIENCE * 2, &what, task).await.expect("no caller panics"));
        }
        tallies
    }
}

/// How a value gets to where it goes.
#[derive(Clone, Copy)]
enum Write {
    Alone,
    Together,
}

impl Write {
    async fn push(self, handle: &mut ClusterHandle, key: &str, value: &str) -> RedisResult<()> {
        match self {
            Write::Alone => handle.rpush(key, value).await,
            Write::Together => {
                redis::pipe().atomic().rpush(key, value).rpush(twin(key), value).exec_async(handle).await
            }
        }
    }
}

/// Another key of the same slot.
pub(crate) fn twin(key: &str) -> String {
    if key.contains('{') { format!("{key}-twin") } else { format!("{{{key}}}-twin") }
}

async fn call(key: String, write: Write, mut handle: ClusterHandle, stop: Arc<AtomicBool>, done: Successes) -> Tally {
    let mut tally = Tally::default();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let value = format!("{key} {number}");
        let begun = Instant::now();
        let pushed = write.push(&mut handle, &key, &value).await;
        tally.longest = tally.longest.max(begun.elapsed());
        match pushed {
            Ok(()) => {
                tally.done.push(Done { value, begun });
                done.one_more();
            }
            Err(error) => tally.failed.push((value, error)),
        }
        sleep(PAUSE).await;
    }
    tally
}

impl Tally {
    pub(crate) fn assert_none_failed(&self) {
        if let Some((value, error)) = self.failed.first() {
            panic!("{} failed, first {value}: {error} ({:?})", self.failed.len(), error.outcome());
        }
    }
}

/// What a key's list holds, each value with how often it does, asked of the cluster itself.
pub(crate) async fn held(handle: &mut ClusterHandle, key: &str) -> BTreeMap<String, u32> {
    let values: Vec<String> = within(PATIENCE, "the list", handle.lrange(key, 0, -1)).await.expect("a primary");
    let mut times = BTreeMap::new();
    values.into_iter().for_each(|value| *times.entry(value).or_default() += 1);
    times
}

pub(crate) fn assert_once(held: &BTreeMap<String, u32>, tally: &Tally) {
    let again: Vec<_> = held.iter().filter(|(_, times)| **times > 1).collect();
    assert!(again.is_empty(), "executed more than once: {again:?}");
    for (value, error) in &tally.failed {
        let is_there = held.contains_key(value);
        let may_be = error.outcome() == Some(redis_tether::Outcome::Ambiguous);
        assert!(!is_there || may_be, "{value} was executed, and its caller told otherwise: {error}");
    }
}

/// How many commands of this name all nodes have executed.
pub(crate) async fn runs(cluster: &ClusterDeployment, name: &str) -> u64 {
    let mut sum = 0;
    for node in &cluster.nodes {
        let Ok(Reply::Bulk(info)) = node.command(&["INFO", "commandstats"]).await else { continue };
        let info = String::from_utf8_lossy(&info).into_owned();
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        sum += line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or_default();
    }
    sum
}
