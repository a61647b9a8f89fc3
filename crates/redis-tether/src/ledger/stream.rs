//! The stream that redis-rs reads and writes. It keeps the ledger, marks the link dead before redis-rs can learn that it is,
//! and puts the commands that are queued together into one write. It never buffers and never reorders.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Ledger, LinkEnd};
use crate::transport::BoxedStream;

/// From this size on a batch leaves at once: redis-rs's codec takes no further command until it has left.
const FULL_BATCH: usize = 8 * 1024;

/// A transport stream that keeps a [`Ledger`].
pub(crate) struct LedgerStream {
    inner: BoxedStream,
    ledger: Arc<Ledger>,
    batch: Batch,
    // The last poll for reading yielded bytes, and there was none since.
    has_read: bool,
}

/// Where the batch of commands stands that is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// Nothing was offered since the last flush.
    None,
    /// Its first write was put off.
    PutOff,
    /// It is being written.
    Leaving,
}

impl LedgerStream {
    pub(crate) fn new(inner: BoxedStream, ledger: Arc<Ledger>) -> LedgerStream {
        LedgerStream { inner, ledger, batch: Batch::None, has_read: false }
    }

    fn fail(&self, error: io::Error) -> io::Error {
        self.ledger.kill(LinkEnd::by_io(&error));
        error
    }

    /// Whether the first write of a batch should wait for one turn of the scheduler, so that the commands of all tasks that
    /// are ready now leave together: one packet and one system call instead of many, for both sides. A command that is alone
    /// would wait for nothing.
    fn puts_off(&mut self, bytes: usize) -> bool {
        let put_off = self.batch == Batch::None && bytes < FULL_BATCH && self.ledger.in_flight() > 1;
        self.batch = if put_off { Batch::PutOff } else { Batch::Leaving };
        put_off
    }
}

impl AsyncRead for LedgerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let had_room = buf.remaining() > 0;
        self.has_read = false;
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if let Err(error) = outcome {
            return Poll::Ready(Err(self.fail(error)));
        }
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            self.has_read = true;
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
        if self.puts_off(buf.len()) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.inner).poll_write(cx, buf)) {
            // The codec takes no progress for a broken sink.
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
        // The codec flushes when its buffer is empty, so this is where a batch ends.
        self.batch = Batch::None;
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
        // Whoever ended the link has said why. If nobody has, there are two ways to come here. redis-rs polls for reading until
        // there is no more; if it did not, it has given up on what it read last. Else the runtime dropped the driver.
        self.ledger.kill(if self.has_read {
            LinkEnd::Protocol("a reply could not be read".to_owned())
        } else {
            LinkEnd::DriverGone
        });
        self.ledger.release();
        if let Some(heir) = self.ledger.heir() {
            let inner = mem::replace(&mut self.inner, Box::new(tokio::io::empty()));
            // One who has stopped waiting lets it be closed.
            drop(heir.send(inner));
        }
    }
}
