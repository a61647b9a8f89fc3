//! Clusters: one tether for each shard, and what leads from a key to its shard. The slots are surveyed for the whole cluster;
//! everything else (links, epochs, suspicion, recovery, holding, outcomes) is each shard's own, so that what happens to one shard
//! is nothing to the others.

mod builder;
mod ending;
mod error;
mod event;
mod guests;
mod handle;
mod journey;
mod layout;
mod merging;
mod messenger;
mod nodes;
mod notice;
mod pace;
mod pieces;
mod redirection;
mod replicas;
#[cfg(test)]
mod rig;
mod roster;
mod scan;
mod shard;
mod stats;
mod status;
mod supervisor;
mod survey;
mod testimony;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use redis_tether_core::pacing::PacingSettings;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::builder::ClusterTetherBuilder;
pub use self::event::ClusterEvent;
pub use self::handle::ClusterHandle;
pub use self::notice::ClusterNotice;
pub use self::replicas::ClusterReplicaHandle;
pub use self::stats::ClusterStats;
pub use self::status::{ClusterNotReady, ClusterStatus, Shard};

pub(crate) use self::error::SurveyError;
pub(crate) use self::layout::Layout;
pub(crate) use self::shard::{ShardSource, Whereabouts};

use self::roster::Roster;
use self::stats::Counts;
use self::supervisor::ClusterMsg;
use self::survey::Surveyor;
use crate::config::Config;
use crate::control::Brought;
use crate::control::ending::{Ends, LIMIT};
use crate::foreign;
use crate::lock::lock;
use crate::room::Held;
use crate::status::Phase;
use crate::tether::{StartError, Tether};

/// So many events a slow subscriber may lag behind before it loses the oldest.
const EVENT_BACKLOG: usize = 1024;

/// A shutdown that takes longer than all its bounds together, and this for the messages in between, is not waited for.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(2);

/// Connections to all primaries of a Redis or Valkey cluster, each of which is kept on its shard's current primary.
///
/// Clones are the same cluster. It runs until [`shutdown`](ClusterTether::shutdown), until the token that it was given is cancelled,
/// until the actor that it was linked to ends, or until the last clone of it and the last [`ClusterHandle`] are dropped.
///
/// # Examples
///
/// ```no_run
/// use redis_tether::{ClusterTether, Config, redis::AsyncCommands};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = ClusterTether::start(Config::from_url("redis+cluster://clustercfg.example:6379")?).await?;
/// let mut redis = cluster.handle();
/// redis.mset::<_, _, ()>(&[("a", 1), ("b", 2)]).await?;
/// let values: Vec<u32> = redis.mget(&["a", "b"]).await?;
/// cluster.shutdown().await;
/// # let _ = values;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClusterTether {
    common: Arc<Common>,
    supervisor: ActorRef<ClusterMsg>,
    lifeline: Arc<Lifeline>,
}

/// Shared by every clone of a cluster and every handle: when the last of them is dropped, the cluster ends.
struct Lifeline(CancellationToken);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What handles, supervisor and surveyor of one cluster share.
pub(crate) struct Common {
    config: Arc<Config>,
    endpoint: Arc<str>,
    pacing: PacingSettings,
    brought: Brought,
    surveyor: Arc<Surveyor>,
    rosters: watch::Sender<Arc<Roster>>,
    events: broadcast::Sender<ClusterEvent>,
    tasks: TaskTracker,
    /// Cancelled when the tasks are to end.
    ended: CancellationToken,
    /// Cancelled when nothing of it is left.
    stopped: CancellationToken,
    rng: Mutex<fastrand::Rng>,
    counts: Counts,
}

impl Common {
    fn show(&self, roster: Roster) {
        self.rosters.send_if_modified(|shown| {
            let is_news = !shown.has_ended;
            if is_news {
                *shown = Arc::new(roster);
            }
            is_news
        });
    }

    /// Commands fail from now on.
    fn end_commands(&self) {
        foreign::run("a waker", || self.show(Roster::ended()));
    }

    fn send(&self, event: ClusterEvent) {
        // Nobody listening is no failure.
        let _ = self.events.send(event);
    }

    fn fork_rng(&self) -> fastrand::Rng {
        lock(&self.rng).fork()
    }

    /// Room for a command of this size that has to wait, if there is any.
    fn hold(&self, bytes: usize) -> Option<Held> {
        self.counts.hold(bytes, &self.config.commands)
    }

    /// The same for one that was held by a shard until now.
    fn keep(&self, bytes: usize) -> Held {
        self.counts.room.keep(bytes)
    }
}

impl Ends for Common {
    const KIND: &'static str = "cluster";

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn end(&self) {
        self.end_commands();
        self.tasks.close();
        foreign::run("a waker", || self.ended.cancel());
    }

    fn announce_end(&self) {
        foreign::run("a waker", || self.stopped.cancel());
    }
}

/// Whether commands go through.
fn serves(tether: &Tether) -> bool {
    tether.control.board.status().borrow().phase == Phase::Connected
}

