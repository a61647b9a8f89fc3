//! Who carries the commands of a cluster's handle to one shard: the handle of its primary, or that of its replicas.

use std::sync::Arc;

use redis::{Cmd, RedisResult, Value};

use crate::handle::request::Request;
use crate::handle::{Asking, Handle, Policy};
use crate::replicas::ReplicaHandle;
use crate::room::Stay;
use crate::shared::Shared;
use crate::tether::Tether;

/// Which nodes of a shard commands go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nodes {
    Primaries,
    Replicas,
}

/// See the head of this file.
#[derive(Clone)]
pub(super) enum Messenger {
    Primary(Handle),
    Replicas(Box<ReplicaHandle>),
}

impl Messenger {
    pub(super) fn of(tether: &Tether, nodes: Nodes) -> Messenger {
        match nodes {
            Nodes::Primaries => Messenger::Primary(tether.handle()),
            Nodes::Replicas => Messenger::Replicas(Box::new(tether.replicas())),
        }
    }

    pub(super) async fn run<R: Request>(&mut self, stay: &mut Stay, request: R) -> RedisResult<R::Reply> {
        match self {
            Messenger::Primary(handle) => handle.run_after(stay, request).await,
            Messenger::Replicas(handle) => handle.run_after(stay, request).await,
        }
    }

    /// Only a primary takes in what is on its way to it.
    pub(super) async fn asking(&mut self, stay: &mut Stay, cmd: &Cmd) -> RedisResult<Value> {
        match self {
            Messenger::Primary(handle) => handle.run_after(stay, Asking(cmd)).await,
            Messenger::Replicas(handle) => handle.at_primary().run_after(stay, Asking(cmd)).await,
        }
    }

    pub(super) fn set_policy(&mut self, policy: Policy) {
        match self {
            Messenger::Primary(handle) => handle.set_policy(policy),
            Messenger::Replicas(handle) => handle.set_policy(policy),
        }
    }

    /// The node that was asked last has no such slots any more.
    pub(super) fn report_moved(&self) {
        match self {
            Messenger::Primary(handle) => handle.report_moved(),
            Messenger::Replicas(handle) => handle.report_moved(),
        }
    }

    /// Whether it leads to the shard of this tether.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        match self {
            Messenger::Primary(handle) => handle.is_of(shared),
            Messenger::Replicas(handle) => handle.is_of(shared),
        }
    }
}
