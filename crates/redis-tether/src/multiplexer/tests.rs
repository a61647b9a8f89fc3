//! What a request is told, whatever becomes of its link; how requests share writes; when they are overdue.

mod adversity;
mod turns;
mod waking;

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, cmd, pipe};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::ledger::tests::{LIMIT, books};
use crate::ledger::{FlightKind, Ledger, LinkEnd};
use crate::lock::lock;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// A multiplexer, and the peer that it speaks to.
struct Rig {
    multiplexer: Multiplexer,
    ledger: Arc<Ledger>,
    driver: AbortOnDropHandle<()>,
    peer: DuplexStream,
}

fn rig(room: usize) -> Rig {
    let (ours, peer) = duplex(room);
    let (multiplexer, ledger, driver) = over(ours);
    Rig { multiplexer, ledger, driver, peer }
}

fn over(stream: impl crate::transport::Stream) -> (Multiplexer, Arc<Ledger>, AbortOnDropHandle<()>) {
    let (ledger, _) = books();
    let stream = LedgerStream::new(Box::new(stream), Arc::clone(&ledger));
    let (multiplexer, driver) = Multiplexer::start(stream, &TaskTracker::new());
    (multiplexer, ledger, driver)
}

fn ping(multiplexer: &mut Multiplexer) -> Sent<'_> {
    ping_due(multiplexer, None)
}

fn ping_due(multiplexer: &mut Multiplexer, due: Option<Instant>) -> Sent<'_> {
    multiplexer.send(Wants::One, due, |bytes| bytes.extend_from_slice(PING))
}

async fn news(mut sent: Sent<'_>) -> News {
    timeout(LIMIT, sent.news()).await.expect("news")
}

/// Sends, lets the driver have its turn, and waits for the end.
fn pinging(multiplexer: &Multiplexer) -> tokio::task::JoinHandle<News> {
    let mut multiplexer = multiplexer.clone();
    tokio::spawn(async move { news(ping(&mut multiplexer)).await })
}

async fn settle() {
    sleep(Duration::from_micros(1)).await;
}

async fn receive(peer: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(LIMIT, peer.read_exact(&mut bytes)).await.expect("so many bytes").expect("no end");
    bytes
}

/// Says this once so many bytes were received.
async fn answer(peer: &mut DuplexStream, received: usize, said: &[u8]) {
    receive(peer, received).await;
    peer.write_all(said).await.expect("written");
}

#[tokio::test(start_paused = true)]
async fn replies_go_to_whom_they_belong() {
    let Rig { multiplexer, driver: _driver, mut peer, .. } = rig(1024);
    let [first, second] = [(); 2].map(|()| pinging(&multiplexer));
    receive(&mut peer, 2 * PING.len()).await;
    // Byte by byte, with a push and an attribute between them.
    for byte in b":1\r\n>2\r\n+invalidate\r\n_\r\n$3\r\na\r\n\r\n" {
        peer.write_all(&[*byte]).await.expect("written");
        settle().await;
    }
    assert!(matches!(first.await, Ok(News::Done(Ok(Value::Int(1))))));
    assert!(matches!(second.await, Ok(News::Done(Ok(Value::BulkString(bytes)))) if bytes == b"a\r\n"[..3]));
}

#[tokio::test(start_paused = true)]
async fn callers_that_fail_by_a_close_find_the_link_dead() {
    let Rig { multiplexer, ledger, driver: _driver, mut peer } = rig(1024);
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let (mut multiplexer, ledger) = (multiplexer.clone(), Arc::clone(&ledger));
        callers.spawn(async move { (news(ping(&mut multiplexer)).await, ledger.is_dead()) });
    }
    receive(&mut peer, 10 * PING.len()).await;
    drop(peer);
    for (news, is_dead) in callers.join_all().await {
        assert!(matches!(news, News::Done(Err(Failure::Lost))), "{news:?}");
        assert!(is_dead);
    }
    assert_eq!(ledger.end(), Some(&LinkEnd::Closed));
}

