//! The ledger's promises: one death, told in order; writes put together. Those about silence are in `silence/tests.rs`.

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
use tokio::time::timeout;

use super::{FlightKind, Ledger, LedgerStream, LinkEnd, LinkObserver};
use crate::config::CommandSettings;
use crate::gate::Gate;

pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Remembers what it is told, and whether the ledger was dead by then.
#[derive(Default)]
pub(crate) struct Witness {
    ledger: OnceLock<Weak<Ledger>>,
    ends: Mutex<Vec<(Epoch, LinkEnd)>>,
    told_alive: AtomicUsize,
    heard: AtomicUsize,
}

impl Witness {
    /// How often it was told that the link spoke.
    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }

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

pub(crate) fn books() -> (Arc<Ledger>, Arc<Witness>) {
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
        let (mut connection, flight) = (connection.clone(), ledger.begin(FlightKind::Plain));
        async move {
            let reply = redis::cmd("PING").query_async::<String>(&mut connection).await;
            drop(flight);
            reply
        }
    };
    // The first command wakes the driver; the others are spawned after that, and have their turn after the driver's.
    let another = ledger.begin(FlightKind::Plain);
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
    drop(another);
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
    let _several = [ledger.begin(FlightKind::Plain), ledger.begin(FlightKind::Plain)];
    let mut stream = LedgerStream::new(Box::new(ours), Arc::clone(&ledger));
    let small = poll_write(&mut stream, &[0; 8191]);
    assert!(small.is_pending());
    let mut stream = LedgerStream::new(Box::new(duplex(64 * 1024).0), ledger);
    assert!(poll_write(&mut stream, &[0; 8192]).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_alone_leaves_at_once() {
    let (ledger, _witness) = books();
    let _alone = ledger.begin(FlightKind::Plain);
    let mut stream = LedgerStream::new(Box::new(duplex(64 * 1024).0), ledger);
    assert!(poll_write(&mut stream, b"PING").is_ready());
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
