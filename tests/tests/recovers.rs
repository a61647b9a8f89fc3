//! Servers, networks and proxies that misbehave for a while, over real sockets: the tether always recovers once they are
//! well, and until then neither spins (dials are held against the pacing) nor sticks.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use redis_tether::redis::{self, AsyncCommands};
use redis_tether::{Config, Detector, Event, FailureKind, LaneSettings, Outcome, OutcomeExt, Phase, Tether};
use redis_tether_core::recovery::Settings;
use redis_tether_testkit::server::{Info, allocate_addresses};
use redis_tether_testkit::{Deployment, Dns, FakeListener, FakeServer, Proxy, Reply, Server, ServerKind};
use redis_tether_tests::load::{LIST, Load, Tally};
use redis_tether_tests::on_each_server;
use redis_tether_tests::pace::{fewest_dials, most_dials};
use redis_tether_tests::rig;
use redis_tether_tests::servers::{bind, server_binary};
use redis_tether_tests::watch::{Diary, PATIENCE, reach, within};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

const NAME: &str = "redis.test";

/// How long a fault lasts.
const FAULT: Duration = Duration::from_secs(3);

/// How soon a server that has become well must be used: the longest wait of a young outage, and a dial, on a busy machine.
const SOON: Duration = Duration::from_millis(1500);

/// How soon a fault must be noticed while callers are at work: silence counts from 250 ms on, everything else at once.
const NOTICED: Duration = Duration::from_secs(1);

fn config(addr: SocketAddr) -> Config {
    Config::new(addr.ip().to_string(), addr.port())
}

async fn fake() -> (FakeServer, FakeListener) {
    let server = FakeServer::new();
    let listener = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    (server, listener)
}

/// Two fakes with the same port at different addresses, as behind one name.
struct Two {
    old: FakeServer,
    new: FakeServer,
    old_ip: IpAddr,
    new_ip: IpAddr,
    port: u16,
    _listeners: [FakeListener; 2],
}

async fn two_fakes() -> Two {
    let addresses = allocate_addresses(2).expect("two loopback addresses");
    let (old, new) = (FakeServer::new(), FakeServer::new());
    let listeners =
        [bind(async || old.listen(addresses[0]).await).await, bind(async || new.listen(addresses[1]).await).await];
    let (old_ip, new_ip, port) = (addresses[0].ip(), addresses[1].ip(), addresses[0].port());
    Two { old, new, old_ip, new_ip, port, _listeners: listeners }
}

async fn behind(dns: &Dns, port: u16) -> Tether {
    Tether::builder(Config::new(NAME, port)).resolver(rig::resolver(dns)).start().await.expect("a valid configuration")
}

/// Waits for a link first: an outage of 3 s is longer than commands are held.
async fn write(tether: &Tether) {
    tether.ready(PATIENCE).await.expect("the server is well");
    let mut handle = tether.handle();
    within(PATIENCE, "a write", handle.set::<_, _, ()>("key", "value")).await.expect("the server is well");
}

/// An address that nobody else takes while nobody listens there.
fn own_address() -> SocketAddr {
    allocate_addresses(1).expect("a loopback address")[0]
}

async fn deployment(kind: ServerKind) -> Deployment {
    Deployment::start(&server_binary(kind)).await.expect("two servers")
}

/// What is wrong with a server, and what it costs to find out.
struct Fault {
    begin: fn(&FakeServer),
    cost: Cost,
}

enum Cost {
    /// Each dial fails at once, with this kind.
    Rejected(FailureKind),
    /// Each dial takes until its timeout.
    Hung,
}

impl Fault {
    /// From the tether's start on.
    async fn at_start(self) {
        let (server, listener) = fake().await;
        (self.begin)(&server);
        let config = config(listener.addr());
        let lane = config.pacing.rejected.clone();
        let tether = Tether::start(config).await.expect("starts whatever the server does");
        let mut diary = Diary::of(&tether);
        sleep(FAULT).await;
        assert_eq!(tether.status().borrow().phase, Phase::Connecting);
        self.check_dials(&tether, &lane, &mut diary, 0);
        self.cure(&server, &tether).await;
        assert_eq!(diary.count(|event| matches!(event, Event::Connected { .. })), 1);
        tether.shutdown().await;
    }

