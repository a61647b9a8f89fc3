//! What the timeline and the summary watch: a tether, or a cluster, which is several.

use redis_tether::{ClusterEvent, ClusterTether, Event, Stats, Tether};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

#[derive(Clone)]
pub(crate) enum Watched {
    Tether(Tether),
    Cluster(ClusterTether),
}

/// What has been counted: of a cluster, by all shards together, those that are gone included, and between them.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counters {
    pub(crate) held: u64,
    pub(crate) held_now: u64,
    pub(crate) refusals: u64,
    pub(crate) dials: u64,
    pub(crate) links: u64,
}

impl Watched {
    pub(crate) fn counters(&self) -> Counters {
        match self {
            Watched::Tether(tether) => Counters::of(&tether.stats()),
            Watched::Cluster(cluster) => Counters::of(&cluster.stats().total),
        }
    }

    /// How things are, in a few words.
    pub(crate) fn state(&self) -> String {
        match self {
            Watched::Tether(tether) => {
                let status = tether.status().borrow().clone();
                let mut line = status.phase.to_string();
                if let (Some(epoch), Some(address)) = (status.epoch, &status.address) {
                    line = format!("{line}, epoch {epoch} to {address}");
                }
                if status.failed_rounds > 0 {
                    line = format!("{line}, {} rounds failed", status.failed_rounds);
                }
                line
            }
            Watched::Cluster(cluster) => cluster.status().to_string(),
        }
    }

    pub(crate) fn events(&self) -> Events {
        match self {
            Watched::Tether(tether) => Events::Tether(tether.events()),
            Watched::Cluster(cluster) => Events::Cluster(cluster.events()),
        }
    }

    pub(crate) async fn shutdown(&self) {
        match self {
            Watched::Tether(tether) => tether.shutdown().await,
            Watched::Cluster(cluster) => cluster.shutdown().await,
        }
    }
}

impl Counters {
    fn of(stats: &Stats) -> Self {
        Counters {
            held: stats.held,
            held_now: stats.held_now,
            refusals: stats.refusal_replies,
            dials: stats.dials,
            links: stats.links,
        }
    }
}

/// What happens from now on.
pub(crate) enum Events {
    Tether(Receiver<Event>),
    Cluster(Receiver<ClusterEvent>),
}

impl Events {
    /// The next event, and the number of the shard that it is about; `None` when there is none to come. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<(Option<u32>, Event)> {
        loop {
            let next = match self {
                Events::Tether(events) => events.recv().await.map(|event| Some((None, event))),
                Events::Cluster(events) => events.recv().await.map(|event| match event {
                    ClusterEvent::Shard { shard, event, .. } => Some((Some(shard), event)),
                    _ => None,
                }),
            };
            match next {
                Ok(Some(event)) => return Some(event),
                Ok(None) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
