//! Commands that wait for somebody to have their slot.

use redis_tether::redis::AsyncCommands;
use redis_tether::{Outcome, OutcomeExt, Reason};
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::time::{Instant, sleep};

use super::world::{Entry, FIRST, HALVES, SECOND, World, ms};

#[tokio::test(start_paused = true)]
async fn a_command_that_comes_before_the_first_survey_is_answered_right_after_it() {
    let world = World::new(2);
    let tether = world.start(world.config()).await;
    let begun = Instant::now();
    tether.handle().set::<_, _, ()>(FIRST, 1).await.expect("it is held until the slots are known");
    assert!(begun.elapsed() < ms(100), "{:?}", begun.elapsed());
    let stats = tether.stats();
    assert_eq!((stats.total.held_now, stats.total.not_sent), (0, 0), "{stats:?}");
    assert!(stats.total.held >= 1 && stats.surveys >= 1 && stats.total.links >= 1, "{stats:?}");
    tether.shutdown().await;
    let after = tether.stats();
    assert!(after.total.dials >= stats.total.dials, "{after:?} after {stats:?}");
}

/// Its slots are taken over by another shard, and it ends.
#[tokio::test(start_paused = true)]
async fn what_a_shard_held_that_is_gone_goes_to_its_heir() {
    let world = World::new(2);
    let tether = world.serving().await;
    world.nodes[0].crash();
    let (mut one, mut many) = (tether.handle(), tether.handle());
    let one = tokio::spawn(async move { one.set::<_, _, ()>(FIRST, 1).await });
    let many = tokio::spawn(async move { many.mset::<_, _, ()>(&[(FIRST, 1), (SECOND, 2)]).await });
    sleep(ms(200)).await;
    assert!(!one.is_finished() && !many.is_finished(), "they are held");
    world.all_say(&[Entry(0, 16383, 1, None)], 2);
    within(PATIENCE, "the command", one).await.expect("no panic").expect("the heir takes it");
    within(PATIENCE, "the pieces", many).await.expect("no panic").expect("the heir takes them");
    assert_eq!(tether.shards().len(), 1);
    tether.shutdown().await;
}

/// The same of one that was sent, refused, and held then.
#[tokio::test(start_paused = true)]
async fn what_was_refused_before_it_was_held_goes_to_the_heir_as_well() {
    let world = World::new(2);
    let tether = world.serving().await;
    world.nodes[0].refuse("SET", Some("CLUSTERDOWN The cluster is down"));
    let mut handle = tether.handle();
    let sent = tokio::spawn(async move { handle.set::<_, _, ()>(FIRST, 1).await });
    sleep(ms(20)).await;
    world.nodes[0].crash();
    sleep(ms(200)).await;
    assert!(!sent.is_finished() && world.nodes[0].commands("SET") > 0, "it was refused, and is held");
    world.all_say(&[Entry(0, 16383, 1, None)], 2);
    within(PATIENCE, "the command", sent).await.expect("no panic").expect("the heir takes it");
    assert_eq!(world.nodes[1].executions("SET"), 1);
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_nobody_has_is_waited_for_within_bounds() {
    let world = World::new(2);
    let second = || Entry(8192, 16383, 1, None);
    world.all_say(&[second()], 1);
    let mut config = world.config();
    config.commands.max_held_bytes = 1024;
    let tether = world.start(config).await;
    let mut handle = tether.handle();
    handle.get::<_, Option<u32>>(SECOND).await.expect("of no concern to others");
    let mut waiting = tether.handle();
    let first = tokio::spawn(async move { waiting.set::<_, _, ()>(FIRST, "x".repeat(600)).await });
    sleep(ms(10)).await;
    assert_eq!(tether.stats().total.held_now, 1);
    let error = handle.set::<_, _, ()>(FIRST, "x".repeat(600)).await.expect_err("too many bytes");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
    assert_eq!(error.command_error().map(|error| error.reason()), Some(Reason::HoldFull), "{error}");
    assert_eq!(tether.stats().total.not_sent, 1);
    world.all_say(&HALVES, 2);
    within(PATIENCE, "the first", first).await.expect("no panic").expect("somebody has its slot now");
    assert_eq!(tether.stats().total.held_now, 0);
    handle.set::<_, _, ()>(FIRST, "x".repeat(600)).await.expect("there is room again");
    tether.shutdown().await;
}
