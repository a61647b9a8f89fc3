//! How a tether starts and signs in: while the server is down, in every protocol and form of credentials, over every kind of
//! socket, through proxies that know few commands; and what an operator can ask of it. No secret is shown on the way.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use redis_tether::redis::{self, AsyncCommands, RedisError};
use redis_tether::{
    Config, Event, FailureKind, Outcome, OutcomeExt, Phase, Protocol, Readiness, ReconnectError, Role, Tether, Verify,
};
use redis_tether_testkit::server::{allocate_addresses, free_port};
use redis_tether_testkit::{Dns, FakeListener, FakeServer, Reply, Server, ServerKind};
use redis_tether_tests::load::Load;
use redis_tether_tests::log::Log;
use redis_tether_tests::servers::{bind, server_binary};
use redis_tether_tests::watch::{Diary, PATIENCE, reach, within};
use redis_tether_tests::{on_each_server, rig};
use tokio::net::TcpListener;
use tokio::time::sleep;

const NAME: &str = "redis.test";
const SOON: Duration = Duration::from_millis(1500);
/// Found in no log, error or `Debug` output.
const SENTINEL: &str = "s3ntinel-p4ssword";

fn config(addr: SocketAddr) -> Config {
    Config::new(addr.ip().to_string(), addr.port())
}

async fn fake() -> (FakeServer, FakeListener) {
    let server = FakeServer::new();
    let listener = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    (server, listener)
}

async fn start(config: Config) -> Tether {
    Tether::start(config).await.expect("a valid configuration")
}

async fn connected(config: Config) -> Tether {
    let tether = start(config).await;
    tether.ready(PATIENCE).await.expect("the server is well");
    tether
}

/// Writes and reads back.
async fn works(tether: &Tether) {
    let mut handle = tether.handle();
    within(PATIENCE, "a write", handle.set::<_, _, ()>("key", "value")).await.expect("the server is well");
    let value: String = within(PATIENCE, "a read", handle.get("key")).await.expect("the server is well");
    assert_eq!(value, "value");
}

/// The failure of a command that should not succeed.
async fn refused(tether: &Tether) -> RedisError {
    let mut handle = tether.handle();
    within(PATIENCE, "a failure", handle.set::<_, _, ()>("key", "value")).await.expect_err("the server says no")
}

#[tokio::test]
async fn starting_while_the_server_is_down_succeeds() {
    let (server, listener) = fake().await;
    server.crash();
    listener.wait_until_closed().await.expect("nobody listens");
    let begun = Instant::now();
    let tether = start(config(listener.addr())).await;
    assert!(begun.elapsed() < Duration::from_millis(500), "starting took {:?}", begun.elapsed());
    assert_eq!(tether.status().borrow().readiness(), Readiness::Down);
    let mut handle = tether.handle();
    let held = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await });
    let mut diary = Diary::of(&tether);
    diary.until("a failed dial", |event| matches!(event, Event::DialFailed { kind: FailureKind::Refused, .. })).await;
    server.restart();
    within(PATIENCE, "the held command", held).await.expect("no panic").expect("the server came up in time");
    assert_eq!(tether.status().borrow().readiness(), Readiness::Writable);
    tether.shutdown().await;
}

#[tokio::test]
async fn starting_while_the_name_does_not_exist_succeeds() {
    let (_server, listener) = fake().await;
    let dns = Dns::new();
    let config = Config::new(NAME, listener.addr().port());
    let tether = Tether::builder(config).resolver(rig::resolver(&dns)).start().await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    diary.until("a failed lookup", |event| matches!(event, Event::ResolveFailed { .. })).await;
    dns.fail(NAME);
    diary.until("another", |event| matches!(event, Event::ResolveFailed { .. })).await;
    dns.set(NAME, vec![listener.addr().ip()]);
    let known = Instant::now();
    works(&tether).await;
    assert!(known.elapsed() < SOON, "used {:?} after it had an address", known.elapsed());
    tether.shutdown().await;
}

