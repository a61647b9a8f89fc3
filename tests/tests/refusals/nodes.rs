//! A node of a cluster that is given to a tether for servers of their own: refused with the way to what was meant where its slots are
//! on several shards, and as good as any server where they are all its own.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::redis::{self, Value};
use redis_tether::{ClusterNode, Config, Event, FailureKind, Outcome, OutcomeExt, Protocol, Status, Tether};
use redis_tether_testkit::server::allocate_addresses;
use redis_tether_testkit::{Dns, FakeServer, Reply, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected, connected_in_memory};
use redis_tether_tests::load::Load;
use redis_tether_tests::on_each_server;
use redis_tether_tests::rig::resolver;
use redis_tether_tests::servers::{patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::time::sleep;

use super::clusters::{cluster, id};
use super::{ASK_EVERY, NAME, ask, ask_all, at, runs, words};

on_each_server!(one_of_several_shards, the_only_shard, a_replica_of_the_only_shard);

async fn one_of_several_shards(kind: ServerKind) {
    let (here, _there) = cluster(kind).await;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut config = config(here.addr());
        config.protocol = protocol;
        let tether = Tether::start(config.clone()).await.expect("a valid configuration");
        let mut diary = Diary::of(&tether);
        let refused = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Config, .. });
        diary.until("the refusal", refused).await;
        let says_why = |status: &Status| {
            status
                .last_error
                .as_deref()
                .is_some_and(|error| error.contains("ClusterTether") && error.contains("2 shards"))
        };
        let mut status = tether.status();
        within(PATIENCE, "the status to say why", status.wait_for(says_why)).await.expect("it goes on");
        let dials = tether.stats().dials;
        assert!(dials <= 5, "{dials} dials: only people can mend it");
        tether.shutdown().await;
        config.cluster_node = ClusterNode::Accept;
        let tether = connected(config).await;
        // The slots of these two are 15495 and 3300.
        ask(&mut tether.handle(), &words(&["SET", "b", "1"])).await.expect("a key of its own");
        let error = ask(&mut tether.handle(), &words(&["GET", "a"])).await.expect_err("another one's");
        assert_eq!((error.code(), error.to_string().contains("ClusterTether")), (Some("MOVED"), false), "{error}");
        tether.shutdown().await;
    }
}

