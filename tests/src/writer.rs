//! The client that scenarios are played with where nothing but the outcome of its writes counts.

use redis_tether::redis::AsyncCommands;
use redis_tether::redis::aio::ConnectionLike;
use redis_tether::{Outcome, OutcomeExt};
use redis_tether_testkit::scenario::{Client, Failed, Failure, key};

/// Writes through a handle.
#[derive(Clone, Debug)]
pub struct Writer<C> {
    handle: C,
    prefix: String,
}

impl<C> Writer<C> {
    /// Its keys begin with `prefix`.
    pub fn new(handle: C, prefix: String) -> Self {
        Self { handle, prefix }
    }
}

impl<C: ConnectionLike + Send + Sync> Client for Writer<C> {
    async fn set(&mut self, n: u64) -> Result<(), Failed> {
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
}
