//! What blocking commands explain of a link's silence: for how long, in which order, and what becomes of those whose caller
//! went away.

use std::time::Duration;

use tokio::time::{Instant, advance};

use crate::ledger::tests::books;
use crate::ledger::{Flight, FlightKind, Ledger};

const WINDOW: Duration = Duration::from_millis(250);

const TEN: Option<Duration> = Some(Duration::from_secs(10));

fn silence(ledger: &Ledger) -> Option<u128> {
    ledger.silent_for(Instant::now()).map(|silence| silence.as_millis())
}

/// Its caller goes away.
fn orphaned(mut flight: Flight) {
    flight.sent();
}

/// Its caller has the reply.
fn answered(mut flight: Flight) {
    flight.sent();
    flight.answered();
}

#[tokio::test(start_paused = true)]
async fn a_blocking_command_explains_silence_until_its_timeout() {
    let (ledger, _witness) = books();
    let _waiting = ledger.begin(FlightKind::Blocking(TEN));
    ledger.note_written(14);
    let asked = Instant::now();
    advance(Duration::from_millis(10_499)).await;
    assert!(ledger.blocked());
    assert_eq!(silence(&ledger), None);
    assert_eq!(ledger.found_unanswered(asked, WINDOW), None);
    advance(Duration::from_millis(1)).await;
    assert!(!ledger.blocked());
    assert_eq!(silence(&ledger), Some(0), "silence counts from where its explanation ended");
    advance(Duration::from_millis(250)).await;
    assert_eq!(silence(&ledger), Some(250));
    assert_eq!(ledger.found_unanswered(asked, WINDOW), Some(WINDOW));
}

