//! Sentinels with names, the servers that they watch, and tethers that are put to what happens there.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{
    Config, CredentialSource, Endpoint, Outcome, Phase, Protocol, SentinelNode, SentinelTls, Status, Tether,
};
use redis_tether_testkit::{Dns, SentinelDeployment, ServerKind, TlsFiles};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::load::{Load, Tally};
use redis_tether_tests::rig;
use redis_tether_tests::servers::{server_binary, without_slow_lookups};
use redis_tether_tests::tls::settings;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How soon after the announcement a new primary must be used.
pub(crate) const BOUND: Duration = Duration::from_millis(150);

/// What a loaded machine may add: debug builds run beside other tests, and seven servers beside them, on as little as two cores.
/// A release build is held to the bound as it is.
pub(crate) const ALLOWANCE: Duration = if cfg!(debug_assertions) { Duration::from_secs(2) } else { Duration::ZERO };

const CALLERS: usize = 4;

/// The names of the sentinels; the DNS decides what they mean.
const NAMES: [&str; 3] = ["one.sentinel.test", "two.sentinel.test", "three.sentinel.test"];

/// Whom the certificates are for: servers and sentinels have no other name in common.
pub(crate) const CERTIFIED: &str = "redis.test";

/// The password of those that have one, and what the user of [`World::restrict`] has.
const PASSWORD: &str = "open-sesame";

/// One failover at a time: each measures time, and two of them would measure each other.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct World {
    pub(crate) deployment: SentinelDeployment,
    dns: Dns,
    locks: Locks,
    tls: Option<TlsFiles>,
    sentinels: Sentinels,
}

/// How the sentinels are spoken to.
enum Sentinels {
    AsServers,
    Plainly,
    /// At a port of its own, with these certificates.
    OverTls(TlsFiles),
}

/// Whether servers and sentinels ask for a password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    Open,
    /// Both do, and the sentinels have a user who may do no more than the documentation says.
    Shut,
}

impl World {
    pub(crate) async fn new(kind: ServerKind) -> World {
        let deployment = SentinelDeployment::start(&server_binary(kind)).await;
        World::of(deployment.expect("servers and sentinels"), Locks::Open, None).await
    }

    pub(crate) async fn with_passwords(kind: ServerKind) -> World {
        let deployment = SentinelDeployment::start_with(&server_binary(kind), Some(PASSWORD)).await;
        World::of(deployment.expect("servers and sentinels"), Locks::Shut, None).await
    }

    /// With passwords, and over TLS alone.
    pub(crate) async fn over_tls(kind: ServerKind) -> World {
        let files = TlsFiles::create(&[CERTIFIED]).expect("certificates");
        let deployment = SentinelDeployment::start_over_tls(&server_binary(kind), &files, Some(PASSWORD)).await;
        World::of(deployment.expect("servers and sentinels"), Locks::Shut, Some(files)).await
    }

    /// Servers over TLS alone.
    pub(crate) async fn with_plain_sentinels(kind: ServerKind) -> World {
        let files = TlsFiles::create(&[CERTIFIED]).expect("certificates");
        let deployment = SentinelDeployment::start_with_plain_sentinels(&server_binary(kind), &files).await;
        let world = World::of(deployment.expect("servers and sentinels"), Locks::Open, Some(files)).await;
        World { sentinels: Sentinels::Plainly, ..world }
    }

    /// Plain servers. The certificates are for what the sentinels are listed as.
    pub(crate) async fn with_tls_sentinels(kind: ServerKind) -> World {
        let files = TlsFiles::create(&NAMES).expect("certificates");
        let deployment = SentinelDeployment::start_with_tls_sentinels(&server_binary(kind), &files).await;
        let world = World::of(deployment.expect("servers and sentinels"), Locks::Open, None).await;
        World { sentinels: Sentinels::OverTls(files), ..world }
    }

