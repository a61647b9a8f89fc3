//! When the watch reports and when it asks, exactly in virtual time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;

use tokio::task::JoinHandle;
use tokio::time::advance;

use super::*;
use crate::ledger::tests::books;
use crate::ledger::{FlightKind, LinkEnd};

const WINDOW: Duration = Duration::from_millis(250);

/// What a watch has said, and when.
#[derive(Default)]
struct Said {
    reports: Mutex<Vec<(u128, Duration)>>,
    asked: Mutex<Vec<u128>>,
}

impl Said {
    /// The reports: when, in milliseconds, and how long the silence had lasted.
    fn reports(&self) -> Vec<(u128, Duration)> {
        self.reports.lock().expect("no panic").clone()
    }

    fn asked(&self) -> Vec<u128> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn watched() -> (Arc<Ledger>, Arc<Said>, JoinHandle<()>) {
    let (ledger, _witness) = books();
    let (said, start) = (Arc::new(Said::default()), Instant::now());
    let (asking, reporting) = (Arc::clone(&said), Arc::clone(&said));
    let now = move || start.elapsed().as_millis();
    let watched = Arc::clone(&ledger);
    let watching = tokio::spawn(async move {
        let ask = move || asking.asked.lock().expect("no panic").push(now());
        let report = move |silent_for| reporting.reports.lock().expect("no panic").push((now(), silent_for));
        watch(watched, WINDOW, &Notify::new(), ask, report).await;
    });
    tokio::task::yield_now().await;
    (ledger, said, watching)
}

async fn after(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_reported_after_the_window_and_again_while_it_lasts() {
    let (ledger, said, watching) = watched().await;
    after(1_000).await;
    ledger.note_written(14);
    after(249).await;
    assert_eq!(said.reports(), []);
    after(500).await;
    let millis = Duration::from_millis;
    assert_eq!(said.reports(), [(1_250, millis(250)), (1_501, millis(501))]);
    ledger.note_read(b"+");
    after(10_000).await;
    assert_eq!((said.reports().len(), said.asked().len()), (2, 0));
    ledger.kill(LinkEnd::Closed);
    after(1).await;
    assert!(watching.is_finished(), "it ends with the link");
}

#[tokio::test(start_paused = true)]
async fn each_read_and_write_starts_the_window_anew() {
    let (ledger, said, _watching) = watched().await;
    for _ in 0..100 {
        ledger.note_written(14);
        after(200).await;
        ledger.note_read(b"+");
    }
    assert_eq!((said.reports(), said.asked()), (vec![], vec![]));
}

/// The verdict is void while we are late, the first time and every time after that. But not for ever.
#[tokio::test(start_paused = true)]
async fn late_verdicts_are_void_so_often_and_no_more() {
    let (ledger, said, _watching) = watched().await;
    ledger.note_written(14);
    after(1).await;
    for _ in 0..Settings::VOID_VERDICTS {
        assert_eq!(said.reports(), []);
        advance(WINDOW + Settings::STALL).await;
        after(1).await;
    }
    assert_eq!(said.reports(), []);
    advance(WINDOW + Settings::STALL).await;
    after(1).await;
    assert_eq!(said.reports().len(), 1, "a process that never keeps up comes to a verdict, too");
}

#[tokio::test(start_paused = true)]
async fn what_is_read_after_many_stalls_was_no_silence() {
    let (ledger, said, _watching) = watched().await;
    ledger.note_written(14);
    after(1).await;
    for _ in 0..3 {
        advance(WINDOW + Settings::STALL).await;
        after(1).await;
    }
    ledger.note_read(b"+");
    after(10_000).await;
    assert_eq!(said.reports(), []);
}

/// A pipeline was answered half, and then nothing came. By the bytes nothing is owed.
#[tokio::test(start_paused = true)]
async fn where_nobody_can_tell_a_probe_is_asked_for_and_its_silence_is_reported() {
    let (ledger, said, _watching) = watched().await;
    let _pipeline = ledger.begin(FlightKind::Plain);
    ledger.note_written(28);
    after(100).await;
    ledger.note_read(b"+half");
    after(251).await;
    assert_eq!(said.asked(), [350]);
    ledger.note_written(14);
    after(251).await;
    assert_eq!(said.reports(), [(601, WINDOW)]);
}

/// The watch is awake already when the peer falls silent, for a command that was answered at once.
#[tokio::test(start_paused = true)]
async fn a_silence_is_found_in_time_whatever_went_before() {
    for gap in (0..250).step_by(10) {
        let (ledger, said, _watching) = watched().await;
        let answered = ledger.begin(FlightKind::Plain);
        after(1).await;
        drop(answered);
        after(gap).await;
        let _flight = ledger.begin(FlightKind::Plain);
        ledger.note_written(14);
        let start = Instant::now();
        after(252).await;
        assert_eq!((said.reports().len(), said.asked().len()), (1, 0), "{gap} ms later, after {:?}", start.elapsed());
    }
}

/// The reply is there, and its caller does not look. One probe shows that, until something else happens.
#[tokio::test(start_paused = true)]
async fn one_answer_settles_what_callers_leave_lying() {
    let (ledger, said, _watching) = watched().await;
    let _kept = ledger.begin(FlightKind::Plain);
    ledger.note_written(14);
    ledger.note_read(b"+OK\r\n");
    after(251).await;
    assert_eq!(said.asked(), [250]);
    ledger.note_written(14);
    after(1).await;
    ledger.note_read(b"+PONG\r\n");
    ledger.vouch();
    after(3_600_000).await;
    assert_eq!((said.asked().len(), said.reports().len()), (1, 0));
    let _stuck = ledger.begin(FlightKind::Plain);
    after(251).await;
    assert_eq!(said.asked().len(), 2, "this one may not have left");
}

#[tokio::test(start_paused = true)]
async fn while_a_blocking_command_explains_it_nothing_is_reported_or_asked() {
    let (ledger, said, _watching) = watched().await;
    let _waiting = ledger.begin(FlightKind::Blocking(Some(Duration::from_secs(10))));
    ledger.note_written(14);
    after(10_500).await;
    assert_eq!((said.reports(), said.asked()), (vec![], vec![]));
    after(501).await;
    let silent_for: Vec<_> = said.reports().iter().map(|(_, silent_for)| *silent_for).collect();
    assert!(silent_for.len() == 1 && silent_for[0] < 2 * WINDOW, "{silent_for:?}");
}

/// An idle link is probed every few seconds: that is to cost no second wake-up.
#[tokio::test(start_paused = true)]
async fn an_answered_probe_ends_the_wait_for_it() {
    let (ledger, _witness) = books();
    let (answered, polls) = (Arc::new(Notify::new()), Arc::new(Mutex::new(0)));
    let (watched, bell, counted) = (Arc::clone(&ledger), Arc::clone(&answered), Arc::clone(&polls));
    let _watching = tokio::spawn(async move {
        let mut watch = pin!(watch(watched, WINDOW, &bell, || {}, |_| {}));
        poll_fn(|cx| {
            *counted.lock().expect("no panic") += 1;
            watch.as_mut().poll(cx)
        })
        .await;
    });
    after(10).await;
    let probe = ledger.begin(FlightKind::Plain);
    ledger.note_written(14);
    after(10).await;
    ledger.note_read(b"+PONG\r\n");
    drop(probe);
    ledger.vouch();
    answered.notify_waiters();
    after(10).await;
    let before = *polls.lock().expect("no panic");
    after(10_000).await;
    assert_eq!(*polls.lock().expect("no panic"), before);
}
