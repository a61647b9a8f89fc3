//! What a cluster tells its application as it happens.

use std::fmt;
use std::sync::Arc;

use crate::event::Event;

/// Something that happened to a cluster. Shards are told apart by their number, which they keep through failovers and
/// replacements of nodes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// It happened to one shard.
    #[non_exhaustive]
    Shard {
        /// Its number.
        shard: u32,
        /// What happened.
        event: Event,
    },
    /// There is a shard that was not there before.
    #[non_exhaustive]
    ShardAdded {
        /// Its number.
        shard: u32,
    },
    /// A shard has handed over all its slots.
    #[non_exhaustive]
    ShardRemoved {
        /// Its number.
        shard: u32,
    },
    /// It could not be found out who has which slots. It is tried again, and told of again while it goes on failing only where it
    /// turns out that somebody has to change a configuration. What went wrong last is in the cluster's
    /// [status](crate::ClusterStatus).
    #[non_exhaustive]
    SurveyFailed {
        /// What happened, in one line.
        error: Arc<str>,
    },
}

impl fmt::Display for ClusterEvent {
    /// One line for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterEvent::Shard { shard, event } => write!(f, "shard {shard}: {event}"),
            ClusterEvent::ShardAdded { shard } => write!(f, "shard {shard} is new"),
            ClusterEvent::ShardRemoved { shard } => write!(f, "shard {shard} has no slots any more"),
            ClusterEvent::SurveyFailed { error } => write!(f, "the slots could not be surveyed: {error}"),
        }
    }
}
