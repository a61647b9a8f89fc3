//! The writer: one `SET` at a time through a handle, and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis_tether::redis::AsyncCommands;
use redis_tether::redis::aio::ConnectionLike;
use redis_tether::{Outcome, OutcomeExt};
use redis_tether_testkit::scenario::{Client, Failed, Failure, key};

use crate::watched::Watched;

#[derive(Clone)]
pub(crate) struct Writer<C> {
    handle: C,
    watched: Watched,
    prefix: String,
    writes: Arc<AtomicU64>,
}

impl<C> Writer<C> {
    /// Its keys begin with `prefix`.
    pub(crate) fn new(handle: C, watched: Watched, prefix: String) -> Self {
        Self { handle, watched, prefix, writes: Arc::default() }
    }

    /// Counts the writes that were begun.
    pub(crate) fn writes(&self) -> Arc<AtomicU64> {
        self.writes.clone()
    }
}

impl<C: ConnectionLike + Send + Sync> Client for Writer<C> {
    async fn set(&mut self, n: u64) -> Result<(), Failed> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let key = format!("{}{}", self.prefix, key(n));
        self.handle.set::<_, _, ()>(key, n).await.map_err(|error| {
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
        self.watched.counters().held
    }
}
