//! The stream below TLS, with an ear at it: a peer that answers a TLS greeting with something else is known by its first byte,
//! which the TLS library takes for a broken record. Passes everything on as it is.

use std::io;
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
}

impl Overheard {
    pub(super) fn new(inner: BoxedStream) -> (Overheard, Heard) {
        let heard = Heard::default();
        (Overheard { inner, heard: Arc::clone(&heard) }, heard)
    }
}

impl Overheard {
    fn note(&self, first: Option<&u8>) {
        if let Some(first) = first {
            // The first read sets it, all others find it set.
            let _ = self.heard.set(*first);
        }
    }

    /// A server without room for another client says so and hangs up before it has read anything: its words are there all the
    /// same, and nobody will read them after this.
    fn listen_once(&mut self, cx: &mut Context<'_>) {
        let mut word = [0];
        let mut buf = ReadBuf::new(&mut word);
        let _ = Pin::new(&mut self.inner).poll_read(cx, &mut buf);
        self.note(buf.filled().first());
    }
}

/// Whether a record of TLS begins like this: its first byte is its type.
pub(super) fn is_tls(first: u8) -> bool {
    (20..=24).contains(&first)
}

impl AsyncRead for Overheard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.note(buf.filled().get(before));
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        if outcome.is_err() && self.heard.get().is_none() {
            self.listen_once(cx);
        }
        Poll::Ready(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
