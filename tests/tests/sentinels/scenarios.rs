//! A scenario that the example shows, as it plays it.

use std::time::Duration;

use redis_tether::{Config, SentinelNode, Tether};
use redis_tether_testkit::scenario::{SentinelScenario, SentinelStage, Timings};
use redis_tether_testkit::{SentinelDeployment, ServerKind};
use redis_tether_tests::servers::{server_binary, without_slow_lookups};
use redis_tether_tests::watch::PATIENCE;
use redis_tether_tests::writer::Writer;
use redis_tether_tests::{on_each_server, rig};

use super::world::{ALLOWANCE, BOUND, TURN};

on_each_server!(a_planned_failover);

/// No write fails. What went to the old primary before it was demoted is missing.
async fn a_planned_failover(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let stage = SentinelStage::set(&server_binary(kind), SentinelScenario::Planned).await;
    let mut stage = stage.expect("servers and sentinels");
    let nodes = stage.sentinels().map(|(name, port)| SentinelNode::new(name, port));
    let mut config = without_slow_lookups(Config::sentinel(nodes, SentinelDeployment::MASTER));
    // The sentinels may need more than one try to elect who leads the failover; that is not what is measured.
    (config.commands.hold_window, config.commands.deadline) = (Duration::from_secs(30), Duration::from_secs(30));
    let tether = Tether::builder(config).resolver(rig::resolver(stage.dns())).start().await.expect("valid");
    tether.ready(PATIENCE).await.expect("the primary is well");
    let mut timings = Timings::quick();
    (timings.warm_up, timings.observe) = (Duration::from_millis(300), Duration::from_millis(300));
    let mut writer = Writer::new(tether.handle(), String::new());
    let report = stage.play(&timings, &mut writer, &()).await.expect("everybody does their part");
    tether.shutdown().await;
    let failed: Vec<_> = report.failures().collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(report.done() > 50 && report.missing.is_some(), "{} writes, of a failover", report.done());
    let took = report.recovered_after().expect("it recovers");
    assert!(took <= BOUND + ALLOWANCE, "{took:?} after the announcement");
}
