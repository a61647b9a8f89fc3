//! The ledger's promises: one death, told in order; silence measured right; writes put together.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use redis_tether_core::Epoch;
use redis_tether_testkit::FakeServer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::{Instant, advance, timeout};

use super::{FlightKind, Ledger, LedgerStream, LinkEnd, LinkObserver};
use crate::config::CommandSettings;
use crate::gate::Gate;

const LIMIT: Duration = Duration::from_secs(5);

/// Remembers what it is told, and whether the ledger was dead by then.
#[derive(Default)]
struct Witness {
    ledger: OnceLock<Weak<Ledger>>,
    ends: Mutex<Vec<(Epoch, LinkEnd)>>,
    told_alive: AtomicUsize,
    heard: AtomicUsize,
}

impl Witness {
    fn ends(&self) -> Vec<LinkEnd> {
        self.ends.lock().expect("no test panics here").iter().map(|(_, end)| end.clone()).collect()
    }
}

impl LinkObserver for Witness {
    fn link_ended(&self, epoch: Epoch, end: LinkEnd) {
        let dead = self.ledger.get().and_then(Weak::upgrade).is_none_or(|ledger| ledger.is_dead());
        self.told_alive.fetch_add(usize::from(!dead), Ordering::SeqCst);
        self.ends.lock().expect("no test panics here").push((epoch, end));
    }

    fn link_heard(&self, _epoch: Epoch) {
        self.heard.fetch_add(1, Ordering::SeqCst);
    }
}

fn books() -> (Arc<Ledger>, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    let gate = Gate::new(&CommandSettings::default(), Arc::default());
    let ledger = Ledger::new(Epoch::FIRST, gate, witness.clone());
    witness.ledger.set(Arc::downgrade(&ledger)).expect("set once");
    (ledger, witness)
}

async fn multiplexed(ledger: &Arc<Ledger>, io: impl crate::transport::Stream) -> MultiplexedConnection {
    let stream = LedgerStream::new(Box::new(io), Arc::clone(ledger));
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
    let (connection, driver) = made.expect("nothing to set up");
    tokio::spawn(driver);
    connection
}

#[test]
fn a_link_dies_once_however_many_say_so() {
    const THREADS: usize = 16;
    for _ in 0..100 {
        let (ledger, witness) = books();
        let barrier = Barrier::new(THREADS);
        let winners = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    winners.fetch_add(usize::from(ledger.kill(LinkEnd::Closed)), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
        assert_eq!(witness.ends(), [LinkEnd::Closed]);
        assert_eq!(witness.told_alive.load(Ordering::SeqCst), 0, "told before the link was marked dead");
    }
}

#[test]
fn the_first_reason_stands() {
    let (ledger, witness) = books();
    assert!(ledger.kill(LinkEnd::Mute));
    assert!(!ledger.kill(LinkEnd::Closed));
    assert_eq!(ledger.end(), Some(&LinkEnd::Mute));
    assert_eq!(witness.ends(), [LinkEnd::Mute]);
}

#[test]
fn an_unannounced_end_is_not_reported_and_an_announced_one_is() {
    let gate = Gate::new(&CommandSettings::default(), Arc::default());
    let witness = Arc::new(Witness::default());
    let ledger = Ledger::unannounced(Epoch::FIRST, &gate, witness.clone());
    ledger.kill(LinkEnd::Closed);
    assert!(!ledger.announce(), "announced although it had ended");
    assert_eq!(witness.ends(), []);

    let ledger = Ledger::unannounced(Epoch::FIRST, &gate, witness.clone());
    assert!(ledger.announce());
    ledger.kill(LinkEnd::Closed);
    assert_eq!(witness.ends(), [LinkEnd::Closed]);
}

#[test]
fn a_ledger_does_not_keep_the_gate() {
    let gate = Gate::new(&CommandSettings::default(), Arc::default());
    let kept = Arc::downgrade(&gate);
    let ledger = Ledger::new(Epoch::FIRST, gate, Arc::new(Witness::default()));
    assert!(kept.upgrade().is_none());
    assert!(ledger.kill(LinkEnd::Retired));
}

#[tokio::test(start_paused = true)]
async fn callers_that_fail_by_a_close_find_the_link_dead() {
    let (ledger, witness) = books();
    let (ours, mut peer) = duplex(64 * 1024);
    let connection = multiplexed(&ledger, ours).await;
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let (mut connection, ledger) = (connection.clone(), Arc::clone(&ledger));
            tokio::spawn(async move {
                let outcome: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut connection).await;
                (outcome.is_err(), ledger.is_dead())
            })
        })
        .collect();
    let mut one_batch = [0; 140];
    peer.read_exact(&mut one_batch).await.expect("ten PINGs");
    drop(peer);
    for caller in callers {
        let seen = timeout(LIMIT, caller).await.expect("a caller hears of the close").expect("no panic");
        assert_eq!(seen, (true, true), "(failed, saw the link dead)");
    }
    assert_eq!(witness.ends(), [LinkEnd::Closed]);
}

