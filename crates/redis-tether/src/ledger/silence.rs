//! What the books say of silence. There are two measures, since the stream counts bytes and not commands: the peer *owes a
//! word* from the first write after the last read, which is certain; and commands are outstanding while nothing is owed by
//! that measure, which says nothing by itself. Their replies may have been read and not yet been looked at by their
//! callers; or one read answered half of a pipeline and the rest never came; or the transport takes no more bytes. There a
//! probe must ask, and its answer [vouches](Ledger::vouch) for all that went before it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Ledger;

/// What was found out about the peer's silence.
pub(super) struct Findings {
    /// The reads when it was last found silent.
    silent_at: AtomicU64,
    /// The bytes written, and the commands outstanding, when a probe was last answered.
    vouched_bytes: AtomicU64,
    vouched_flights: AtomicU64,
}

impl Findings {
    pub(super) fn none() -> Findings {
        Findings {
            // A link that was never found silent has spoken ever since.
            silent_at: AtomicU64::new(u64::MAX),
            vouched_bytes: AtomicU64::new(0),
            vouched_flights: AtomicU64::new(0),
        }
    }
}

impl Ledger {
    /// For how long the peer has owed a word. `None` if it owes none, or if a blocking command explains the silence. It
    /// counts from the first write after the last read, or from when the explanation ended, whichever is later.
    pub(crate) fn silent_for(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.silent_since(now)?))
    }

    /// Since when it has, counted alike.
    pub(crate) fn silent_since(&self, now: Instant) -> Option<Instant> {
        let owed_since = self.traffic.owed_since()?;
        if self.flights.explain(now, self.reads()) {
            return None;
        }
        Some(owed_since.max(self.flights.excused_until().unwrap_or(owed_since)))
    }

    /// Since when nothing has been read, for somebody who has waited for an answer since `asked`. `None` if a blocking
    /// command explains it.
    pub(crate) fn unanswered_since(&self, asked: Instant, now: Instant) -> Option<Instant> {
        if self.flights.explain(now, self.reads()) {
            return None;
        }
        [self.traffic.last_read(), self.flights.excused_until()].into_iter().flatten().chain([asked]).max()
    }

    /// For how long the peer has owed a word, if that is at least `window`. From then on [`listen`](Ledger::listen) can tell
    /// whether it has spoken since.
    pub(crate) fn found_silent(&self, window: Duration) -> Option<Duration> {
        self.found(window, |now| self.silent_since(now))
    }

    /// The same for an answer that has been waited for since `asked`, however much else has been answered before.
    pub(crate) fn found_unanswered(&self, asked: Instant, window: Duration) -> Option<Duration> {
        self.found(window, |now| self.unanswered_since(asked, now))
    }

    fn found(&self, window: Duration, since: impl FnOnce(Instant) -> Option<Instant>) -> Option<Duration> {
        // Before the look: of a read that slips in between it shall be known that it came after.
        let reads = self.reads();
        let now = Instant::now();
        let silent_for = now.saturating_duration_since(since(now)?);
        if silent_for < window {
            return None;
        }
        self.findings.silent_at.store(reads, Ordering::SeqCst);
        Some(silent_for)
    }

    /// Asks for one [`LinkObserver::link_heard`](super::LinkObserver::link_heard) at the next read. `true` if there was a read
    /// since the peer was last found silent: then that is the answer, and no report need be waited for.
    pub(crate) fn listen(&self) -> bool {
        // A reader counts its read before it looks for the flag. So it sees the flag, or we see its read.
        self.listening.store(true, Ordering::SeqCst);
        self.reads() != self.findings.silent_at.load(Ordering::SeqCst)
    }

    /// Whether commands are outstanding of which nobody can say whether the peer has answered them.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let flights = self.flights.count();
        flights > self.findings.vouched_flights.load(Ordering::Acquire)
            || flights > 0 && self.bytes_written() > self.findings.vouched_bytes.load(Ordering::Acquire)
    }

    /// A probe was answered, and it is no longer outstanding. Replies come in order, so nothing that went before it is owed
    /// any more: whatever is outstanding and quiet from now on lies with its caller. (What was written while the answer
    /// came back is taken to be answered as well. Should it not be, and nothing be written after it, the next probe
    /// shows that.)
    pub(crate) fn vouch(&self) {
        self.findings.vouched_bytes.store(self.bytes_written(), Ordering::Release);
        self.findings.vouched_flights.store(self.flights.count(), Ordering::Release);
    }

    /// Whether there is anything to watch: a word is owed, or outstanding commands are in doubt, or the link has ended.
    pub(crate) fn is_busy(&self) -> bool {
        self.has_ended() || self.is_in_doubt() || self.traffic.owed_since().is_some()
    }

    /// Waits until there is. Cancel safe; any number may wait.
    pub(crate) async fn busy(&self) {
        self.busy.until(|| self.is_busy()).await;
    }
}

#[cfg(test)]
mod tests;