#[tokio::test]
async fn ready_says_why_not() {
    let (server, listener) = fake().await;
    server.start_loading();
    let tether = start(config(listener.addr())).await;
    let limit = Duration::from_millis(300);
    let error = tether.ready(limit).await.expect_err("the server is loading");
    assert_eq!((error.waited, error.status.phase), (limit, Phase::Connecting));
    assert!(error.to_string().contains("loading"), "{error}");
    server.finish_loading();
    let status = tether.ready(PATIENCE).await.expect("the server is well");
    assert_eq!((status.phase, status.role), (Phase::Connected, Some(Role::Primary)));
    tether.shutdown().await;
    let begun = Instant::now();
    let error = tether.ready(PATIENCE).await.expect_err("it has stopped");
    assert_eq!(error.status.phase, Phase::Stopped);
    assert!(begun.elapsed() < SOON, "nothing is waited for that cannot come");
}

#[tokio::test]
async fn several_tethers_live_in_one_process() {
    let (a, a_listener) = fake().await;
    let (b, b_listener) = fake().await;
    let one = connected(config(a_listener.addr())).await;
    let other = connected(config(a_listener.addr())).await;
    let elsewhere = connected(config(b_listener.addr())).await;
    works(&one).await;
    works(&other).await;
    works(&elsewhere).await;
    let (before, mut diary) = (elsewhere.status().borrow().clone(), Diary::of(&elsewhere));
    one.shutdown().await;
    works(&other).await;
    a.crash();
    reach(&other, Phase::Recovering).await;
    works(&elsewhere).await;
    assert_eq!(*elsewhere.status().borrow(), before);
    assert_eq!(diary.so_far(), []);
    assert_eq!((a.executions("SET"), b.executions("SET")), (3, 2));
    other.shutdown().await;
    elsewhere.shutdown().await;
}

/// Each protocol with each form of credentials, a database and a name.
async fn both_protocols_with_all_credentials(kind: ServerKind) {
    let server = Server::builder(&server_binary(kind))
        .password(SENTINEL)
        .config_line("user app on >app-password ~* &* +@all")
        .start()
        .await
        .expect("a server");
    let base = config(server.addr());
    let credentials = [
        base.clone().with_password(SENTINEL),
        base.clone().with_username("default").with_password(SENTINEL),
        base.clone().with_username("app").with_password("app-password"),
    ];
    for (number, config) in credentials.into_iter().enumerate() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let name = format!("test-{number}-{protocol:?}");
            let mut config = config.clone().with_db(3).with_client_name(&name);
            config.protocol = protocol;
            let user = config.username.clone().unwrap_or_else(|| "default".to_owned());
            let tether = connected(config).await;
            works(&tether).await;
            assert_eq!(tether.status().borrow().role, Some(Role::Primary));
            let clients = server.command(&["CLIENT", "LIST"]).await.expect("a list").text().expect("text");
            let ours = clients.lines().find(|line| line.contains(&format!(" name={name} ")));
            let ours = ours.unwrap_or_else(|| panic!("no {name} in {clients}"));
            assert!(ours.contains(" db=3 ") && ours.contains(&format!(" user={user} ")), "{ours}");
            let mut handle = tether.handle();
            let all: redis::Value = redis::cmd("HGETALL").arg("hash").query_async(&mut handle).await.expect("a reply");
            assert_eq!(matches!(all, redis::Value::Map(_)), protocol == Protocol::Resp3, "{all:?}");
            tether.shutdown().await;
        }
    }
}

/// The user may do what the application does and nothing else.
async fn the_smallest_acl_suffices(kind: ServerKind) {
    let server = Server::builder(&server_binary(kind))
        .config_line("user app on >app-password ~key -@all +get +set")
        .start()
        .await
        .expect("a server");
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut config =
            config(server.addr()).with_username("app").with_password("app-password").with_client_name("denied");
        config.protocol = protocol;
        config.detection.probe_interval = Duration::from_millis(400);
        config.detection.probe_timeout = Duration::from_millis(400);
        let tether = connected(config).await;
        works(&tether).await;
        // The role is known all the same: HELLO is never denied.
        assert_eq!(tether.status().borrow().role, Some(Role::Primary));
        let mut diary = Diary::of(&tether);
        // And a probe finds a demotion.
        server.command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("a replica");
        diary.until("the demotion", |event| matches!(event, Event::Demoted { .. })).await;
        server.promote().await.expect("a primary");
        diary.until("the end of it", |event| matches!(event, Event::Resumed { .. } | Event::Connected { .. })).await;
        works(&tether).await;
        assert_eq!(tether.status().borrow().role, Some(Role::Primary));
        tether.shutdown().await;
    }
}

