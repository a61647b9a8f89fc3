//! `SCAN`, whose cursors say which shard they are at, while the slots of shards move.

use redis_tether::redis::{self, RedisResult};
use redis_tether::{ClusterHandle, Outcome, OutcomeExt, Reason};
use redis_tether_testkit::Reply;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::time::sleep;

use super::world::{Entry, World, ms};

/// Each node has a key of its own, and says so at once.
fn have_keys(world: &World) {
    for (number, node) in world.nodes.iter().enumerate() {
        let keys = Reply::Array(vec![Reply::bulk(format!("k{number}"))]);
        node.answer("SCAN", Some(Reply::Array(vec![Reply::bulk("0"), keys])));
    }
}

async fn scan(handle: &mut ClusterHandle, cursor: u64) -> RedisResult<(u64, Vec<String>)> {
    within(PATIENCE, "a part of the scan", redis::cmd("SCAN").arg(cursor).query_async(handle)).await
}

/// From this cursor on.
async fn rest(handle: &mut ClusterHandle, mut cursor: u64) -> Vec<String> {
    let mut keys = Vec::new();
    while cursor > 0 {
        let (next, some) = scan(handle, cursor).await.expect("a part of the scan");
        keys.extend(some);
        cursor = next;
    }
    keys
}

/// The usual way: lowest slots first, which changes who has the first of all.
#[tokio::test(start_paused = true)]
async fn the_first_slot_moves_between_two_shards() {
    let world = World::new(2);
    have_keys(&world);
    let tether = world.serving().await;
    let mut handle = tether.handle();
    let (cursor, first) = scan(&mut handle, 0).await.expect("a part of the scan");
    world.all_say(&[Entry(0, 0, 1, None), Entry(1, 8191, 0, None), Entry(8192, 16383, 1, None)], 2);
    sleep(ms(5_000)).await;
    assert_eq!((first, rest(&mut handle, cursor).await), (vec!["k0".to_owned()], vec!["k1".to_owned()]));
    tether.shutdown().await;
}

/// What has moved to it has not been seen before.
#[tokio::test(start_paused = true)]
async fn a_shard_that_is_new_comes_last() {
    let world = World::new(3);
    have_keys(&world);
    let tether = world.serving().await;
    let mut handle = tether.handle();
    let (cursor, _) = scan(&mut handle, 0).await.expect("a part of the scan");
    world.all_say(&[Entry(0, 99, 2, None), Entry(100, 8191, 0, None), Entry(8192, 16383, 1, None)], 2);
    sleep(ms(5_000)).await;
    assert_eq!(rest(&mut handle, cursor).await, ["k1", "k2"]);
    tether.shutdown().await;
}

/// Where its keys are now, may have been looked at before.
#[tokio::test(start_paused = true)]
async fn the_next_shard_is_dissolved() {
    let world = World::new(2);
    have_keys(&world);
    let tether = world.serving().await;
    let mut handle = tether.handle();
    let (cursor, _) = scan(&mut handle, 0).await.expect("a part of the scan");
    world.all_say(&[Entry(0, 16383, 0, None)], 2);
    sleep(ms(5_000)).await;
    let error = scan(&mut handle, cursor).await.expect_err("nobody knows that cursor");
    let told = error.command_error().map(|error| (error.outcome(), error.reason()));
    assert_eq!(told, Some((Outcome::NotSent, Reason::ScanLost)), "{error}");
    let (cursor, first) = scan(&mut handle, 0).await.expect("another scan");
    assert_eq!((cursor, first), (0, vec!["k0".to_owned()]));
    tether.shutdown().await;
}
