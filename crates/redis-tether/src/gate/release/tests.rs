//! How held commands are let go: in order, at a doubling pace, and held up by nobody for long.

use std::pin::Pin;

use redis::{RedisResult, cmd};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::*;
use crate::config::CommandSettings;
use crate::gate::ClosedCause;
use crate::gate::tests::{Call, get};
use crate::handle::rig::{Peer, Rig, epoch, poll_once, settle};
use crate::outcome::{CommandError, Outcome, OutcomeExt, Reason};

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

/// Told one after the other, they would be answered and back in the queue as fast as that.
#[tokio::test(start_paused = true)]
async fn callers_who_come_back_at_once_do_not_keep_the_gate_from_opening() {
    const CALLERS: usize = 64;
    const ROUNDS: usize = 50;
    let rig = Rig::new();
    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let mut handle = rig.handle();
        calls.spawn(async move {
            for _ in 0..ROUNDS {
                cmd("GET").arg("key").exec_async(&mut handle).await?;
            }
            Ok::<_, redis::RedisError>(())
        });
    }
    settle().await;
    let link = rig.open(1, &Peer::saying("+OK")).await;
    let done = timeout(Duration::from_secs(60), calls.join_all()).await.expect("all are answered");
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert!(rig.gate().admits(link.epoch()));
    let held = rig.shared.counters.held.value();
    assert!(held <= 3 * CALLERS as u64, "{held} of {} were held", CALLERS * ROUNDS);
}

/// So many callers who wait for elements of a list.
async fn pops(rig: &Rig, count: usize) -> JoinSet<RedisResult<String>> {
    let mut pops = JoinSet::new();
    for _ in 0..count {
        let mut handle = rig.handle();
        pops.spawn(async move { cmd("BLPOP").arg("list").arg(0).query_async::<String>(&mut handle).await });
    }
    settle().await;
    pops
}

