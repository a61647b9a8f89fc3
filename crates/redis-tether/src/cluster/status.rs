//! What a cluster shows of itself: its shards, and whether all is well with them. Pure data.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::layout::Numbered;
use super::notice::ClusterNotice;
use super::survey::Found;
use crate::status::{Readiness, Status};
use crate::tether::Tether;

/// One shard of a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shard {
    /// Its number, which it keeps through failovers and replacements of nodes.
    pub number: u32,
    /// The slots that it has; none, if some are on their way to it.
    pub slots: Vec<RangeInclusive<u16>>,
    /// What keeps its link. It is the cluster's: where somebody shuts it down, or stops its actor, another one is started 100 ms after
    /// its end. What it held waits for that, and so do commands that come meanwhile, as for a link: within their deadline and the hold
    /// window, or not at all where they are to [fail fast](crate::HoldMode::FailFast). What hangs on this very tether (its handles,
    /// dedicated connections, subscribers of its events) ends with it. [`ClusterTether::shutdown`](crate::ClusterTether::shutdown) ends
    /// all of them for good.
    pub tether: Tether,
}

impl Shard {
    pub(super) fn new(shard: &Numbered, tether: Tether) -> Shard {
        let slots = shard.group.ranges.iter().map(|(first, last)| *first..=*last).collect();
        Shard { number: shard.number.value(), slots, tether }
    }
}

/// The state of a cluster at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The endpoint as configured, without credentials.
    pub endpoint: Arc<str>,
    /// The status of each shard that has slots, by its number.
    pub shards: Vec<(u32, Status)>,
    /// Whether every slot is some shard's.
    pub is_covered: bool,
    /// Why the last survey of the slots failed, if it did.
    pub last_error: Option<Arc<str>>,
    /// What should be changed about the endpoint although it works, if anything.
    pub notice: Option<ClusterNotice>,
}

impl ClusterStatus {
    pub(super) fn new(endpoint: Arc<str>, shards: Vec<Shard>, is_covered: bool, found: &Found) -> ClusterStatus {
        let with_slots = shards.into_iter().filter(|shard| !shard.slots.is_empty());
        let shards = with_slots.map(|shard| (shard.number, shard.tether.status().borrow().clone())).collect();
        let last_error = found.error.as_ref().map(|error| error.to_string().into());
        ClusterStatus { endpoint, shards, is_covered, last_error, notice: found.notice.clone() }
    }

    /// How ready the least ready shard is; down while a slot is nobody's.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let least = self.shards.iter().map(|(_, status)| status.readiness()).min();
        least.filter(|_| self.is_covered).unwrap_or(Readiness::Down)
    }
}

impl fmt::Display for ClusterStatus {
    /// One line for a log or a health endpoint: what is not well, in full.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)?;
        let serving = self.shards.iter().filter(|(_, status)| status.readiness() == Readiness::Writable).count();
        write!(f, ", {serving} of {} shards connected", self.shards.len())?;
        if !self.is_covered {
            f.write_str(", some slots are nobody's")?;
        }
        if let Some(error) = &self.last_error {
            write!(f, ", last error: {error}")?;
        }
        if let Some(notice) = &self.notice {
            write!(f, ", notice: {notice}")?;
        }
        for (_, status) in self.shards.iter().filter(|(_, status)| status.readiness() != Readiness::Writable) {
            write!(f, "; {status}")?;
        }
        Ok(())
    }
}

/// The cluster did not become ready in time, or is ending.
#[derive(Debug, thiserror::Error)]
#[error("not ready after {waited:.1?}: {status}")]
#[non_exhaustive]
pub struct ClusterNotReady {
    /// The status when the wait ended.
    pub status: Box<ClusterStatus>,
    /// How long was waited.
    pub waited: Duration,
}