    /// When a link has served for a while, with callers at work.
    async fn in_mid_life(self) {
        let (server, listener) = fake().await;
        let config = config(listener.addr());
        let lane = config.pacing.rejected.clone();
        let tether = Tether::start(config).await.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the server is well");
        let (mut diary, before) = (Diary::of(&tether), tether.stats().dials);
        let load = Load::start(&tether.handle(), 4);
        load.go_on_for(20).await;
        (self.begin)(&server);
        let begun = Instant::now();
        diary.until("the fault to be noticed", is_trouble).await;
        assert!(begun.elapsed() < NOTICED, "noticed after {:?}", begun.elapsed());
        sleep(FAULT).await;
        self.check_dials(&tether, &lane, &mut diary, before);
        self.cure(&server, &tether).await;
        load.go_on_for(20).await;
        let tally = load.finish().await;
        let held: Vec<String> = server.written_values().into_iter().map(text).collect();
        tally.assert_true_of(&held);
        tether.shutdown().await;
    }

    fn check_dials(&self, tether: &Tether, lane: &LaneSettings, diary: &mut Diary, before: u64) {
        let dials = tether.stats().dials - before;
        match self.cost {
            Cost::Rejected(kind) => {
                let (fewest, most) = (fewest_dials(lane, FAULT), most_dials(lane, FAULT));
                // A machine that is busy with other tests dials later.
                assert!((fewest / 2..=most).contains(&dials), "{dials} dials in {FAULT:?}, of {fewest} to {most}");
                let kinds = diary.so_far().iter().filter_map(|event| match event {
                    Event::DialFailed { kind, .. } => Some(*kind),
                    _ => None,
                });
                let others: Vec<_> = kinds.filter(|met| *met != kind).collect();
                assert!(others.is_empty(), "dials failed as {others:?} where {kind:?} was expected");
            }
            Cost::Hung => assert!((1..=3).contains(&dials), "{dials} dials of 3 s each in {FAULT:?}"),
        }
    }

    async fn cure(&self, server: &FakeServer, tether: &Tether) {
        server.heal();
        let cured = Instant::now();
        write(tether).await;
        assert!(cured.elapsed() < SOON, "used {:?} after it was well: {}", cured.elapsed(), *tether.status().borrow());
        reach(tether, Phase::Connected).await;
    }
}

fn is_trouble(event: &Event) -> bool {
    matches!(event, Event::Suspected { .. } | Event::Demoted { .. } | Event::Lost { .. })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("the tests write text")
}

const MUTE: Fault = Fault { begin: FakeServer::hang, cost: Cost::Hung };

const DRIPPING: Fault = Fault { begin: |server| server.drip(Some(Duration::from_secs(1))), cost: Cost::Hung };

const GARBAGE: Fault = Fault { begin: FakeServer::garbage, cost: Cost::Rejected(FailureKind::Protocol) };

const LOADING: Fault =
    Fault { begin: |server| server.load_for(FAULT + PATIENCE), cost: Cost::Rejected(FailureKind::Loading) };

const FULL: Fault = Fault {
    begin: |server| {
        server.max_clients(Some(0));
        server.kill_connections();
    },
    cost: Cost::Rejected(FailureKind::MaxClients),
};

#[tokio::test]
async fn a_server_that_accepts_and_never_speaks() {
    MUTE.at_start().await;
}

#[tokio::test]
async fn a_server_that_falls_silent() {
    MUTE.in_mid_life().await;
}

#[tokio::test]
async fn a_server_that_drips_a_byte_a_second() {
    DRIPPING.at_start().await;
}

#[tokio::test]
async fn a_server_that_begins_to_drip() {
    DRIPPING.in_mid_life().await;
}

#[tokio::test]
async fn a_server_that_answers_garbage() {
    GARBAGE.at_start().await;
}

#[tokio::test]
async fn a_server_that_begins_to_answer_garbage() {
    GARBAGE.in_mid_life().await;
}

#[tokio::test]
async fn a_server_that_is_loading() {
    LOADING.at_start().await;
}

#[tokio::test]
async fn a_server_that_begins_to_load() {
    LOADING.in_mid_life().await;
}

#[tokio::test]
async fn a_server_without_room() {
    FULL.at_start().await;
}

#[tokio::test]
async fn a_server_that_runs_out_of_room() {
    FULL.in_mid_life().await;
}

/// It is of some use: each connection carries one reply. So links come and go, at the pace, and once the server keeps them
/// the role of what it is must be known again.
#[tokio::test]
async fn a_server_that_closes_after_every_reply() {
    let (server, listener) = fake().await;
    server.close_after_reply();
    let config = config(listener.addr());
    let lane = config.pacing.rejected.clone();
    let tether = Tether::start(config).await.expect("starts whatever the server does");
    sleep(FAULT).await;
    let (dials, most) = (tether.stats().dials, most_dials(&lane, FAULT));
    assert!((4..=most).contains(&dials), "{dials} dials in {FAULT:?}, of at most {most}");
    // Once a second, a dial may ask less and less over connections of its own.
    let connections = server.connections_accepted();
    assert!(connections <= most + 3 * 4, "{connections} connections in {FAULT:?}");
    server.heal();
    let cured = Instant::now();
    write(&tether).await;
    assert!(cured.elapsed() < SOON, "used {:?} after it was well", cured.elapsed());
    tether.shutdown().await;
}

