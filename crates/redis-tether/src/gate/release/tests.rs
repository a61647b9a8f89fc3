//! How held commands are let go: in order, at a doubling pace, and held up by nobody for long.

use std::pin::Pin;

use redis::{RedisResult, cmd};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::*;
use crate::gate::ClosedCause;
use crate::gate::tests::{Call, get, poll_once};
use crate::handle::rig::{Peer, Rig, epoch, settle};

const LIMIT: Duration = Duration::from_millis(250);

fn gets(keys: std::ops::Range<usize>) -> Vec<String> {
    keys.map(|key| format!("GET {key}")).collect()
}

#[tokio::test(start_paused = true)]
async fn held_commands_go_in_order_and_at_a_doubling_pace() {
    let rig = Rig::new();
    let calls: Vec<_> = (0..600).map(|key| get(&rig, key)).collect();
    settle().await;
    assert_eq!(rig.shared.counters.held_now.value(), 600);
    let peer = Peer::mute();
    let link = rig.open(1, &peer).await;
    for (sent, all) in [(64, 600), (192, 600), (448, 600)] {
        settle().await;
        assert_eq!(peer.received(), gets(0..sent));
        assert_eq!(rig.shared.counters.held_now.value(), all - sent as u64);
        assert!(!rig.gate().admits(link.epoch()), "newcomers queue behind");
        peer.pay("+OK");
    }
    settle().await;
    assert_eq!(peer.received(), gets(0..600));
    assert!(rig.gate().admits(link.epoch()), "nobody is held any more");
    peer.pay("+OK");
    for call in calls {
        assert_eq!(call.await.expect("no panic").as_deref(), Ok("OK"));
    }
    assert_eq!(rig.shared.counters.held.value(), 600);
    assert_eq!(rig.shared.counters.released.value(), 600);
}

#[tokio::test(start_paused = true)]
async fn newcomers_queue_behind_and_blocking_commands_hold_nobody_up() {
    let rig = Rig::new();
    let mut pops = JoinSet::new();
    for _ in 0..64 {
        let mut handle = rig.handle();
        pops.spawn(async move { cmd("BLPOP").arg("list").arg(0).query_async::<String>(&mut handle).await });
    }
    settle().await;
    let calls: Vec<_> = (0..65).map(|key| get(&rig, key)).collect();
    settle().await;
    let peer = Peer::mute();
    rig.open(1, &peer).await;
    settle().await;
    assert_eq!(peer.received().len(), 64 + 65, "the 64 that block count for nothing");
    peer.pay("+OK");
    for call in calls {
        assert_eq!(call.await.expect("no panic").as_deref(), Ok("OK"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_goes_on_when_its_callers_go_away() {
    let rig = Rig::new();
    let calls: Vec<_> = (0..100).map(|key| get(&rig, key)).collect();
    settle().await;
    let peer = Peer::mute();
    rig.open(1, &peer).await;
    settle().await;
    for call in &calls[..64] {
        call.abort();
    }
    settle().await;
    assert_eq!(peer.received(), gets(0..100));
}

type Kept = Pin<Box<dyn Future<Output = RedisResult<String>> + Send>>;

/// So many commands whose callers look once and never again, though they stay.
async fn begun_and_left(rig: &Rig, count: usize) -> Vec<Kept> {
    let mut all = Vec::new();
    for key in 0..count {
        let mut handle = rig.handle();
        let mut command: Kept = Box::pin(async move { cmd("GET").arg(key).query_async(&mut handle).await });
        assert!(poll_once(command.as_mut()).await.is_none(), "there is no link");
        all.push(command);
    }
    all
}

/// Publishes a link to `peer`, whose release is seen through.
async fn open(rig: &Rig, number: u64, peer: &Peer) -> JoinHandle<()> {
    rig.open(number, peer).await;
    tokio::spawn(Arc::clone(rig.gate()).see_through(epoch(number), LIMIT))
}

async fn finish(calls: Vec<Call>) {
    for call in calls {
        let reply = timeout(Duration::from_secs(60), call).await.expect("the command ends").expect("no panic");
        assert_eq!(reply.as_deref(), Ok("OK"));
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_do_not_look_hold_nobody_up_for_long() {
    // In the way of one batch, and of two.
    for (unseen, takes) in [(64, LIMIT), (64 + 128, 2 * LIMIT)] {
        let rig = Rig::new();
        let kept = begun_and_left(&rig, unseen).await;
        let calls: Vec<_> = (0..1_000).map(|key| get(&rig, key)).collect();
        settle().await;
        let start = Instant::now();
        let seen_through = open(&rig, 1, &Peer::saying("+OK")).await;
        finish(calls).await;
        assert_eq!(start.elapsed().as_millis(), takes.as_millis());
        assert!(rig.gate().admits(epoch(1)), "nobody is held any more");
        timeout(2 * LIMIT, seen_through).await.expect("there is nothing left to see through").expect("no panic");
        for command in kept {
            assert_eq!(command.await.as_deref(), Ok("OK"), "who looks after all has lost nothing");
        }
    }
}

/// Their part in it is over, and must not be taken for another's.
#[tokio::test(start_paused = true)]
async fn who_was_overtaken_ends_no_later_batch() {
    let rig = Rig::new();
    let kept = begun_and_left(&rig, 64).await;
    let calls: Vec<_> = (0..128 + 1).map(|key| get(&rig, key)).collect();
    settle().await;
    let peer = Peer::mute();
    let _seen_through = open(&rig, 1, &peer).await;
    tokio::time::sleep(LIMIT + LIMIT / 2).await;
    assert_eq!(peer.received(), gets(0..128));
    drop(kept);
    settle().await;
    assert_eq!(peer.received(), gets(0..128));
    peer.pay("+OK");
    settle().await;
    assert_eq!(peer.received(), gets(0..129));
    peer.pay("+OK");
    finish(calls).await;
}

#[tokio::test(start_paused = true)]
async fn seeing_a_release_through_ends_with_it() {
    type End = fn(&Gate);
    let close: End = |gate| gate.close(ClosedCause::suspect("a test".into()));
    let cases: [(_, End, _); 3] =
        [("stopped", Gate::stop, Duration::ZERO), ("closed", close, LIMIT), ("cleared", Gate::clear, LIMIT)];
    for (what, end, limit) in cases {
        let rig = Rig::new();
        let _kept = begun_and_left(&rig, 65).await;
        let start = Instant::now();
        let mut seen_through = open(&rig, 1, &Peer::saying("+OK")).await;
        settle().await;
        assert!(!seen_through.is_finished(), "{what} too early");
        end(rig.gate());
        timeout(2 * LIMIT, &mut seen_through).await.unwrap_or_else(|_| panic!("it goes on: {what}")).expect("no panic");
        assert!(start.elapsed() <= limit + Duration::from_millis(1), "{what}: {:?}", start.elapsed());
    }
    let rig = Rig::new();
    let nobody_is_held = open(&rig, 1, &Peer::saying("+OK")).await;
    settle().await;
    assert!(nobody_is_held.is_finished());
}
