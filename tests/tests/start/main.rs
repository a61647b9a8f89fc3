//! How a tether starts and signs in: while the server is down, in every protocol and form of credentials, over every kind of
//! socket. `verification.rs` has what servers and proxies are asked, `operator.rs` what an operator can ask of a tether, and
//! `secrets.rs` sees to it that none is shown on the way.

mod operator;
mod secrets;
mod verification;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use redis_tether::redis::{self, AsyncCommands, RedisError};
use redis_tether::{Config, Event, FailureKind, Outcome, OutcomeExt, Phase, Protocol, Readiness, Role, Tether};
use redis_tether_testkit::server::free_port;
use redis_tether_testkit::{Dns, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::servers::{patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, SOON, reach, within};
use redis_tether_tests::{on_each_server, rig};

const NAME: &str = "redis.test";
/// Found in no log, error or `Debug` output.
const SENTINEL: &str = "s3ntinel-p4ssword";

async fn start(config: Config) -> Tether {
    Tether::start(config).await.expect("a valid configuration")
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
    let tether = within(PATIENCE, "the start", start(patient(config(listener.addr())))).await;
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
    let mut config = Config::new(NAME, listener.addr().port());
    // The pace of one that has a link would be far too slow.
    config.resolve.interval = 3 * PATIENCE;
    let tether = Tether::builder(config).resolver(rig::resolver(&dns)).start().await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    diary.until("a failed lookup", |event| matches!(event, Event::ResolveFailed { .. })).await;
    dns.fail(NAME);
    // Lookups that began before that may have another answer.
    let has_failed = |event: &Event| matches!(event, Event::ResolveFailed { error, .. } if error.contains("resolving"));
    diary.until("a lookup that the resolver fails", has_failed).await;
    let policy = tether.handle().policy().fail_fast();
    let mut handle = tether.handle().with_policy(policy);
    let error = handle.get::<_, String>("key").await.expect_err("there is nobody").to_string();
    assert!(error.contains(&format!("resolving {NAME}")), "a typo in the name is told to whoever sends: {error}");
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
    let mut diary = Diary::of(&tether);
    diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
    let limit = Duration::from_millis(100);
    let error = tether.ready(limit).await.expect_err("the server is loading");
    assert_eq!(error.status.phase, Phase::Connecting);
    assert!(error.waited >= limit, "{:?}", error.waited);
    assert!(error.to_string().contains("loading"), "{error}");
    server.finish_loading();
    let status = tether.ready(PATIENCE).await.expect("the server is well");
    assert_eq!((status.phase, status.role), (Phase::Connected, Some(Role::Primary)));
    tether.shutdown().await;
    let begun = Instant::now();
    let error = tether.ready(PATIENCE).await.expect_err("it has stopped");
    assert_eq!(error.status.phase, Phase::Stopped);
    assert!(begun.elapsed() < PATIENCE / 2, "nothing is waited for that cannot come");
}

#[tokio::test]
async fn several_tethers_live_in_one_process() {
    let (a, a_listener) = fake().await;
    let (b, b_listener) = fake().await;
    let one = connected(config(a_listener.addr())).await;
    let other = connected(config(a_listener.addr())).await;
    let elsewhere = connected(unsuspecting(config(b_listener.addr()))).await;
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

on_each_server!(
    both_protocols_with_all_credentials,
    the_smallest_acl_suffices,
    another_database_needs_select,
    a_password_that_is_wrong_for_a_while,
    a_unix_socket,
    ipv6,
);
