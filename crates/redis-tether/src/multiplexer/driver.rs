//! What drives a link: takes what is queued and writes it, reads replies and hands them out. It is the only one that touches
//! the stream. Its end, however it comes, is the end of the link and of every request on it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::task::coop::has_budget_remaining;
use tokio_util::io::poll_read_buf;

use super::Line;
use super::need::Need;
use super::queue::Queue;
use crate::foreign;
use crate::frame::{Frames, NotTheProtocol};
use crate::ledger::{Ledger, LedgerStream, LinkEnd};

/// From this size on a batch leaves at once: it fills several packets, and the server may as well begin.
const FULL_BATCH: usize = 8 * 1024;

/// What is made room for at least when something is read. Most replies are small.
const SMALLEST_READ: usize = 1024;

/// What is made room for at most, unless one reply is known to be larger: then as much again as has come of it. A length is
/// quickly said, and what it says may be more than there is.
const LARGEST_READ: usize = 256 * 1024;

/// A buffer of this size is kept however little it held of late.
const ALWAYS_KEPT: usize = 4 * 1024;

/// One that has grown beyond this is given back when it is empty, however much it held.
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
    /// One that is dropped meanwhile has panicked.
    is_polled: bool,
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
    /// Of this buffer and the one that it is exchanged for.
    need: Need,
    /// How many bytes were taken from the queue so far, these included.
    taken: u64,
    has_put_off: bool,
    is_unflushed: bool,
}

#[derive(Default)]
struct Reading {
    bytes: Vec<u8>,
    at: usize,
    need: Need,
    frames: Frames,
}

/// The conversation cannot go on.
struct Over;

impl Driver {
    pub(super) fn new(stream: LedgerStream, line: Arc<Line>) -> Driver {
        let ledger = Arc::clone(stream.ledger());
        let (writing, reading) = (Writing::default(), Reading::default());
        Driver { stream: Some(stream), ledger, line, writing, reading, first: First::Reading, is_polled: false }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.is_polled = true;
        let outcome = self.drive(cx);
        self.is_polled = false;
        outcome
    }
}

impl Driver {
    /// Reads and writes each as far as they go: a peer that takes no more until its replies are read must not be waited for.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Driver { stream: Some(stream), ledger, line, writing, reading, first, .. } = self else {
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
        if self.bytes.is_empty() {
            return;
        }
        self.need.note(self.bytes.len());
        self.at = 0;
        self.bytes.clear();
        give_back(&mut self.bytes, &self.need);
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

    /// Room for what is missing of a large reply, or for twice what was read at once of late.
    fn make_room(&mut self) {
        if !self.bytes.is_empty() {
            self.need.note(self.bytes.len());
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        if self.bytes.is_empty() {
            give_back(&mut self.bytes, &self.need);
        }
        let missing = self.frames.missing(self.bytes.len()).min(self.bytes.len().max(LARGEST_READ));
        let usual = self.need.recent().saturating_mul(2).clamp(SMALLEST_READ, LARGEST_READ);
        self.bytes.reserve(missing.max(usual));
    }
}

/// Gives an empty buffer back that is larger than it need be.
fn give_back(bytes: &mut Vec<u8>, need: &Need) {
    if bytes.capacity() > LARGEST_KEPT || need.is_exceeded_by(bytes.capacity(), ALWAYS_KEPT) {
        *bytes = Vec::new();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.is_polled {
            let end = LinkEnd::Failed(io::ErrorKind::Other, "its code panicked".to_owned());
            foreign::run("a waker", || self.ledger.kill(end));
        }
        // First the link is dead, then its callers hear of it.
        foreign::run("a stream", || drop(self.stream.take()));
        self.line.queue.close(self.ledger.bytes_written());
        self.line.timekeeper.dismiss();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The capacities after so many bytes were read and written.
    fn carry(reading: &mut Reading, writing: &mut Writing, length: usize) -> [usize; 2] {
        reading.bytes.extend(vec![b'.'; length]);
        reading.at = length;
        reading.make_room();
        writing.bytes.extend(vec![b'.'; length]);
        writing.clear();
        [reading.bytes.capacity(), writing.bytes.capacity()]
    }

    #[test]
    fn a_link_that_has_become_idle_keeps_no_large_buffers() {
        const BURST: usize = 600 * 1024;
        // So many go by in three minutes.
        const PROBES: usize = 60;
        let (mut reading, mut writing) = (Reading::default(), Writing::default());
        let busy = carry(&mut reading, &mut writing, BURST);
        assert!(busy.into_iter().all(|capacity| capacity >= BURST), "kept while it is needed: {busy:?}");
        let idle = (0..PROBES).map(|_| carry(&mut reading, &mut writing, 100)).last();
        assert!(idle.is_some_and(|idle| idle.into_iter().all(|capacity| capacity <= ALWAYS_KEPT)), "{idle:?}");
    }
}
