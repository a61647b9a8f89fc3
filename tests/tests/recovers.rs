//! Servers, networks and proxies that misbehave for a while, over real sockets: the tether always recovers once they are
//! well, and until then neither spins (dials are held against the pacing) nor sticks. Of failovers, `failovers.rs` tells.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Event, FailureKind, LaneSettings, Outcome, OutcomeExt, Phase, Tether};
use redis_tether_testkit::server::allocate_addresses;
use redis_tether_testkit::{Dns, FakeListener, FakeServer, Proxy, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::load::Load;
use redis_tether_tests::on_each_server;
use redis_tether_tests::pace::{fewest_dials, most_dials};
use redis_tether_tests::rig;
use redis_tether_tests::servers::{bind, patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, SOON, reach, within};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

const NAME: &str = "redis.test";

/// How long a fault lasts.
const FAULT: Duration = Duration::from_secs(3);

/// How soon a fault must be noticed while callers are at work: silence counts from 250 ms on, everything else at once. The next
/// that is there to notice it is the end of a link that has been mute for 5 s.
const NOTICED: Duration = Duration::from_secs(4);

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

/// Nobody falls silent behind it.
async fn behind(dns: &Dns, port: u16) -> Tether {
    let config = unsuspecting(patient(Config::new(NAME, port)));
    Tether::builder(config).resolver(rig::resolver(dns)).start().await.expect("a valid configuration")
}

/// What callers meet has to be noticed without them.
fn without_probes(mut config: Config) -> Config {
    config.detection.probe_interval = 3 * PATIENCE;
    config
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
        let begun = Instant::now();
        let tether = Tether::start(config).await.expect("starts whatever the server does");
        let mut diary = Diary::of(&tether);
        sleep(FAULT).await;
        assert_eq!(tether.status().borrow().phase, Phase::Connecting);
        self.check_dials(tether.stats().dials, begun.elapsed(), &lane, &mut diary);
        self.cure(&server, &tether).await;
        assert_eq!(diary.count(|event| matches!(event, Event::Connected { .. })), 1);
        tether.shutdown().await;
    }

    /// When a link has served for a while, with callers at work.
    async fn in_mid_life(self) {
        let (server, listener) = fake().await;
        let config = without_probes(config(listener.addr()));
        let lane = config.pacing.rejected.clone();
        let tether = Tether::start(config).await.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the server is well");
        let load = Load::start(&tether.handle(), 4);
        load.go_on_for(20).await;
        // From here on: what a machine that stands still costs before is not the fault's doing.
        let (mut diary, before, begun) = (Diary::of(&tether), tether.stats().dials, Instant::now());
        (self.begin)(&server);
        diary.until("the fault to be noticed", is_trouble).await;
        assert!(begun.elapsed() < NOTICED, "noticed after {:?}", begun.elapsed());
        sleep(FAULT).await;
        self.check_dials(tether.stats().dials - before, begun.elapsed(), &lane, &mut diary);
        self.cure(&server, &tether).await;
        load.go_on_for(20).await;
        let tally = load.finish().await;
        let held: Vec<String> = server.written_values().into_iter().map(text).collect();
        tally.assert_true_of(&held);
        tether.shutdown().await;
    }

    /// That so many dials were made since the fault began, which is `took` ago.
    fn check_dials(&self, dials: u64, took: Duration, lane: &LaneSettings, diary: &mut Diary) {
        match self.cost {
            Cost::Rejected(kind) => {
                // None before the fault was noticed, which may take a while.
                let (fewest, most) = (fewest_dials(lane, FAULT), most_dials(lane, took));
                // A machine that is busy with other tests dials later.
                assert!((fewest / 2..=most).contains(&dials), "{dials} dials in {took:?}, of {fewest} to {most}");
                let kinds = diary.so_far().iter().filter_map(|event| match event {
                    Event::DialFailed { kind, .. } => Some(*kind),
                    _ => None,
                });
                let others: Vec<_> = kinds.filter(|met| *met != kind).collect();
                assert!(others.is_empty(), "dials failed as {others:?} where {kind:?} was expected");
            }
            Cost::Hung => {
                let most = 2 + took.as_secs() / 3;
                assert!((1..=most).contains(&dials), "{dials} dials of 3 s each in {took:?}");
            }
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
    let tether = Tether::start(without_probes(config(proxy.addr()))).await.expect("a valid configuration");
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
async fn a_real_server_that_loads_slowly(kind: ServerKind) {
    let server = Server::builder(&server_binary(kind))
        .config_line("key-load-delay 1000")
        .config_line("loading-process-events-interval-bytes 1024")
        .start()
        .await
        .expect("a server");
    server.command(&["DEBUG", "POPULATE", "1500"]).await.expect("a dataset");
    server.command(&["SAVE"]).await.expect("a dump");
    let config = config(server.addr());
    let lane = config.pacing.rejected.clone();
    let tether = Tether::start(config).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let mut diary = Diary::of(&tether);
    let begun = Instant::now();
    let (restarted, (dials, most)) = tokio::join!(server.restart(), async {
        let is_loading = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Loading, .. });
        diary.until("the server to be met while it loads", is_loading).await;
        let (met, before) = (Instant::now(), tether.stats().dials);
        diary.until("a link", |event| matches!(event, Event::Connected { .. })).await;
        (tether.stats().dials - before, most_dials(&lane, met.elapsed()))
    });
    restarted.expect("the server loads within 10 s");
    assert!(begun.elapsed() > Duration::from_secs(1), "it was to load for 1.5 s");
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

on_each_server!(a_real_server_that_loads_slowly, a_real_server_at_maxclients);

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
    let tether = connected(unsuspecting(patient(config(listener.addr())))).await;
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

/// Somebody who asks for a new link wants it where the name leads now, not where it led when it was last looked up.
#[tokio::test]
async fn a_reconnect_by_hand_goes_to_fresh_addresses() {
    let Two { old_ip, new_ip, port, .. } = &two_fakes().await;
    let dns = Dns::new();
    dns.set(NAME, vec![*old_ip]);
    let tether = behind(&dns, *port).await;
    tether.ready(PATIENCE).await.expect("the server is well");
    let mut diary = Diary::of(&tether);
    dns.set(NAME, vec![*new_ip]);
    tether.reconnect().expect("the first one");
    let dialled = diary.until("a dial", |event| matches!(event, Event::Dialling { .. })).await;
    let Event::Dialling { address, .. } = dialled else { panic!("{dialled:?}") };
    assert_eq!(address.to_string(), SocketAddr::new(*new_ip, *port).to_string());
    tether.shutdown().await;
}
