//! What products that are not Redis or Valkey answer when they are asked what they are, each shape scripted after its source.

use redis_tether::redis::Value;
use redis_tether::{Event, FailureKind, Outcome, OutcomeExt, Protocol, Role, Tether};
use redis_tether_testkit::{FakeServer, Reply};
use redis_tether_tests::fakes::{config, connected, connected_in_memory, fake, started_in_memory};
use redis_tether_tests::log::Log;
use redis_tether_tests::servers::unsuspecting;
use redis_tether_tests::watch::{Diary, PATIENCE, within};

use super::{ask, is_connected, is_off};

/// One who is asked with the defaults: over one connection, whatever it says, and the same again by the probes and at the next dial.
async fn it_is_well(name: &str, script: impl Fn(&FakeServer), protocol: Protocol, role: Role) {
    let server = FakeServer::new();
    script(&server);
    let tether = connected_in_memory(&server, |config| config.protocol = protocol).await;
    let (mut handle, mut diary) = (tether.handle(), Diary::of(&tether));
    assert_eq!(ask(&mut handle, &["INCR", "n"]).await, Ok(Value::Int(1)), "{name}");
    assert_eq!(tether.status().borrow().role, Some(role), "{name}");
    let probes = server.commands("PING") + 3;
    server.wait_for_command("PING", probes).await.expect(name);
    assert_eq!((diary.count(is_off), server.connections_accepted()), (0, 1), "{name}: {:#?}", diary.so_far());
    server.kill_connections();
    diary.until("another link", is_connected).await;
    assert_eq!(ask(&mut handle, &["INCR", "n"]).await, Ok(Value::Int(2)), "{name}");
    assert_eq!(server.connections_accepted(), 2, "{name}: {:#?}", diary.so_far());
    tether.shutdown().await;
}

fn fields(fields: &[(&str, Reply)]) -> Reply {
    Reply::Map(fields.iter().map(|(key, value)| (Reply::bulk(key), value.clone())).collect())
}

fn words(words: &[&str]) -> Reply {
    Reply::Array(words.iter().map(Reply::bulk).collect())
}

/// `helloCommand` of KeyDB's `src/networking.cpp`, with a primary of its own.
fn keydb(role: &'static str) -> impl Fn(&FakeServer) {
    move |server| {
        let hello = fields(&[
            ("server", Reply::bulk("redis")),
            ("version", Reply::bulk("6.3.4")),
            ("proto", Reply::Int(2)),
            ("id", Reply::Int(7)),
            ("mode", Reply::bulk("standalone")),
            ("role", Reply::bulk(role)),
            ("modules", Reply::Array(Vec::new())),
        ]);
        server.answer("HELLO", Some(hello));
        // Its `CLIENT` is that of Redis 6.
        server.answer("CLIENT|SETINFO", Some(Reply::error("ERR Unknown subcommand or wrong number of arguments")));
    }
}

/// `roleCommand` of KeyDB's `src/replication.cpp`: one answer for each primary, and an array of them where there are several.
fn keydb_role_of(primaries: usize) -> Reply {
    let one = || {
        let mut role = vec![Reply::bulk("active-replica"), Reply::bulk("10.0.0.2"), Reply::Int(6379)];
        role.extend([Reply::bulk("connected"), Reply::Int(42)]);
        Reply::Array(role)
    };
    if primaries == 1 { one() } else { Reply::Array((0..primaries).map(|_| one()).collect()) }
}