/// A host that drops packets: connecting takes until its timeout.
#[tokio::test]
async fn a_black_holed_address() {
    // A listener whose queue is full drops whoever knocks.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(own_address().ip(), 0)).expect("a free port");
    let hole = socket.listen(1).expect("a listener");
    let addr = hole.local_addr().expect("bound");
    let mut queue = Vec::new();
    while let Ok(Ok(knock)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await {
        queue.push(knock);
    }
    let tether = Tether::start(config(addr)).await.expect("starts whatever the server does");
    let mut diary = Diary::of(&tether);
    sleep(FAULT).await;
    let dials = tether.stats().dials;
    assert!((2..=5).contains(&dials), "{dials} dials of 1 s each in {FAULT:?}");
    let timed_out = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::TimedOut, .. });
    assert_eq!(diary.count(|event| matches!(event, Event::DialFailed { .. })), diary.count(timed_out));

    drop((hole, queue));
    let server = FakeServer::new();
    let _listener = bind(async || server.listen(addr).await).await;
    let cured = Instant::now();
    write(&tether).await;
    // The attempt under way has to time out first.
    assert!(cured.elapsed() < SOON + Duration::from_secs(1), "used {:?} after it was well", cured.elapsed());
    tether.shutdown().await;
}

/// Packets to and from a live link vanish for longer than it is given, and then flow again.
#[tokio::test]
async fn a_live_link_into_a_black_hole() {
    let (server, listener) = fake().await;
    let proxy = Proxy::start(listener.addr()).await.expect("a free address");
    let tether = Tether::start(config(proxy.addr())).await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    let load = Load::start(&tether.handle(), 4);
    load.go_on_for(20).await;
    proxy.black_hole();
    let begun = Instant::now();
    diary.until("the silence to be noticed", |event| matches!(event, Event::Suspected { .. })).await;
    assert!(begun.elapsed() < NOTICED, "noticed after {:?}", begun.elapsed());
    diary.until("the link to be given up", |event| matches!(event, Event::Retired { .. })).await;
    let dials = tether.stats().dials;
    assert!(dials <= 5, "{dials} dials of 3 s each in 5 s");
    proxy.pass();
    let cured = Instant::now();
    write(&tether).await;
    assert!(cured.elapsed() < SOON, "used {:?} after the network was well", cured.elapsed());
    load.go_on_for(20).await;
    let tally = load.finish().await;
    let held: Vec<String> = server.written_values().into_iter().map(text).filter(|value| value != "value").collect();
    tally.assert_true_of(&held);
    tether.shutdown().await;
}

/// `key-load-delay` makes a real server read its dataset slowly.
async fn a_real_server_that_loads_for_3_s(kind: ServerKind) {
    let server = Server::builder(&server_binary(kind))
        .config_line("key-load-delay 1000")
        .config_line("loading-process-events-interval-bytes 1024")
        .start()
        .await
        .expect("a server");
    server.command(&["DEBUG", "POPULATE", "3000"]).await.expect("a dataset");
    server.command(&["SAVE"]).await.expect("a dump");
    let config = config(server.addr());
    let most = most_dials(&config.pacing.rejected, Duration::from_secs(6));
    let tether = Tether::start(config).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let (mut diary, before) = (Diary::of(&tether), tether.stats().dials);
    let begun = Instant::now();
    let (restarted, ()) = tokio::join!(server.restart(), async {
        diary
            .until("the server to be met while it loads", |event| {
                matches!(event, Event::DialFailed { kind: FailureKind::Loading, .. })
            })
            .await;
        diary.until("a link", |event| matches!(event, Event::Connected { .. })).await;
    });
    restarted.expect("the server loads within 10 s");
    assert!(begun.elapsed() > Duration::from_secs(2), "it was to load for 3 s");
    let dials = tether.stats().dials - before;
    assert!(dials <= most, "{dials} dials, of at most {most}");
    write(&tether).await;
    tether.shutdown().await;
}

