//! The ledger's promises: one death, told in order. Those about silence are in `silence/tests.rs`.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use redis_tether_core::Epoch;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio_util::task::TaskTracker;

use super::{Ledger, LedgerStream, LinkEnd, LinkObserver};
use crate::config::CommandSettings;
use crate::gate::Gate;
use crate::multiplexer::Multiplexer;

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
    let stream = LedgerStream::new(Box::new(ours), Arc::clone(&ledger));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (multiplexer, _driver) = runtime.block_on(async { Multiplexer::start(stream, &TaskTracker::new()) });
    assert!(!ledger.is_dead());
    drop(runtime);
    assert_eq!(witness.ends(), [LinkEnd::DriverGone]);
    drop(multiplexer);
}

/// A transport of the application's that panics when it is read.
struct Panics;

impl AsyncRead for Panics {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        panic!("a test asked for it");
    }
}

impl AsyncWrite for Panics {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The runtime goes on, and so does the tether: it is not to be taken for their end.
#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_ends_the_link_and_not_the_runtime() {
    let (ledger, witness) = books();
    let stream = LedgerStream::new(Box::new(Panics), Arc::clone(&ledger));
    let (_multiplexer, _driver) = Multiplexer::start(stream, &TaskTracker::new());
    tokio::time::timeout(std::time::Duration::from_secs(5), ledger.over()).await.expect("waited for its end");
    assert_eq!(witness.ends(), [LinkEnd::Failed(io::ErrorKind::Other, "its code panicked".to_owned())]);
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
