//! The handle to the replicas of a cluster: that of its primaries, with the replicas of each shard in their place.

use std::fmt;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};
use tokio::time::{Instant, timeout};

use super::handle::ClusterHandle;
use super::status::Shard;
use crate::handle::Policy;
use crate::handle::request::{Many, One, Request};
use crate::outcome::{Outcome, Reason};
use crate::replicas::{NoReplica, written};

/// Sends reads to the replicas of whichever shard of a cluster has their keys. Cheap to clone; one per task is usual. Made by
/// [`ClusterTether::replicas`](crate::ClusterTether::replicas).
///
/// What goes to which shard, a [`ClusterHandle`] says; which replica of that shard gets it, what its answer is worth, and what is refused,
/// a [`ReplicaHandle`](crate::ReplicaHandle) says. Each shard falls back to its own primary
/// ([`replicas.fallback`](crate::ReplicaSettings::fallback)), and has its replicas in the cluster's slot map. What replicas count
/// (`DBSIZE`) or list (`KEYS`, `SCAN`) is one replica's of each shard.
///
/// While a slot moves from one shard to another, a key that is on its way may read as missing: replicas send nobody after it.
///
/// The user needs `+readonly` beside what a [`ClusterHandle`] needs.
#[derive(Clone)]
pub struct ClusterReplicaHandle(ClusterHandle);

impl ClusterReplicaHandle {
    pub(super) fn new(handle: ClusterHandle, shards: &[Shard]) -> ClusterReplicaHandle {
        // Each begins to look for its own, so that the first read finds them.
        shards.iter().for_each(|shard| drop(shard.tether.replicas()));
        ClusterReplicaHandle(handle.of_replicas())
    }

    /// How this handle treats its commands.
    pub fn policy(&self) -> Policy {
        self.0.policy()
    }

    /// This handle, with commands that are treated so.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> ClusterReplicaHandle {
        ClusterReplicaHandle(self.0.with_policy(policy))
    }

    /// Waits until somebody has each slot, and a replica serves in each shard that there is then, at most for `limit`.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`NoReplica`], for the first shard that has none, or for the whole cluster: if it has ended, or its shards are not known.
    pub async fn ready(&self, limit: Duration) -> Result<(), NoReplica> {
        let begun = Instant::now();
        let common = &self.0.common;
        let none = |reason: &str| {
            let (endpoint, waited) = (common.endpoint.clone(), begun.elapsed());
            NoReplica { endpoint, waited, reason: reason.into() }
        };
        let mut rosters = common.rosters.subscribe();
        let known = timeout(limit, rosters.wait_for(|roster| roster.has_ended || roster.is_whole())).await;
        let roster = known.map(|roster| roster.map(|roster| roster.clone()));
        let roster = match roster {
            Ok(Ok(roster)) if !roster.has_ended => roster,
            Ok(_) => return Err(none("the cluster has ended")),
            Err(_) => {
                let error = common.surveyor.found().borrow().error.as_ref().map(ToString::to_string);
                return Err(none(error.as_deref().unwrap_or("its shards are not all known")));
            }
        };
        for tether in roster.with_slots().flatten() {
            tether.replicas().ready(limit.saturating_sub(begun.elapsed())).await?;
        }
        Ok(())
    }

    fn refuse_writes<R: Request>(&self, request: R) -> RedisResult<()> {
        match written(request) {
            Some(name) => Err(self.0.common.fail_with(Outcome::NotSent, Reason::NotForReplicas, Some(name))),
            None => Ok(()),
        }
    }
}

impl ConnectionLike for ClusterReplicaHandle {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            self.refuse_writes(One(cmd))?;
            self.0.command(cmd).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let request = Many { pipeline, offset, count };
            self.refuse_writes(request)?;
            self.0.pipeline(request).await
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl fmt::Debug for ClusterReplicaHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterReplicaHandle").field(&self.0).finish()
    }
}
