//! Commands that wait, exactly in virtual time: how long they are held, in which order and how fast they are let go, when
//! they fail and as what; and that many who see one failure cause one recovery.

use std::time::Duration;

use redis_tether::redis::{RedisError, RedisResult, cmd};
use redis_tether::{Event, Outcome, OutcomeExt, Tether};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::world::*;

/// A write that was begun now, and how long it took.
fn write(tether: &Tether, id: &str) -> JoinHandle<(RedisResult<()>, Duration)> {
    let (mut handle, id, start) = (tether.handle(), id.to_owned(), Instant::now());
    tokio::spawn(async move {
        let outcome = set(&mut handle, &id).await;
        (outcome, start.elapsed())
    })
}

async fn failure(write: JoinHandle<(RedisResult<()>, Duration)>) -> (RedisError, Duration) {
    let (outcome, took) = timeout(PATIENCE, write).await.expect("the write ends").expect("no panic");
    (outcome.expect_err("it must fail"), took)
}

#[tokio::test(start_paused = true)]
async fn the_hold_window_is_exact() {
    let window = config().commands.hold_window;
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].crash();
    sleep(ms(1)).await;
    let early = write(&tether, "early");
    sleep(ms(1_500)).await;
    let late = write(&tether, "late");
    let (error, took) = failure(early).await;
    assert_eq!((error.outcome(), took), (Some(Outcome::NotSent), window - ms(1)), "{error}");
    let (error, took) = failure(late).await;
    assert_eq!((error.outcome(), took), (Some(Outcome::NotSent), window - ms(1_501)), "{error}");
    // After the window nobody waits any more.
    for _ in 0..100 {
        let (error, took) = failure(write(&tether, "later")).await;
        assert_eq!((error.outcome(), took), (Some(Outcome::NotSent), Duration::ZERO), "{error}");
    }
    world.nodes[0].restart();
    until_connected(&tether, 0).await;
    sleep(ms(1)).await;
    assert_eq!(world.nodes[0].executions("SET"), 0);
    // The next outage has a window of its own.
    world.nodes[0].crash();
    sleep(ms(1)).await;
    let (_, took) = failure(write(&tether, "again")).await;
    assert_eq!(took, window - ms(1));
}

/// Every node refuses, so that the connection actor gives up and is replaced again and again. One outage all the same.
#[tokio::test(start_paused = true)]
async fn fresh_incarnations_do_not_prolong_the_hold_window() {
    let world = World::new(2);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes.iter().for_each(|node| node.demote());
    let (error, took) = failure(write(&tether, "refused")).await;
    assert_eq!((error.outcome(), took), (Some(Outcome::Refused), config().commands.hold_window), "{error}");
    assert!(tether.stats().restarts > 0, "no incarnation gave up: {:?}", tether.stats());
}

