//! The mistakes that people make with TLS: each is told as what it is and with what to do, in the event, in the status and in the
//! failed command, and is tried again slowly until somebody has done it.

use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Event, FailureKind, Readiness, Tether, TlsSettings};
use redis_tether_testkit::tls::{Authority, ClientCertificates, Validity};
use redis_tether_testkit::{Server, ServerKind, TlsFiles};
use redis_tether_tests::on_each_server;
use redis_tether_tests::tls::{settings, trusting};
use redis_tether_tests::watch::{Diary, PATIENCE};
use tokio::time::sleep;

use super::{NAME, files, server, tether, tls_port};

/// How far apart two reconnects by hand must be.
pub(super) const RECONNECT_INTERVAL: Duration = Duration::from_millis(1100);

on_each_server!(
    a_certificate_for_another_name,
    an_expired_certificate,
    an_unknown_issuer,
    no_client_certificate,
    a_client_certificate_that_is_not_trusted,
    a_plain_client_at_a_tls_port,
    a_tls_client_at_a_plain_port,
    it_goes_on_trying_and_recovers,
);

/// Waits for the first failed dial, and holds it to what it should say.
async fn told(tether: &Tether, expected: &str) {
    let mut diary = Diary::of(tether);
    let failed = diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
    let Event::DialFailed { kind, error, .. } = failed else { unreachable!("it was asked for") };
    assert_eq!(kind, FailureKind::Tls, "{error}");
    assert!(error.contains(expected), "{error}");

    let status = tether.status().borrow().clone();
    assert_eq!(status.readiness(), Readiness::Down);
    assert!(status.to_string().contains(expected), "{status}");
    let policy = tether.handle().policy().fail_fast();
    let mut handle = tether.handle().with_policy(policy);
    let refused = handle.get::<_, String>("key").await.expect_err("there is no link").to_string();
    assert!(refused.contains(expected), "{refused}");
}

async fn put(server: &Server, files: &TlsFiles, authority: &Authority, validity: Validity, names: &[&str]) {
    let pair = authority.issue_valid(validity, names).expect("a certificate");
    files.put_server(&pair).expect("written");
    server.reload_tls().await.expect("the server takes it");
}

async fn a_certificate_for_another_name(kind: ServerKind) {
    let files = files();
    let (server, dns) = server(kind, &files, ClientCertificates::NotAsked, &[]).await;
    put(&server, &files, files.authority(), Validity::Now, &["other.test"]).await;
    let tether = tether(kind, &dns, tls_port(&server), Some(trusting(&files))).await;
    told(&tether, "the server's certificate is for other.test, not for redis.test: set tls.server_name").await;
    tether.shutdown().await;

    let named = trusting(&files).with_server_name("other.test");
    let tether = super::tether(kind, &dns, tls_port(&server), Some(named)).await;
    tether.ready(PATIENCE).await.expect("that is its name");
    tether.shutdown().await;
}

async fn an_expired_certificate(kind: ServerKind) {
    let files = files();
    let (server, dns) = server(kind, &files, ClientCertificates::NotAsked, &[]).await;
    put(&server, &files, files.authority(), Validity::Expired, &[NAME]).await;
    let tether = tether(kind, &dns, tls_port(&server), Some(trusting(&files))).await;
    told(&tether, "the server's certificate expired ").await;
    tether.shutdown().await;
}

async fn an_unknown_issuer(kind: ServerKind) {
    let (files, strangers) = (files(), files());
    let (server, dns) = server(kind, &files, ClientCertificates::NotAsked, &[]).await;
    let tether = tether(kind, &dns, tls_port(&server), Some(trusting(&strangers))).await;
    told(&tether, "nobody in tls.ca_file issued the server's certificate").await;
    tether.shutdown().await;
}

async fn no_client_certificate(kind: ServerKind) {
    let files = files();
    let (server, dns) = server(kind, &files, ClientCertificates::Required, &[]).await;
    let tether = tether(kind, &dns, tls_port(&server), Some(trusting(&files))).await;
    told(&tether, "client certificate").await;
    told(&tether, "set tls.cert_file and tls.key_file").await;
    tether.shutdown().await;
}

async fn a_client_certificate_that_is_not_trusted(kind: ServerKind) {
    let (files, strangers) = (files(), files());
    let (server, dns) = server(kind, &files, ClientCertificates::Required, &[]).await;
    let (cert, key) = (strangers.client_cert_file(), strangers.client_key_file());
    let tether = tether(kind, &dns, tls_port(&server), Some(trusting(&files).with_client_certificate(cert, key))).await;
    told(&tether, "the server refused the certificate in tls.cert_file").await;
    tether.shutdown().await;
}

async fn a_plain_client_at_a_tls_port(kind: ServerKind) {
    let files = files();
    let (server, dns) = server(kind, &files, ClientCertificates::NotAsked, &[]).await;
    let tether = tether(kind, &dns, tls_port(&server), None).await;
    told(&tether, "the server speaks TLS at this port: use rediss://").await;
    tether.shutdown().await;
}

async fn a_tls_client_at_a_plain_port(kind: ServerKind) {
    let files = files();
    let (server, dns) = server(kind, &files, ClientCertificates::NotAsked, &[]).await;
    let tether = tether(kind, &dns, server.addr().port(), Some(trusting(&files))).await;
    told(&tether, "the server does not speak TLS at this port: use redis://").await;
    tether.shutdown().await;
}

/// Nothing is final: when the certificate is put right the tether is back by itself, and until then it has not pressed.
async fn it_goes_on_trying_and_recovers(kind: ServerKind) {
    let files = files();
    let (server, dns) = server(kind, &files, ClientCertificates::Required, &[]).await;
    put(&server, &files, files.authority(), Validity::Expired, &[NAME]).await;
    let tether = tether(kind, &dns, tls_port(&server), Some(settings(&files))).await;
    told(&tether, "expired").await;
    let before = tether.stats().dials;
    sleep(Duration::from_secs(2)).await;
    let dials = tether.stats().dials - before;
    // At 50 ms and twice that each time, to 250 ms; half of each at the least, and what a fresh incarnation may add.
    assert!((2..=24).contains(&dials), "{dials} dials in 2 s");
    put(&server, &files, files.authority(), Validity::Now, &[NAME]).await;
    tether.ready(PATIENCE).await.expect("the certificate is good again");
    tether.shutdown().await;
}

/// TLS 1.2 refuses a client within the handshake, TLS 1.3 after it.
#[tokio::test]
async fn no_client_certificate_for_tls_1_2() {
    let files = files();
    let binary = redis_tether_tests::servers::server_binary(ServerKind::Redis);
    assert!(binary.speaks_tls(), "{binary} has no TLS of its own to set the version of");
    let lines = ["tls-protocols \"TLSv1.2\""];
    let (server, dns) = server(ServerKind::Redis, &files, ClientCertificates::Required, &lines).await;
    let without: TlsSettings = trusting(&files);
    let tether = tether(ServerKind::Redis, &dns, tls_port(&server), Some(without)).await;
    told(&tether, "set tls.cert_file and tls.key_file").await;
    tether.shutdown().await;
    let tether = super::tether(ServerKind::Redis, &dns, tls_port(&server), Some(settings(&files))).await;
    tether.ready(PATIENCE).await.expect("TLS 1.2 is spoken");
    tether.shutdown().await;
}
