//! A primary that does not go on from the one before is told of, where it lets us see that; and asking costs nobody a link.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Event, Tether};
use redis_tether_testkit::{Deployment, Dns, FakeServer, Reply, Server, ServerKind, SimNet};
use redis_tether_tests::on_each_server;
use redis_tether_tests::rig::{InMemory, resolver};
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::time::sleep;

on_each_server!(
    an_emptied_primary_is_told_of_and_a_promoted_replica_is_not,
    data_from_the_disk_are_another_history,
    a_snapshot_is_another_history_though_it_bears_its_name,
);

const NAME: &str = "redis.test";

fn is_connected(event: &Event) -> bool {
    matches!(event, Event::Connected { .. })
}

fn is_change(event: &Event) -> bool {
    matches!(event, Event::LineageChanged { .. })
}

/// Waits until this server has been asked, over the present link, and the answer has come back.
async fn settled(tether: &Tether, server: &Server) {
    within(PATIENCE, "the server to be asked for its history", async {
        loop {
            let clients = server.command(&["CLIENT", "LIST"]).await.expect("the server is well");
            if clients.text().is_some_and(|clients| clients.contains("cmd=info")) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    write(tether).await;
}

async fn write(tether: &Tether) {
    let mut handle = tether.handle();
    let written = handle.set::<_, _, ()>("key", "value");
    within(PATIENCE, "a write", written).await.expect("the server is well");
}

async fn an_emptied_primary_is_told_of_and_a_promoted_replica_is_not(kind: ServerKind) {
    let nodes = Deployment::start(&server_binary(kind)).await.expect("two servers");
    let dns = Dns::new();
    dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
    let config = Config::new(NAME, nodes.port());
    let tether = Tether::builder(config).resolver(resolver(&dns)).start().await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    tether.ready(PATIENCE).await.expect("the primary is well");
    settled(&tether, &nodes.primary).await;

    nodes.primary.kill_clients().await.expect("the server is well");
    let lost = diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    diary.until("another link to the same server", is_connected).await;
    settled(&tether, &nodes.primary).await;

    let (ip, port) = (nodes.replica_ip().to_string(), nodes.port().to_string());
    nodes.primary.command(&["FAILOVER", "TO", &ip, &port]).await.expect("the failover begins");
    let there =
        |event: &Event| matches!(event, Event::Connected { address, .. } if address.to_string().starts_with(&ip));
    diary.until("a link to the new primary", there).await;
    settled(&tether, &nodes.replica).await;
    assert_eq!(diary.count(is_change), 0, "{lost}; {:?}", diary.so_far());

    // As where a service manager is quicker than whoever fails over.
    nodes.primary.kill().await.expect("killed");
    nodes.replica.restart().await.expect("restarted");
    let change = diary.until("the change", is_change).await;
    assert!(matches!(change, Event::LineageChanged { is_empty: true, .. }), "{change:?}");
    assert!(change.to_string().ends_with("holds no keys at all"), "{change}");
    assert_eq!(diary.count(is_change), 1);
    tether.shutdown().await;
}

/// What is on the disk may lack what was confirmed last.
async fn data_from_the_disk_are_another_history(kind: ServerKind) {
    let builder = Server::builder(&server_binary(kind)).config_line("appendonly yes");
    let server = builder.start().await.expect("the server starts");
    let tether = Tether::start(Config::new(server.addr().ip().to_string(), server.addr().port())).await;
    let tether = tether.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    tether.ready(PATIENCE).await.expect("the server is well");
    settled(&tether, &server).await;
    server.stop().await.expect("stopped");
    server.restart().await.expect("restarted");
    let change = diary.until("the change", is_change).await;
    assert!(matches!(change, Event::LineageChanged { is_empty: false, .. }), "{change:?}");
    assert_eq!(server.command(&["EXISTS", "key"]).await.ok(), Some(Reply::Int(1)));
    tether.shutdown().await;
}

/// A primary that has had replicas writes the name of its history into its snapshots, and takes it up again from there: as it does
/// when it is promoted.
async fn a_snapshot_is_another_history_though_it_bears_its_name(kind: ServerKind) {
    let nodes = Deployment::start(&server_binary(kind)).await.expect("two servers");
    let addr = nodes.primary.addr();
    let tether = Tether::start(Config::new(addr.ip().to_string(), addr.port())).await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    tether.ready(PATIENCE).await.expect("the server is well");
    settled(&tether, &nodes.primary).await;
    let id = nodes.primary.info("master_replid").await.expect("INFO");
    nodes.primary.command(&["SAVE"]).await.expect("a snapshot");
    let mut handle = tether.handle();
    within(PATIENCE, "a write", handle.set::<_, _, ()>("later", "value")).await.expect("the server is well");
    nodes.primary.kill().await.expect("killed");
    nodes.primary.restart().await.expect("restarted");
    let change = diary.until("the change", is_change).await;
    assert!(matches!(change, Event::LineageChanged { is_empty: false, .. }), "{change:?}");
    assert_eq!(nodes.primary.info("master_replid2").await.ok(), Some(id), "the name of the history before");
    assert_eq!(
        nodes.primary.command(&["EXISTS", "key", "later"]).await.ok(),
        Some(Reply::Int(1)),
        "what was confirmed is gone"
    );
    tether.shutdown().await;
}

async fn simulated() -> (FakeServer, Tether, Diary) {
    let (net, server) = (SimNet::new(), FakeServer::new());
    net.bind(SocketAddr::from(([10, 0, 0, 1], 6379)), server.clone());
    let builder = Tether::builder(Config::new("10.0.0.1", 6379)).transport(InMemory(net)).seed(7);
    let tether = builder.start().await.expect("a valid configuration");
    let diary = Diary::of(&tether);
    (server, tether, diary)
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_once_for_each_link() {
    let (server, tether, mut diary) = simulated().await;
    tether.ready(PATIENCE).await.expect("the server is well");
    sleep(Duration::from_secs(600)).await;
    assert_eq!(server.commands("INFO"), 4);
    tether.reconnect().expect("allowed");
    sleep(Duration::from_secs(600)).await;
    assert_eq!((server.commands("INFO"), diary.count(is_connected)), (8, 2));
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_as_good_an_answer_as_any() {
    let (server, tether, mut diary) = simulated().await;
    server.deny(&["INFO"]);
    tether.ready(PATIENCE).await.expect("the server is well");
    for _ in 0..4 {
        server.kill_connections();
        sleep(Duration::from_secs(60)).await;
    }
    assert_eq!((diary.count(is_connected), diary.count(is_change)), (5, 0));
    assert_eq!(server.commands("INFO"), 20, "what was denied may be allowed the next time");
    write(&tether).await;
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_on_the_question_is_not_asked_for_ever() {
    let (server, tether, mut diary) = simulated().await;
    server.close_on(&["INFO"]);
    tether.ready(PATIENCE).await.expect("the server is well");
    sleep(Duration::from_secs(60)).await;
    write(&tether).await;
    assert_eq!(diary.count(is_connected), 3, "{:?}", diary.so_far());
    tether.shutdown().await;
}
