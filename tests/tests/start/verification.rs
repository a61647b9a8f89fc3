//! What servers and proxies are asked before a tether takes them for a primary, in every mode, and what it makes of those that
//! know few commands, hang up, or say what nobody knows.

use std::time::Duration;

use redis_tether::{Event, FailureKind, Role, Verify};
use redis_tether_testkit::server::allocate_addresses;
use redis_tether_testkit::{FakeServer, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::load::Load;
use redis_tether_tests::log::Log;
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::{bind, server_binary, unsuspecting};
use redis_tether_tests::watch::Diary;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::{start, works};

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

on_each_server!(each_verify_mode);

#[tokio::test]
async fn a_name_that_is_denied_fails_no_dial() {
    let (server, listener) = fake().await;
    server.deny(&["CLIENT|SETNAME", "CLIENT|SETINFO"]);
    let tether = connected(unsuspecting(config(listener.addr())).with_client_name("denied")).await;
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
    let tether = connected(unsuspecting(config)).await;
    works(&tether).await;
    assert_eq!(tether.status().borrow().role, Some(role), "{commands:?}");
    let connections = server.connections_accepted();
    assert!(connections <= 5, "{connections} connections, on {commands:?}");
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
    // That it must not be asked anything is found out each time, a balancer without a backend looks the same; and that it does
    // not speak TLS.
    a_proxy_that_closes_on(&["HELLO", "ROLE", "CLIENT", "PING"], Role::Unknown, 3).await;
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
        let tether = connected(unsuspecting(config(listener.addr()))).await;
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