async fn a_real_server_at_maxclients(kind: ServerKind) {
    // One for the test's own connection, one for somebody who takes the last place.
    let server = Server::builder(&server_binary(kind)).arg("--maxclients", "2").start().await.expect("a server");
    let somebody = TcpStream::connect(server.addr()).await.expect("the last place");
    server.wait_for("two clients", PATIENCE, |info| info.number("connected_clients") == Some(2)).await.expect("two");
    let config = config(server.addr());
    let most = most_dials(&config.pacing.rejected, FAULT);
    let tether = Tether::start(config).await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    sleep(FAULT).await;
    let full = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::MaxClients, .. });
    assert_eq!(diary.count(|event| matches!(event, Event::DialFailed { .. })), diary.count(full));
    let dials = tether.stats().dials;
    assert!((4..=most).contains(&dials), "{dials} dials in {FAULT:?}, of at most {most}");
    drop(somebody);
    let cured = Instant::now();
    write(&tether).await;
    assert!(cured.elapsed() < SOON, "used {:?} after there was room", cured.elapsed());
    tether.shutdown().await;
}

/// The primary has stepped down and nobody has stepped up yet.
async fn both_nodes_read_only_for_2_s(kind: ServerKind) {
    let nodes = deployment(kind).await;
    let dns = Dns::new();
    dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
    let tether = behind(&dns, nodes.port()).await;
    tether.ready(PATIENCE).await.expect("the primary is well");
    let (mut diary, before) = (Diary::of(&tether), tether.stats());
    let load = Load::start(&tether.handle(), 8);
    load.go_on_for(50).await;

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
    let most = 2 * most_dials(&Config::default().pacing.unreachable, Duration::from_secs(3));
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

const CALLERS: usize = 8;

struct FailoverCost {
    tally: Tally,
    /// How long writes were paused.
    paused: Duration,
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
        let most = usize::try_from(self.paused.as_millis() / patience.as_millis()).expect("a few");
        let replaced = self.links - 1;
        assert!(replaced <= most, "{replaced} links were replaced in {:?}: {:#?}", self.paused, self.events);
        self.tally.assert_none_failed();
    }
}

async fn failover(kind: ServerKind, lag: Duration) -> FailoverCost {
    let nodes = deployment(kind).await;
    let dns = Dns::new();
    dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
    let tether = behind(&dns, nodes.port()).await;
    tether.ready(PATIENCE).await.expect("the primary is well");
    let (mut diary, before) = (Diary::of(&tether), tether.stats());
    let load = Load::start(&tether.handle(), CALLERS);
    load.go_on_for(50).await;

    if !lag.is_zero() {
        nodes.replica.freeze().await.expect("the replica stops");
        load.go_on_for(50).await;
    }
    let begun = Instant::now();
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
    let paused = begun.elapsed();
    let new = nodes.replica.addr().to_string();
    diary
        .until(
            "the new primary",
            |event| matches!(event, Event::Connected { address, .. } if address.to_string() == new),
        )
        .await;
    assert!(promoted.elapsed() < SOON, "found {:?} after it was promoted", promoted.elapsed());

    load.go_on_for(50).await;
    let tally = load.finish().await;
    tally.assert_true_of(&values_at(nodes.replica.addr()).await);
    let links = usize::try_from(tether.stats().links - before.links).expect("a few");
    tether.shutdown().await;
    FailoverCost { tally, paused, links, events: diary.so_far().to_vec() }
}

/// As a planned failover does it, for longer than a mute link is waited for at its own address.
async fn writes_that_are_paused_for_2_s(kind: ServerKind) {
    let server = Server::start(&server_binary(kind)).await.expect("a server");
    let tether = Tether::start(config(server.addr())).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let mut diary = Diary::of(&tether);
    let load = Load::start(&tether.handle(), CALLERS);
    load.go_on_for(50).await;
    server.command(&["CLIENT", "PAUSE", "2000", "WRITE"]).await.expect("the pause begins");
    diary.until("the silence to be noticed", |event| matches!(event, Event::Suspected { .. })).await;
    diary.until("the link to be replaced", |event| matches!(event, Event::Retired { drained: true, .. })).await;
    load.go_on_for(50).await;
    let tally = load.finish().await;
    tally.assert_none_failed();
    tally.assert_true_of(&values_at(server.addr()).await);
    assert!(tally.slowest >= Duration::from_millis(1500), "no write waited for the pause: {:?}", tally.slowest);
    tether.shutdown().await;
}

