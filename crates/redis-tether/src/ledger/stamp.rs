//! A moment that one thread sets and clears and many may read, without a lock. The ledger keeps its last read and the
//! beginning of what the peer owes in these.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Microseconds since the ledger's origin, plus one; zero is never.
pub(super) struct Stamp(AtomicU64);

impl Stamp {
    pub(super) fn never() -> Stamp {
        Stamp(AtomicU64::new(0))
    }

    pub(super) fn set(&self, origin: Instant, now: Instant) {
        let micros = now.saturating_duration_since(origin).as_micros();
        // Half a million years fit.
        let micros = u64::try_from(micros).unwrap_or(u64::MAX - 1);
        self.0.store(micros + 1, Ordering::Release);
    }

    /// Back to never.
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether it is set, for the one who sets it.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    pub(super) fn at(&self, origin: Instant) -> Option<Instant> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            micros => origin.checked_add(Duration::from_micros(micros - 1)),
        }
    }
}
