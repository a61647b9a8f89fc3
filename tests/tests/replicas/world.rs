//! A primary with two replicas, tethers to them, and callers that read all the while.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_tether::redis::{AsyncCommands, RedisError};
use redis_tether::{Config, Outcome, OutcomeExt, Protocol, ReplicaHandle, Tether};
use redis_tether_testkit::server::{ServerBuilder, allocate_addresses};
use redis_tether_testkit::{Dns, Server, ServerKind};
use redis_tether_tests::fakes::config;
use redis_tether_tests::rig;
use redis_tether_tests::servers::{server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Of each primary.
pub(crate) const REPLICAS: usize = 2;

/// Read by everybody.
pub(crate) const KEY: &str = "key";

/// The reader endpoint; the DNS decides what it means.
pub(crate) const READER: &str = "readers.test";

pub(crate) struct World {
    pub(crate) dns: Dns,
    pub(crate) primary: Server,
    pub(crate) replicas: Vec<Server>,
}

impl World {
    pub(crate) async fn new(kind: ServerKind) -> World {
        let addresses = allocate_addresses(1 + REPLICAS).expect("free loopback addresses");
        let world = World::of_strangers(kind, addresses, |_, builder| builder).await;
        for replica in &world.replicas {
            replica.replicate(&world.primary).await.expect("a replica");
        }
        world
    }

    /// At one port, as behind one name. They have yet to hear of each other; the first has the key.
    pub(crate) async fn of_strangers(
        kind: ServerKind,
        addresses: Vec<SocketAddr>,
        settings: impl Fn(usize, ServerBuilder) -> ServerBuilder,
    ) -> World {
        let (binary, mut servers) = (server_binary(kind), Vec::new());
        for (number, addr) in addresses.into_iter().enumerate() {
            let builder = settings(number, Server::builder(&binary).on(addr));
            servers.push(builder.start().await.expect("a server"));
        }
        let primary = servers.remove(0);
        let world = World { dns: Dns::new(), primary, replicas: servers };
        world.primary.command(&["SET", KEY, "value"]).await.expect("a write");
        world
    }

    /// A replica that is late by seconds is read from all the same.
    pub(crate) fn config(&self, protocol: Protocol) -> Config {
        let mut config = unsuspecting(config(self.primary.addr()));
        config.protocol = protocol;
        config
    }

    /// Where the replicas have a name of their own.
    pub(crate) fn at_reader(&self, protocol: Protocol) -> Config {
        self.dns.set(READER, self.replicas.iter().map(|replica| replica.addr().ip()).collect());
        let mut config = self.config(protocol);
        (config.replicas.host, config.replicas.port) = (Some(READER.to_owned()), self.primary.addr().port());
        config
    }

    pub(crate) async fn tether(&self, config: Config) -> Tether {
        let tether = Tether::builder(config).resolver(rig::resolver(&self.dns)).start().await;
        let tether = tether.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the primary is well");
        tether
    }

    /// How often each server was asked for a key: the primary first.
    pub(crate) async fn gets(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for server in std::iter::once(&self.primary).chain(&self.replicas) {
            counts.push(gets_at(server).await);
        }
        counts
    }
}

/// How often this server has executed a `GET`.
pub(crate) async fn gets_at(server: &Server) -> u64 {
    let info = server.command(&["INFO", "commandstats"]).await.expect("it answers").text().unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_default()
}

/// Waits until so many replicas serve.
pub(crate) async fn serving(handle: &ReplicaHandle, tether: &Tether, count: usize) {
    settled(tether, &format!("{count} replicas to serve"), || {
        handle.members().iter().filter(|replica| replica.serves()).count() == count
    })
    .await;
}

/// Waits until `is_so`, looking after each event of the tether.
pub(crate) async fn settled(tether: &Tether, what: &str, is_so: impl Fn() -> bool) {
    let mut events = tether.events();
    within(PATIENCE, what, async {
        while !is_so() {
            // An event comes a moment before the status shows it.
            let _ = timeout(Duration::from_millis(20), events.recv()).await;
        }
    })
    .await;
}

pub(crate) fn diary(tether: &Tether) -> Diary {
    Diary::of(tether)
}

/// Callers that read all the while.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    /// How many reads each has done.
    done: Arc<watch::Sender<Vec<u64>>>,
    callers: Vec<JoinHandle<Vec<RedisError>>>,
}

impl Readers {
    pub(crate) fn start(handle: &ReplicaHandle, callers: usize) -> Readers {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(watch::Sender::new(vec![0; callers])));
        let start = |caller| tokio::spawn(read(handle.clone(), stop.clone(), done.clone(), caller));
        Readers { callers: (0..callers).map(start).collect(), stop, done }
    }

    /// Waits until so many reads more than now are done.
    pub(crate) async fn go_on_for(&self, reads: u64) {
        let mut done = self.done.subscribe();
        let goal = done.borrow().iter().sum::<u64>() + reads;
        let reached = done.wait_for(|done| done.iter().sum::<u64>() >= goal);
        let _ = within(PATIENCE, &format!("{reads} reads to be done"), reached).await.expect("there are readers");
    }

    /// Waits until each caller has done the read that it is at: what is counted afterwards was chosen after this was called.
    pub(crate) async fn go_round(&self) {
        let mut done = self.done.subscribe();
        let before = done.borrow().clone();
        let reached = done.wait_for(|done| done.iter().zip(&before).all(|(now, before)| now > before));
        let _ = within(PATIENCE, "each caller to read", reached).await.expect("there are readers");
    }

    /// What failed.
    pub(crate) async fn finish(self) -> Vec<RedisError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for caller in self.callers {
            failed.extend(within(PATIENCE, "the readers to finish", caller).await.expect("no reader panics"));
        }
        failed
    }
}

async fn read(
    mut handle: ReplicaHandle,
    stop: Arc<AtomicBool>,
    done: Arc<watch::Sender<Vec<u64>>>,
    caller: usize,
) -> Vec<RedisError> {
    let mut failed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match handle.get::<_, Option<String>>(KEY).await {
            Ok(value) => {
                assert_eq!(value.as_deref(), Some("value"));
                done.send_modify(|done| done[caller] += 1);
            }
            Err(error) => failed.push(error),
        }
        sleep(Duration::from_millis(1)).await;
    }
    failed
}

/// Nothing else than what was in flight failed: one read of each caller at most.
pub(crate) fn assert_only_in_flight_failed(failed: &[RedisError], callers: usize) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for error in failed {
        *outcomes.entry(format!("{:?}", error.outcome())).or_default() += 1;
    }
    assert!(failed.iter().all(|error| error.outcome() == Some(Outcome::Ambiguous)), "{outcomes:?}: {failed:?}");
    assert!(failed.len() <= callers, "{} failed, {callers} were in flight: {:?}", failed.len(), failed.first());
}
