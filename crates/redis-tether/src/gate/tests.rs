//! The gate's promises: who waits and for how long, and that nothing is lost between a handle and a drain. Those about
//! letting go are in `release/tests.rs`.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use redis::cmd;
use redis_tether_core::reply::Refusal;
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::handle::rig::{Peer, Rig, epoch, poll_once, settle};
use crate::ledger::{FlightKind, LinkEnd};
use crate::outcome::{CommandError, Outcome, OutcomeExt};

const WINDOW: Duration = Duration::from_secs(3);

pub(super) type Call = JoinHandle<Result<String, CommandError>>;

/// Issues `GET <key>` in a task of its own.
pub(super) fn get(rig: &Rig, key: usize) -> Call {
    let mut handle = rig.handle();
    tokio::spawn(async move {
        let reply = cmd("GET").arg(key).query_async::<String>(&mut handle).await;
        reply.map_err(|error| error.command_error().cloned().expect("a failure of ours"))
    })
}

async fn failure(call: Call) -> CommandError {
    let ended = timeout(Duration::from_secs(60), call).await.expect("the command ends");
    ended.expect("no panic").expect_err("the command fails")
}

#[tokio::test(start_paused = true)]
async fn the_hold_window_is_exact_and_counts_from_the_closing() {
    let rig = Rig::new();
    let start = Instant::now();
    let early = get(&rig, 0);
    sleep(Duration::from_millis(2_900)).await;
    let late = get(&rig, 1);
    for call in [early, late] {
        let error = failure(call).await;
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert_eq!(error.reason(), Reason::HoldWindowPassed);
        assert_eq!(error.down_for(), Some(WINDOW));
    }
    assert_eq!(start.elapsed(), WINDOW, "to the millisecond");
    let (mut handle, get) = (rig.handle(), cmd("GET").arg(2).take());
    let reply = poll_once(get.exec_async(&mut handle)).await;
    let error = reply.expect("from then on at once").expect_err("there is no link");
    assert_eq!(error.command_error().map(CommandError::reason), Some(Reason::HoldWindowPassed));
}

#[tokio::test(start_paused = true)]
async fn only_an_opening_starts_the_window_anew() {
    let rig = Rig::new();
    let peer = Peer::saying("+OK");
    rig.open(1, &peer).await;
    sleep(Duration::from_secs(60)).await;
    rig.gate().close(ClosedCause::suspect("a test".into()));
    let closed = Instant::now();
    sleep(Duration::from_secs(2)).await;
    rig.gate().close(ClosedCause::demoted("a test".into()));
    assert_eq!(failure(get(&rig, 0)).await.reason(), Reason::HoldWindowPassed);
    assert_eq!(closed.elapsed(), WINDOW);

    let link = rig.gate().link().expect("closing keeps the link");
    assert!(rig.gate().open(link), "the same epoch may be opened again");
    assert_eq!(get(&rig, 1).await.expect("no panic").as_deref(), Ok("OK"));
}