#[tokio::test(start_paused = true)]
async fn newcomers_queue_behind_and_blocking_commands_hold_nobody_up() {
    let rig = Rig::new();
    let _pops = pops(&rig, 64).await;
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
    // The second batch waits for fewer than the first has left behind.
    let _pops = pops(&rig, 128 - 28).await;
    let calls: Vec<_> = (0..28 + 1).map(|key| get(&rig, key)).collect();
    settle().await;
    let peer = Peer::mute();
    let _seen_through = open(&rig, 1, &peer).await;
    tokio::time::sleep(LIMIT + LIMIT / 2).await;
    assert_eq!(peer.received()[128 - 28..], gets(0..28));
    drop(kept);
    settle().await;
    assert_eq!(peer.received()[128 - 28..], gets(0..28));
    peer.pay("+OK");
    settle().await;
    assert_eq!(peer.received()[128 - 28..], gets(0..29));
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

/// Nothing looks after stalls here, so that it is strict whatever the machine does meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_is_kept_on_several_threads() {
    let rig = Rig::new();
    let mut calls = Vec::new();
    for key in 0..1_000 {
        calls.push(get(&rig, key));
        let is_held = || rig.shared.counters.held_now.value() == key as u64 + 1;
        while !is_held() {
            tokio::task::yield_now().await;
        }
    }
    let peer = Peer::saying("+OK");
    rig.open(1, &peer).await;
    finish(calls).await;
    assert_eq!(peer.received(), gets(0..1_000));
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_look_stalls_his_batch_for_a_moment() {
    let rig = Rig::new();
    let kept = begun_and_left(&rig, 1).await;
    let calls: Vec<_> = (0..63).map(|key| get(&rig, key)).collect();
    settle().await;
    let peer = Peer::saying("+OK");
    let start = Instant::now();
    let _seen_through = open(&rig, 1, &peer).await;
    settle().await;
    assert_eq!(peer.received(), [""; 0], "he is the first, and was told");
    finish(calls).await;
    assert_eq!(start.elapsed().as_millis(), STALL.as_millis());
    assert!(rig.gate().admits(epoch(1)), "and nobody is held any more");
    for command in kept {
        assert_eq!(command.await.as_deref(), Ok("OK"));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_baton_may_run_out_of_time() {
    let rig = Rig::new();
    let kept = begun_and_left(&rig, 1).await;
    let start = Instant::now();
    let mut late = rig.handle_with(rig.policy().deadline(STALL / 2));
    let late = tokio::spawn(async move { cmd("GET").arg("late").query_async::<String>(&mut late).await });
    settle().await;
    let peer = Peer::saying("+OK");
    let _seen_through = open(&rig, 1, &peer).await;
    let error = late.await.expect("no panic").expect_err("it is told too late");
    assert_eq!((error.outcome(), start.elapsed()), (Some(Outcome::NotSent), STALL / 2), "{error}");
    let cause = error.command_error().and_then(CommandError::cause);
    assert!(cause.is_some_and(|cause| cause.contains("batch by batch")), "{error}");
    drop(kept);
    settle().await;
    assert_eq!(peer.received(), [""; 0], "it is never sent");
}

/// They were let go to a link that has gone, and come round to the next one in their order.
#[tokio::test(start_paused = true)]
async fn those_who_were_not_told_yet_keep_their_places_when_the_link_goes() {
    let rig = Rig::new();
    let kept = begun_and_left(&rig, 1).await;
    let calls: Vec<_> = (1..10).map(|key| get(&rig, key)).collect();
    settle().await;
    let first = Peer::mute();
    rig.open(1, &first).await;
    settle().await;
    rig.gate().close(ClosedCause::Connecting);
    settle().await;
    assert_eq!(rig.shared.counters.held_now.value(), 9, "held again");
    let second = Peer::saying("+OK");
    rig.open(2, &second).await;
    finish(calls).await;
    assert_eq!((first.received().len(), second.received()), (0, gets(1..10)));
    let counted = || {
        let counters = &rig.shared.counters;
        (counters.held.value(), counters.held_now.value(), counters.released.value())
    };
    assert_eq!(counted(), (10, 0, 10));
    // He looks only now, and finds the second link closed.
    rig.gate().close(ClosedCause::Connecting);
    let kept: Vec<_> = kept.into_iter().map(tokio::spawn).collect();
    settle().await;
    assert_eq!(counted(), (11, 1, 10), "he is held again");
    kept.into_iter().for_each(|kept| kept.abort());
    settle().await;
    assert_eq!(counted(), (11, 0, 10), "he has given up");
}

/// Who has not been told is held, and counts as held; newcomers take no room from those who come back.
#[tokio::test(start_paused = true)]
async fn newcomers_take_nobodys_room() {
    let rig = Rig::with(CommandSettings { max_held: 40, ..CommandSettings::default() });
    let kept = begun_and_left(&rig, 1).await;
    let calls: Vec<_> = (1..40).map(|key| get(&rig, key)).collect();
    settle().await;
    rig.open(1, &Peer::mute()).await;
    settle().await;
    assert_eq!(rig.shared.counters.held_now.value(), 39);
    let newcomer = get(&rig, 40);
    settle().await;
    let one_too_many = get(&rig, 41).await.expect("no panic").expect_err("there is no room");
    assert_eq!(one_too_many.reason(), Reason::HoldFull);
    rig.gate().close(ClosedCause::Connecting);
    // The one who was told looks now, and finds that he is held again, before all others.
    let kept: Vec<_> = kept.into_iter().map(tokio::spawn).collect();
    settle().await;
    assert_eq!(rig.shared.counters.held_now.value(), 41);
    let second = Peer::saying("+OK");
    rig.open(2, &second).await;
    finish(calls).await;
    finish(vec![newcomer]).await;
    for call in kept {
        assert_eq!(call.await.expect("no panic").as_deref(), Ok("OK"));
    }
    assert_eq!(second.received(), gets(0..41));
}

#[tokio::test(start_paused = true)]
async fn a_newer_link_is_met_in_order_as_well() {
    let rig = Rig::new();
    let kept = begun_and_left(&rig, 1).await;
    let calls: Vec<_> = (1..64).map(|key| get(&rig, key)).collect();
    settle().await;
    rig.open(1, &Peer::mute()).await;
    settle().await;
    let second = Peer::saying("+OK");
    rig.open(2, &second).await;
    let newcomer = get(&rig, 64);
    finish(calls).await;
    finish(vec![newcomer]).await;
    assert_eq!(second.received(), gets(1..65));
    drop(kept);
}