#[tokio::test(start_paused = true)]
async fn each_request_knows_whether_it_had_left() {
    // Room for one and a half.
    let Rig { multiplexer, driver, peer: _peer, .. } = rig(PING.len() * 3 / 2);
    let calls = [(); 3].map(|()| pinging(&multiplexer));
    settle().await;
    drop(driver);
    let [first, second, third] = calls;
    assert!(matches!(first.await, Ok(News::Done(Err(Failure::Lost)))));
    assert!(matches!(second.await, Ok(News::Done(Err(Failure::Lost)))), "half of it left");
    assert!(matches!(third.await, Ok(News::Done(Err(Failure::NeverLeft)))));
    assert!(matches!(pinging(&multiplexer).await, Ok(News::Done(Err(Failure::NeverLeft)))), "after the end");
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_after_the_end_was_marked() {
    let Rig { multiplexer, ledger, driver: _driver, mut peer } = rig(1024);
    ledger.kill(LinkEnd::Retired);
    assert!(matches!(pinging(&multiplexer).await, Ok(News::Done(Err(Failure::NeverLeft)))));
    let mut nothing = Vec::new();
    timeout(LIMIT, peer.read_to_end(&mut nothing)).await.expect("the socket is closed").expect("by EOF");
    assert_eq!(nothing, b"");
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_caller_is_gone_before_its_turn_is_not_sent() {
    let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(1024);
    let last = pinging(&multiplexer);
    drop(multiplexer.send(Wants::One, None, |bytes| bytes.extend_from_slice(b"*1\r\n$4\r\nLEFT\r\n")));
    let other = pinging(&multiplexer);
    assert_eq!(receive(&mut peer, 2 * PING.len()).await, PING.repeat(2));
    peer.write_all(b":1\r\n:2\r\n").await.expect("written");
    assert!(matches!(last.await, Ok(News::Done(Ok(Value::Int(1))))));
    assert!(matches!(other.await, Ok(News::Done(Ok(Value::Int(2))))));
}

#[tokio::test(start_paused = true)]
async fn the_reply_of_a_caller_that_is_gone_is_nobody_elses() {
    let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(1024);
    let mut sent = ping(&mut multiplexer);
    assert!(timeout(Duration::from_millis(1), sent.news()).await.is_err());
    drop(sent);
    let mut sent = ping(&mut multiplexer);
    receive(&mut peer, PING.len()).await;
    peer.write_all(b":1\r\n").await.expect("written");
    assert!(timeout(Duration::from_millis(1), sent.news()).await.is_err());
    receive(&mut peer, PING.len()).await;
    peer.write_all(b":2\r\n").await.expect("written");
    assert!(matches!(news(sent).await, News::Done(Ok(Value::Int(2)))));
}

#[tokio::test(start_paused = true)]
async fn a_sender_keeps_its_call() {
    let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(1024);
    let mut calls = Vec::new();
    for _ in 0..3 {
        let mut sent = ping(&mut multiplexer);
        calls.push(Arc::as_ptr(sent.call));
        answer(&mut peer, PING.len(), b"+OK\r\n").await;
        assert!(matches!(sent.news().await, News::Done(Ok(Value::Okay))));
    }
    assert_eq!(calls[0], calls[1]);
    assert_eq!(calls[1], calls[2]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asked_for_answers_nothing() {
    let Rig { multiplexer, driver: _driver, mut peer, ledger } = rig(1024);
    peer.write_all(b"-ERR unasked\r\n").await.expect("written");
    settle().await;
    let call = pinging(&multiplexer);
    receive(&mut peer, PING.len()).await;
    peer.write_all(b"+PONG\r\n").await.expect("written");
    assert!(matches!(call.await, Ok(News::Done(Ok(Value::SimpleString(pong)))) if pong == "PONG"));
    assert!(!ledger.is_dead());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_protocol_ends_the_link() {
    let Rig { multiplexer, driver: _driver, mut peer, ledger } = rig(1024);
    let call = pinging(&multiplexer);
    answer(&mut peer, PING.len(), b"HTTP/1.1 400 Bad Request\r\n").await;
    assert!(matches!(call.await, Ok(News::Done(Err(Failure::Lost)))));
    assert!(matches!(ledger.end(), Some(LinkEnd::Protocol(_))));
}

/// A peer that takes nothing more until its replies are read, and a driver that reads nothing until it has written, would
/// wait for each other.
#[tokio::test(start_paused = true)]
async fn replies_are_read_while_nothing_can_be_written() {
    let Rig { multiplexer, driver: _driver, peer, .. } = rig(64);
    let (mut reader, mut writer) = tokio::io::split(peer);
    tokio::spawn(async move {
        let mut command = vec![0; PING.len()];
        while reader.read_exact(&mut command).await.is_ok() {
            writer.write_all(&[b"$100\r\n", &[b'x'; 100][..], b"\r\n"].concat()).await.expect("written");
        }
    });
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        calls.spawn(pinging(&multiplexer));
    }
    for done in timeout(LIMIT, calls.join_all()).await.expect("all are answered") {
        assert!(matches!(done, Ok(News::Done(Ok(Value::BulkString(bytes)))) if bytes.len() == 100));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_nothing_is_not_sent() {
    let Rig { mut multiplexer, driver: _driver, .. } = rig(64);
    let sent = multiplexer.send(Wants::One, None, |_| {});
    assert!(matches!(news(sent).await, News::Done(Err(Failure::Empty))));
}

#[tokio::test(start_paused = true)]
async fn requests_are_overdue_to_the_millisecond_and_may_be_put_off() {
    let Rig { multiplexer, driver: _driver, peer: _peer, .. } = rig(1024);
    let start = Instant::now();
    let mut calls = JoinSet::new();
    // The shortest comes last, and has the timer set anew.
    for millis in [5_000, 70, 300, 20] {
        let mut multiplexer = multiplexer.clone();
        calls.spawn(async move {
            let mut sent = ping_due(&mut multiplexer, start.checked_add(Duration::from_millis(millis)));
            assert!(matches!(sent.news().await, News::Overdue));
            assert_eq!(start.elapsed().as_millis(), u128::from(millis));
            sent.put_off(Instant::now() + Duration::from_millis(9));
            assert!(matches!(sent.news().await, News::Overdue));
            assert_eq!(start.elapsed().as_millis(), u128::from(millis + 9));
        });
    }
    timeout(Duration::from_secs(6), calls.join_all()).await.expect("all are overdue");
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_is_not_overdue() {
    let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(1024);
    let start = Instant::now();
    for _ in 0..3 {
        let mut sent = ping_due(&mut multiplexer, Some(Instant::now() + Duration::from_millis(10)));
        answer(&mut peer, PING.len(), b"+OK\r\n").await;
        assert!(matches!(sent.news().await, News::Done(Ok(_))));
        sleep(Duration::from_millis(7)).await;
    }
    let mut late = ping_due(&mut multiplexer, Some(Instant::now() + Duration::from_millis(10)));
    assert!(matches!(late.news().await, News::Overdue));
    assert_eq!(start.elapsed().as_millis(), 31);
}

/// A peer takes a first part, and nothing more until it is asked to.
#[tokio::test(start_paused = true)]
async fn what_is_taken_back_in_time_is_not_sent() {
    let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(PING.len() / 2);
    let (mut second, mut third) = (multiplexer.clone(), multiplexer.clone());
    let first = ping(&mut multiplexer);
    settle().await;
    let taken_back = ping(&mut second);
    let last = ping(&mut third);
    assert!(taken_back.take_back(), "the driver is stuck with the first");
    assert!(!first.take_back(), "a part of it has left");
    let mut received = vec![0; 2 * PING.len()];
    timeout(LIMIT, peer.read_exact(&mut received)).await.expect("in time").expect("the first and the last");
    assert_eq!(received, PING.repeat(2));
    let nothing = timeout(Duration::from_secs(1), peer.read_u8()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    // The reply to the first is nobody's.
    peer.write_all(b":1\r\n").await.expect("room");
    settle().await;
    peer.write_all(b":2\r\n").await.expect("room");
    assert!(matches!(news(last).await, News::Done(Ok(Value::Int(2)))));
}

/// The runtime that a tether was started on may be one that nobody drives.
#[test]
fn a_runtime_that_stands_still_keeps_nobody_elsewhere_waiting() {
    let runtime = || runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (still, other) = (runtime(), runtime());
    let Rig { mut multiplexer, .. } = still.block_on(async { rig(1024) });
    other.block_on(async {
        let start = Instant::now();
        let mut sent = ping_due(&mut multiplexer, Some(start + Duration::from_millis(30)));
        assert!(matches!(timeout(LIMIT, sent.news()).await, Ok(News::Overdue)));
        sent.put_off(Instant::now() + Duration::from_millis(30));
        assert!(matches!(timeout(LIMIT, sent.news()).await, Ok(News::Overdue)));
        assert!(start.elapsed() >= Duration::from_millis(60));
    });
}

/// The driver by hand: what it writes at which look.
struct ByHand {
    driver: driver::Driver,
    multiplexer: Multiplexer,
    ledger: Arc<Ledger>,
    writes: Arc<Mutex<Vec<usize>>>,
}

impl ByHand {
    fn new() -> ByHand {
        let ((ledger, _), writes) = (books(), Arc::default());
        let stream = Recording { writes: Arc::clone(&writes) };
        let line = Arc::new(Line::new(runtime::Handle::current().id()));
        let driver = Driver::new(LedgerStream::new(Box::new(stream), Arc::clone(&ledger)), Arc::clone(&line));
        ByHand { driver, multiplexer: Multiplexer { line, call: None }, ledger, writes }
    }

    /// What was written by now, write by write, after another look.
    fn look(&mut self) -> Vec<usize> {
        let looked = Pin::new(&mut self.driver).poll(&mut Context::from_waker(Waker::noop()));
        assert!(looked.is_pending());
        lock(&self.writes).clone()
    }
}

/// Notes the size of each write, and answers nothing.
struct Recording {
    writes: Arc<Mutex<Vec<usize>>>,
}

impl AsyncRead for Recording {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Recording {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.writes).push(buf.len());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_command_that_is_alone_leaves_at_once() {
    let mut rig = ByHand::new();
    let _alone = rig.ledger.begin(FlightKind::Plain);
    let mut multiplexer = rig.multiplexer.clone();
    let _sent = ping(&mut multiplexer);
    assert_eq!(rig.look(), [PING.len()]);
}

#[tokio::test]
async fn commands_that_come_together_leave_in_one_write() {
    let mut rig = ByHand::new();
    let _several = [(); 2].map(|()| rig.ledger.begin(FlightKind::Plain));
    let mut clones = [(); 5].map(|()| rig.multiplexer.clone());
    let [first, second, third, fourth, fifth] = &mut clones;
    let _sent = [ping(first), ping(second)];
    assert!(rig.look().is_empty(), "put off by one turn");
    let _more = [ping(third), ping(fourth)];
    assert_eq!(rig.look(), [4 * PING.len()]);
    let _next = ping(fifth);
    assert_eq!(rig.look(), [4 * PING.len()], "the next batch is put off as well");
    assert_eq!(rig.look(), [4 * PING.len(), PING.len()]);
}

#[tokio::test]
async fn a_full_batch_leaves_at_once() {
    let mut rig = ByHand::new();
    let _several = [(); 2].map(|()| rig.ledger.begin(FlightKind::Plain));
    let mut multiplexer = rig.multiplexer.clone();
    let _sent = multiplexer.send(Wants::One, None, |bytes| bytes.resize(8192, b'x'));
    assert_eq!(rig.look(), [8192]);
}

/// The replies to a transaction of `SET`, `INCR` and `GET`, of which the queueing of some was refused.
const ABORTED: &[&str] = &[
    "+OK\r\n-ERR wrong number of arguments for 'set' command\r\n+QUEUED\r\n-NOPERM no permission for 'get'\r\n-EXECABORT no\r\n",
    "+OK\r\n+QUEUED\r\n-READONLY You can't write against a read only replica.\r\n+QUEUED\r\n-EXECABORT no\r\n",
    "+OK\r\n+QUEUED\r\n+QUEUED\r\n-FOO\r\n-EXECABORT no\r\n",
];

#[tokio::test]
async fn aborted_transactions_fail_as_with_redis_rs() {
    let mut transaction = pipe();
    transaction.atomic().set("a", 1).incr("b", 1).get("c");
    for replies in ABORTED {
        let (ours, mut peer) = duplex(4096);
        let (info, config) = (RedisConnectionInfo::default().set_skip_set_lib_name(), AsyncConnectionConfig::new());
        let theirs = MultiplexedConnection::new_with_config(&info, ours, config).await;
        let (mut theirs, driver) = theirs.expect("a connection");
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let server = async {
            peer.read_u8().await.expect("a command");
            peer.write_all(replies.as_bytes()).await.expect("written");
        };
        let (expected, ()) = tokio::join!(theirs.send_packed_commands(&transaction, 4, 1), server);
        drop(driver);

        let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(4096);
        let sent = multiplexer.send(Wants::many(4, 1, true), None, |bytes| {
            bytes.extend_from_slice(&transaction.get_packed_pipeline());
        });
        answer(&mut peer, transaction.get_packed_pipeline().len(), replies.as_bytes()).await;
        let News::Done(Err(Failure::Aborted(aborted))) = news(sent).await else { panic!("it was aborted") };
        // Also in a task that has used up its turn.
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        assert_same(&aborted.into_error(), &expected.expect_err("it was aborted"));
    }
}

fn assert_same(ours: &RedisError, theirs: &RedisError) {
    assert_eq!(ours.to_string(), theirs.to_string());
    assert_eq!(ours.kind(), theirs.kind());
    assert_eq!(ours.clone().into_server_errors(), theirs.clone().into_server_errors());
}

#[tokio::test(start_paused = true)]
async fn a_pipelines_replies_are_those_after_the_skipped_ones() {
    let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(4096);
    for (skipped, expected) in [(0, vec![Value::Int(1), Value::Int(2), Value::Int(3)]), (2, vec![Value::Int(3)])] {
        let sent = multiplexer
            .send(Wants::many(skipped, 3 - skipped, false), None, |bytes| bytes.extend_from_slice(&PING.repeat(3)));
        answer(&mut peer, 3 * PING.len(), b":1\r\n:2\r\n:3\r\n").await;
        assert!(matches!(news(sent).await, News::Done(Ok(Value::Array(values))) if values == expected));
    }
}

/// On threads of their own, with callers that go away in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_has_their_own_reply_on_any_number_of_threads() {
    let Rig { multiplexer, driver: _driver, peer, .. } = rig(256);
    let (mut reader, mut writer) = tokio::io::split(peer);
    tokio::spawn(async move {
        // Echoes what is behind the twelve bytes of the head, of which each is eleven bytes long.
        let mut command = [0; 25];
        while reader.read_exact(&mut command).await.is_ok() {
            writer.write_all(&[b"+", &command[14..23], b"\r\n"].concat()).await.expect("written");
        }
    });
    let mut calls = JoinSet::new();
    for caller in 0..32_u32 {
        let mut multiplexer = multiplexer.clone();
        calls.spawn(async move {
            for number in 0..400_u32 {
                let word = format!("{caller:03}-{number:05}");
                let mut sent = multiplexer
                    .send(Wants::One, None, |bytes| cmd(&format!("ECHO-{word}")).write_packed_command(bytes));
                if number % 7 == 0 {
                    let _ = timeout(Duration::from_micros(u64::from(caller)), sent.news()).await;
                    continue;
                }
                match timeout(LIMIT, sent.news()).await {
                    Ok(News::Done(Ok(Value::SimpleString(said)))) => assert_eq!(said, word),
                    other => panic!("{word}: {other:?}"),
                }
            }
        });
    }
    calls.join_all().await;
}
