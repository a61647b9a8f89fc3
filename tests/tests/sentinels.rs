//! Sentinels over real servers: the primary is killed, frozen, or asked to step down, and the tether is where they say. Two
//! tethers are put to each failover, one for each version of the protocol. What is measured begins with the first
//! `+switch-master` that any sentinel says, heard at a subscription of the test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Event, Outcome, Protocol, SentinelNode, Tether};
use redis_tether_testkit::{Dns, SentinelDeployment, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::load::{LIST, Load, Tally};
use redis_tether_tests::on_each_server;
use redis_tether_tests::rig;
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How soon after the announcement a new primary must be used.
const BOUND: Duration = Duration::from_millis(150);

/// What a loaded machine may add: debug builds run beside other tests, and seven servers beside them, on as little as two cores.
/// A release build is held to the bound as it is.
const ALLOWANCE: Duration = if cfg!(debug_assertions) { Duration::from_millis(350) } else { Duration::ZERO };

const CALLERS: usize = 4;

/// The names of the sentinels; the DNS decides what they mean.
const NAMES: [&str; 3] = ["one.sentinel.test", "two.sentinel.test", "three.sentinel.test"];

/// One failover at a time: each measures time, and two of them would measure each other.
static TURN: Mutex<()> = Mutex::const_new(());

on_each_server!(
    a_killed_primary,
    a_frozen_primary,
    a_planned_failover,
    sentinels_that_moved,
    sentinels_with_a_password,
    the_wrong_ends
);

struct World {
    deployment: SentinelDeployment,
    dns: Dns,
    password: Option<&'static str>,
}

impl World {
    async fn new(kind: ServerKind, password: Option<&'static str>) -> World {
        let deployment = SentinelDeployment::start_with(&server_binary(kind), password).await;
        let world = World { deployment: deployment.expect("servers and sentinels"), dns: Dns::new(), password };
        world.name_sentinels();
        world
    }

    fn name_sentinels(&self) {
        for (name, addr) in NAMES.into_iter().zip(self.deployment.sentinel_addrs()) {
            self.dns.set(name, vec![addr.ip()]);
        }
    }

    fn config(&self, protocol: Protocol) -> Config {
        let port = self.deployment.sentinel_addrs()[0].port();
        let nodes = NAMES.map(|name| SentinelNode::new(name, port));
        let mut config = Config::sentinel(nodes, SentinelDeployment::MASTER);
        if let Some(password) = self.password {
            let sentinels = NAMES.map(|name| format!("{name}:{port}")).join(",");
            let master = SentinelDeployment::MASTER;
            let url =
                format!("redis+sentinel://:{password}@{sentinels}/{master}?sentinel_user=watch&sentinel_pass=few");
            config = Config::from_url(&url).expect("a valid URL");
        }
        config.protocol = protocol;
        // The sentinels may need more than one try to elect who leads the failover; that is not what is measured.
        config.commands.hold_window = Duration::from_secs(30);
        config.commands.deadline = Duration::from_secs(30);
        config
    }

    async fn witness(&self, protocol: Protocol) -> Witness {
        let tether = Tether::builder(self.config(protocol)).resolver(rig::resolver(&self.dns)).start().await;
        let tether = tether.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the primary is well");
        let load = Load::start(&tether.handle(), CALLERS);
        load.go_on_for(50).await;
        Witness { protocol, diary: Diary::of(&tether), tether, load }
    }

    /// Has `fault` bring about a failover, and looks how two tethers come through it.
    async fn fail_over(&self, fault: impl AsyncFnOnce(&SentinelDeployment)) -> Vec<Seen> {
        let witnesses = [self.witness(Protocol::Resp2).await, self.witness(Protocol::Resp3).await];
        let mut announcements = self.deployment.announcements().await.expect("subscriptions");
        fault(&self.deployment).await;
        let (announced, to) = announcements.next().await.expect("announced");
        let [one, other] = witnesses;
        let (one, other) = tokio::join!(one.see(announced, to), other.see(announced, to));
        vec![one, other]
    }

    async fn values_at(&self, addr: SocketAddr) -> Vec<String> {
        let mut config = config(addr);
        if let Some(password) = self.password {
            config = config.with_password(password);
        }
        let tether = connected(config).await;
        let values = within(PATIENCE, "the list", tether.handle().lrange(LIST, 0, -1)).await.expect("a primary");
        tether.shutdown().await;
        values
    }
}

/// A tether under load.
struct Witness {
    protocol: Protocol,
    tether: Tether,
    diary: Diary,
    load: Load,
}

/// How it came through a failover.
struct Seen {
    tally: Tally,
    to: SocketAddr,
}

impl Witness {
    /// Goes on until the tether is where the primary was announced to be, within the bound, and serves there.
    async fn see(mut self, announced: Instant, to: SocketAddr) -> Seen {
        let wanted = to.to_string();
        let is_there =
            |event: &Event| matches!(event, Event::Connected { address, .. } if address.to_string() == wanted);
        self.diary.until("the new primary", is_there).await;
        let took = announced.elapsed();
        assert!(took <= BOUND + ALLOWANCE, "{:?}: {took:?} after the announcement", self.protocol);
        self.load.go_on_for(50).await;
        let tally = self.load.finish().await;
        self.tether.shutdown().await;
        Seen { tally, to }
    }
}

/// Only what was in flight failed, and nothing was executed twice.
fn assert_only_in_flight_failed(seen: &[Seen]) {
    for Seen { tally, .. } in seen {
        let ambiguous = tally.with(Outcome::Ambiguous).len();
        assert_eq!(ambiguous, tally.failed.len(), "failed otherwise: {:?}", tally.failed.first());
        assert!(ambiguous <= CALLERS, "{ambiguous} failed, {CALLERS} were in flight");
    }
}

/// So many tethers have written the same values, each of them once.
fn assert_once(held: &[String], tethers: u32) {
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    held.iter().for_each(|value| *times.entry(value).or_default() += 1);
    let again: Vec<_> = times.iter().filter(|(_, times)| **times > tethers).collect();
    assert!(again.is_empty(), "executed more than once: {again:?}");
}

async fn a_killed_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind, None).await;
    let seen = world.fail_over(async |all| all.nodes[0].kill().await.expect("killed")).await;
    assert_only_in_flight_failed(&seen);
    assert_once(&world.values_at(seen[0].to).await, 2);
}

