//! The stream that a link's driver, or a subscription's, reads and writes. It keeps the ledger, and marks the link dead before the
//! driver can learn that it is. It never buffers and never reorders.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Ledger, LinkEnd};
use crate::transport::BoxedStream;

/// A transport stream that keeps a [`Ledger`].
pub(crate) struct LedgerStream {
    inner: BoxedStream,
    ledger: Arc<Ledger>,
}

impl LedgerStream {
    pub(crate) fn new(inner: BoxedStream, ledger: Arc<Ledger>) -> LedgerStream {
        LedgerStream { inner, ledger }
    }

    fn fail(&self, error: io::Error) -> io::Error {
        self.ledger.kill(LinkEnd::by_io(&error));
        error
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

impl AsyncRead for LedgerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let had_room = buf.remaining() > 0;
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if let Err(error) = outcome {
            return Poll::Ready(Err(self.fail(error)));
        }
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            self.ledger.note_read(read);
        } else if had_room {
            self.ledger.kill(LinkEnd::Closed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LedgerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // What did not leave before the end was marked never leaves: its callers can be sure that it was not sent.
        if let Some(end) = self.ledger.end() {
            let error = io::Error::new(io::ErrorKind::BrokenPipe, end.to_string());
            return Poll::Ready(Err(error));
        }
        match ready!(Pin::new(&mut self.inner).poll_write(cx, buf)) {
            // No progress is no way to write.
            Ok(0) if !buf.is_empty() => {
                self.fail(io::ErrorKind::WriteZero.into());
                Poll::Ready(Ok(0))
            }
            Ok(bytes) => {
                self.ledger.note_written(bytes);
                Poll::Ready(Ok(bytes))
            }
            Err(error) => Poll::Ready(Err(self.fail(error))),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(outcome.map_err(|error| self.fail(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ledger.kill(LinkEnd::Retired);
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Drop for LedgerStream {
    fn drop(&mut self) {
        // Whoever ended the link has said why, unless it is the runtime, by dropping the driver.
        self.ledger.kill(LinkEnd::DriverGone);
        if let Some(heir) = self.ledger.heir() {
            let inner = mem::replace(&mut self.inner, Box::new(tokio::io::empty()));
            // One who has stopped waiting lets it be closed.
            drop(heir.send(inner));
        }
    }
}