#[tokio::test(start_paused = true)]
async fn blocking_commands_wait_one_after_another() {
    let (ledger, _witness) = books();
    let first = ledger.begin(FlightKind::Blocking(TEN));
    let _second = ledger.begin(FlightKind::Blocking(TEN));
    ledger.note_written(28);
    advance(Duration::from_secs(10)).await;
    ledger.note_read(b"*-1\r\n");
    answered(first);
    ledger.note_written(14);
    advance(Duration::from_millis(10_499)).await;
    assert_eq!(silence(&ledger), None);
    advance(Duration::from_millis(1)).await;
    assert_eq!(silence(&ledger), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_blocking_command_without_a_timeout_explains_silence_for_ever() {
    let (ledger, _witness) = books();
    let waiting = ledger.begin(FlightKind::Blocking(None));
    ledger.note_written(14);
    advance(Duration::from_secs(86_400)).await;
    assert_eq!(silence(&ledger), None);
    orphaned(waiting);
    advance(Duration::from_millis(250)).await;
    assert_eq!(silence(&ledger), Some(250), "nobody waits for it any more, and it blocks the link");
}

#[tokio::test(start_paused = true)]
async fn an_answered_blocking_command_explains_nothing_any_more() {
    let (ledger, _witness) = books();
    let waiting = ledger.begin(FlightKind::Blocking(Some(Duration::from_secs(3600))));
    ledger.note_written(14);
    advance(Duration::from_secs(1)).await;
    ledger.note_read(b"*2\r\n");
    answered(waiting);
    ledger.note_written(14);
    advance(Duration::from_millis(250)).await;
    assert_eq!(silence(&ledger), Some(250));
}

#[tokio::test(start_paused = true)]
async fn a_blocking_command_whose_caller_left_goes_on_at_the_server() {
    let (ledger, _witness) = books();
    orphaned(ledger.begin(FlightKind::Blocking(TEN)));
    ledger.note_written(28);
    advance(Duration::from_secs(5)).await;
    let later = ledger.begin(FlightKind::Plain);
    ledger.note_written(14);
    assert_eq!(silence(&ledger), None);
    ledger.note_read(b"*2\r\n+OK\r\n");
    answered(later);
    ledger.note_written(14);
    advance(Duration::from_secs(1)).await;
    assert_eq!(silence(&ledger), Some(1000), "one that was sent behind it is answered, so it was answered, too");
}

/// On a link that many share there is nearly always something read between the sending of a blocking command and the moment
/// when its caller goes away. It is not its answer.
#[tokio::test(start_paused = true)]
async fn what_was_read_for_others_does_not_end_a_blocking_command() {
    let (ledger, _witness) = books();
    let before = ledger.begin(FlightKind::Plain);
    let blocking = ledger.begin(FlightKind::Blocking(TEN));
    let behind = ledger.begin(FlightKind::Plain);
    ledger.note_written(42);
    ledger.note_read(b"+OK\r\n");
    answered(before);
    advance(Duration::from_secs(1)).await;
    orphaned(blocking);
    let _waiting = ledger.begin(FlightKind::Plain);
    ledger.note_written(14);
    advance(Duration::from_secs(9)).await;
    assert_eq!(ledger.found_silent(WINDOW), None, "the server is at it still");
    assert!(ledger.blocked());
    answered(behind);
    assert!(ledger.blocked(), "of one that was on the way at the same time nobody knows that it was sent behind it");
    advance(Duration::from_millis(500)).await;
    assert_eq!(silence(&ledger), Some(0), "and it is past its timeout");
}

#[tokio::test(start_paused = true)]
async fn a_blocking_command_that_was_never_sent_explains_nothing() {
    let (ledger, _witness) = books();
    drop(ledger.begin(FlightKind::Blocking(TEN)));
    ledger.note_written(14);
    advance(WINDOW).await;
    assert_eq!(ledger.found_silent(WINDOW), Some(WINDOW));
}

/// Without an answer to anything behind it, nobody can say what was read. So a question may be asked, and is not held
/// against the peer.
#[tokio::test(start_paused = true)]
async fn an_orphan_that_may_have_been_answered_stands_in_no_questions_way() {
    let (ledger, _witness) = books();
    orphaned(ledger.begin(FlightKind::Blocking(TEN)));
    ledger.note_written(28);
    advance(Duration::from_secs(1)).await;
    assert!(ledger.blocked());
    ledger.note_read(b"*2\r\n");
    assert!(!ledger.blocked());
    let (asked, question) = (Instant::now(), ledger.begin(FlightKind::Plain));
    ledger.note_written(14);
    advance(Duration::from_secs(1)).await;
    assert_eq!(ledger.found_unanswered(asked, WINDOW), None);
    ledger.note_read(b"+PONG\r\n");
    answered(question);
    ledger.note_written(14);
    advance(WINDOW).await;
    assert_eq!(ledger.found_silent(WINDOW), Some(WINDOW));
}

#[tokio::test(start_paused = true)]
async fn orphans_wait_one_after_another_and_are_passed_together() {
    let (ledger, _witness) = books();
    orphaned(ledger.begin(FlightKind::Blocking(TEN)));
    orphaned(ledger.begin(FlightKind::Blocking(TEN)));
    ledger.note_written(28);
    let later = ledger.begin(FlightKind::Plain);
    let youngest = ledger.begin(FlightKind::Blocking(TEN));
    orphaned(youngest);
    advance(Duration::from_millis(20_999)).await;
    assert_eq!(silence(&ledger), None);
    ledger.note_read(b"*2\r\n*2\r\n+OK\r\n");
    answered(later);
    ledger.note_written(14);
    assert_eq!(silence(&ledger), None, "the youngest was not passed: the server has only just turned to it");
    advance(Duration::from_millis(10_499)).await;
    assert_eq!(silence(&ledger), None);
    advance(Duration::from_millis(1)).await;
    assert_eq!(silence(&ledger), Some(0));
}

/// A freeze that begins before the command is entered is none of its doing.
#[tokio::test(start_paused = true)]
async fn a_blocking_command_explains_no_silence_that_is_older() {
    let (ledger, _witness) = books();
    let _plain = ledger.begin(FlightKind::Plain);
    ledger.note_written(14);
    advance(Duration::from_millis(200)).await;
    let _blocking = ledger.begin(FlightKind::Blocking(TEN));
    ledger.note_written(14);
    advance(Duration::from_millis(50)).await;
    assert_eq!(ledger.found_silent(WINDOW), Some(WINDOW));
    assert!(!ledger.blocked());
    assert_eq!(ledger.blocked_until(), None);
}

#[tokio::test(start_paused = true)]
async fn a_blocking_command_that_was_sent_behind_others_explains_what_comes_after_them() {
    let (ledger, _witness) = books();
    let first = ledger.begin(FlightKind::Plain);
    ledger.note_written(14);
    advance(Duration::from_millis(100)).await;
    let _blocking = ledger.begin(FlightKind::Blocking(TEN));
    ledger.note_written(14);
    advance(Duration::from_secs(3)).await;
    ledger.note_read(b"+OK\r\n");
    answered(first);
    ledger.note_written(14);
    assert!(ledger.blocked());
    advance(Duration::from_millis(10_499)).await;
    assert_eq!(silence(&ledger), None, "the server began with it when it was done with the others");
    advance(Duration::from_millis(1)).await;
    assert_eq!(silence(&ledger), Some(0));
}

#[tokio::test(start_paused = true)]
async fn absurd_timeouts_explain_for_ever_and_do_not_overflow() {
    let (ledger, _witness) = books();
    let _waiting = ledger.begin(FlightKind::Blocking(Some(Duration::MAX)));
    assert!(ledger.blocked());
}
