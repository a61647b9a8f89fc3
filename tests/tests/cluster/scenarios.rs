//! The scenarios that the example shows, as it plays them: one in plain, and over TLS the one that needs another cluster.

use std::time::Duration;

use redis_tether::{ClusterSeed, ClusterTether, Config};
use redis_tether_testkit::ServerKind;
use redis_tether_testkit::scenario::{ClusterScenario, ClusterStage, Report, Timings};
use redis_tether_tests::servers::{server_binary, without_slow_lookups};
use redis_tether_tests::tls::settings;
use redis_tether_tests::watch::PATIENCE;
use redis_tether_tests::writer::Writer;
use redis_tether_tests::{on_each_server, rig};

use super::world::{TURN, allowance};

on_each_server!(a_planned_failover, a_replacement_over_tls);

/// No write fails, and none is lost.
async fn a_planned_failover(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let mut stage = ClusterStage::set(&server_binary(kind), ClusterScenario::Planned).await.expect("a cluster");
    let report = play(&mut stage).await;
    let failed: Vec<_> = report.failures().collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(report.missing, Some(0), "writes that were confirmed and are not there");
    assert_recovered(&report, Duration::from_millis(300));
}

/// The names of the nodes and that of the endpoint lead to the others, whose certificates are for the same names.
async fn a_replacement_over_tls(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let stage = ClusterStage::set_over_tls(&server_binary(kind), ClusterScenario::Replace).await;
    let report = play(&mut stage.expect("two clusters")).await;
    assert!(report.failed() <= 1, "one was in flight: {:?}", report.failures().collect::<Vec<_>>());
    assert_recovered(&report, Duration::from_millis(1000));
}

async fn play(stage: &mut ClusterStage) -> Report {
    let (name, port) = stage.endpoint();
    let mut config = without_slow_lookups(Config::cluster([ClusterSeed::new(name, port)]));
    config.tls = stage.tls().map(settings);
    let tether = ClusterTether::builder(config).resolver(rig::resolver(stage.dns())).start().await.expect("valid");
    tether.ready(PATIENCE).await.expect("the cluster is well");
    let mut timings = Timings::quick();
    (timings.warm_up, timings.observe) = (Duration::from_millis(300), Duration::from_millis(300));
    let mut writer = Writer::new(tether.handle(), stage.prefix());
    let report = stage.play(&timings, &mut writer, &()).await.expect("the servers do their part");
    tether.shutdown().await;
    assert!(report.done() > 50, "{} writes", report.done());
    report
}

fn assert_recovered(report: &Report, bound: Duration) {
    let took = report.recovered_after().expect("it recovers");
    assert!(took <= bound + allowance(Duration::from_secs(2)), "{took:?} after the replica took over");
}
