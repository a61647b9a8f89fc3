//! How the driver shares its thread and its turns, and that nothing stays behind in a stream that buffers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::ready;

use tokio::io::BufWriter;
use tokio::task::coop::poll_proceed;
use tokio::task::yield_now;

use super::*;

#[tokio::test(start_paused = true)]
async fn what_was_written_is_flushed() {
    let (ours, mut peer) = duplex(1024);
    let (multiplexer, _, _driver) = over(BufWriter::new(ours));
    let call = pinging(&multiplexer);
    answer(&mut peer, PING.len(), b":1\r\n").await;
    assert!(matches!(call.await, Ok(News::Done(Ok(Value::Int(1))))));
}

/// Speaks without an end, and each read of it is several of the socket, as under TLS.
struct Talkative(Recording);

impl AsyncRead for Talkative {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        for _ in 0..5 {
            ready!(poll_proceed(cx)).made_progress();
        }
        buf.put_slice(b"+unasked\r\n");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Talkative {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(poll_proceed(cx)).made_progress();
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_peer_that_does_not_cease_to_speak_is_told_what_waits() {
    let writes = Arc::default();
    let (multiplexer, _, _driver) = over(Talkative(Recording { writes: Arc::clone(&writes) }));
    let _call = pinging(&multiplexer);
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(*lock(&writes), [PING.len()]);
}

/// Has more to say at every read, and counts them.
struct Endless {
    reads: Arc<AtomicUsize>,
    writes: Recording,
}

impl AsyncRead for Endless {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Not quite without an end, for the sake of who waits for the test: more than a scheduler lets go by with some at a time.
        if self.reads.fetch_add(1, Ordering::SeqCst) >= 10_000 {
            return Poll::Pending;
        }
        buf.put_slice(b"+unasked\r\n");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writes).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writes).poll_shutdown(cx)
    }
}

/// Not every transport counts what a task does, as tokio's own do.
#[tokio::test]
async fn after_some_reads_others_have_their_turn_and_then_it_goes_on() {
    let reads = Arc::new(AtomicUsize::new(0));
    let (_multiplexer, _, _driver) =
        over(Endless { reads: Arc::clone(&reads), writes: Recording { writes: Arc::default() } });
    yield_now().await;
    let first = reads.load(Ordering::SeqCst);
    assert!((1..10_000).contains(&first), "{first} reads at once");
    yield_now().await;
    assert!(reads.load(Ordering::SeqCst) > first, "it goes on by itself");
}
