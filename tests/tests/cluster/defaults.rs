//! An election that takes longer than commands are held by default: what callers of that shard are told meanwhile, and that nobody need
//! do anything.

use std::time::Duration;

use redis_tether::{ClusterTether, CommandError, CommandSettings, Outcome, OutcomeExt, Protocol, Reason};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::watch::PATIENCE;
use redis_tether_tests::{on_each_server, rig};

use super::world::{Load, TURN, World, assert_once, held};

on_each_server!(an_election_beyond_the_hold_window);

/// Longer than the hold window, and shorter than the 15 s that nodes have by default.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);

async fn an_election_beyond_the_hold_window(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    world.cluster.elect_after(NODE_TIMEOUT).await.expect("taken");
    let mut config = world.config(Protocol::Resp2);
    config.commands = CommandSettings::default();
    let window = config.commands.hold_window;
    let builder = ClusterTether::builder(config).resolver(rig::resolver(&world.dns));
    let tether = builder.start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the cluster is well");
    let keys = [0, 1].map(|shard| world.cluster.key_in(shard, "log"));
    let [struck, other] = keys.clone().map(|key| Load::start(&tether.handle(), vec![key]));
    struck.go_on_for(50).await;

    world.cluster.primary(0).kill().await.expect("killed");
    world.cluster.taken_over(world.cluster.replica(0)).await.expect("elected");
    // Again and again, as callers do; nothing else is done.
    struck.go_on_for(50).await;
    let (struck, other) = (struck.finish().await.remove(0), other.finish().await.remove(0));

    other.assert_none_failed();
    let outcome = |outcome| struck.failed.iter().filter(move |(_, error)| error.outcome() == Some(outcome));
    let (ambiguous, turned_away) = (outcome(Outcome::Ambiguous).count(), outcome(Outcome::NotSent).count());
    assert!(ambiguous <= 1, "one was in flight: {ambiguous}");
    assert_eq!(turned_away + ambiguous, struck.failed.len(), "{:?}", struck.failed.last());
    assert!(turned_away > 0, "the election was over within the hold window");
    for (_, error) in outcome(Outcome::NotSent) {
        assert_eq!(error.command_error().map(CommandError::reason), Some(Reason::HoldWindowPassed), "{error}");
        let down_for = error.command_error().and_then(CommandError::down_for).expect("there was no link");
        assert!(down_for >= window, "{error}");
    }
    assert_once(&held(&mut tether.handle(), &keys[0]).await, &struck);
    tether.shutdown().await;
}