/// Nothing is written, so nothing is refused: only the probe asks for the role.
async fn a_demotion_under_reads_only(kind: ServerKind) {
    let nodes = deployment(kind).await;
    let dns = Dns::new();
    // The answer does not change, so that DNS gives no hint.
    dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
    let tether = behind(&dns, nodes.port()).await;
    tether.ready(PATIENCE).await.expect("the primary is well");
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
    assert!(demoted.elapsed() < Duration::from_millis(3500), "noticed after {:?}", demoted.elapsed());
    let wanted = nodes.replica.addr().to_string();
    diary
        .until(
            "the new primary",
            |event| matches!(event, Event::Connected { address, .. } if address.to_string() == wanted),
        )
        .await;
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
    let tether = behind(&dns, nodes.port()).await;
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

on_each_server!(
    a_real_server_that_loads_for_3_s,
    a_real_server_at_maxclients,
    both_nodes_read_only_for_2_s,
    a_failover_by_command,
    a_failover_by_command_to_a_replica_that_lags,
    writes_that_are_paused_for_2_s,
    a_demotion_under_reads_only,
    an_old_primary_that_thaws_later,
);

/// What is said of a link that is no longer the one changes nothing for the one that is.
#[tokio::test]
async fn a_stale_report_does_nothing() {
    let Two { old, old_ip, new_ip, port, .. } = &two_fakes().await;
    let dns = Dns::new();
    dns.set(NAME, vec![*old_ip]);
    let tether = behind(&dns, *port).await;
    tether.ready(PATIENCE).await.expect("the server is well");
    let mut diary = Diary::of(&tether);

    // A command that keeps the old link in its drain, while the name moves and a new link takes over.
    let mut blocked = tether.handle();
    let blocked = tokio::spawn(async move { blocked.blpop::<_, (String, String)>("queue", 30.0).await });
    within(PATIENCE, "the pop to arrive", old.wait_for_command("BLPOP", 1)).await.expect("it arrives");
    dns.set(NAME, vec![*new_ip]);
    let connected = diary.until("the move", |event| matches!(event, Event::Connected { .. })).await;
    write(&tether).await;
    let (status, dials) = (tether.status().borrow().clone(), tether.stats().dials);

    old.crash();
    let error = within(PATIENCE, "the pop to fail", blocked).await.expect("no panic").expect_err("its server is gone");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    write(&tether).await;
    let now = tether.status().borrow().clone();
    assert_eq!((now.phase, now.epoch, now.since), (Phase::Connected, status.epoch, status.since));
    assert_eq!(tether.stats().dials, dials, "nobody dialled");
    let Event::Connected { epoch, .. } = connected else { panic!("{connected:?}") };
    assert_eq!(now.epoch, Some(epoch));
    assert_eq!(diary.count(is_trouble), 0, "{:#?}", diary.so_far());
    tether.shutdown().await;
}

/// Callers of one link all see its end; it is told, and answered, once.
#[tokio::test]
async fn a_hundred_callers_that_see_one_failure_cause_one_recovery() {
    let (server, listener) = fake().await;
    let tether = Tether::start(config(listener.addr())).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let (mut diary, before) = (Diary::of(&tether), tether.stats());
    let load = Load::start(&tether.handle(), 100);
    load.go_on_for(500).await;
    // All of them are on their way when it happens.
    server.hang();
    let read = server.bytes_read();
    server.wait_for_bytes(read + 1).await.expect("somebody writes");
    server.kill_connections();
    server.resume();
    load.go_on_for(500).await;
    let tally = load.finish().await;
    let after = tether.stats();
    assert_eq!(diary.count(|event| matches!(event, Event::Lost { .. })), 1);
    assert_eq!((after.links - before.links, after.dials - before.dials), (1, 1));
    assert_eq!(tally.with(Outcome::Ambiguous).len(), tally.failed.len());
    let held: Vec<String> = server.written_values().into_iter().map(text).collect();
    tally.assert_true_of(&held);
    tether.shutdown().await;
}

/// The same for a refusal: one is enough to act on, the others are no news.
#[tokio::test]
async fn a_hundred_callers_that_are_refused_cause_one_recovery() {
    let Two { old, new, old_ip, new_ip, port, .. } = &two_fakes().await;
    new.replicate_from(old);
    let dns = Dns::new();
    dns.set(NAME, vec![*old_ip, *new_ip]);
    let tether = behind(&dns, *port).await;
    tether.ready(PATIENCE).await.expect("the server is well");
    let (mut diary, before) = (Diary::of(&tether), tether.stats());
    let load = Load::start(&tether.handle(), 100);
    load.go_on_for(500).await;
    new.promote();
    old.replicate_from(new);
    load.go_on_for(500).await;
    let tally = load.finish().await;
    tally.assert_none_failed();
    assert_eq!(diary.count(|event| matches!(event, Event::Demoted { .. })), 1);
    assert_eq!(tether.stats().links - before.links, 1);
    assert!(tether.stats().dials - before.dials <= 4, "{} dials", tether.stats().dials - before.dials);
    tether.shutdown().await;
}