#[tokio::test(start_paused = true)]
async fn commands_queued_together_leave_in_one_write() {
    let (ledger, _witness) = books();
    let (ours, io) = duplex(64 * 1024);
    FakeServer::new().serve(io);
    let writes = Arc::new(Mutex::new(Vec::new()));
    let connection = multiplexed(&ledger, Recording { inner: ours, writes: Arc::clone(&writes) }).await;
    let ping = || {
        let mut connection = connection.clone();
        async move { redis::cmd("PING").query_async::<String>(&mut connection).await }
    };
    // The first command wakes the driver; the others are spawned after that, and have their turn after the driver's.
    let spawn_others = async { (0..7).map(|_| tokio::spawn(ping())).collect::<Vec<_>>() };
    let first_and_others = async { tokio::join!(biased; ping(), spawn_others) };
    let (first, others) = timeout(LIMIT, first_and_others).await.expect("replies");
    first.expect("a reply");
    for other in others {
        other.await.expect("no panic").expect("a reply");
    }
    let size = redis::cmd("PING").get_packed_command().len();
    assert_eq!(*writes.lock().expect("no panic"), [8 * size]);
    assert_eq!(ledger.bytes_written(), 8 * size as u64);

    ping().await.expect("a reply");
    assert_eq!(*writes.lock().expect("no panic"), [8 * size, size], "the next batch is put off and sent as well");
}

/// Notes the size of each write.
struct Recording {
    inner: DuplexStream,
    writes: Arc<Mutex<Vec<usize>>>,
}