/// Another database is the one thing that takes a permission of its own.
async fn another_database_needs_select(kind: ServerKind) {
    let server = Server::builder(&server_binary(kind))
        .config_line("user app on >app-password ~key -@all +get +set")
        .start()
        .await
        .expect("a server");
    let config = config(server.addr()).with_username("app").with_password("app-password").with_db(3);
    let tether = start(config).await;
    let mut diary = Diary::of(&tether);
    diary.until("the denial", |event| matches!(event, Event::DialFailed { kind: FailureKind::Denied, .. })).await;
    let error = refused(&tether).await;
    assert!(error.to_string().to_lowercase().contains("select"), "{error}");
    server.command(&["ACL", "SETUSER", "app", "+select"]).await.expect("a permission");
    tether.ready(PATIENCE).await.expect("it is let in");
    works(&tether).await;
    tether.shutdown().await;
}

/// Wrong for a while: errors in between say so, and no error is kept.
async fn a_password_that_is_wrong_for_a_while(kind: ServerKind) {
    let server = Server::builder(&server_binary(kind)).password("another").start().await.expect("a server");
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        server.set_password(Some("another")).await.expect("a password");
        let mut config = config(server.addr()).with_password(SENTINEL);
        config.protocol = protocol;
        let tether = start(config).await;
        let mut diary = Diary::of(&tether);
        let denied = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Auth, .. });
        diary.until("a denial", denied).await;
        let error = refused(&tether).await;
        assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
        assert!(error.to_string().contains("WRONGPASS"), "{error}");
        assert!(!format!("{error} {error:?}").contains(SENTINEL));
        server.set_password(Some(SENTINEL)).await.expect("the right one");
        let right = Instant::now();
        tether.ready(PATIENCE).await.expect("it is let in");
        assert!(right.elapsed() < SOON, "let in {:?} after the password was right", right.elapsed());
        works(&tether).await;
        tether.shutdown().await;
    }
}

async fn a_unix_socket(kind: ServerKind) {
    let server = Server::start(&server_binary(kind)).await.expect("a server");
    let tether = connected(Config::unix(server.unix_socket())).await;
    works(&tether).await;
    let mut diary = Diary::of(&tether);
    server.kill().await.expect("it is gone");
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    diary.until("an attempt in vain", |event| matches!(event, Event::DialFailed { .. })).await;
    server.restart().await.expect("it is back");
    works(&tether).await;
    tether.shutdown().await;
}

async fn ipv6(kind: ServerKind) {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let addr = SocketAddr::new(ip, free_port(ip).expect("a free port"));
    let server = Server::builder(&server_binary(kind)).on(addr).start().await.expect("a server");
    for config in [
        Config::new("::1", addr.port()),
        Config::new("[::1]", addr.port()),
        Config::from_url(&format!("redis://[::1]:{}", addr.port())).expect("a valid URL"),
    ] {
        let tether = connected(config).await;
        works(&tether).await;
        assert_eq!(tether.status().borrow().address.as_ref().map(ToString::to_string), Some(addr.to_string()));
        tether.shutdown().await;
    }
    drop(server);
}

/// A fork of the server is no reason to know less about it.
async fn each_verify_mode(kind: ServerKind) {
    let server = Server::start(&server_binary(kind)).await.expect("a server");
    let roles = [
        (Verify::Auto, Role::Primary),
        (Verify::Hello, Role::Primary),
        (Verify::Role, Role::Primary),
        (Verify::Ping, Role::Unknown),
        (Verify::None, Role::Unknown),
    ];
    for (verify, role) in roles {
        let mut config = config(server.addr());
        config.verify = verify;
        let tether = connected(config).await;
        works(&tether).await;
        assert_eq!(tether.status().borrow().role, Some(role), "{verify:?}");
        tether.shutdown().await;
    }
    // Whoever asks for the role takes no replica.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("a replica");
    for verify in [Verify::Auto, Verify::Hello, Verify::Role] {
        let mut config = config(server.addr());
        config.verify = verify;
        let tether = start(config).await;
        let mut diary = Diary::of(&tether);
        let refused = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::NotPrimary, .. });
        diary.until("the refusal of a replica", refused).await;
        tether.shutdown().await;
    }
}

on_each_server!(
    both_protocols_with_all_credentials,
    the_smallest_acl_suffices,
    another_database_needs_select,
    a_password_that_is_wrong_for_a_while,
    a_unix_socket,
    ipv6,
    each_verify_mode,
);