#[tokio::test(start_paused = true)]
async fn a_window_that_starts_during_a_release_is_exact_as_well() {
    let rig = Rig::new();
    let calls: Vec<_> = (0..100).map(|key| get(&rig, key)).collect();
    sleep(Duration::from_secs(1)).await;
    let link = rig.open(1, &Peer::mute()).await;
    sleep(Duration::from_secs(1)).await;
    link.abort(LinkEnd::Closed);
    let lost = Instant::now();
    let mut reasons = Vec::new();
    for call in calls {
        let error = failure(call).await;
        reasons.push((error.outcome(), error.reason(), lost.elapsed()));
    }
    let (sent, held) = reasons.split_at(64);
    assert!(sent.iter().all(|seen| *seen == (Outcome::Ambiguous, Reason::LinkLost, Duration::ZERO)), "{sent:?}");
    assert!(held.iter().all(|seen| *seen == (Outcome::NotSent, Reason::HoldWindowPassed, WINDOW)), "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_covers_holding() {
    let rig = Rig::with(CommandSettings { deadline: Duration::from_millis(700), ..CommandSettings::default() });
    let start = Instant::now();
    let error = failure(get(&rig, 0)).await;
    assert_eq!((error.outcome(), error.reason()), (Outcome::NotSent, Reason::DeadlinePassed));
    assert_eq!(start.elapsed(), Duration::from_millis(700));
}

#[tokio::test(start_paused = true)]
async fn held_commands_are_bounded_in_number_and_in_bytes() {
    let rig = Rig::with(CommandSettings { max_held: 2, ..CommandSettings::default() });
    let held = [get(&rig, 0), get(&rig, 1)];
    settle().await;
    let start = Instant::now();
    let error = failure(get(&rig, 2)).await;
    assert_eq!((error.outcome(), error.reason(), error.held()), (Outcome::NotSent, Reason::HoldFull, 2));
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(held);

    let rig = Rig::with(CommandSettings { max_held_bytes: 1024, ..CommandSettings::default() });
    let mut handle = rig.handle();
    let error = cmd("SET").arg("key").arg(vec![0_u8; 1024]).exec_async(&mut handle).await.expect_err("too large");
    assert_eq!(error.command_error().map(CommandError::reason), Some(Reason::HoldFull));
}

#[tokio::test(start_paused = true)]
async fn failing_fast_never_waits() {
    let rig = Rig::new();
    let start = Instant::now();
    let mut handle = rig.handle_with(rig.policy().fail_fast());
    let error = cmd("PING").exec_async(&mut handle).await.expect_err("there is no link");
    assert_eq!(error.command_error().map(CommandError::reason), Some(Reason::FailFast));
    assert_eq!(error.outcome(), Some(Outcome::NotSent));
    assert_eq!(start.elapsed(), Duration::ZERO);

    let calls: Vec<_> = (0..65).map(|key| get(&rig, key)).collect();
    settle().await;
    let peer = Peer::mute();
    rig.open(1, &peer).await;
    settle().await;
    assert_eq!(rig.shared.counters.held_now.value(), 1, "one is still held");
    let impatient = tokio::spawn(async move { cmd("PING").query_async::<String>(&mut handle).await });
    settle().await;
    assert_eq!(peer.received().last().map(String::as_str), Some("PING"), "the link is up, so it goes");
    peer.pay("+OK");
    assert_eq!(impatient.await.expect("no panic").as_deref(), Ok("OK"));
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn a_stop_fails_what_is_held_and_all_that_comes_later_at_once() {
    let rig = Rig::new();
    let held: Vec<_> = (0..3).map(|key| get(&rig, key)).collect();
    settle().await;
    let start = Instant::now();
    rig.gate().stop();
    for call in held.into_iter().chain([get(&rig, 3)]) {
        let error = failure(call).await;
        assert_eq!((error.outcome(), error.reason()), (Outcome::NotSent, Reason::Stopped));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    let link = rig.link(1, &Peer::saying("+OK")).await;
    assert!(!rig.gate().open(link), "a stop is final");
    assert_eq!(rig.shared.counters.held_now.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_held_command_whose_caller_went_away_is_never_sent() {
    let rig = Rig::new();
    let calls: Vec<_> = (0..3).map(|key| get(&rig, key)).collect();
    settle().await;
    calls[1].abort();
    settle().await;
    assert_eq!(rig.shared.counters.held_now.value(), 2);
    let peer = Peer::saying("+OK");
    rig.open(1, &peer).await;
    settle().await;
    assert_eq!(peer.received(), ["GET 0", "GET 2"]);
}

#[tokio::test(start_paused = true)]
async fn dead_links_and_older_ones_are_not_opened() {
    let rig = Rig::new();
    let peer = Peer::saying("+OK");
    let dead = rig.link(1, &peer).await;
    dead.abort(LinkEnd::Mute);
    assert!(!rig.gate().open(dead));
    let older = rig.link(2, &peer).await;
    rig.open(3, &peer).await;
    assert!(!rig.gate().open(older));
    assert!(rig.gate().admits(epoch(3)));
    let newer = rig.open(4, &peer).await;
    assert!(rig.gate().admits(epoch(4)) && !rig.gate().admits(epoch(3)), "a newer one takes over at once");
    newer.abort(LinkEnd::Closed);
    assert!(!rig.gate().admits(epoch(4)), "a dead link closes the gate");
    rig.gate().clear();
    assert!(rig.gate().link().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failure_shows_what_is_known_of_the_outage() {
    let rig = Rig::new();
    rig.gate().note(12, Some(&"connection refused".into()));
    advance(WINDOW).await;
    let error = failure(get(&rig, 0)).await;
    assert_eq!(
        error.to_string(),
        "not sent: hold window passed, no link for 3.0s (connecting, 12 rounds failed): connection refused; \
         endpoint redis:6379"
    );
    let link = rig.open(1, &Peer::mute()).await;
    link.abort(LinkEnd::Closed);
    advance(WINDOW).await;
    let error = failure(get(&rig, 0)).await;
    assert_eq!(
        error.to_string(),
        "not sent: hold window passed, no link for 3.0s (link lost, closed by the peer); endpoint redis:6379"
    );
}

#[tokio::test]
async fn a_hundred_who_close_an_epoch_close_it_once() {
    let rig = Rig::new();
    let peer = Peer::saying("+OK");
    for round in 1..=50 {
        rig.open(round, &peer).await;
        let winners = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    let closed = rig.gate().close_epoch(epoch(round), ClosedCause::Refused(Refusal::ReadOnly));
                    winners.fetch_add(usize::from(closed), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
}

/// Handles on many threads enter commands and look at the gate, while links are swapped and drained: a drained link must
/// never be handed a command again.
#[tokio::test]
async fn no_command_gets_between_a_flip_and_a_drain() {
    const LINKS: u64 = 2_000;
    let rig = Rig::new();
    let peer = Peer::saying("+OK");
    let mut links = Vec::new();
    for number in 1..=LINKS {
        links.push(rig.link(number, &peer).await);
    }
    let drained: Vec<_> = links.iter().map(|_| AtomicBool::new(false)).collect();
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let gate = rig.gate();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut cached = 0;
                while !over.load(Ordering::Relaxed) {
                    let link = &links[cached];
                    let flight = link.ledger().begin(FlightKind::Plain);
                    if gate.admits(link.epoch()) {
                        for _ in 0..3 {
                            assert!(!drained[cached].load(Ordering::SeqCst), "handed to a drained link");
                            thread::yield_now();
                        }
                        sent.fetch_add(1, Ordering::Relaxed);
                    } else if let Some(live) = gate.link() {
                        cached = (live.epoch().get() - 1) as usize;
                    }
                    drop(flight);
                }
            });
        }
        for (number, link) in links.iter().enumerate() {
            assert!(gate.open(Arc::clone(link)));
            let before = sent.load(Ordering::Relaxed);
            while sent.load(Ordering::Relaxed) < before + 2 {
                thread::yield_now();
            }
            if let Some(old) = number.checked_sub(1) {
                while links[old].ledger().in_flight() > 0 {
                    thread::yield_now();
                }
                drained[old].store(true, Ordering::SeqCst);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}
