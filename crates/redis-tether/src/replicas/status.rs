//! What a handle to replicas shows of them. Pure data.

use std::sync::Arc;
use std::time::Duration;

use crate::stats::Stats;
use crate::status::{Phase, Status};

/// One replica that reads may go to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Replica {
    /// Its host and port, as it was told of.
    pub name: Arc<str>,
    /// How its link is. Reads go to it while the phase is [`Connected`](Phase::Connected).
    pub status: Status,
    /// Whether it was connected to its primary when it was asked last. Where it would not say, it is taken to have been. How far
    /// behind it is, it is not asked.
    pub has_primary: bool,
    /// What has been counted of the link to it, and of the reads that were sent there. A read that goes on to the next is counted
    /// at each that failed it.
    pub stats: Stats,
}

impl Replica {
    /// Whether reads go to it.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.status.phase == Phase::Connected
    }
}

/// No replica has come to serve in time, or the tether is ending.
#[derive(Debug, thiserror::Error)]
#[error("no replica of {endpoint} serves after {waited:.1?}: {reason}")]
#[non_exhaustive]
pub struct NoReplica {
    /// The endpoint of the tether.
    pub endpoint: Arc<str>,
    /// How long was waited.
    pub waited: Duration,
    /// Why there is none, as far as is known.
    pub reason: Arc<str>,
}