#[tokio::test]
async fn a_name_that_is_denied_fails_no_dial() {
    let (server, listener) = fake().await;
    server.deny(&["CLIENT|SETNAME", "CLIENT|SETINFO"]);
    let tether = connected(config(listener.addr()).with_client_name("denied")).await;
    works(&tether).await;
    assert_eq!((tether.stats().dials, server.connections_accepted()), (1, 1));
    tether.shutdown().await;
}

/// A proxy that hangs up on what it does not know is asked less, which is remembered: the next dial takes `later`
/// connections.
async fn a_proxy_that_closes_on(commands: &[&str], role: Role, later: u64) {
    let (server, listener) = fake().await;
    server.close_on(commands);
    let mut config = config(listener.addr());
    config.detection.probe_interval = Duration::from_millis(400);
    config.detection.probe_timeout = Duration::from_millis(400);
    let tether = connected(config).await;
    works(&tether).await;
    assert_eq!(tether.status().borrow().role, Some(role), "{commands:?}");
    let connections = server.connections_accepted();
    assert!(connections <= 4, "{connections} connections, on {commands:?}");
    // Probes ask no more than that, either: the link stays.
    let (epoch, load) = (tether.status().borrow().epoch, Load::start(&tether.handle(), 2));
    sleep(Duration::from_millis(1200)).await;
    load.finish().await.assert_none_failed();
    assert_eq!((tether.status().borrow().epoch, server.connections_accepted()), (epoch, connections));
    // And what was learned holds for the next dial.
    let mut diary = Diary::of(&tether);
    server.kill_connections();
    diary.until("another link", |event| matches!(event, Event::Connected { .. })).await;
    works(&tether).await;
    assert_eq!(server.connections_accepted(), connections + later, "on {commands:?}: {:#?}", diary.so_far());
    tether.shutdown().await;
}

#[tokio::test]
async fn a_proxy_that_closes_on_hello() {
    a_proxy_that_closes_on(&["HELLO"], Role::Primary, 1).await;
}

#[tokio::test]
async fn a_proxy_that_closes_on_hello_and_role() {
    a_proxy_that_closes_on(&["HELLO", "ROLE"], Role::Unknown, 1).await;
}

#[tokio::test]
async fn a_proxy_that_closes_on_client_too() {
    a_proxy_that_closes_on(&["HELLO", "ROLE", "CLIENT"], Role::Unknown, 1).await;
}

#[tokio::test]
async fn a_proxy_that_closes_on_ping_too() {
    // That it must not be asked anything is found out each time: a balancer without a backend looks the same.
    a_proxy_that_closes_on(&["HELLO", "ROLE", "CLIENT", "PING"], Role::Unknown, 2).await;
}

/// A server before version 6, and one that denies everything it can.
#[tokio::test]
async fn a_server_that_does_not_know_hello() {
    for script in [
        (|server: &FakeServer| server.unknown(&["HELLO"])) as fn(&FakeServer),
        |server| server.unknown(&["HELLO", "CLIENT"]),
        |server| server.deny(&["HELLO"]),
    ] {
        let (server, listener) = fake().await;
        script(&server);
        let tether = connected(config(listener.addr())).await;
        works(&tether).await;
        assert_eq!(tether.status().borrow().role, Some(Role::Primary));
        assert_eq!(server.connections_accepted(), 1);
        tether.shutdown().await;
    }
}

/// A balancer without a backend accepts everybody and hangs up. It is no server of unknown kind, and once it has a backend
/// again that one's role is known.
#[tokio::test]
async fn a_balancer_that_hangs_up_on_everybody_is_no_server() {
    let server = FakeServer::new();
    server.demote();
    // One that nobody else takes while nobody listens there.
    let addr = allocate_addresses(1).expect("a loopback address")[0];
    let balancer = bind(async || TcpListener::bind(addr).await).await;
    let hanging_up = tokio::spawn(async move {
        while let Ok((connection, _)) = balancer.accept().await {
            drop(connection);
        }
    });
    let tether = start(config(addr)).await;
    let mut diary = Diary::of(&tether);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(diary.count(|event| matches!(event, Event::Connected { .. })), 0, "{:#?}", diary.so_far());
    hanging_up.abort();
    let _ = hanging_up.await;
    let _again = bind(async || server.listen(addr).await).await;
    let not_primary = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::NotPrimary, .. });
    diary.until("the replica to be recognised", not_primary).await;
    server.promote();
    works(&tether).await;
    assert_eq!(tether.status().borrow().role, Some(Role::Primary));
    tether.shutdown().await;
}