    async fn of(deployment: SentinelDeployment, locks: Locks, tls: Option<TlsFiles>) -> World {
        let world = World { deployment, dns: Dns::new(), locks, tls, sentinels: Sentinels::AsServers };
        world.name_sentinels();
        if locks == Locks::Shut {
            world.restrict().await;
        }
        world
    }

    async fn restrict(&self) {
        let user =
            "watch on >few allchannels -@all +subscribe +ping +sentinel|get-master-addr-by-name +sentinel|master";
        for sentinel in &self.deployment.sentinels {
            let words: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(user.split(' ')).collect();
            sentinel.command(&words).await.expect("a user");
        }
    }

    pub(crate) fn name_sentinels(&self) {
        for (name, addr) in NAMES.into_iter().zip(self.deployment.sentinel_addrs()) {
            self.dns.set(name, vec![addr.ip()]);
        }
    }

    pub(crate) fn config(&self, protocol: Protocol) -> Config {
        let addrs = match &self.sentinels {
            Sentinels::AsServers | Sentinels::Plainly => self.deployment.sentinel_addrs(),
            Sentinels::OverTls(_) => self.deployment.sentinel_tls_addrs(),
        };
        let port = addrs[0].port();
        let nodes = NAMES.map(|name| SentinelNode::new(name, port));
        let mut config = Config::sentinel(nodes, SentinelDeployment::MASTER);
        if self.locks == Locks::Shut {
            let sentinels = NAMES.map(|name| format!("{name}:{port}")).join(",");
            let master = SentinelDeployment::MASTER;
            let url =
                format!("redis+sentinel://:{PASSWORD}@{sentinels}/{master}?sentinel_user=watch&sentinel_pass=few");
            config = Config::from_url(&url).expect("a valid URL");
        }
        if let Some(files) = &self.tls {
            config = config.with_tls(settings(files).with_server_name(CERTIFIED));
        }
        if let Endpoint::Sentinel(sentinels) = &mut config.endpoint {
            sentinels.tls = match &self.sentinels {
                Sentinels::AsServers => SentinelTls::AsServers,
                Sentinels::Plainly => SentinelTls::Off,
                Sentinels::OverTls(files) => SentinelTls::own(settings(files)),
            };
        }
        config.protocol = protocol;
        // The sentinels may need more than one try to elect who leads the failover; that is not what is measured.
        config.commands.hold_window = Duration::from_secs(30);
        config.commands.deadline = Duration::from_secs(30);
        without_slow_lookups(config)
    }

    pub(crate) async fn tether(&self, config: Config) -> Tether {
        let tether = Tether::builder(config).resolver(rig::resolver(&self.dns)).start().await;
        tether.expect("a valid configuration")
    }

    /// One that signs in at the servers with what this source gives.
    pub(crate) async fn tether_with(&self, config: Config, source: impl CredentialSource) -> Tether {
        let builder = Tether::builder(config).resolver(rig::resolver(&self.dns)).credentials(source);
        builder.start().await.expect("a valid configuration")
    }

    /// One whose callers write to lists of their own, which begin with `name`.
    pub(crate) async fn witness(&self, name: &'static str, protocol: Protocol) -> Witness {
        let tether = self.tether(self.config(protocol)).await;
        tether.ready(PATIENCE).await.expect("the primary is well");
        let load = Load::at(&tether.handle(), name, CALLERS);
        load.go_on_for(50).await;
        Witness { name, tether, load }
    }

    /// Has `fault` bring about a failover, and looks how two tethers come through it.
    pub(crate) async fn fail_over(&self, fault: impl AsyncFnOnce(&SentinelDeployment)) -> Vec<Seen> {
        let witnesses = [self.witness("resp2", Protocol::Resp2).await, self.witness("resp3", Protocol::Resp3).await];
        let mut announcements = self.deployment.announcements().await.expect("subscriptions");
        fault(&self.deployment).await;
        let (announced, to) = announcements.next().await.expect("announced");
        let [one, other] = witnesses;
        // Nothing is to be wrong with the new primary.
        let settled = self.deployment.take_for_down_after(PATIENCE);
        let (one, other, settled) = tokio::join!(one.see(announced, to), other.see(announced, to), settled);
        settled.expect("told");
        for seen in [&one, &other] {
            self.assert_told_the_truth(seen).await;
        }
        vec![one, other]
    }

