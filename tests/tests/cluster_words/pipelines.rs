//! What goes to all shards: which of them have to answer, and which they are, in a pipeline that waits for a slot while it becomes known
//! that they are others.

use redis_tether::redis::{self, AsyncCommands};
use redis_tether::{Outcome, OutcomeExt};
use redis_tether_testkit::Reply;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::time::sleep;

use super::world::{Entry, FIRST, FIRST_SLOT, SECOND, World, ms};

/// All but one slot of the first half.
fn all_but_one() -> [Entry; 3] {
    [Entry(0, FIRST_SLOT - 1, 0, None), Entry(FIRST_SLOT + 1, 8191, 0, None), Entry(8192, 16383, 1, None)]
}

/// What `DBSIZE` says behind a `GET` that waits until this is the map; then everything is flushed.
async fn counted(world: &World, before: &[Entry], after: &[Entry]) -> u64 {
    world.all_say(before, 1);
    let tether = world.start(world.config()).await;
    let mut handle = tether.handle();
    handle.get::<_, Option<u32>>(SECOND).await.expect("this slot is known");
    let mut pipeline = redis::pipe();
    pipeline.get(FIRST).ignore().cmd("DBSIZE").cmd("FLUSHALL").ignore();
    let sent = tokio::spawn(async move { pipeline.query_async::<(u64,)>(&mut handle).await });
    sleep(ms(100)).await;
    assert!(!sent.is_finished(), "nobody has the slot");
    world.all_say(after, 2);
    let told = within(PATIENCE, "the pipeline", sent).await.expect("no panic");
    tether.shutdown().await;
    told.expect("answers").0
}

/// Who was the first of one is the second of two.
#[tokio::test(start_paused = true)]
async fn a_shard_comes_before_those_that_were_known() {
    let world = World::new(2);
    world.nodes[1].run(&["SET", SECOND, "7"]);
    let after = [Entry(0, 8191, 0, None), Entry(8192, 16383, 1, None)];
    assert_eq!(counted(&world, &[Entry(8192, 16383, 1, None)], &after).await, 1);
    assert_eq!([world.nodes[0].executions("FLUSHALL"), world.nodes[1].executions("FLUSHALL")], [1, 1]);
}

/// Each is asked once, whoever has the slot by which it was known.
#[tokio::test(start_paused = true)]
async fn the_first_slot_moves() {
    let world = World::new(2);
    world.nodes[0].run(&["MSET", "one", "1", "two", "2"]);
    world.nodes[1].run(&["SET", SECOND, "7"]);
    let after = [Entry(0, 0, 1, None), Entry(1, 8191, 0, None), Entry(8192, 16383, 1, None)];
    assert_eq!(counted(&world, &all_but_one(), &after).await, 3);
    assert_eq!([world.nodes[0].executions("FLUSHALL"), world.nodes[1].executions("FLUSHALL")], [1, 1]);
}

/// Nobody is asked in its place.
#[tokio::test(start_paused = true)]
async fn a_shard_is_dissolved() {
    let world = World::new(2);
    world.nodes[0].run(&["MSET", "one", "1", "two", "2"]);
    assert_eq!(counted(&world, &all_but_one(), &[Entry(0, 16383, 0, None)]).await, 2);
    assert_eq!([world.nodes[0].executions("FLUSHALL"), world.nodes[1].executions("FLUSHALL")], [1, 0]);
}

/// A key of another one is as good.
#[tokio::test(start_paused = true)]
async fn a_shard_that_refuses_is_not_missed_where_one_will_do() {
    let world = World::new(2);
    let tether = world.serving().await;
    let mut handle = tether.handle();
    world.nodes[0].refuse("RANDOMKEY", Some("NOPERM no permissions"));
    world.nodes[1].answer("RANDOMKEY", Some(Reply::bulk("k")));
    let key: String = redis::cmd("RANDOMKEY").query_async(&mut handle).await.expect("a key");
    assert_eq!(key, "k");
    world.nodes[1].answer("RANDOMKEY", Some(Reply::Nil));
    redis::cmd("RANDOMKEY").query_async::<Option<String>>(&mut handle).await.expect_err("nobody knows");
    tether.shutdown().await;
}

/// Whoever repeats it would do that twice.
#[tokio::test(start_paused = true)]
async fn a_script_that_failed_half_way_has_done_something() {
    let world = World::new(2);
    let mut config = world.config();
    config.commands.hold_window = ms(100);
    let tether = world.start(config).await;
    tether.ready(PATIENCE).await.expect("both are well");
    world.nodes[0].refuse("EVAL", Some("WRONGTYPE no counter script: 0a1b2c, on @user_script:1."));
    world.nodes[1].crash();
    let mut pipeline = redis::pipe();
    pipeline.cmd("EVAL").arg("redis.call('INCR', KEYS[1]) redis.call('LPUSH', KEYS[1], 1)").arg(1).arg(FIRST);
    pipeline.set(SECOND, 1);
    let told = pipeline.query_async::<()>(&mut tether.handle()).await;
    let error = told.expect_err("nobody has the other slot");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    tether.shutdown().await;
}

/// Its replies say where it goes on, and nobody looks at them on the way.
#[tokio::test(start_paused = true)]
async fn what_goes_to_one_node_or_from_one_to_the_next_is_refused_in_them() {
    let world = World::new(2);
    let tether = world.serving().await;
    for words in [&["SCAN", "0"][..], &["CLUSTER", "FLUSHSLOTS"], &["WAIT", "1", "0"]] {
        for mut pipeline in [redis::pipe(), redis::pipe().atomic().to_owned()] {
            pipeline.get(FIRST).cmd(words[0]).arg(&words[1..]);
            let told = pipeline.query_async::<Vec<redis::Value>>(&mut tether.handle()).await;
            let error = told.expect_err("of one node");
            assert_eq!(error.outcome(), Some(Outcome::NotSent), "{words:?}: {error}");
            assert!(error.to_string().contains("it speaks of one node"), "{words:?}: {error}");
        }
    }
    assert_eq!([world.nodes[0].commands("GET"), world.nodes[1].commands("GET")], [0, 0]);
    tether.shutdown().await;
}
