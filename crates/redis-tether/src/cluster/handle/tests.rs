//! How long a command waits whose shard is not to be had.

use redis::AsyncCommands;
use tokio::time::{sleep, timeout};

use crate::cluster::rig::{PATIENCE, World};

/// Slot 3300.
const KEY: &str = "b";

#[tokio::test(start_paused = true)]
async fn a_slot_that_nobody_has_cuts_no_wait_for_another_ones_shard_short() {
    let world = World::new();
    world.says(8191, None);
    let cluster = world.builder().start().await.expect("a valid configuration");
    let mut handle = cluster.handle();
    timeout(PATIENCE, handle.set::<_, _, ()>(KEY, 1)).await.expect("waited for a link").expect("its slot is covered");
    sleep(handle.common.config.commands.hold_window).await;
    let [shard] = &cluster.shards()[..] else { panic!("one shard") };
    let ended = shard.tether.clone();
    timeout(PATIENCE, ended.shutdown()).await.expect("waited for the end of the shard's tether");
    let mut impatient = handle.clone().with_policy(handle.policy().fail_fast());
    let error = impatient.set::<_, _, ()>(KEY, 2).await.expect_err("it has no tether");
    assert!(error.to_string().contains("started again"), "{error}");
    handle.set::<_, _, ()>(KEY, 3).await.expect("it is held until another tether is there");
    let error = handle.set::<_, _, ()>("a", 4).await.expect_err("nobody has its slot");
    assert!(error.to_string().contains("hold window"), "{error}");
    cluster.shutdown().await;
}