    /// What the callers were told, compared with what the new primary holds. What the old one confirmed may be lost: sentinels have it
    /// go on for a while after they have promoted another one, and replicas get what they get after the caller has its answer.
    async fn assert_told_the_truth(&self, seen: &Seen) {
        let held = self.values_at(seen.to, seen.name).await;
        seen.tally.assert_none_too_often(&held);
        let held = self.values_at(seen.to, &list_of_after(seen.name)).await;
        seen.after.assert_none_failed();
        seen.after.assert_true_of(&held);
    }

    /// A primary that died without warning had passed on all but what it was just answering.
    pub(crate) async fn assert_kept(&self, seen: &[Seen]) {
        for seen in seen {
            let held = self.values_at(seen.to, seen.name).await;
            let lost = seen.tally.missing_from(&held);
            assert!(lost.len() <= CALLERS, "{}: reported as done and not there: {lost:?}", seen.name);
        }
    }

    pub(crate) async fn values_at(&self, addr: SocketAddr, list: &str) -> Vec<String> {
        let mut config = config(addr);
        if self.locks == Locks::Shut {
            config = config.with_password(PASSWORD);
        }
        if let Some(files) = &self.tls {
            config = config.with_tls(settings(files).with_server_name(CERTIFIED));
        }
        let tether = connected(config).await;
        let values = within(PATIENCE, "the list", tether.handle().lrange(list, 0, -1)).await.expect("a primary");
        tether.shutdown().await;
        values
    }
}

/// A tether under load.
pub(crate) struct Witness {
    name: &'static str,
    pub(crate) tether: Tether,
    pub(crate) load: Load,
}

/// How it came through a failover.
pub(crate) struct Seen {
    name: &'static str,
    pub(crate) tally: Tally,
    /// Of callers who came when the tether was at the new primary.
    after: Tally,
    pub(crate) to: SocketAddr,
}

impl Witness {
    /// Goes on until the tether is where the primary was announced to be, within the bound, and serves there.
    async fn see(self, announced: Instant, to: SocketAddr) -> Seen {
        let (wanted, mut status) = (to.to_string(), self.tether.status());
        // Where the sentinels needed several tries, more has happened since than is kept of the events.
        let is_there = |status: &Status| {
            let address = status.address.as_ref().map(ToString::to_string);
            status.phase == Phase::Connected && address.as_ref() == Some(&wanted)
        };
        within(PATIENCE, "the new primary", status.wait_for(is_there)).await.expect("it goes on");
        let took = announced.elapsed();
        assert!(took <= BOUND + ALLOWANCE, "{:?}: {took:?} after the announcement", self.name);
        self.load.go_on_for(50).await;
        let tally = self.load.finish().await;
        let load = Load::at(&self.tether.handle(), &list_of_after(self.name), CALLERS);
        load.go_on_for(50).await;
        let after = load.finish().await;
        self.tether.shutdown().await;
        Seen { name: self.name, tally, after, to }
    }
}

fn list_of_after(name: &str) -> String {
    format!("{name}-after")
}

/// Only what was in flight failed.
pub(crate) fn assert_only_in_flight_failed(seen: &[Seen]) {
    for Seen { tally, .. } in seen {
        let ambiguous = tally.with(Outcome::Ambiguous).len();
        assert_eq!(ambiguous, tally.failed.len(), "failed otherwise: {:?}", tally.failed.first());
        assert!(ambiguous <= CALLERS, "{ambiguous} failed, {CALLERS} were in flight");
    }
}