impl AsyncRead for Recording {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recording {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.lock().expect("no panic").push(buf.len());
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_leaves_at_once() {
    let (ledger, _witness) = books();
    let (ours, _peer) = duplex(64 * 1024);
    let mut stream = LedgerStream::new(Box::new(ours), Arc::clone(&ledger));
    let small = poll_write(&mut stream, &[0; 8191]);
    assert!(small.is_pending());
    let mut stream = LedgerStream::new(Box::new(duplex(64 * 1024).0), ledger);
    assert!(poll_write(&mut stream, &[0; 8192]).is_ready());
}

fn poll_write(stream: &mut LedgerStream, bytes: &[u8]) -> Poll<io::Result<usize>> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    Pin::new(stream).poll_write(&mut cx, bytes)
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_after_the_end_was_marked() {
    let (ledger, _witness) = books();
    let (ours, mut peer) = duplex(64 * 1024);
    let mut connection = multiplexed(&ledger, ours).await;
    ledger.kill(LinkEnd::Retired);
    let outcome: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut connection).await;
    assert!(outcome.is_err());
    assert_eq!(ledger.bytes_written(), 0);
    let mut nothing = Vec::new();
    timeout(LIMIT, peer.read_to_end(&mut nothing)).await.expect("the socket is closed").expect("by EOF");
    assert_eq!(nothing, b"");
}

#[tokio::test(start_paused = true)]
async fn transport_errors_end_the_link_with_their_kind() {
    let (ledger, witness) = books();
    let mut stream = LedgerStream::new(Box::new(Failing(io::ErrorKind::TimedOut)), Arc::clone(&ledger));
    let error = stream.read_u8().await.expect_err("it fails");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(stream);
    let ends = witness.ends();
    assert!(matches!(ends[..], [LinkEnd::Failed(io::ErrorKind::TimedOut, _)]), "{ends:?}");
}

struct Failing(io::ErrorKind);

impl AsyncRead for Failing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(self.0.into()))
    }
}

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self.0.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_dropped_runtime_ends_the_link() {
    let (ledger, witness) = books();
    let (ours, _peer) = duplex(1024);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let connection = runtime.block_on(multiplexed(&ledger, ours));
    assert!(!ledger.is_dead());
    drop(runtime);
    assert_eq!(witness.ends(), [LinkEnd::DriverGone]);
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_is_not_silent() {
    let (ledger, _witness) = books();
    advance(Duration::from_secs(3600)).await;
    assert_eq!(ledger.silent_for(Instant::now()), None);
    let flight = ledger.begin(FlightKind::Plain);
    advance(Duration::from_millis(300)).await;
    assert_eq!(silence(&ledger), Some(300), "silence counts from the command, not from the last read");
    drop(flight);
    assert_eq!(silence(&ledger), None);
}

fn silence(ledger: &Ledger) -> Option<u128> {
    ledger.silent_for(Instant::now()).map(|silence| silence.as_millis())
}

#[tokio::test(start_paused = true)]
async fn a_drip_is_not_silence() {
    let (ledger, _witness) = books();
    let _flight = ledger.begin(FlightKind::Plain);
    for _ in 0..10 {
        advance(Duration::from_secs(1)).await;
        assert_eq!(silence(&ledger), Some(1000));
        ledger.note_read(b"+");
        assert_eq!(silence(&ledger), Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_early_do_not_hide_a_mute_peer() {
    let (ledger, _witness) = books();
    for _ in 0..4 {
        let _flight = ledger.begin(FlightKind::Plain);
        ledger.note_written(14);
        advance(Duration::from_millis(100)).await;
    }
    let _flight = ledger.begin(FlightKind::Plain);
    assert_eq!(silence(&ledger), Some(400));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_given_up_before_it_left_starts_no_silence() {
    let (ledger, _witness) = books();
    drop(ledger.begin(FlightKind::Plain));
    advance(Duration::from_secs(60)).await;
    let _flight = ledger.begin(FlightKind::Plain);
    assert_eq!(silence(&ledger), Some(0));
}

const TEN: Option<Duration> = Some(Duration::from_secs(10));

#[tokio::test(start_paused = true)]
async fn a_blocking_command_explains_silence_until_its_timeout() {
    let (ledger, _witness) = books();
    let _waiting = ledger.begin(FlightKind::Blocking(TEN));
    let _behind = ledger.begin(FlightKind::Plain);
    advance(Duration::from_millis(10_499)).await;
    assert!(ledger.blocked());
    assert_eq!(silence(&ledger), None);
    advance(Duration::from_millis(1)).await;
    assert!(!ledger.blocked());
    assert_eq!(silence(&ledger), Some(0), "silence counts from where its explanation ended");
    advance(Duration::from_millis(250)).await;
    assert_eq!(silence(&ledger), Some(250));
}

#[tokio::test(start_paused = true)]
async fn blocking_commands_wait_one_after_another() {
    let (ledger, _witness) = books();
    let first = ledger.begin(FlightKind::Blocking(TEN));
    let _second = ledger.begin(FlightKind::Blocking(TEN));
    advance(Duration::from_secs(10)).await;
    ledger.note_read(b"*-1\r\n");
    drop(first);
    advance(Duration::from_millis(10_499)).await;
    assert_eq!(silence(&ledger), None);
    advance(Duration::from_millis(1)).await;
    assert_eq!(silence(&ledger), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_blocking_command_without_a_timeout_explains_silence_for_ever() {
    let (ledger, _witness) = books();
    let waiting = ledger.begin(FlightKind::Blocking(None));
    let _behind = ledger.begin(FlightKind::Plain);
    advance(Duration::from_secs(86_400)).await;
    assert_eq!(silence(&ledger), None);
    drop(waiting);
    advance(Duration::from_millis(250)).await;
    assert_eq!(silence(&ledger), Some(250), "nobody waits for it any more, and it blocks the link");
}

#[tokio::test(start_paused = true)]
async fn an_answered_blocking_command_explains_nothing_any_more() {
    let (ledger, _witness) = books();
    let waiting = ledger.begin(FlightKind::Blocking(Some(Duration::from_secs(3600))));
    advance(Duration::from_secs(1)).await;
    ledger.note_read(b"*2\r\n");
    drop(waiting);
    let _next = ledger.begin(FlightKind::Plain);
    advance(Duration::from_millis(250)).await;
    assert_eq!(silence(&ledger), Some(250));
}

#[tokio::test(start_paused = true)]
async fn a_blocking_command_whose_caller_left_goes_on_at_the_server() {
    let (ledger, _witness) = books();
    drop(ledger.begin(FlightKind::Blocking(TEN)));
    let _behind = ledger.begin(FlightKind::Plain);
    advance(Duration::from_secs(5)).await;
    assert_eq!(silence(&ledger), None);
    ledger.note_read(b"*2\r\n");
    advance(Duration::from_secs(1)).await;
    assert_eq!(silence(&ledger), Some(1000), "its answer came after all");
}

#[tokio::test(start_paused = true)]
async fn absurd_timeouts_explain_for_ever_and_do_not_overflow() {
    let (ledger, _witness) = books();
    let _waiting = ledger.begin(FlightKind::Blocking(Some(Duration::MAX)));
    assert!(ledger.blocked());
}

#[tokio::test(start_paused = true)]
async fn one_read_is_reported_for_each_listen() {
    let (ledger, witness) = books();
    ledger.note_read(b"+");
    assert_eq!(witness.heard.load(Ordering::SeqCst), 0);
    ledger.listen();
    ledger.note_read(b"+");
    ledger.note_read(b"+");
    assert_eq!(witness.heard.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn busy_and_idle_wake_those_who_wait() {
    let (ledger, _witness) = books();
    let watch = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move { ledger.busy().await }
    });
    tokio::task::yield_now().await;
    assert!(!watch.is_finished());
    let flight = ledger.begin(FlightKind::Plain);
    timeout(LIMIT, watch).await.expect("busy").expect("no panic");
    timeout(LIMIT, ledger.busy()).await.expect("busy already");
    let drain = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move { ledger.idle().await }
    });
    tokio::task::yield_now().await;
    assert!(!drain.is_finished());
    drop(flight);
    timeout(LIMIT, drain).await.expect("idle").expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn the_end_wakes_the_watch() {
    let (ledger, _witness) = books();
    let watch = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move { ledger.busy().await }
    });
    tokio::task::yield_now().await;
    ledger.kill(LinkEnd::Closed);
    timeout(LIMIT, watch).await.expect("woken by the end").expect("no panic");
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

#[tokio::test(start_paused = true)]
async fn the_first_words_of_a_peer_that_complains_are_kept() {
    for (said, kept) in [
        (&b"-ERR max number of clients reached\r\n"[..], Some("ERR max number of clients reached")),
        (b"+OK\r\n-ERR later\r\n", None),
    ] {
        let (ledger, _witness) = books();
        ledger.note_read(said);
        ledger.note_read(b"-ERR second\r\n");
        assert_eq!(ledger.first_words(), kept);
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_write_is_counted_as_far_as_it_went() {
    let (ledger, _witness) = books();
    let mut sizes = VecDeque::from([3, 4]);
    let (ours, mut peer) = duplex(3);
    let mut stream = LedgerStream::new(Box::new(ours), Arc::clone(&ledger));
    let write = tokio::spawn(async move {
        stream.write_all(b"seven b").await.expect("written");
        stream
    });
    let mut read = 0;
    while let Some(size) = sizes.pop_front() {
        let mut bytes = vec![0; size];
        peer.read_exact(&mut bytes).await.expect("some bytes");
        read += size as u64;
        assert!(ledger.bytes_written() >= read);
    }
    let _stream = write.await.expect("no panic");
    assert_eq!(ledger.bytes_written(), 7);
}
