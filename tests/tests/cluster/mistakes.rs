//! Endpoints that are not what the configuration takes them for: typed errors that say which, and no storm.

use std::time::Duration;

use redis_tether::{ClusterSeed, ClusterTether, Config, ConfigError, StartError, Tether};
use redis_tether_testkit::server::{allocate_addresses, free_port};
use redis_tether_testkit::tls::ClientCertificates;
use redis_tether_testkit::{Server, ServerKind, TlsFiles};
use redis_tether_tests::fakes::config;
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::{counted, reason};
use tokio::time::{Instant, sleep_until};

on_each_server!(a_server_of_its_own, a_cluster_without_slots, a_node_that_speaks_tls);

fn cluster_at(server: &Server) -> Config {
    Config::cluster([ClusterSeed::new(server.addr().ip().to_string(), server.addr().port())])
}

async fn assert_told(config: Config, words: &str) {
    let tether = ClusterTether::start(config).await.expect("a valid configuration");
    reason(words, async |limit| tether.ready(limit).await).await;
    tether.shutdown().await;
}

async fn connections(server: &Server) -> u64 {
    let info = server.full_info().await.expect("an answer");
    info.number("total_connections_received").and_then(|number| number.try_into().ok()).expect("a number")
}

async fn a_server_of_its_own(kind: ServerKind) {
    let server = Server::start(&server_binary(kind)).await.expect("a server");
    let (before, begun) = (connections(&server).await, Instant::now());
    let tether = ClusterTether::start(cluster_at(&server)).await.expect("a valid configuration");
    let told = reason("is no node of a cluster", async |limit| tether.ready(limit).await).await;
    assert!(told.contains("use redis://"), "{told}");
    // At the pace of refusals: 50, 100, 200 ms and then a quarter of a second, with jitter down to the half.
    sleep_until(begun + Duration::from_millis(1500)).await;
    let asked = counted("the server to be asked again", 2, async || connections(&server).await - before).await;
    let most = 12 + 8 * (1 + begun.elapsed().as_secs());
    assert!(asked <= most, "asked {asked} times in {:?}", begun.elapsed());
    tether.shutdown().await;
}

async fn a_cluster_without_slots(kind: ServerKind) {
    let server = Server::builder(&server_binary(kind)).config_line("cluster-enabled yes").start().await;
    assert_told(cluster_at(&server.expect("a server")), "has assigned no slots").await;
}

async fn a_node_that_speaks_tls(kind: ServerKind) {
    let files = TlsFiles::create(&["cluster.test"]).expect("certificates");
    let addr = allocate_addresses(1).expect("a free address")[0];
    let port = free_port(addr.ip()).expect("a free port");
    let builder = Server::builder(&server_binary(kind)).on(addr).tls(port, &files, ClientCertificates::NotAsked);
    let server = builder.config_line("cluster-enabled yes").start().await.expect("a server");
    let plain = Config::cluster([ClusterSeed::new(server.addr().ip().to_string(), port)]);
    assert_told(plain, "the server speaks TLS at this port").await;
}

#[tokio::test]
async fn each_kind_of_tether_wants_its_own_kind_of_endpoint() {
    let cluster = Config::cluster([ClusterSeed::new("localhost", 6379)]);
    let refused = Tether::start(cluster).await.expect_err("not for a tether");
    assert!(matches!(refused, StartError::Config(ConfigError::Cluster { .. })), "{refused}");
    assert!(refused.to_string().contains("ClusterTether"), "{refused}");
    let server = config(([127, 0, 0, 1], 6379).into());
    let refused = ClusterTether::start(server).await.expect_err("not for a cluster");
    assert!(refused.to_string().contains("redis+cluster://"), "{refused}");
}
