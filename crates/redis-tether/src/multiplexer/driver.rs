//! What drives a link: takes what is queued and writes it, reads replies and hands them out. It is the only one that touches
//! the stream. Its end, however it comes, is the end of the link and of every request on it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::task::coop::has_budget_remaining;
use tokio_util::io::poll_read_buf;

use super::Line;
use super::queue::Queue;
use crate::foreign;
use crate::frame::{Frames, NotTheProtocol};
use crate::ledger::{Ledger, LedgerStream, LinkEnd};

/// From this size on a batch leaves at once: it fills several packets, and the server may as well begin.
const FULL_BATCH: usize = 8 * 1024;

/// What is made room for at least when something is read. Most replies are small, and a link may be idle for most of its life.
const SMALLEST_READ: usize = 1024;

/// What is made room for at most, unless one reply is known to be larger: then as much again as has come of it. A length is
/// quickly said, and what it says may be more than there is.
const LARGEST_READ: usize = 256 * 1024;

/// A buffer that has grown beyond this is given back when it is empty.
const LARGEST_KEPT: usize = 1024 * 1024;

/// After how many reads others on this thread have their turn.
const READS: usize = 64;

pub(super) struct Driver {
    /// Taken out when it ends, so that the link is marked dead before anybody hears that it is.
    stream: Option<LedgerStream>,
    ledger: Arc<Ledger>,
    line: Arc<Line>,
    writing: Writing,
    reading: Reading,
    first: First,
}

/// Who begins at the next look. Reading, so that replies go out, unless it left writing nothing of the task's turn: under TLS one
/// read is several of the socket, and a peer that does not cease to speak would be told nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Reading,
    Writing,
}

#[derive(Default)]
struct Writing {
    bytes: Vec<u8>,
    at: usize,
    /// How many bytes were taken from the queue so far, these included.
    taken: u64,
    has_put_off: bool,
    is_unflushed: bool,
}

struct Reading {
    bytes: Vec<u8>,
    at: usize,
    frames: Frames,
    room: usize,
}

/// The conversation cannot go on.
struct Over;

impl Driver {
    pub(super) fn new(stream: LedgerStream, line: Arc<Line>) -> Driver {
        let ledger = Arc::clone(stream.ledger());
        let reading = Reading { bytes: Vec::new(), at: 0, frames: Frames::default(), room: SMALLEST_READ };
        Driver { stream: Some(stream), ledger, line, writing: Writing::default(), reading, first: First::Reading }
    }
}

impl Future for Driver {
    type Output = ();

    /// Reads and writes each as far as they go: a peer that takes no more until its replies are read must not be waited for.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Driver { stream: Some(stream), ledger, line, writing, reading, first } = &mut *self else {
            return Poll::Ready(());
        };
        let before = *first;
        let early = (before == First::Writing).then(|| writing.poll(stream, ledger, &line.queue, cx));
        let read = reading.poll(stream, ledger, &line.queue, cx);
        let written = early.unwrap_or_else(|| writing.poll(stream, ledger, &line.queue, cx));
        *first = match before {
            First::Reading if !has_budget_remaining() => First::Writing,
            First::Reading | First::Writing => First::Reading,
        };
        match (read, written) {
            (Poll::Ready(Over), _) | (_, Poll::Ready(Err(Over))) => Poll::Ready(()),
            (Poll::Pending, _) => Poll::Pending,
        }
    }
}

impl Writing {
    fn poll(
        &mut self,
        stream: &mut LedgerStream,
        ledger: &Ledger,
        queue: &Queue,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Over>> {
        loop {
            while self.at < self.bytes.len() {
                match ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.at..])) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Over)),
                    Ok(written) => self.at += written,
                }
            }
            self.clear();
            if self.is_unflushed {
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(|_| Over)?;
                self.is_unflushed = false;
            }
            let waiting = queue.poll_waiting(cx.waker());
            if waiting == 0 {
                return Poll::Pending;
            }
            if self.puts_off(waiting, ledger) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            queue.take(&mut self.bytes, self.taken);
            self.taken += self.bytes.len() as u64;
            self.is_unflushed = true;
        }
    }

    /// Whether a batch should wait for one turn of the scheduler, so that the commands of all tasks that are ready now leave
    /// together: one packet and one system call instead of many, for both sides. A command that is alone would wait for
    /// nothing.
    fn puts_off(&mut self, waiting: usize, ledger: &Ledger) -> bool {
        self.has_put_off = !self.has_put_off && waiting < FULL_BATCH && ledger.in_flight() > 1;
        self.has_put_off
    }

    fn clear(&mut self) {
        self.at = 0;
        self.bytes.clear();
        if self.bytes.capacity() > LARGEST_KEPT {
            self.bytes = Vec::new();
        }
    }
}

impl Reading {
    fn poll(&mut self, stream: &mut LedgerStream, ledger: &Ledger, queue: &Queue, cx: &mut Context<'_>) -> Poll<Over> {
        for _ in 0..READS {
            self.make_room();
            match ready!(poll_read_buf(Pin::new(&mut *stream), cx, &mut self.bytes)) {
                Ok(0) | Err(_) => return Poll::Ready(Over),
                Ok(_) => {}
            }
            if self.hand_out(queue).is_err() {
                ledger.kill(LinkEnd::Protocol("a reply could not be read".to_owned()));
                return Poll::Ready(Over);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn hand_out(&mut self, queue: &Queue) -> Result<(), NotTheProtocol> {
        while let Some((value, length)) = self.frames.next(&self.bytes[self.at..])? {
            self.at += length;
            if !matches!(value, redis::Value::Push { .. }) {
                queue.answer(value);
            }
        }
        Ok(())
    }

    /// Room for what is missing of a large reply, or for what was read at once before.
    fn make_room(&mut self) {
        if self.bytes.len() == self.bytes.capacity() {
            self.room = (self.room * 2).min(LARGEST_READ);
        }
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > LARGEST_KEPT {
            self.bytes = Vec::new();
        }
        let missing = self.frames.missing(self.bytes.len()).min(self.bytes.len().max(LARGEST_READ));
        self.bytes.reserve(missing.max(self.room));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // First the link is dead, then its callers hear of it.
        foreign::run("a stream", || drop(self.stream.take()));
        self.line.queue.close(self.ledger.bytes_written());
        self.line.timekeeper.dismiss();
    }
}
