//! The stream below TLS, with an ear at it: a peer that answers a TLS greeting with something else is known by its first byte,
//! which the TLS library takes for a broken record; and one that gives its reason and hangs up is heard out, though there is
//! nobody left to write to. Passes everything else on as it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::BoxedStream;

/// The first byte that a peer sent.
pub(super) type Heard = Arc<OnceLock<u8>>;

pub(super) struct Overheard {
    inner: BoxedStream,
    heard: Heard,
    /// The peer has let us in.
    is_accepted: bool,
}

impl Overheard {
    pub(super) fn new(inner: BoxedStream) -> (Overheard, Heard) {
        let heard = Heard::default();
        (Overheard { inner, heard: Arc::clone(&heard), is_accepted: false }, heard)
    }

    /// From now on a write that fails is told: what was written then counts as sent.
    pub(super) fn accepted(&mut self) {
        self.is_accepted = true;
    }

    /// A server that refuses the client says why and hangs up, perhaps while we write: then reading has to go on, up to the
    /// reason and the end. What could not be written is lost with the connection either way.
    fn hear_out(&self, outcome: io::Result<usize>, size: usize) -> io::Result<usize> {
        match outcome {
            Err(error) if !self.is_accepted && is_hang_up(&error) => Ok(size),
            outcome => outcome,
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Whether a record of TLS begins like this: its first byte is its type.
pub(super) fn is_tls(first: u8) -> bool {
    (20..=24).contains(&first)
}

impl AsyncRead for Overheard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if let Some(first) = buf.filled().get(before) {
            // The first read sets it, all others find it set.
            let _ = self.heard.set(*first);
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        Poll::Ready(self.hear_out(outcome, buf.len()))
    }

    /// Records come in several pieces, and should leave together.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        Poll::Ready(self.hear_out(outcome, bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
