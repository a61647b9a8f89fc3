//! Certificates are renewed while commands go on: nothing fails, nothing needs a restart, and the next link goes by what is
//! there then.

use std::fs;

use redis_tether::{Event, Tether};
use redis_tether_testkit::{Deployment, Dns, Server, ServerKind, TlsFiles};
use redis_tether_tests::load::{LIST, Load};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::tls::settings;
use redis_tether_tests::watch::{Diary, PATIENCE, within};

use super::{NAME, files, tether};

on_each_server!(renewed_under_load, half_a_renewal_leaves_what_was_there);

const CALLERS: usize = 8;

/// Two nodes behind one name, and a tether that serves from the first.
async fn served(kind: ServerKind, files: &TlsFiles) -> (Deployment, Tether) {
    let nodes = Deployment::start_over_tls(&server_binary(kind), files).await.expect("two servers");
    let dns = Dns::new();
    dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
    let tether = tether(kind, &dns, nodes.tls_port().expect("they speak TLS"), Some(settings(files))).await;
    tether.ready(PATIENCE).await.expect("the primary is well");
    (nodes, tether)
}

async fn reload(nodes: &Deployment) {
    for node in [&nodes.primary, &nodes.replica] {
        node.reload_tls().await.expect("what it reads is sound");
    }
}

/// Has a new link made, and waits for it.
async fn relinked(tether: &Tether, diary: &mut Diary) {
    tether.reconnect().expect("allowed");
    diary.until("a new link", |event| matches!(event, Event::Connected { .. })).await;
}

async fn values_at(node: &Server) -> Vec<String> {
    let reply = node.command(&["LRANGE", LIST, "0", "-1"]).await.expect("the node answers");
    let redis_tether_testkit::Reply::Array(values) = reply else { panic!("not a list: {reply:?}") };
    values.iter().filter_map(redis_tether_testkit::Reply::text).collect()
}

/// First the pairs, then the authority with them, then a failover to a node that has never seen the old ones.
async fn renewed_under_load(kind: ServerKind) {
    let mut files = files();
    let (nodes, tether) = served(kind, &files).await;
    let (mut diary, load) = (Diary::of(&tether), Load::start(&tether.handle(), CALLERS));
    load.go_on_for(50).await;

    files.renew_server().expect("written");
    files.renew_client().expect("written");
    reload(&nodes).await;
    load.go_on_for(50).await;
    assert_eq!(diary.count(|event| matches!(event, Event::Connected { .. })), 0, "a link outlives its certificates");
    relinked(&tether, &mut diary).await;
    load.go_on_for(50).await;

    // Whoever still goes by the old authority is refused, and refuses.
    files.renew_authority().expect("written");
    reload(&nodes).await;
    load.go_on_for(50).await;
    let (ip, port) = (nodes.replica_ip().to_string(), nodes.port().to_string());
    nodes.primary.command(&["FAILOVER", "TO", &ip, &port]).await.expect("the failover begins");
    let there = nodes.replica_ip().to_string();
    let is_there =
        |event: &Event| matches!(event, Event::Connected { address, .. } if address.to_string().starts_with(&there));
    diary.until("a link to the new primary", is_there).await;
    load.go_on_for(50).await;

    let tally = load.finish().await;
    tally.assert_none_failed();
    tally.assert_true_of(&values_at(&nodes.replica).await);
    let refused = diary.count(|event| matches!(event, Event::DialFailed { kind: redis_tether::FailureKind::Tls, .. }));
    assert_eq!(refused, 0, "no dial went by what was there before");
    tether.shutdown().await;
}

/// A new certificate arrives before its key does: the old pair, which the server still takes, serves until both are there.
async fn half_a_renewal_leaves_what_was_there(kind: ServerKind) {
    let files = files();
    let (nodes, tether) = served(kind, &files).await;
    let (mut diary, load) = (Diary::of(&tether), Load::start(&tether.handle(), CALLERS));
    let new = files.authority().issue(&["client.test"]).expect("a certificate");
    fs::write(files.client_cert_file(), &new.certificate).expect("written");
    relinked(&tether, &mut diary).await;
    fs::remove_file(files.client_key_file()).expect("removed");
    within(PATIENCE, "the next reconnect to be allowed", tokio::time::sleep(super::mistakes::RECONNECT_INTERVAL)).await;
    relinked(&tether, &mut diary).await;
    let tally = load.finish().await;
    tally.assert_none_failed();
    tally.assert_true_of(&values_at(&nodes.primary).await);
    tether.shutdown().await;
}
