//! The writer: one `SET` at a time through a tether's handle, and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis_tether::redis::AsyncCommands;
use redis_tether::{Handle, Outcome, OutcomeExt, Tether};
use redis_tether_testkit::scenario::{Client, Failed, Failure, key};

pub(crate) struct TetherWriter<'a> {
    tether: &'a Tether,
    handle: Handle,
    writes: Arc<AtomicU64>,
}

impl<'a> TetherWriter<'a> {
    pub(crate) fn new(tether: &'a Tether) -> Self {
        Self { tether, handle: tether.handle(), writes: Arc::default() }
    }

    /// Counts the writes that were begun.
    pub(crate) fn writes(&self) -> Arc<AtomicU64> {
        self.writes.clone()
    }
}

impl Client for TetherWriter<'_> {
    async fn set(&mut self, n: u64) -> Result<(), Failed> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.handle.set::<_, _, ()>(key(n), n).await.map_err(|error| {
            let failure = match error.outcome() {
                Some(Outcome::NotSent) => Failure::NotSent,
                Some(Outcome::Refused) => Failure::Refused,
                Some(Outcome::Ambiguous) => Failure::Ambiguous,
                _ => Failure::Other,
            };
            Failed::new(failure, error)
        })
    }

    fn held(&self) -> u64 {
        self.tether.stats().held
    }
}
