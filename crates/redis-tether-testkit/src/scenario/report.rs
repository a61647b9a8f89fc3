//! What was measured in one scenario: every write with its times, and the moments that count.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Failed, Failure};

/// One write of the writer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Operation {
    /// Its number, from 0.
    pub n: u64,
    /// When the client was asked.
    pub started: Instant,
    /// When it answered.
    pub ended: Instant,
    /// What it answered.
    pub result: Result<(), Failed>,
}

impl Operation {
    /// How long the client took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.ended - self.started
    }
}

/// What was measured in one scenario. Durations count from `started` unless they say otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What was played, by its name.
    pub scenario: &'static str,
    /// When the writer started.
    pub started: Instant,
    /// When the fault began.
    pub fault: Duration,
    /// When a primary was reachable under the name again.
    pub reachable: Duration,
    /// When the first write that was started under the new order ended well: after `reachable`, and after a failover
    /// executed by the new primary, which was asked for it. `None` if none did in time.
    pub recovered: Option<Duration>,
    /// Every write, in order.
    pub operations: Vec<Operation>,
    /// Writes that the client held back while it had no connection, as it says itself.
    pub held: u64,
    /// After a failover: writes that the client reported as done and that the new primary does not have. A crash may
    /// lose what was not replicated yet, a split brain all that the old primary took. `None` where nothing moved.
    pub missing: Option<u64>,
    /// Writes that were executed more than once. Only fake servers can say.
    pub repeated: Option<u64>,
}

impl Report {
    /// From the moment a primary was reachable to the first write that succeeded on it.
    #[must_use]
    pub fn recovered_after(&self) -> Option<Duration> {
        self.recovered.map(|recovered| recovered.saturating_sub(self.reachable))
    }

    /// Writes that succeeded.
    #[must_use]
    pub fn done(&self) -> usize {
        self.operations.iter().filter(|operation| operation.result.is_ok()).count()
    }

    /// The writes that failed, and how.
    pub fn failures(&self) -> impl Iterator<Item = (&Operation, &Failed)> {
        self.operations.iter().filter_map(|operation| Some((operation, operation.result.as_ref().err()?)))
    }

    /// Writes that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures().count()
    }

    /// Writes that failed in this way.
    #[must_use]
    pub fn failed_as(&self, failure: Failure) -> usize {
        self.failures().filter(|(_, failed)| failed.failure == failure).count()
    }

    /// The longest that any write took, failed ones included.
    #[must_use]
    pub fn max_took(&self) -> Duration {
        self.operations.iter().map(Operation::took).max().unwrap_or_default()
    }

    /// The time of a moment, as the other times of this report are counted.
    #[must_use]
    pub fn since_start(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.started)
    }
}
