//! The stream that a link has over TLS. The end of the transport is an end, announced by TLS or not: a reply that is cut off is
//! none, and whoever can cut a connection can also announce its end to a client that is not listening. What TLS itself objects
//! to is told in our words, since some of it concerns the dial: in TLS 1.3 a server judges the client's certificate after the
//! client is done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::failure::Facts;
use super::overheard::Overheard;

/// What fits into one record.
const RECORD: usize = 16 * 1024;

pub(super) struct TlsLinkStream {
    inner: TlsStream<Overheard>,
    facts: Arc<Facts>,
    /// Something was read: the server has found nothing wrong with us.
    is_accepted: bool,
}

impl TlsLinkStream {
    pub(super) fn new(inner: TlsStream<Overheard>, facts: Arc<Facts>) -> TlsLinkStream {
        TlsLinkStream { inner, facts, is_accepted: false }
    }

    fn tell<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| self.facts.failed_later(error))
    }
}

impl AsyncRead for TlsLinkStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if !self.is_accepted && buf.filled().len() > before {
            self.is_accepted = true;
            self.inner.get_mut().0.accepted();
        }
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            outcome => Poll::Ready(self.tell(outcome)),
        }
    }
}

impl AsyncWrite for TlsLinkStream {
    /// A record at a time, and not before the last one has left: given more, rustls fails for all of it where only the last of
    /// several records could not be written, and what the server has executed would pass for what never left.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.inner.get_ref().1.wants_write() {
            ready!(self.as_mut().poll_flush(cx))?;
        }
        let buf = &buf[..buf.len().min(RECORD)];
        let outcome = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        Poll::Ready(self.tell(outcome))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(self.tell(outcome))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
        Poll::Ready(self.tell(outcome))
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests;
