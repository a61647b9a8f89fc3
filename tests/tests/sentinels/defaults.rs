//! An election that takes longer than commands are held by default: what is told meanwhile, and that nobody need do anything.

use std::time::Duration;

use redis_tether::{CommandError, CommandSettings, Outcome, OutcomeExt, Protocol, Reason};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::load::Load;
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::PATIENCE;

use crate::world::{TURN, World};

on_each_server!(an_election_beyond_the_hold_window);

const CALLERS: usize = 4;

/// Longer than the hold window, and shorter than the 30 s that sentinels have by default.
const DOWN_AFTER: Duration = Duration::from_secs(5);

async fn an_election_beyond_the_hold_window(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    world.deployment.take_for_down_after(DOWN_AFTER).await.expect("told");
    let mut config = world.config(Protocol::Resp2);
    config.commands = CommandSettings::default();
    let window = config.commands.hold_window;
    let tether = world.tether(config).await;
    tether.ready(PATIENCE).await.expect("the primary is well");
    let load = Load::start(&tether.handle(), CALLERS);
    load.go_on_for(50).await;

    let mut announcements = world.deployment.announcements().await.expect("subscriptions");
    world.deployment.nodes[0].kill().await.expect("killed");
    let (_, to) = announcements.next().await.expect("announced");
    // Again and again, as callers do; nothing else is done.
    load.go_on_for(50).await;
    let tally = load.finish().await;
    let address = tether.status().borrow().address.clone().expect("it serves");
    assert_eq!(address.to_string(), to.to_string());

    let ambiguous = tally.with(Outcome::Ambiguous).len();
    assert!(ambiguous <= CALLERS, "{ambiguous} failed, {CALLERS} were in flight");
    let turned_away = tally.with(Outcome::NotSent);
    assert_eq!(turned_away.len() + ambiguous, tally.failed.len(), "{:?}", tally.failed.last());
    assert!(turned_away.len() >= CALLERS, "the election was over within the hold window");
    for (_, error) in tally.failed.iter().filter(|(_, error)| error.outcome() == Some(Outcome::NotSent)) {
        assert_eq!(error.command_error().map(CommandError::reason), Some(Reason::HoldWindowPassed), "{error}");
        let down_for = error.command_error().and_then(CommandError::down_for).expect("there was no link");
        assert!(down_for >= window, "{error}");
        assert!(error.to_string().contains("not sent: hold window passed, no link for "), "{error}");
    }
    tally.assert_none_too_often(&world.values_at(to, redis_tether_tests::load::LIST).await);
    tether.shutdown().await;
}
