//! The traffic over one link: the bytes that the transport accepted, the reads, and since when the peer owes a word. The
//! stream is the only one that writes it, anybody may look; there is no lock.
//!
//! The peer owes a word from the first write after the last read. That is less than it may really owe, since one read can
//! answer half of a pipeline, but it is never more, whatever callers do with their commands.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::stamp::Stamp;

pub(super) struct Traffic {
    origin: Instant,
    written: AtomicU64,
    reads: AtomicU64,
    last_read: Stamp,
    owed_since: Stamp,
}

impl Traffic {
    pub(super) fn new() -> Traffic {
        Traffic {
            origin: Instant::now(),
            written: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            last_read: Stamp::never(),
            owed_since: Stamp::never(),
        }
    }

    /// Bytes were accepted. Says whether the peer owes a word since this write.
    ///
    /// The count is the last to change, by a sequentially consistent write: whoever then finds nobody waiting can be sure
    /// that those who are about to wait see what it owes. So it is with reads.
    pub(super) fn note_written(&self, bytes: usize) -> bool {
        let begins = !self.owed_since.is_set();
        if begins {
            self.owed_since.set(self.origin, Instant::now());
        }
        // At least 64 bits everywhere that tokio runs, so the cast keeps every count.
        self.written.fetch_add(bytes as u64, Ordering::SeqCst);
        begins
    }

    /// Something was read. Says whether it was the first time.
    pub(super) fn note_read(&self) -> bool {
        self.last_read.set(self.origin, Instant::now());
        self.owed_since.clear();
        self.reads.fetch_add(1, Ordering::SeqCst) == 0
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    pub(super) fn last_read(&self) -> Option<Instant> {
        self.last_read.at(self.origin)
    }

    /// Since when the peer owes a word, if it does.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        // The count first: for a write that it shows, the stamp is set.
        let _ = self.written();
        self.owed_since.at(self.origin)
    }

    /// The reads so far, if the peer owes a word: once there are more, it has spoken.
    pub(super) fn debt(&self) -> Option<u64> {
        // The count first: a read in between must show as one more, for after it nothing may be owed.
        let reads = self.reads();
        self.owed_since().map(|_| reads)
    }
}