async fn a_frozen_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind, None).await;
    let seen = world.fail_over(async |all| all.nodes[0].freeze().await.expect("frozen")).await;
    assert_only_in_flight_failed(&seen);
    assert_once(&world.values_at(seen[0].to).await, 2);
}

async fn a_planned_failover(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind, None).await;
    let seen = world.fail_over(async |all| all.failover().await.expect("begun")).await;
    seen.iter().for_each(|seen| seen.tally.assert_none_failed());
    assert_once(&world.values_at(seen[0].to).await, 2);
}

/// All of them, at once: only their names lead to their successors. Those know nothing of the failover before.
async fn sentinels_that_moved(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let mut world = World::new(kind, None).await;
    let before = world.witness(Protocol::Resp2).await;
    world.deployment.replace_sentinels().await.expect("other sentinels");
    world.name_sentinels();
    let seen = world.fail_over(async |all| all.nodes[0].kill().await.expect("killed")).await;
    assert_only_in_flight_failed(&seen);
    assert_once(&world.values_at(seen[0].to).await, 3);
    // One that was there before they moved has followed as well.
    before.load.go_on_for(50).await;
    let status = before.tether.status().borrow().clone();
    assert_eq!(status.address.map(|address| address.to_string()), Some(seen[0].to.to_string()));
    before.load.finish().await;
    before.tether.shutdown().await;
}

/// And a user there who may do no more than the documentation says.
async fn sentinels_with_a_password(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind, Some("open-sesame")).await;
    let user = "watch on >few allchannels -@all +subscribe +ping +sentinel|get-master-addr-by-name +sentinel|master";
    for sentinel in &world.deployment.sentinels {
        let words: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(user.split(' ')).collect();
        sentinel.command(&words).await.expect("a user");
    }
    let seen = world.fail_over(async |all| all.failover().await.expect("begun")).await;
    seen.iter().for_each(|seen| seen.tally.assert_none_failed());
}

/// A server's URL to a sentinel, a sentinels' URL to a server, another master's name.
async fn the_wrong_ends(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind, None).await;
    let (sentinel, server) = (world.deployment.sentinel_addrs()[0], world.deployment.nodes[0].addr());
    let node = |addr: SocketAddr| SentinelNode::new(addr.ip().to_string(), addr.port());
    let cases = [
        (config(sentinel), "is a sentinel, not a server: use redis+sentinel:// with its master's name"),
        (Config::sentinel([node(server)], "mymaster"), "is no sentinel (it does not know the command)"),
        (Config::sentinel([node(sentinel)], "other"), "knows no master called other"),
    ];
    for (config, expected) in cases {
        let tether = Tether::start(config).await.expect("a valid configuration");
        let not_ready = tether.ready(Duration::from_secs(1)).await.expect_err("it cannot work");
        assert!(not_ready.to_string().contains(expected), "{not_ready}");
        tether.shutdown().await;
    }
}
