//! What the books say of silence: what the peer owes, where only a probe can tell, and that no read is missed by those
//! who listen for it. What blocking commands explain is in `ledger/blockers/tests.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, advance, timeout};

use crate::ledger::tests::{LIMIT, books};
use crate::ledger::{FlightKind, Ledger, LinkEnd};

const WINDOW: Duration = Duration::from_millis(250);

fn silence(ledger: &Ledger) -> Option<u128> {
    ledger.silent_for(Instant::now()).map(|silence| silence.as_millis())
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_is_not_silent() {
    let (ledger, _witness) = books();
    advance(Duration::from_secs(3600)).await;
    assert_eq!(silence(&ledger), None);
    ledger.note_written(14);
    advance(Duration::from_millis(300)).await;
    assert_eq!(silence(&ledger), Some(300), "silence counts from the write, not from the last read");
    ledger.note_written(14);
    advance(Duration::from_millis(100)).await;
    assert_eq!(silence(&ledger), Some(400), "and from the first one");
    ledger.note_read(b"+OK\r\n");
    assert_eq!(silence(&ledger), None);
}

#[tokio::test(start_paused = true)]
async fn a_drip_is_not_silence() {
    let (ledger, _witness) = books();
    for _ in 0..10 {
        ledger.note_written(14);
        advance(Duration::from_secs(1)).await;
        assert_eq!(silence(&ledger), Some(1000));
        ledger.note_read(b"+");
        assert_eq!(silence(&ledger), None);
    }
}

/// Its reply was read; that the caller has not looked at it is the caller's business.
#[tokio::test(start_paused = true)]
async fn a_reply_that_nobody_looks_at_is_not_silence() {
    let (ledger, _witness) = books();
    let _kept = ledger.begin(FlightKind::Plain);
    ledger.note_written(14);
    advance(Duration::from_millis(1)).await;
    ledger.note_read(b"+OK\r\n");
    advance(Duration::from_secs(3600)).await;
    assert_eq!(silence(&ledger), None);
    assert_eq!(ledger.found_silent(WINDOW), None);
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_early_do_not_hide_a_mute_peer() {
    let (ledger, _witness) = books();
    for _ in 0..4 {
        let _flight = ledger.begin(FlightKind::Plain);
        ledger.note_written(14);
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(silence(&ledger), Some(400), "nobody waits any more, and the peer owes answers all the same");
    assert!(ledger.is_busy(), "so there is something to watch");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_given_up_before_it_left_starts_no_silence() {
    let (ledger, _witness) = books();
    drop(ledger.begin(FlightKind::Plain));
    advance(Duration::from_secs(60)).await;
    let _flight = ledger.begin(FlightKind::Plain);
    assert_eq!(silence(&ledger), None);
}

#[tokio::test(start_paused = true)]
async fn outstanding_commands_are_in_doubt_until_a_probe_is_answered() {
    let (ledger, _witness) = books();
    assert!(!ledger.is_in_doubt());
    let first = ledger.begin(FlightKind::Plain);
    assert!(ledger.is_in_doubt(), "it may not have left");
    ledger.note_written(14);
    ledger.note_read(b"+half");
    assert!(ledger.is_in_doubt(), "nobody knows what was answered");
    ledger.vouch();
    assert!(!ledger.is_in_doubt());
    assert!(!ledger.is_busy(), "it lies with the caller, and there is nothing to watch");
    let second = ledger.begin(FlightKind::Plain);
    assert!(ledger.is_in_doubt(), "of this one a probe has said nothing");
    drop(second);
    assert!(!ledger.is_in_doubt());
    ledger.note_written(14);
    assert!(ledger.is_in_doubt(), "nor of what was written since");
    drop(first);
    assert!(!ledger.is_in_doubt(), "nobody waits for anything");
}

/// An answer that is waited for can be missing although other replies came behind what was written.
#[tokio::test(start_paused = true)]
async fn a_missing_answer_counts_from_the_last_read_and_from_when_it_was_asked_for() {
    let (ledger, _witness) = books();
    advance(Duration::from_secs(60)).await;
    let asked = Instant::now();
    ledger.note_written(14);
    advance(Duration::from_millis(100)).await;
    ledger.note_read(b"+half");
    advance(Duration::from_millis(249)).await;
    assert_eq!(ledger.found_unanswered(asked, WINDOW), None);
    advance(Duration::from_millis(1)).await;
    assert_eq!(ledger.found_unanswered(asked, WINDOW), Some(WINDOW));
    assert_eq!(ledger.found_unanswered(Instant::now(), WINDOW), None, "who has only just asked must wait");
    assert_eq!(silence(&ledger), None, "nothing is owed for all that the bytes tell");
}

#[tokio::test(start_paused = true)]
async fn one_read_is_reported_for_each_listen() {
    let (ledger, witness) = books();
    ledger.note_read(b"+");
    assert_eq!(witness.heard(), 0);
    ledger.listen();
    ledger.note_read(b"+");
    ledger.note_read(b"+");
    assert_eq!(witness.heard(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_listens_is_told_of_what_was_read_since_the_silence_was_found() {
    let (ledger, _witness) = books();
    assert!(ledger.listen(), "it was never found silent");
    ledger.note_written(14);
    advance(WINDOW).await;
    assert_eq!(ledger.found_silent(WINDOW), Some(WINDOW));
    assert!(!ledger.listen());
    ledger.note_read(b"+");
    ledger.note_written(14);
    advance(WINDOW / 2).await;
    assert!(ledger.listen(), "however long ago that was");
    advance(WINDOW / 2).await;
    assert_eq!(ledger.found_silent(WINDOW), Some(WINDOW));
    assert!(!ledger.listen(), "silent once more");
}

/// One thread reads while the other begins to listen. Each time, the one that comes second has to notice the other.
#[test]
fn no_read_is_missed_by_one_who_begins_to_listen() {
    const ROUNDS: u64 = 100_000;
    let (ledger, witness) = books();
    let (turn, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let await_value = |counter: &AtomicU64, value: u64| {
        let mut looks = 0_u32;
        while counter.load(Ordering::SeqCst) < value {
            looks = looks.wrapping_add(1);
            // Side by side where there are two cores to be had, and not for ever where there are not.
            if looks.is_multiple_of(256) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    };
    let mut missed = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                await_value(&turn, round);
                ledger.note_read(b"+");
                done.store(round, Ordering::SeqCst);
            }
        });
        for round in 1..=ROUNDS {
            let heard = witness.heard();
            ledger.note_written(1);
            ledger.found_silent(Duration::ZERO).expect("it owes a word");
            turn.store(round, Ordering::SeqCst);
            let has_spoken = ledger.listen();
            await_value(&done, round);
            missed += u64::from(!has_spoken && witness.heard() == heard);
            // What is still asked for is answered, so that the next round begins with nothing asked.
            ledger.note_read(b"+");
        }
    });
    assert_eq!(missed, 0, "of {ROUNDS}");
}

async fn is_woken<F: Future + Send + 'static>(what: &str, wait: F, wake: impl FnOnce())
where
    F::Output: Send,
{
    let waiting = tokio::spawn(wait);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "{what} before its time");
    wake();
    timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("not woken: {what}")).expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn busy_and_idle_wake_those_who_wait() {
    let (ledger, _witness) = books();
    let busy = |ledger: &Arc<Ledger>| {
        let ledger = Arc::clone(ledger);
        async move { ledger.busy().await }
    };
    let mut flight = None;
    is_woken("by a command", busy(&ledger), || flight = Some(ledger.begin(FlightKind::Plain))).await;
    timeout(LIMIT, ledger.busy()).await.expect("busy already");
    let idle = {
        let ledger = Arc::clone(&ledger);
        async move { ledger.idle().await }
    };
    is_woken("by the last command's end", idle, || flight = None).await;
    is_woken("by a write", busy(&ledger), || ledger.note_written(14)).await;
    ledger.note_read(b"+");
    let _kept = ledger.begin(FlightKind::Plain);
    ledger.vouch();
    is_woken("by a second command", busy(&ledger), || flight = Some(ledger.begin(FlightKind::Plain))).await;
    ledger.vouch();
    is_woken("by the end", busy(&ledger), || assert!(ledger.kill(LinkEnd::Closed))).await;
}

/// Two threads take turns at the moment where a signal could be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_is_lost_between_threads() {
    let (ledger, _witness) = books();
    let waiting = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            for _ in 0..2000 {
                ledger.busy().await;
                ledger.idle().await;
            }
        }
    });
    let busy = async {
        while !waiting.is_finished() {
            drop(ledger.begin(FlightKind::Plain));
            let flight = ledger.begin(FlightKind::Plain);
            tokio::task::yield_now().await;
            drop(flight);
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), busy).await.expect("the waiting side was woken each time");
}