#[tokio::test(start_paused = true)]
async fn keydb_that_replicates_actively() {
    let log = Log::of_this_process();
    it_is_well("a KeyDB", keydb("master"), Protocol::Resp2, Role::Primary).await;
    // It writes and replicates, in both directions: a role that is none of the two.
    it_is_well("an active KeyDB", keydb("active-replica"), Protocol::Resp2, Role::Unknown).await;
    assert!(log.text().contains("active-replica"), "a warning says so");
    for primaries in [1, 2] {
        let by_role = |server: &FakeServer| {
            server.deny(&["HELLO"]);
            server.answer("ROLE", Some(keydb_role_of(primaries)));
        };
        it_is_well("an active KeyDB by ROLE", by_role, Protocol::Resp2, Role::Unknown).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_of_keydb_is_a_replica() {
    let (server, tether) = refused(keydb("replica"), FailureKind::NotPrimary).await;
    assert_eq!(server.connections_accepted(), 1);
    tether.shutdown().await;
    // A read-only replica of several primaries, asked by ROLE.
    let slave = || Reply::Array(vec![Reply::bulk("slave"), Reply::bulk("10.0.0.2"), Reply::Int(6379)]);
    let several = |server: &FakeServer| {
        server.deny(&["HELLO"]);
        server.answer("ROLE", Some(Reply::Array(vec![slave(), slave()])));
    };
    let (_server, tether) = refused(several, FailureKind::NotPrimary).await;
    tether.shutdown().await;
}

/// The first failed dial of a tether to such a server.
async fn refused(script: impl Fn(&FakeServer), expected: FailureKind) -> (FakeServer, Tether) {
    let server = FakeServer::new();
    script(&server);
    let tether = started_in_memory(&server, |_| {}).await;
    let mut diary = Diary::of(&tether);
    let of_this_kind = |event: &Event| matches!(event, Event::DialFailed { kind, .. } if *kind == expected);
    diary.until("the refusal", of_this_kind).await;
    let connected = diary.count(is_connected);
    assert_eq!(connected, 0, "{:#?}", diary.so_far());
    (server, tether)
}

/// `ServerFamily::Hello` and `Role` of Dragonfly's `src/server/server_family.cc`: `dfly_version` among the fields, and a role
/// without an offset, so that the replicas come second.
fn dragonfly(server: &FakeServer, role: &str) {
    let hello = fields(&[
        ("server", Reply::bulk("redis")),
        ("version", Reply::bulk("7.4.0")),
        ("dfly_version", Reply::bulk("df-v1.34.0")),
        ("proto", Reply::Int(2)),
        ("id", Reply::Int(7)),
        ("mode", Reply::bulk("standalone")),
        ("role", Reply::bulk(role)),
    ]);
    server.answer("HELLO", Some(hello));
    let replicas = Reply::Array(vec![words(&["10.0.0.2", "6379", "stable_sync"])]);
    let role = match role {
        "master" => Reply::Array(vec![Reply::bulk("master"), replicas]),
        _ => words(&["replica", "10.0.0.1", "6379", "stable_sync"]),
    };
    server.answer("ROLE", Some(role));
    server.answer(
        "CLIENT|SETINFO",
        Some(Reply::error("ERR Unknown subcommand or wrong number of arguments for 'SETINFO'")),
    );
}

#[tokio::test(start_paused = true)]
async fn dragonfly_by_hello_and_by_role() {
    let primary = |server: &FakeServer| dragonfly(server, "master");
    it_is_well("a Dragonfly", primary, Protocol::Resp2, Role::Primary).await;
    let by_role = |server: &FakeServer| {
        primary(server);
        server.answer("HELLO", Some(Reply::error("ERR unknown command `HELLO`")));
    };
    it_is_well("a Dragonfly by ROLE", by_role, Protocol::Resp2, Role::Primary).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_of_dragonfly_is_a_replica() {
    for hides in [&[][..], &["HELLO"]] {
        let replica = |server: &FakeServer| {
            dragonfly(server, "slave");
            server.deny(hides);
        };
        let (_server, tether) = refused(replica, FailureKind::NotPrimary).await;
        tether.shutdown().await;
    }
}

/// `Service::VerifyCommandState` of Dragonfly's `src/server/main_service.cc`. Older ones said it to everything, `HELLO` and `ROLE`
/// included, and gave it no code; they answered `PING`. Such a server is not one that knows none of this.
#[tokio::test]
async fn dragonfly_that_loads_or_is_taken_over() {
    for said in [
        "LOADING Dragonfly is loading the dataset in memory",
        "ERR Can not execute during LOADING",
        "ERR Can not execute during TAKEN OVER",
    ] {
        let unready = |server: &FakeServer| {
            for command in ["HELLO", "ROLE", "INCR"] {
                server.refuse(command, Some(said));
            }
            if said.starts_with("LOADING") {
                server.refuse("PING", Some(said));
            }
        };
        let (server, listener) = fake().await;
        let tether = connected(config(listener.addr())).await;
        let mut diary = Diary::of(&tether);
        unready(&server);
        let mut handle = tether.handle();
        let sent = tokio::spawn(async move { ask(&mut handle, &["INCR", "n"]).await });
        diary.until("the refusal", |event| matches!(event, Event::Demoted { .. })).await;
        diary
            .until("a dial that is refused", |event| {
                matches!(event, Event::DialFailed { kind: FailureKind::Loading, .. })
            })
            .await;
        assert_eq!(server.executions("INCR"), 0, "{said}");
        server.heal();
        let answer = within(PATIENCE, "the answer", sent).await.expect("no panic");
        assert_eq!(answer, Ok(Value::Int(1)), "{said}: {:#?}", diary.so_far());
        let status = tether.status().borrow().clone();
        assert_eq!(status.role, Some(Role::Primary), "{said}: nothing was learned from it");
        tether.shutdown().await;
    }
}

/// Envoys before 1.36: `HELLO` is no command of the filter, and neither are `CLIENT`, `ROLE` and `INFO`
/// (github.com/envoyproxy/envoy/issues/17571, 38517, 39630, 40462). In the first of these reports the words are `unsupported command`.
#[tokio::test(start_paused = true)]
async fn older_envoys() {
    for said in [
        |name: &str| format!("unsupported command '{name}'"),
        |name: &str| format!("ERR unknown command '{}', with args beginning with: ", name.to_lowercase()),
    ] {
        let script = |server: &FakeServer| {
            for command in ["HELLO", "ROLE", "CLIENT", "INFO"] {
                server.refuse(command, Some(&said(command)));
            }
        };
        it_is_well(&said("HELLO"), script, Protocol::Resp2, Role::Unknown).await;
    }
}

/// 1.36 passes `ROLE` on, and gives the answers of all its servers in one array.
#[tokio::test(start_paused = true)]
async fn an_envoy_that_passes_role_on() {
    let master = || Reply::Array(vec![Reply::bulk("master"), Reply::Int(0), Reply::Array(Vec::new())]);
    let script = |server: &FakeServer| {
        server.refuse("HELLO", Some("ERR unknown command 'HELLO', with args beginning with: "));
        server.answer("ROLE", Some(Reply::Array(vec![master(), master()])));
    };
    it_is_well("an Envoy with ROLE", script, Protocol::Resp2, Role::Primary).await;
}

/// That it has just lost its server does not mean that it does not know the question: it is asked in full the next time.
#[tokio::test]
async fn an_envoy_that_has_lost_its_server_is_asked_again() {
    let (server, listener) = fake().await;
    let unknown = "ERR unknown command 'HELLO', with args beginning with: ";
    server.refuse("HELLO", Some(unknown));
    server.refuse("ROLE", Some("upstream failure"));
    let tether = connected(config(listener.addr())).await;
    assert_eq!(tether.status().borrow().role, Some(Role::Unknown));
    let mut diary = Diary::of(&tether);
    server.refuse("ROLE", None);
    server.kill_connections();
    diary.until("another link", is_connected).await;
    assert_eq!(tether.status().borrow().role, Some(Role::Primary), "{:#?}", diary.so_far());
    tether.shutdown().await;
}

/// A server that has gone to another address while the proxy waits for it says so for each command, and the tether stays: the proxy
/// is the server that it knows.
#[tokio::test]
async fn a_proxy_without_its_server_is_no_reason_to_leave() {
    let (server, listener) = fake().await;
    let tether = connected(unsuspecting(config(listener.addr()))).await;
    let (mut handle, mut diary) = (tether.handle(), Diary::of(&tether));
    for (said, outcome) in [
        ("no upstream host", Outcome::Refused),
        ("upstream failure", Outcome::Ambiguous),
        ("ERR Connection refused", Outcome::Refused),
        ("ERR Connection timed out", Outcome::Ambiguous),
    ] {
        server.refuse("INCR", Some(said));
        let error = ask(&mut handle, &["INCR", "n"]).await.expect_err(said);
        assert_eq!(error.outcome(), Some(outcome), "{error}");
    }
    // Whoever had left would be at another link by now.
    server.refuse("INCR", None);
    ask(&mut handle, &["INCR", "n"]).await.expect("the server is back");
    assert_eq!(diary.count(is_off), 0, "{:#?}", diary.so_far());
    assert_eq!(server.connections_accepted(), 1);
    tether.shutdown().await;
}