#[tokio::test(start_paused = true)]
async fn before_the_first_link_the_window_starts_with_the_tether() {
    let world = World::new(1);
    world.nodes[0].crash();
    let tether = world.tether(config(), 1).await;
    sleep(ms(700)).await;
    let (error, took) = failure(write(&tether, "early")).await;
    assert_eq!((error.outcome(), took), (Some(Outcome::NotSent), ms(2_300)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_exact() {
    let deadline = config().commands.deadline;
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].hang();
    let sent = write(&tether, "sent");
    sleep(ms(300)).await;
    // The link is suspect by now, so this one is held.
    let policy = tether.handle().policy().deadline(ms(400));
    let mut handle = tether.handle().with_policy(policy);
    let start = Instant::now();
    let error = set(&mut handle, "held").await.expect_err("nobody answers");
    assert_eq!((error.outcome(), start.elapsed()), (Some(Outcome::NotSent), ms(400)), "{error}");
    let (error, took) = failure(sent).await;
    assert_eq!((error.outcome(), took), (Some(Outcome::Ambiguous), deadline), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_fails_fast_waits_for_nothing() {
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].crash();
    sleep(ms(1)).await;
    let start = Instant::now();
    let policy = tether.handle().policy().fail_fast();
    let mut handle = tether.handle().with_policy(policy);
    let error = set(&mut handle, "fast").await.expect_err("there is no link");
    assert_eq!((error.outcome(), start.elapsed()), (Some(Outcome::NotSent), Duration::ZERO), "{error}");
}

#[tokio::test(start_paused = true)]
async fn no_more_are_held_than_may_be() {
    let world = World::new(1);
    let mut config = config();
    config.commands.max_held = 10;
    let tether = world.tether(config, 1).await;
    until_connected(&tether, 0).await;
    world.nodes[0].crash();
    sleep(ms(1)).await;
    let held: Vec<_> = (0..10).map(|number| write(&tether, &format!("held {number}"))).collect();
    sleep(ms(1)).await;
    let (error, took) = failure(write(&tether, "one too many")).await;
    assert_eq!((error.outcome(), took), (Some(Outcome::NotSent), Duration::ZERO), "{error}");
    world.nodes[0].restart();
    for write in held {
        write.await.expect("no panic").0.expect("let go");
    }
    assert_eq!(world.executions("one too many"), 0);
}

/// First come, first served, 64 at first and then twice as many with each round trip.
#[tokio::test(start_paused = true)]
async fn held_commands_are_let_go_in_order_and_at_a_growing_pace() {
    const HELD: usize = 1_000;
    let one_way = ms(5);
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].crash();
    sleep(ms(1)).await;
    let held: Vec<_> = (0..HELD).map(|number| write(&tether, &format!("{number}"))).collect();
    sleep(ms(1)).await;
    world.net.latency(address(0), one_way);
    world.nodes[0].restart();
    for write in held {
        write.await.expect("no panic").0.expect("let go");
    }
    let writes = world.nodes[0].writes();
    let order: Vec<usize> = world.nodes[0].written_values().iter().map(|id| number(id)).collect();
    assert_eq!(order, (0..HELD).collect::<Vec<_>>());
    let mut batches: Vec<(Instant, usize)> = Vec::new();
    for write in writes {
        match batches.last_mut() {
            Some((at, count)) if *at == write.at => *count += 1,
            _ => batches.push((write.at, 1)),
        }
    }
    let sizes: Vec<usize> = batches.iter().map(|(_, count)| *count).collect();
    assert_eq!(sizes, [64, 128, 256, 512, 40]);
    let gaps: Vec<Duration> = batches.windows(2).map(|two| two[1].0 - two[0].0).collect();
    assert_eq!(gaps, [2 * one_way; 4]);
}

fn number(id: &[u8]) -> usize {
    std::str::from_utf8(id).expect("digits").parse().expect("a number")
}

/// They are let go first, and do not look. Those behind them are held up for as long as it takes to suspect a link, once.
#[tokio::test(start_paused = true)]
async fn who_was_let_go_and_does_not_look_holds_nobody_up() {
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].crash();
    sleep(ms(1)).await;
    let mut unseen = Vec::new();
    for number in 0..64 {
        let (mut handle, id) = (tether.handle(), format!("unseen {number}"));
        let mut command = Box::pin(async move { set(&mut handle, &id).await });
        assert!(timeout(Duration::ZERO, command.as_mut()).await.is_err(), "there is no link");
        unseen.push(command);
    }
    let held: Vec<_> = (0..1_000).map(|number| write(&tether, &format!("held {number}"))).collect();
    sleep(ms(1)).await;
    world.nodes[0].restart();
    until_connected(&tether, 0).await;
    let start = Instant::now();
    for write in held {
        write.await.expect("no panic").0.expect("let go");
    }
    let limit = config().detection.suspect_after + rounding(2);
    assert!(start.elapsed() <= limit, "held up for {:?}", start.elapsed());
    let status = tether.status().borrow().clone();
    assert_eq!(status.phase, redis_tether::Phase::Connected, "{status}");
    for command in unseen {
        command.await.expect("sent when it is looked at");
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_held_is_never_executed() {
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].crash();
    sleep(ms(1)).await;
    let gone: Vec<_> = (0..200).map(|number| write(&tether, &format!("gone {number}"))).collect();
    let stays = write(&tether, "stays");
    sleep(ms(1)).await;
    gone.iter().for_each(JoinHandle::abort);
    world.nodes[0].restart();
    stays.await.expect("no panic").0.expect("let go");
    assert_eq!(world.nodes[0].executions("SET"), 1);
    assert_eq!(tether.stats().held_now, 0);
}

/// What one failure causes, however many callers see it.
async fn a_hundred_see(fail: impl AsyncFn(&World)) -> (World, Vec<Event>, Vec<RedisResult<()>>) {
    let world = World::new(2);
    let tether = world.settled(1, ms(10_000)).await;
    let mut events = tether.events();
    let callers: Vec<_> = (0..100).map(|number| write(&tether, &format!("caller {number}"))).collect();
    fail(&world).await;
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(timeout(PATIENCE, caller).await.expect("the write ends").expect("no panic").0);
    }
    sleep(ms(5_000)).await;
    (world, drain(&mut events), outcomes)
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_who_lose_one_link_cause_one_recovery() {
    let (world, events, outcomes) = a_hundred_see(async |world| {
        world.nodes[0].hang();
        sleep(ms(10)).await;
        world.nodes[0].heal();
        world.net.reset(address(0));
    })
    .await;
    assert!(
        matches!(events.as_slice(), [Event::Lost { .. }, Event::Dialling { .. }, Event::Connected { .. }]),
        "{events:?}"
    );
    assert_eq!(world.dials(), 2);
    for outcome in outcomes {
        let error = outcome.expect_err("it was in flight");
        assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_who_are_refused_cause_one_recovery_and_lose_nothing() {
    let (world, events, outcomes) = a_hundred_see(async |world| {
        world.promote(1);
        world.name_means(&[0, 1]);
    })
    .await;
    let demotions = events.iter().filter(|event| matches!(event, Event::Demoted { .. })).count();
    let links = events.iter().filter(|event| matches!(event, Event::Connected { .. })).count();
    assert_eq!((demotions, links), (1, 1), "{events:?}");
    // The first link; one at each node after the refusal.
    assert_eq!(world.dials(), 3, "{events:?}");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.nodes[1].executions("SET"), 100);
}

/// Reports about a link that was replaced change nothing for the one that serves.
#[tokio::test(start_paused = true)]
async fn a_stale_report_does_nothing() {
    let world = World::new(2);
    let mut config = config();
    // So that a slow command is no reason to doubt the link.
    config.detection.suspect_after = ms(2_000);
    let tether = world.tether(config, 1).await;
    until_connected(&tether, 0).await;
    world.nodes[0].slow(ms(1_000));
    let slow = write(&tether, "slow");
    sleep(ms(10)).await;
    // The move leaves the old link to its command; then that link says READONLY, and is reset.
    world.nodes[1].promote();
    world.name_means(&[1]);
    tether.reconnect().expect("the first time");
    assert!(until_connected(&tether, 1).await < ms(900), "the command has its reply before the move");
    let epoch = tether.status().borrow().epoch;
    let mut events = tether.events();
    world.nodes[0].replicate_from(&world.nodes[1]);
    let (outcome, _) = slow.await.expect("no panic");
    outcome.expect("refused by the old primary, so sent again to the new one");
    world.net.reset(address(0));
    sleep(ms(10_000)).await;
    let events = drain(&mut events);
    assert!(events.is_empty(), "{events:?}");
    assert_eq!((tether.status().borrow().epoch, world.executions("slow")), (epoch, 1));
}

/// What a frozen primary has in its buffers it executes when it thaws. That is no second try of ours.
#[tokio::test(start_paused = true)]
async fn a_frozen_primary_thaws_minutes_later() {
    let world = World::new(2);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].freeze();
    let frozen = write(&tether, "frozen");
    world.nodes[1].promote();
    world.name_means(&[1]);
    let (error, took) = failure(frozen).await;
    assert_eq!((error.outcome(), took), (Some(Outcome::Ambiguous), ms(250)), "{error}");
    sleep(ms(180_000)).await;
    assert_eq!(world.executions("frozen"), 0);
    world.nodes[0].thaw();
    sleep(ms(10_000)).await;
    assert!(world.executions("frozen") <= 1);
    assert_eq!(world.nodes[1].executions("SET"), 0, "it was sent again");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_what_is_in_flight_finish() {
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].slow(ms(2_000));
    let in_flight = write(&tether, "in flight");
    sleep(ms(1)).await;
    let start = Instant::now();
    let again = tokio::spawn({
        let tether = tether.clone();
        async move { tether.shutdown().await }
    });
    tether.shutdown().await;
    assert_eq!(start.elapsed(), ms(1_999));
    again.await.expect("no panic");
    in_flight.await.expect("no panic").0.expect("it got its reply");
    let error = set(&mut tether.handle(), "after").await.expect_err("it has stopped");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
    tether.shutdown().await;
    assert_eq!(world.net.links(address(0)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_has_a_limit() {
    let world = World::new(1);
    let mut config = config();
    config.drain_timeout = ms(2_000);
    let tether = world.tether(config, 1).await;
    until_connected(&tether, 0).await;
    world.nodes[0].hang();
    let mut handle = tether.handle();
    let in_flight = tokio::spawn(async move { set(&mut handle, "in flight").await });
    sleep(ms(1)).await;
    let start = Instant::now();
    tether.shutdown().await;
    assert_eq!(start.elapsed(), ms(2_000));
    let error = in_flight.await.expect("no panic").expect_err("cut off");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
}

/// Reads go on over a link that refuses writes until there is a better one.
#[tokio::test(start_paused = true)]
async fn a_transaction_that_was_refused_is_sent_again_as_a_whole() {
    let world = World::new(2);
    let tether = world.settled(1, ms(10_000)).await;
    world.promote(1);
    world.name_means(&[1]);
    let mut transaction = redis_tether::redis::pipe();
    transaction.atomic().cmd("INCR").arg("a").ignore().cmd("INCR").arg("b");
    let (counted,): (u64,) = transaction.query_async(&mut tether.handle()).await.expect("sent again");
    assert_eq!((counted, world.executions("a"), world.executions("b")), (1, 1, 1));
    let value: u64 = cmd("GET").arg("a").query_async(&mut tether.handle()).await.expect("it serves");
    assert_eq!(value, 1);
}