impl ClusterTether {
    /// Starts with nobody above it. It succeeds while the cluster is down: the slots are surveyed, and surveyed again, in the
    /// background.
    ///
    /// # Errors
    /// [`StartError::Config`] if the configuration cannot work whatever the nodes do, as where its endpoint is no cluster;
    /// [`StartError::Tls`] if the certificates that it names cannot.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time and I/O drivers enabled.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::builder(config).start().await
    }

    /// Starts under one of the application's own actors: it ends with that actor, and its end is told to that actor as a
    /// supervision event.
    ///
    /// # Errors
    /// As [`start`](ClusterTether::start).
    pub async fn spawn_linked(config: Config, supervisor: ActorCell) -> Result<Self, StartError> {
        Self::builder(config).supervisor(supervisor).start().await
    }

    /// Starts with more than its configuration.
    pub fn builder(config: Config) -> ClusterTetherBuilder {
        ClusterTetherBuilder::new(config)
    }

    /// A handle for commands. Cheap to clone; one per task is usual.
    #[must_use]
    pub fn handle(&self) -> ClusterHandle {
        ClusterHandle::new(self.common.clone(), self.lifeline.clone())
    }

    /// A handle for reads that go to the replicas of each shard, as [`Tether::replicas`] has them for one primary. The first one that is
    /// asked for has them connected to.
    #[must_use]
    pub fn replicas(&self) -> ClusterReplicaHandle {
        ClusterReplicaHandle::new(self.handle(), &self.shards())
    }

    /// The shards as they are now, each with its tether: for the status, the events and the counters of one shard, for a
    /// [dedicated connection](Tether::dedicated) to its primary, or for what an operator wants of it.
    #[must_use]
    pub fn shards(&self) -> Vec<Shard> {
        let roster = self.common.rosters.borrow().clone();
        let shards = roster.layout.shards().iter();
        shards.filter_map(|shard| Some(Shard::new(shard, roster.tether(shard.number)?.clone()))).collect()
    }

    /// The status of all shards at this moment.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let found = self.common.surveyor.found().borrow().clone();
        let is_covered = self.common.rosters.borrow().layout.uncovered_since().is_none();
        ClusterStatus::new(self.common.endpoint.clone(), self.shards(), is_covered, &found)
    }

    /// Everything that happens from now on. A subscriber that lags more than 1024 events behind loses the oldest, and is told how
    /// many.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<ClusterEvent> {
        self.common.events.subscribe()
    }

    /// What has been counted since the cluster was started, over all shards. Those of one shard are its
    /// [tether's](ClusterTether::shards).
    #[must_use]
    pub fn stats(&self) -> ClusterStats {
        let roster = self.common.rosters.borrow().clone();
        let shards = roster.tethers().map(Tether::stats);
        self.common.counts.stats(shards, self.common.surveyor.surveys())
    }

    /// Waits until all slots are somebody's and commands go through at every shard, at most for `limit`.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`ClusterNotReady`], with the status as it was then.
    pub async fn ready(&self, limit: Duration) -> Result<ClusterStatus, ClusterNotReady> {
        let begun = Instant::now();
        match timeout(limit, self.settled()).await {
            Ok(true) => Ok(self.status()),
            _ => Err(ClusterNotReady { status: Box::new(self.status()), waited: begun.elapsed() }),
        }
    }

    /// `false` when it ends.
    async fn settled(&self) -> bool {
        let mut rosters = self.common.rosters.subscribe();
        loop {
            let roster = rosters.borrow_and_update().clone();
            if roster.has_ended {
                return false;
            }
            let mut waiting = roster.with_slots().flatten().filter(|tether| !serves(tether));
            match waiting.next() {
                None if roster.is_whole() => return true,
                None => {
                    if rosters.changed().await.is_err() {
                        return false;
                    }
                }
                Some(tether) => {
                    let mut status = tether.status();
                    tokio::select! {
                        biased;
                        _ = rosters.changed() => {}
                        _ = status.wait_for(|status| status.phase == Phase::Connected) => {}
                    }
                }
            }
        }
    }

    /// Ends the cluster as [`Tether::shutdown`] ends a tether, all shards at the same time. What code of the application's holds up is
    /// waited for until 5 s after the last shard has ended, and then left behind.
    ///
    /// Cancel safe: the shutdown goes on when the future is dropped.
    pub async fn shutdown(&self) {
        let _ = self.supervisor.send_message(ClusterMsg::ShutDown);
        // Those of the shards, and then its own.
        let bounds = self.common.config.drain_timeout.saturating_add(LIMIT.saturating_mul(2));
        let limit = bounds.saturating_add(SHUTDOWN_MARGIN);
        if timeout(limit, self.common.stopped.cancelled()).await.is_err() {
            let endpoint = &*self.common.endpoint;
            tracing::warn!(
                endpoint,
                ?limit,
                "the cluster does not end by itself: its runtime stands still, or its supervisor's thread"
            );
            self.supervisor.kill();
            ending::at_once(&self.common);
        }
    }

    /// The supervising actor, to link, monitor or stop by ractor's own means.
    #[must_use]
    pub fn actor(&self) -> ActorCell {
        self.supervisor.get_cell()
    }
}

impl fmt::Debug for ClusterTether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterTether").field("endpoint", &self.common.endpoint).finish_non_exhaustive()
    }
}
