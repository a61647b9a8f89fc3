//! Services with one stable address and a proxy of their own behind it: ElastiCache Serverless says that it is a cluster, and closes each
//! connection every so often as its nodes are replaced (github.com/redis/ioredis/issues/1865: every eleven days or so); Azure closes
//! what is idle for ten minutes. No notice is given.

use std::time::Duration;

use redis_tether::redis::Value;
use redis_tether::{Outcome, Role};
use redis_tether_testkit::{FakeServer, Reply};
use redis_tether_tests::fakes::{config, connected, connected_in_memory, fake};
use redis_tether_tests::load::{LIST, Load};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::time::sleep;

use super::{ask, is_connected, is_off};

/// `HELLO` of ElastiCache Serverless (github.com/phpredis/phpredis/issues/2724): the mode is `cluster`, the version has two parts.
fn serverless(server: &FakeServer) {
    let pair = |key: &str, value| (Reply::bulk(key), value);
    let hello = Reply::Map(vec![
        pair("server", Reply::bulk("redis")),
        pair("version", Reply::bulk("7.2")),
        pair("proto", Reply::Int(2)),
        pair("id", Reply::Int(0)),
        pair("mode", Reply::bulk("cluster")),
        pair("role", Reply::bulk("master")),
        pair("modules", Reply::Array(Vec::new())),
    ]);
    server.answer("HELLO", Some(hello));
    server.deny(&["ROLE", "INFO"]);
}

/// A link that carries nothing costs nothing when it is closed, however often.
#[tokio::test(start_paused = true)]
async fn an_idle_link_is_closed_every_so_often() {
    let server = FakeServer::new();
    serverless(&server);
    let tether = connected_in_memory(&server, |_| {}).await;
    assert_eq!(tether.status().borrow().role, Some(Role::Primary));
    let (mut handle, mut diary) = (tether.handle(), Diary::of(&tether));
    for count in 1..=100 {
        sleep(Duration::from_secs(10)).await;
        server.kill_connections();
        // At once: nobody has noticed yet.
        assert_eq!(ask(&mut handle, &["INCR", "n"]).await, Ok(Value::Int(count)));
        diary.until("another link", is_connected).await;
    }
    assert_eq!((server.connections_accepted(), server.executions("INCR")), (101, 100));
    tether.shutdown().await;
}

/// What was in flight at that moment is uncertain, and nothing else.
#[tokio::test]
async fn a_busy_link_is_closed_every_so_often() {
    const CALLERS: usize = 8;
    const TIMES: usize = 10;
    let (server, listener) = fake().await;
    serverless(&server);
    let tether = connected(config(listener.addr())).await;
    let mut diary = Diary::of(&tether);
    let load = Load::start(&tether.handle(), CALLERS);
    for _ in 0..TIMES {
        load.go_on_for(50).await;
        server.kill_connections();
        diary.until("another link", is_connected).await;
    }
    load.go_on_for(50).await;
    let tally = load.finish().await;
    let uncertain = tally.with(Outcome::Ambiguous).len();
    assert_eq!(tally.failed.len(), uncertain, "{:?}", tally.failed);
    assert!(uncertain <= CALLERS * TIMES, "{uncertain} commands were uncertain");
    let held = match server.run(&["LRANGE", LIST, "0", "-1"]) {
        Reply::Array(values) => values.iter().filter_map(Reply::text).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    tally.assert_true_of(&held);
    tether.shutdown().await;
}

/// It closes what has been idle for a while, as balancers do. Whoever probes is not idle, so that the link stays.
#[tokio::test(start_paused = true)]
async fn who_probes_is_not_idle() {
    let server = FakeServer::new();
    serverless(&server);
    let tether = connected_in_memory(&server, |_| {}).await;
    let mut diary = Diary::of(&tether);
    let mut before = server.commands("PING");
    // Azure's ten minutes, with room to spare.
    for _ in 0..60 {
        sleep(Duration::from_secs(10)).await;
        let now = server.commands("PING");
        assert!(now > before, "nothing was sent for ten seconds");
        before = now;
    }
    assert_eq!(diary.count(is_off), 0);
    tether.shutdown().await;
}

/// The whole of the service goes, and comes back at the same address.
#[tokio::test]
async fn the_service_is_away_for_a_moment() {
    let (server, listener) = fake().await;
    serverless(&server);
    let tether = connected(config(listener.addr())).await;
    let (mut handle, mut diary) = (tether.handle(), Diary::of(&tether));
    server.crash();
    listener.wait_until_closed().await.expect("nobody listens");
    let sent = tokio::spawn(async move { ask(&mut handle, &["INCR", "n"]).await });
    diary.until("the loss", is_off).await;
    server.restart();
    let answer = within(PATIENCE, "the answer", sent).await.expect("no panic");
    assert_eq!(answer, Ok(Value::Int(1)));
    tether.shutdown().await;
}