/// A primary that has all slots, and its replica.
async fn one_shard(kind: ServerKind) -> (Vec<SocketAddr>, Vec<Server>) {
    let addresses = allocate_addresses(2).expect("free addresses");
    let mut nodes = Vec::new();
    for addr in &addresses {
        let builder = Server::builder(&server_binary(kind)).on(*addr).config_line("cluster-enabled yes");
        let builder = ["cluster", "replica"]
            .iter()
            .fold(builder, |builder, whom| builder.config_line(&format!("{whom}-announce-ip {}", addr.ip())));
        nodes.push(builder.start().await.expect("a server"));
    }
    at(&nodes[0], &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    at(&nodes[0], &["CLUSTER", "MEET", &addresses[1].ip().to_string(), &addresses[1].port().to_string()]).await;
    let primary = id(&nodes[0]).await;
    until(&nodes[1], &["CLUSTER", "NODES"], &primary).await;
    at(&nodes[1], &["CLUSTER", "REPLICATE", &primary]).await;
    until(&nodes[1], &["INFO", "replication"], "master_link_status:up").await;
    for node in &nodes {
        until(node, &["CLUSTER", "INFO"], "cluster_state:ok").await;
    }
    (addresses, nodes)
}

/// Behind one name, as a cluster's configuration endpoint: the replica takes over, and the one that was primary sends everybody there.
async fn the_only_shard(kind: ServerKind) {
    let (addresses, nodes) = one_shard(kind).await;
    let dns = Dns::new();
    dns.set(NAME, addresses.iter().map(SocketAddr::ip).collect());
    let config = patient(Config::new(NAME, addresses[0].port()));
    let tether = Tether::builder(config).resolver(resolver(&dns)).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("all slots are its own");
    let load = Load::start(&tether.handle(), 4);
    let mut diary = Diary::of(&tether);
    sleep(Duration::from_millis(100)).await;
    at(&nodes[1], &["CLUSTER", "FAILOVER"]).await;
    diary.until("a link to the successor", |event| matches!(event, Event::Connected { .. })).await;
    sleep(Duration::from_millis(100)).await;
    load.finish().await.assert_none_failed();
    tether.shutdown().await;
}

/// A replica of a cluster sends reads to its primary, unless it is told that it is meant.
async fn a_replica_of_the_only_shard(kind: ServerKind) {
    let (_, nodes) = one_shard(kind).await;
    at(&nodes[0], &["SET", "key", "value"]).await;
    until(&nodes[1], &["INFO", "keyspace"], "db0:keys=1").await;
    let tether = connected(unsuspecting(config(nodes[0].addr()))).await;
    let mut diary = Diary::of(&tether);
    let mut replicas = tether.replicas();
    replicas.ready(PATIENCE).await.expect("it has one");
    for _ in 0..20 {
        let value = ask(&mut replicas, &words(&["GET", "key"])).await;
        assert_eq!(value, Ok(Value::BulkString(b"value".to_vec())));
    }
    assert_eq!((runs(&nodes[1], "get").await, tether.stats().fallbacks), (20, 0), "{:#?}", diary.so_far());
    tether.shutdown().await;
}

/// It stays a primary then, and most keys are somebody else's.
#[tokio::test(start_paused = true)]
async fn the_only_shard_that_is_joined_by_another() {
    let server = FakeServer::new();
    let hello = ["server", "redis", "version", "7.4.0", "mode", "cluster", "role", "master"];
    server.answer("HELLO", Some(Reply::Array(hello.map(Reply::bulk).into())));
    let entry = |first, last, host| {
        let node = Reply::Array(vec![Reply::bulk(host), Reply::Int(6379), Reply::bulk(host)]);
        Reply::Array(vec![Reply::Int(first), Reply::Int(last), node])
    };
    let alone = || Reply::Array(vec![entry(0, 16383, "10.0.0.1")]);
    server.answer("CLUSTER|SLOTS", Some(alone()));
    let tether = connected_in_memory(&server, |_| {}).await;
    let mut diary = Diary::of(&tether);
    let joined = Reply::Array(vec![entry(0, 8191, "10.0.0.1"), entry(8192, 16383, "10.0.0.2")]);
    server.answer("CLUSTER|SLOTS", Some(joined));
    server.refuse("GET", Some("MOVED 15495 10.0.0.2:6379"));
    let mut handle = tether.handle();
    let sent = tokio::spawn(async move { ask(&mut handle, &words(&["GET", "a"])).await });
    let refused = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Config, .. });
    diary.until("the refusal", refused).await;
    sleep(Duration::from_secs(1)).await;
    let back = |event: &Event| matches!(event, Event::Resumed { .. } | Event::Connected { .. });
    assert_eq!(diary.count(back), 0, "{:#?}", diary.so_far());
    assert!(!sent.is_finished(), "it is held");
    let error = tether.status().borrow().last_error.clone().unwrap_or_default();
    assert!(error.contains("2 shards"), "{error}");
    server.answer("CLUSTER|SLOTS", Some(alone()));
    server.refuse("GET", None);
    assert_eq!(within(PATIENCE, "the answer", sent).await.expect("no panic"), Ok(Value::Nil));
    tether.shutdown().await;
}

async fn until(node: &Server, question: &[&str], told: &str) {
    within(PATIENCE, told, async {
        while !at(node, question).await.text().is_some_and(|text| text.contains(told)) {
            sleep(ASK_EVERY).await;
        }
    })
    .await;
}

/// Nobody could say before that it is a node: `HELLO` is denied.
#[tokio::test(start_paused = true)]
async fn whoever_could_not_say_what_it_is_says_it_with_moved() {
    let server = FakeServer::new();
    server.unknown(&["HELLO"]);
    let tether = connected_in_memory(&server, |_| {}).await;
    server.refuse("GET", Some("MOVED 15495 10.0.0.2:6379"));
    let mut handle = tether.handle();
    let error = ask(&mut handle, &words(&["GET", "a"])).await.expect_err("it says so");
    assert_eq!(error.redirect_node(), Some(("10.0.0.2:6379", 15495)));
    assert_eq!(error.outcome(), Some(Outcome::Refused), "{error}");
    assert!(error.to_string().contains("ClusterTether"), "{error}");
    let mut pipeline = redis::pipe();
    pipeline.set("b", 1).get("a");
    let error = ask_all::<Value>(&mut handle, &pipeline).await.expect_err("one of them");
    assert!(error.to_string().contains("ClusterTether"), "{error}");
    assert_eq!(tether.stats().refusal_replies, 0, "the link stays");
    tether.shutdown().await;
}
