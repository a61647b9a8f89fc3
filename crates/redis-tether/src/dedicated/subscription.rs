//! A dedicated connection becomes one for subscriptions: the multiplexer, which set it up, lets go of the stream while
//! nothing is outstanding, and redis-rs's `PubSub` takes it. That one runs where its owner lives; so that the socket is
//! closed when the epoch is over, wherever that is, the stream can be taken away from it.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use redis::RedisConnectionInfo;
use redis::aio::PubSub;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::Dedicated;
use super::tie::Tie;
use crate::ledger::{FlightKind, Ledger, LedgerStream, LinkEnd};
use crate::lock::lock;
use crate::outcome::{CommandError, Facts, Outcome, Reason};
use crate::transport::BoxedStream;

/// See [`Dedicated::into_pub_sub`].
pub(super) async fn begin(dedicated: Dedicated) -> Result<PubSub, CommandError> {
    let due = Instant::now().checked_add(dedicated.deadline);
    let stream = match due {
        Some(due) => timeout_at(due, released(&dedicated)).await,
        None => Ok(released(&dedicated).await),
    };
    let Ok(stream) = stream else {
        let facts = Facts::new(Outcome::NotSent, Reason::DeadlinePassed, dedicated.endpoint());
        return Err(dedicated.fail(Facts { epoch: Some(dedicated.epoch()), ..facts }));
    };
    let stream = tied(&dedicated, stream?);
    // It is set up already: told to set up nothing, it sends nothing.
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    PubSub::new(&info, stream).await.map_err(|error| {
        let facts = Facts::new(Outcome::NotSent, Reason::ConnectionOver, dedicated.endpoint());
        dedicated.fail(Facts { cause: Some(error.to_string()), ..facts })
    })
}

/// The transport's stream, once every reply on it was read.
async fn released(dedicated: &Dedicated) -> Result<BoxedStream, CommandError> {
    let own = &dedicated.own;
    if let Some(lost) = own.tie.lost() {
        return Err(dedicated.over(lost));
    }
    own.tie.subscribe();
    let books = own.link.ledger();
    // Asked for before the connection can end, so that it is not waited for in vain.
    let stream = books.reclaim();
    books.idle().await;
    // Replies come in order, so those of commands whose callers went away have come before this one. An error is a reply.
    let flight = books.begin(FlightKind::Plain);
    let _ = own.link.multiplexer().ask(redis::pipe().cmd("PING")).await;
    drop(flight);
    if let Some(end) = books.end() {
        return Err(ended(dedicated, end));
    }
    own.link.abort(LinkEnd::Retired);
    stream.await.map_err(|_| ended(dedicated, &LinkEnd::DriverGone))
}

fn ended(dedicated: &Dedicated, end: &LinkEnd) -> CommandError {
    let facts = Facts::new(Outcome::NotSent, Reason::ConnectionOver, dedicated.endpoint());
    dedicated.fail(Facts { epoch: Some(dedicated.epoch()), cause: Some(end.to_string()), ..facts })
}

fn tied(dedicated: &Dedicated, stream: BoxedStream) -> TiedStream {
    let own = &dedicated.own;
    let books = Ledger::aside(dedicated.epoch());
    let line = Arc::new(Severable::new(LedgerStream::new(stream, Arc::clone(&books))));
    let (link, cut) = (Arc::clone(own.tie.link()), Arc::clone(&line));
    Tie::bind(&own.control, link, books, dedicated.address().clone(), move || cut.sever());
    TiedStream { line, _lifeline: Arc::clone(&own.lifeline) }
}

/// A stream that can be taken away from whoever reads it.
struct Severable {
    slot: Mutex<Slot>,
}

struct Slot {
    stream: Option<LedgerStream>,
    reader: Option<Waker>,
}

impl Severable {
    fn new(stream: LedgerStream) -> Severable {
        Severable { slot: Mutex::new(Slot { stream: Some(stream), reader: None }) }
    }

    /// Closes the stream. Whoever reads it finds that it has ended.
    fn sever(&self) {
        let mut slot = lock(&self.slot);
        let (stream, reader) = (slot.stream.take(), slot.reader.take());
        // Neither is run under the lock: both may lead back here.
        drop(slot);
        drop(stream);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// What the `PubSub` has of it.
struct TiedStream {
    line: Arc<Severable>,
    // A subscription keeps its tether, as a handle does.
    _lifeline: Arc<dyn Any + Send + Sync>,
}

impl TiedStream {
    fn write<T>(&self, write: impl FnOnce(Pin<&mut LedgerStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut lock(&self.line.slot).stream {
            Some(stream) => write(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncRead for TiedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // One that is replaced is not dropped under the lock.
        let mut replaced = Some(cx.waker().clone());
        let slot = &mut *lock(&self.line.slot);
        let Some(stream) = &mut slot.stream else { return Poll::Ready(Ok(())) };
        let read = Pin::new(stream).poll_read(cx, buf);
        if read.is_pending() {
            std::mem::swap(&mut slot.reader, &mut replaced);
        }
        read
    }
}

impl AsyncWrite for TiedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(|stream| stream.poll_shutdown(cx))
    }
}

impl Drop for TiedStream {
    fn drop(&mut self) {
        self.line.sever();
    }
}
