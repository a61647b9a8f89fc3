//! A primary and its replica change places, on real servers, in the ways that operators and their tools do it: under load,
//! with what callers were told compared with what the servers hold.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use redis_tether::redis::{self, AsyncCommands};
use redis_tether::{Config, Detector, Event, Outcome, Tether};
use redis_tether_core::recovery::Settings;
use redis_tether_testkit::server::Info;
use redis_tether_testkit::{Deployment, Dns, Reply, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::load::{LIST, Load, Tally};
use redis_tether_tests::on_each_server;
use redis_tether_tests::pace::most_dials;
use redis_tether_tests::rig;
use redis_tether_tests::servers::{patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, SOON, within};
use tokio::time::sleep;

const NAME: &str = "redis.test";

const CALLERS: usize = 8;

on_each_server!(
    both_nodes_read_only_for_2_s,
    a_failover_by_command,
    a_failover_by_command_to_a_replica_that_lags,
    writes_that_are_paused_until_the_link_is_replaced,
    a_demotion_under_reads_only,
    an_old_primary_that_thaws_later,
);

async fn behind(dns: &Dns, config: Config) -> Tether {
    Tether::builder(config).resolver(rig::resolver(dns)).start().await.expect("a valid configuration")
}

async fn deployment(kind: ServerKind) -> Deployment {
    Deployment::start(&server_binary(kind)).await.expect("two servers")
}

/// A tether that serves from the primary of two nodes. The name means both of them all the time, so that DNS gives no hint.
async fn served(kind: ServerKind, change: impl FnOnce(Config) -> Config) -> (Deployment, Tether) {
    let nodes = deployment(kind).await;
    let dns = Dns::new();
    dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
    let tether = behind(&dns, change(patient(Config::new(NAME, nodes.port())))).await;
    tether.ready(PATIENCE).await.expect("the primary is well");
    (nodes, tether)
}

/// Waits for a link to this node.
async fn until_at(diary: &mut Diary, node: &Server) {
    let wanted = node.addr().to_string();
    let is_there = |event: &Event| matches!(event, Event::Connected { address, .. } if address.to_string() == wanted);
    diary.until("the new primary", is_there).await;
}

/// The primary has stepped down and nobody has stepped up yet.
async fn both_nodes_read_only_for_2_s(kind: ServerKind) {
    let (nodes, tether) = served(kind, unsuspecting).await;
    let (mut diary, before) = (Diary::of(&tether), tether.stats());
    let load = Load::start(&tether.handle(), 8);
    load.go_on_for(50).await;

    let begun = Instant::now();
    // Of nobody: two replicas of each other would throw their data away.
    nodes.primary.command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("the primary steps down");
    diary.until("the demotion to be noticed", |event| matches!(event, Event::Demoted { .. })).await;
    sleep(Duration::from_secs(2)).await;
    nodes.replica.promote().await.expect("the new primary");
    let promoted = Instant::now();
    diary.until("the new primary", |event| matches!(event, Event::Connected { .. })).await;
    assert!(promoted.elapsed() < SOON, "found {:?} after it was promoted", promoted.elapsed());

    load.go_on_for(50).await;
    let tally = load.finish().await;
    tally.assert_none_failed();
    tally.assert_true_of(&values_at(nodes.replica.addr()).await);
    assert_eq!(diary.count(|event| matches!(event, Event::Demoted { .. })), 1, "one demotion");
    let after = tether.stats();
    assert_eq!(after.links - before.links, 1, "no thrash");
    // Both addresses are asked in every round.
    let most = 2 * most_dials(&Config::default().pacing.unreachable, begun.elapsed());
    assert!(after.dials - before.dials <= most, "{} dials, of at most {most}", after.dials - before.dials);
    tether.shutdown().await;
}

/// The server's own command for a planned failover: writes are paused until the replica has caught up, then the roles
/// change.
async fn a_failover_by_command(kind: ServerKind) {
    failover(kind, Duration::ZERO).await.check();
}

/// The replica lags, so that writes are paused for 2 s longer: long enough for the mute link to be replaced at its own
/// address. What is paused on it gets its answers all the same.
async fn a_failover_by_command_to_a_replica_that_lags(kind: ServerKind) {
    failover(kind, Duration::from_secs(2)).await.check();
}

struct FailoverCost {
    tally: Tally,
    /// How long the links were counted: on a machine that stands still for a moment, links are mute outside the pause as well.
    took: Duration,
    /// How many links were made.
    links: usize,
    events: Vec<Event>,
}

impl FailoverCost {
    /// A connection with a paused command on it is mute for everybody, and while the server answers others it is replaced
    /// by one to the same address, no sooner than it may be. No command is lost by that.
    fn check(&self) {
        let settings = Settings::default();
        let patience = settings.suspect_after + settings.replace_after;
        let most = usize::try_from(self.took.as_millis() / patience.as_millis()).expect("a few");
        let replaced = self.links - 1;
        assert!(replaced <= most, "{replaced} links were replaced in {:?}: {:#?}", self.took, self.events);
        self.tally.assert_none_failed();
    }
}

async fn failover(kind: ServerKind, lag: Duration) -> FailoverCost {
    let (nodes, tether) = served(kind, |config| config).await;
    let (mut diary, before, begun) = (Diary::of(&tether), tether.stats(), Instant::now());
    let load = Load::start(&tether.handle(), CALLERS);
    load.go_on_for(50).await;

    if !lag.is_zero() {
        nodes.replica.freeze().await.expect("the replica stops");
        load.go_on_for(50).await;
    }
    let (ip, port) = (nodes.replica_ip().to_string(), nodes.port().to_string());
    nodes.primary.command(&["FAILOVER", "TO", &ip, &port]).await.expect("the failover begins");
    if !lag.is_zero() {
        diary.until("the pause to be noticed", |event| matches!(event, Event::Suspected { .. })).await;
        sleep(lag).await;
        nodes.replica.thaw().expect("the replica goes on");
    }
    let is_promoted = |info: &Info| info.field("role") == Some("master");
    nodes.replica.wait_for("the promotion", PATIENCE, is_promoted).await.expect("promoted");
    let promoted = Instant::now();
    until_at(&mut diary, &nodes.replica).await;
    assert!(promoted.elapsed() < SOON, "found {:?} after it was promoted", promoted.elapsed());

    load.go_on_for(50).await;
    let tally = load.finish().await;
    tally.assert_true_of(&values_at(nodes.replica.addr()).await);
    let links = usize::try_from(tether.stats().links - before.links).expect("a few");
    let took = begun.elapsed();
    tether.shutdown().await;
    FailoverCost { tally, took, links, events: diary.so_far().to_vec() }
}

/// As a planned failover does it, for longer than a mute link is waited for at its own address.
async fn writes_that_are_paused_until_the_link_is_replaced(kind: ServerKind) {
    let server = Server::start(&server_binary(kind)).await.expect("a server");
    let tether = connected(patient(config(server.addr()))).await;
    let mut diary = Diary::of(&tether);
    let load = Load::start(&tether.handle(), CALLERS);
    load.go_on_for(50).await;
    server.command(&["CLIENT", "PAUSE", "20000", "WRITE"]).await.expect("the pause begins");
    diary.until("the silence to be noticed", |event| matches!(event, Event::Suspected { .. })).await;
    diary.until("the link to be replaced", |event| matches!(event, Event::Connected { .. })).await;
    server.command(&["CLIENT", "UNPAUSE"]).await.expect("the pause ends");
    diary.until("the old link to end", |event| matches!(event, Event::Retired { drained: true, .. })).await;
    load.go_on_for(50).await;
    let tally = load.finish().await;
    tally.assert_none_failed();
    tally.assert_true_of(&values_at(server.addr()).await);
    assert!(tally.slowest >= Duration::from_secs(1), "no write waited for the pause: {:?}", tally.slowest);
    tether.shutdown().await;
}

/// Nothing is written, so nothing is refused: only the probe asks for the role.
async fn a_demotion_under_reads_only(kind: ServerKind) {
    let (nodes, tether) = served(kind, unsuspecting).await;
    let mut diary = Diary::of(&tether);
    let mut handle = tether.handle();
    let reader = tokio::spawn(async move {
        loop {
            let _: Option<String> = handle.get("key").await?;
            sleep(Duration::from_millis(2)).await;
        }
        #[allow(unreachable_code)]
        Ok::<(), redis::RedisError>(())
    });
    nodes.replica.promote().await.expect("the new primary");
    nodes.primary.demote_to(&nodes.replica).await.expect("the old one steps down");
    let demoted = Instant::now();
    diary.until("the probe to notice", |event| matches!(event, Event::Demoted { detector: Detector::Probe, .. })).await;
    // One interval, and as much again for a machine that stands still.
    let (noticed, interval) = (demoted.elapsed(), Config::default().detection.probe_interval);
    assert!(noticed < 2 * interval + Duration::from_millis(500), "noticed after {noticed:?}");
    until_at(&mut diary, &nodes.replica).await;
    assert!(!reader.is_finished(), "a read failed: {:?}", reader.await);
    reader.abort();
    tether.shutdown().await;
}

/// It stops with writes in its buffers, and executes them when it is thawed, long after another has taken over. That is
/// not a second execution by us: what it executes was reported as ambiguous, and is on no other server.
async fn an_old_primary_that_thaws_later(kind: ServerKind) {
    let nodes = deployment(kind).await;
    let dns = Dns::new();
    dns.set(NAME, vec![nodes.primary_ip()]);
    let tether = behind(&dns, patient(Config::new(NAME, nodes.port()))).await;
    tether.ready(PATIENCE).await.expect("the primary is well");
    let mut diary = Diary::of(&tether);
    let load = Load::start(&tether.handle(), CALLERS);
    load.go_on_for(50).await;

    wait_until_replicated(&nodes, 50).await;
    nodes.primary.freeze().await.expect("the primary stops");
    diary.until("the silence to be noticed", |event| matches!(event, Event::Suspected { .. })).await;
    nodes.replica.promote().await.expect("the new primary");
    dns.set(NAME, vec![nodes.replica_ip()]);
    diary.until("the new primary", |event| matches!(event, Event::Connected { .. })).await;
    load.go_on_for(50).await;
    nodes.primary.thaw().expect("the old primary goes on");
    let tally = load.finish().await;

    let ambiguous = tally.with(Outcome::Ambiguous);
    assert_eq!(ambiguous.len(), tally.failed.len(), "a failure that is not ambiguous: {:?}", tally.failed.first());
    assert!((1..=CALLERS).contains(&ambiguous.len()), "{} ambiguous, of {CALLERS} in flight", ambiguous.len());

    let (old, new) = (values_at(nodes.primary.addr()).await, values_at(nodes.replica.addr()).await);
    // What was done just before the freeze may not have reached the replica: that is the servers' loss, and not ours.
    let only_old: Vec<String> = old.iter().filter(|value| !new.contains(value)).cloned().collect();
    tally.assert_true_of(&[new.clone(), only_old.clone()].concat());
    let (late, lagged): (Vec<_>, Vec<_>) = only_old.iter().partition(|value| ambiguous.contains(&value.as_str()));
    assert!(lagged.iter().all(|value| tally.done.contains(value)), "{lagged:?} were reported as not executed");
    assert!((1..=CALLERS).contains(&late.len()), "{late:?} were in the buffers, of {CALLERS} in flight");
    // One that was sent again would be at the new primary without having come from the old one.
    let again: Vec<_> = ambiguous.iter().filter(|value| new.iter().any(|at_new| at_new == **value)).collect();
    assert!(again.iter().all(|value| old.iter().any(|at_old| at_old == **value)), "{again:?} were sent again");
    tether.shutdown().await;
}

/// Waits until the replica has so many values.
async fn wait_until_replicated(nodes: &Deployment, values: i64) {
    within(PATIENCE, "the replica to follow", async {
        while !matches!(nodes.replica.command(&["LLEN", LIST]).await, Ok(Reply::Int(length)) if length >= values) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The list as a client of its own sees it.
async fn values_at(addr: SocketAddr) -> Vec<String> {
    let tether = Tether::start(config(addr)).await.expect("a valid configuration");
    let values = within(PATIENCE, "the list", tether.handle().lrange(LIST, 0, -1)).await.expect("a primary");
    tether.shutdown().await;
    values
}