/// An unknown role warns, and is taken.
#[tokio::test]
async fn a_role_that_nobody_knows_is_accepted() {
    let log = Log::of_this_process();
    let (server, listener) = fake().await;
    server.role_word(Some("active-replica"));
    let tether = connected(config(listener.addr())).await;
    works(&tether).await;
    assert!(log.text().contains("WARN") && log.text().contains("active-replica"), "{}", log.text());
    tether.shutdown().await;
}

#[tokio::test]
async fn reconnecting_by_hand_is_limited_and_loses_nothing() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let mut diary = Diary::of(&tether);
    let load = Load::start(&tether.handle(), 8);
    load.go_on_for(50).await;
    tether.reconnect().expect("the first one");
    let Err(ReconnectError::TooSoon { wait }) = tether.reconnect() else { panic!("within a second of the first") };
    assert!(wait <= Duration::from_secs(1));
    // Shared by all clones.
    assert!(tether.clone().reconnect().is_err());
    diary.until("the new link", |event| matches!(event, Event::Connected { down_for, .. } if down_for.is_zero())).await;
    diary.until("the end of the old one", |event| matches!(event, Event::Retired { drained: true, .. })).await;
    load.go_on_for(50).await;
    sleep(wait).await;
    tether.reconnect().expect("a second later");
    diary.until("the new link", |event| matches!(event, Event::Connected { .. })).await;
    load.go_on_for(50).await;
    load.finish().await.assert_none_failed();
    server.wait_for_open_connections_at_most(1).await.expect("the old links are closed");
    assert_eq!(tether.stats().dials, 3);
    tether.shutdown().await;
}

/// In an outage it skips the wait for the next attempt.
#[tokio::test]
async fn reconnecting_by_hand_tries_at_once() {
    let (server, listener) = fake().await;
    server.start_loading();
    let mut config = config(listener.addr());
    config.pacing.rejected.first = Duration::from_secs(600);
    config.pacing.rejected.early_cap = Duration::from_secs(600);
    config.pacing.rejected.late_cap = Duration::from_secs(600);
    let tether = start(config).await;
    let mut diary = Diary::of(&tether);
    diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
    server.finish_loading();
    tether.reconnect().expect("the first one");
    let asked = Instant::now();
    tether.ready(PATIENCE).await.expect("the server is well");
    assert!(asked.elapsed() < SOON);
    tether.shutdown().await;
}

#[tokio::test]
async fn a_pinned_tether_does_not_move() {
    let addresses = allocate_addresses(2).expect("two loopback addresses");
    let (old, new) = (FakeServer::new(), FakeServer::new());
    let _old_listener = bind(async || old.listen(addresses[0]).await).await;
    let _new_listener = bind(async || new.listen(addresses[1]).await).await;
    let dns = Dns::new();
    dns.set(NAME, vec![addresses[0].ip()]);
    let mut config = Config::new(NAME, addresses[0].port());
    config.resolve.interval = Duration::from_millis(100);
    let tether = Tether::builder(config).resolver(rig::resolver(&dns)).start().await.expect("a valid configuration");
    let pinned = tether.ready(PATIENCE).await.expect("the server is well");
    tether.pin().expect("it lives");
    let mut status = tether.status();
    let is_pinned = status.wait_for(|status| status.pinned);
    let _ = within(PATIENCE, "the pin", is_pinned).await;

    // Neither on DNS evidence,
    let mut diary = Diary::of(&tether);
    dns.set(NAME, vec![addresses[1].ip()]);
    let asked = dns.lookups(NAME);
    dns.looked_up(NAME, asked + 10).await.expect("lookups go on");
    works(&tether).await;
    assert_eq!(tether.status().borrow().epoch, pinned.epoch);
    assert_eq!(new.connections_accepted(), 0);
    // nor when its server is gone: it is waited for.
    old.crash();
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(new.connections_accepted(), 0);
    old.restart();
    works(&tether).await;
    assert_eq!(tether.status().borrow().address, pinned.address);

    tether.unpin().expect("it lives");
    diary
        .until(
            "the move",
            |event| matches!(event, Event::Connected { address, .. } if Some(address) != pinned.address.as_ref()),
        )
        .await;
    works(&tether).await;
    assert_eq!(new.executions("SET"), 1);
    tether.shutdown().await;
}

/// At any moment: also while one incarnation has given up and the next has not begun.
#[tokio::test]
async fn a_wish_between_two_incarnations_is_not_lost() {
    let (server, listener) = fake().await;
    let dns = Dns::new();
    dns.set(NAME, vec![listener.addr().ip()]);
    let config = Config::new(NAME, listener.addr().port());
    let tether = Tether::builder(config).resolver(rig::resolver(&dns)).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    // A resolver that hangs makes the gap between two incarnations 250 ms long.
    dns.hang(NAME);
    server.start_loading();
    server.kill_connections();
    for (number, wish) in [Tether::pin as fn(&Tether) -> _, Tether::unpin].into_iter().enumerate() {
        within(PATIENCE, "the gap", async {
            while tether.actor().get_children().len() > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        wish(&tether).expect("it lives");
        let mut status = tether.status();
        let granted = status.wait_for(|status| status.pinned == (number == 0));
        let _ = within(Duration::from_secs(2), "the wish to be granted", granted).await;
    }
    tether.shutdown().await;
}

/// Everything that could show a secret, with servers that accept it, that refuse it, and that repeat it.
#[tokio::test]
async fn a_password_is_never_shown() {
    let log = Log::of_this_process();
    let mut shown = Vec::new();
    let (server, listener) = fake().await;
    server.add_user("app", SENTINEL);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        server.heal();
        server.require_password(Some(SENTINEL));
        let mut config = config(listener.addr()).with_username("app").with_password(SENTINEL);
        config.protocol = protocol;
        shown.push(format!("{config} {config:?} {:?}", config.password));
        let builder = Tether::builder(config);
        shown.push(format!("{builder:?}"));
        let tether = builder.start().await.expect("a valid configuration");
        let mut diary = Diary::of(&tether);
        tether.ready(PATIENCE).await.expect("it is let in");
        works(&tether).await;
        shown.push(format!("{tether:?} {:?} {:?} {:?}", tether.handle(), tether.stats(), tether.status()));

        // Refused: with the server's own words, and with words that repeat what was sent.
        for words in [
            None,
            Some(format!("WRONGPASS {SENTINEL} is wrong")),
            Some(format!("ERR unknown command `AUTH`, with args beginning with: `app`, `{SENTINEL}`, ")),
            Some(format!("ERR wrong number of arguments for 'auth' command near {SENTINEL}")),
            Some(format!("-ERR {SENTINEL}")),
        ] {
            match &words {
                None => server.add_user("app", "another"),
                Some(words) => ["AUTH", "HELLO"].iter().for_each(|command| server.refuse(command, Some(words))),
            }
            let mut diary = Diary::of(&tether);
            server.kill_connections();
            diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
            diary.until("the refusal", |event| matches!(event, Event::DialFailed { .. })).await;
            let error = tether.ready(Duration::from_millis(50)).await.expect_err("it is not let in");
            shown.push(format!("{error} {error:?}"));
            let error = tether.handle().failing_fast().get::<_, String>("key").await.expect_err("it is not let in");
            shown.push(format!("{error} {error:?} {:?}", error.command_error()));
            server.add_user("app", SENTINEL);
            server.heal();
            tether.ready(PATIENCE).await.expect("it is let in");
        }
        shown.push(format!("{:?} {:?}", diary.so_far(), tether.status()));
        tether.shutdown().await;
    }
    for text in [log.text()].into_iter().chain(shown) {
        if let Some(at) = text.find(SENTINEL) {
            panic!("the password is shown: {}", &text[at.saturating_sub(300)..(at + 100).min(text.len())]);
        }
    }
    assert!(log.text().contains("dial failed, epoch"), "the log has what happened");
    assert_ne!(server.run(&["GET", "key"]), Reply::Nil);
}

/// The commands of an application may carry secrets as well: none of them is logged.
#[tokio::test]
async fn what_commands_carry_is_never_logged() {
    let log = Log::of_this_process();
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let mut handle = tether.handle();
    handle.set::<_, _, ()>("key", SENTINEL).await.expect("the server is well");
    let _: String = handle.get("key").await.expect("the server is well");
    server.demote();
    let mut fast = tether.handle().failing_fast();
    let error = fast.set::<_, _, ()>("key", SENTINEL).await.expect_err("it is a replica");
    assert!(!format!("{error} {error:?}").contains(SENTINEL));
    tether.shutdown().await;
    assert!(!log.text().contains(SENTINEL), "{}", log.text());
}
