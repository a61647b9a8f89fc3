//! The handle of a cluster: finds the shard of each command and sends it through that shard's own handle, which holds it, sends it
//! and fails it as any handle does. What is left to do here is what only a cluster does: it sends commands elsewhere, and some of
//! them go to several shards (`cluster/pieces.rs`).

mod elsewhere;

pub(super) use self::elsewhere::Onward;

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use redis_tether_core::cluster::{Route, Slot, route};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Common;
use super::journey::Journey;
use super::layout::Number;
use super::messenger::{Messenger, Nodes};
use super::redirection::Redirection;
use super::roster::Roster;
use crate::config::HoldMode;
use crate::handle::Policy;
use crate::handle::command::{Demand, demand_of};
use crate::handle::request::{Many, One, Request};
use crate::outcome::{Facts, Outcome, Reason};
use crate::room::Stay;

/// Sends commands to whichever shard of a cluster has their keys. Cheap to clone; one per task is usual.
///
/// It is a [`ConnectionLike`]: `redis::AsyncCommands`, `Cmd::query_async`, pipelines and scripts work with it as they are. What a
/// [`Handle`](crate::Handle) says of holding, refusals, outcomes and cancel safety holds for each shard by itself.
///
/// # What goes where
/// - A command with keys goes to the shard that has its first key. Keys of several slots are refused by the server (`CROSSSLOT`), but
///   for `MGET`, `MSET`, `JSON.MGET`, `JSON.MSET`, `DEL`, `UNLINK`, `EXISTS` and `TOUCH`, which are taken apart by shard and put together
///   again. That is not atomic.
/// - Commands without keys go to any shard, but for those that speak of all data, scripts or settings: `DBSIZE`, `FLUSHALL`,
///   `FLUSHDB`, `KEYS`, `RANDOMKEY`, `PING`, `INFO`, `SCRIPT` and `FUNCTION` with `LOAD` and the like, `CONFIG SET`, `ACL SETUSER`,
///   `SLOWLOG`, `LATENCY`, `PUBSUB`. They go to every primary, and their answers are put together as redis-rs does. (To no
///   replica: for those there is [`ClusterTether::replicas`](crate::ClusterTether::replicas).)
/// - `SCAN` goes through one shard after the other; its cursors mean something to this tether's handles only. While slots move it
///   promises what the servers do, and redis-rs: every key that stays where it is is seen; one that moves may be seen twice, or not. Where
///   the shard that it has come to is dissolved, it fails by [`Reason::ScanLost`]. A replica that takes a shard over orders its
///   keys in its own way: begin anew where that happens meanwhile. In pipelines and transactions `SCAN` is refused
///   ([`Reason::OfOneNode`]): it goes on from shard to shard by its own replies.
/// - A pipeline is taken apart by shard and its answers are put together in order. The commands of one shard keep their order,
///   and shards do not wait for each other; a command that is sent elsewhere comes after those that are not.
/// - A transaction goes to the shard of its keys, which must be in one slot (`CROSSSLOT`).
/// - `MOVED` and `ASK` are followed, within the deadline, but for a `MULTI` that is spelled out in a pipeline. A transaction that meets `ASK`, and keys of which some have moved already
///   (`TRYAGAIN`), wait for the end of the slot's move.
///
/// # Errors
/// As those of a [`Handle`](crate::Handle), and: where some shards have done their part of a command or pipeline and others not, it is
/// [`Ambiguous`](crate::Outcome::Ambiguous) by [`Reason::PartlyDone`]. What speaks of one node (`WAIT`, `REPLICAOF`,
/// `SHUTDOWN`, `DEBUG`, `CLUSTER SETSLOT` and what else changes a node's place in its cluster) is refused by [`Reason::OfOneNode`].
///
/// # Panics
/// As those of a [`Handle`](crate::Handle).
#[derive(Clone)]
pub struct ClusterHandle {
    pub(super) common: Arc<Common>,
    rosters: watch::Receiver<Arc<Roster>>,
    pub(super) roster: Arc<Roster>,
    /// Of the roster's shards, of those that were asked.
    handles: BTreeMap<Number, Messenger>,
    nodes: Nodes,
    pub(super) policy: Policy,
    // What must live as long as any handle does. It is kept, and never looked at.
    _lifeline: Arc<dyn Any + Send + Sync>,
}

/// Who is to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum To {
    Slot(Slot),
    /// This shard and no other.
    Shard(Number),
    /// Where it has been sent; another one if that is gone.
    Sent(Number),
    /// The same, for this once.
    Asked(Number),
    Any,
}

impl ClusterHandle {
    pub(super) fn new(common: Arc<Common>, lifeline: Arc<dyn Any + Send + Sync>) -> ClusterHandle {
        let mut rosters = common.rosters.subscribe();
        let roster = rosters.borrow_and_update().clone();
        let policy = Policy::of(&common.config.commands);
        let handles = BTreeMap::new();
        let nodes = Nodes::Primaries;
        ClusterHandle { common, rosters, roster, handles, nodes, policy, _lifeline: lifeline }
    }

    /// The same, for reads from replicas.
    pub(super) fn of_replicas(self) -> ClusterHandle {
        ClusterHandle { nodes: Nodes::Replicas, ..self }
    }

    /// How this handle treats its commands.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// This handle, with commands that are treated so.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> ClusterHandle {
        self.policy = policy;
        self
    }

    pub(super) async fn command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        if let Demand::Unshareable(which) = demand_of(cmd) {
            let reason = Reason::NotOnSharedLink { command: which.command, hint: which.hint };
            return Err(self.common.fail(Outcome::NotSent, reason));
        }
        match route(words(cmd)) {
            Route::Keyed(slot) => self.send(cmd, To::Slot(slot)).await,
            Route::Any => self.send(cmd, To::Any).await,
            // Boxed, so that what most commands do does not carry the room for it.
            Route::Scan => Box::pin(self.scan(cmd)).await,
            route @ (Route::Every(_) | Route::Split(..)) => Box::pin(self.in_pieces(cmd, route)).await,
            Route::OfOneNode => Err(self.common.fail(Outcome::NotSent, Reason::OfOneNode)),
        }
    }

    /// Sends a command to one shard, and on to another one if that is what it says.
    pub(super) async fn send(&mut self, cmd: &Cmd, to: To) -> RedisResult<Value> {
        self.send_on(cmd, to, Journey::new(self.policy)).await
    }

    /// The same of one that is on its way already.
    pub(super) async fn send_on(&mut self, cmd: &Cmd, to: To, mut journey: Journey) -> RedisResult<Value> {
        let mut next = to;
        loop {
            let shard = self.place(next, &mut journey, || One(cmd).bytes()).await?;
            let handle = self.handle_of(shard, &journey)?;
            let reply = match next {
                To::Asked(_) => handle.asking(&mut journey.stay, cmd).await,
                To::Slot(_) | To::Shard(_) | To::Sent(_) | To::Any => handle.run(&mut journey.stay, One(cmd)).await,
            };
            if let Err(error) = &reply
                && self.is_of_a_shard_that_is_gone(error)
                && journey.hop().await
            {
                self.keep(&mut journey, One(cmd).bytes());
                next = to;
                continue;
            }
            let Some(redirection) = Redirection::of_reply(&reply) else { return reply };
            match self.redirected(shard, to, &redirection, &mut journey).await {
                Some(there) => next = there,
                None => return reply,
            }
        }
    }

    /// Sends what belongs together to one shard.
    pub(super) async fn together(&mut self, request: Many<'_>, to: To) -> RedisResult<Vec<Value>> {
        let mut journey = Journey::new(self.policy);
        let mut next = to;
        loop {
            let shard = self.place(next, &mut journey, || request.bytes()).await?;
            let reply = self.handle_of(shard, &journey)?.run(&mut journey.stay, request).await;
            if let Err(error) = &reply
                && self.is_of_a_shard_that_is_gone(error)
                && journey.hop().await
            {
                self.keep(&mut journey, request.bytes());
                next = to;
                continue;
            }
            let Some(redirection) = reply.as_ref().err().and_then(Redirection::of_transaction) else { return reply };
            let there = match redirection {
                // `ASKING` allows one command and no transaction: the slot is on its way.
                Redirection::Ask(_) => journey.wait().await.then_some(to),
                Redirection::Moved(..) => self.redirected(shard, to, &redirection, &mut journey).await,
            };
            match there {
                Some(there) => next = there,
                None => return reply,
            }
        }
    }

    /// What a shard held that is gone is held on. One that never waits was not held, and does not wait for those that were.
    pub(super) fn keep(&self, journey: &mut Journey, bytes: usize) {
        if journey.policy.hold != HoldMode::FailFast {
            journey.stay.begin(self.common.keep(bytes));
        }
    }

    /// The shard that is meant, which has a tether. While nobody has the slot, or its shard's tether is to be started again, that is
    /// waited for, as for a link; so many bytes wait with it.
    pub(super) async fn place(
        &mut self,
        to: To,
        journey: &mut Journey,
        bytes: impl Fn() -> usize + Send,
    ) -> RedisResult<Number> {
        loop {
            self.refresh();
            if self.roster.has_ended || self.is_gone(to) {
                return Err(self.common.fail(Outcome::NotSent, Reason::Stopped));
            }
            if let Some(shard) = self.find(to) {
                return Ok(shard);
            }
            let window = self.common.config.commands.hold_window;
            let over_at = self.nobodys_since(to).unwrap_or(journey.started).checked_add(window);
            let reason = match self.policy_reason(over_at, journey) {
                Some(reason) => reason,
                None if !matches!(journey.stay, Stay::Now(_)) => match self.common.hold(bytes()) {
                    Some(held) => {
                        journey.stay.begin(held);
                        continue;
                    }
                    None => Reason::HoldFull,
                },
                None => {
                    let until = [over_at, journey.due()].into_iter().flatten().min();
                    self.news(until).await;
                    continue;
                }
            };
            return Err(self.nowhere(to, reason));
        }
    }

    /// Since when nobody has what is meant. `None` where somebody does, whose tether is to be started again: others' slots that nobody
    /// has are of no concern to that.
    fn nobodys_since(&self, to: To) -> Option<Instant> {
        let layout = &self.roster.layout;
        let is_somebodys = match to {
            To::Slot(slot) => layout.owner(slot).is_some(),
            To::Shard(_) | To::Sent(_) | To::Asked(_) | To::Any => !layout.shards().is_empty(),
        };
        layout.uncovered_since().filter(|_| !is_somebodys)
    }

    fn nowhere(&self, to: To, reason: Reason) -> RedisError {
        if self.nobodys_since(to).is_some() {
            return self.common.fail(Outcome::NotSent, reason);
        }
        let cause = "the tether of its shard has ended, and is to be started again";
        self.common.fail_with(Outcome::NotSent, reason, Some(cause.to_owned()))
    }

    /// Why nothing is waited for any more.
    fn policy_reason(&self, over_at: Option<Instant>, journey: &Journey) -> Option<Reason> {
        let now = Instant::now();
        if journey.policy.hold == HoldMode::FailFast {
            Some(Reason::FailFast)
        } else if over_at.is_some_and(|over_at| over_at <= now) {
            Some(Reason::HoldWindowPassed)
        } else if journey.due().is_some_and(|due| due <= now) {
            Some(Reason::DeadlinePassed)
        } else {
            None
        }
    }

    /// Whether nobody else will do, and there is no such shard any more.
    fn is_gone(&self, to: To) -> bool {
        matches!(to, To::Shard(shard) if self.roster.layout.shard(shard).is_none())
    }

    fn find(&self, to: To) -> Option<Number> {
        let roster = &self.roster;
        let is_there = |shard: &Number| roster.takes_commands(*shard);
        match to {
            To::Slot(slot) => roster.layout.owner(slot).filter(is_there),
            To::Shard(shard) => Some(shard).filter(is_there),
            To::Sent(shard) | To::Asked(shard) if is_there(&shard) => Some(shard),
            To::Sent(_) | To::Asked(_) | To::Any => {
                let serves = |shard: &Number| roster.tether(*shard).is_some_and(super::serves);
                let shards = || roster.layout.shards().iter().map(|shard| shard.number);
                shards().find(serves).or_else(|| shards().find(is_there))
            }
        }
    }

    /// The handle of this shard, for what is left of the time.
    pub(super) fn handle_of(&mut self, shard: Number, journey: &Journey) -> RedisResult<&mut Messenger> {
        let Some(policy) = journey.rest() else {
            return Err(self.common.fail(Outcome::NotSent, Reason::DeadlinePassed));
        };
        let handle = match self.handles.entry(shard) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match self.roster.tether(shard) {
                Some(tether) => place.insert(Messenger::of(tether, self.nodes)),
                // It was found in this very roster.
                None => return Err(self.common.fail(Outcome::NotSent, Reason::Stopped)),
            },
        };
        handle.set_policy(policy);
        Ok(handle)
    }

    /// Takes back a handle that was lent to a batch: it alone knows which node of the shard has answered that.
    pub(super) fn hand_back(&mut self, shard: Number, lent: Messenger) {
        let tether = self.roster.tether(shard);
        if tether.is_some_and(|tether| lent.is_of(&tether.control.shared)) {
            self.handles.insert(shard, lent);
        }
    }

    /// Takes over what the supervisor shows, if that is news.
    pub(super) fn refresh(&mut self) {
        if self.rosters.has_changed().unwrap_or(false) {
            self.take_over();
        }
    }

    /// Waits for news and takes it over, or for that moment.
    async fn news(&mut self, until: Option<Instant>) {
        let changed = self.rosters.changed();
        let is_news = match until {
            Some(until) => timeout_at(until, changed).await.is_ok(),
            None => changed.await.is_ok(),
        };
        // It counts as seen from now on.
        if is_news {
            self.take_over();
        }
    }

    /// Takes over what the supervisor shows; handles of shards that stay are kept.
    fn take_over(&mut self) {
        self.roster = self.rosters.borrow_and_update().clone();
        let roster = &self.roster;
        self.handles
            .retain(|shard, handle| roster.tether(*shard).is_some_and(|tether| handle.is_of(&tether.control.shared)));
    }
}

/// The words of a command, as far as they are known.
pub(super) fn words(cmd: &Cmd) -> impl Iterator<Item = &[u8]> + Clone {
    cmd.args_iter().map(|arg| match arg {
        Arg::Simple(word) => word,
        _ => b"",
    })
}

impl Common {
    /// The error of a command that failed before it came to any shard.
    pub(super) fn fail(&self, outcome: Outcome, reason: Reason) -> RedisError {
        let cause = self.surveyor.found().borrow().error.as_ref().map(ToString::to_string);
        self.fail_with(outcome, reason, cause)
    }

    pub(super) fn fail_with(&self, outcome: Outcome, reason: Reason, cause: Option<String>) -> RedisError {
        self.counts.failed(outcome);
        let facts = Facts { cause, ..Facts::new(outcome, reason, &self.endpoint) };
        crate::outcome::CommandError::new(facts).into()
    }
}

impl ConnectionLike for ClusterHandle {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.command(cmd))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.pipeline(Many { pipeline, offset, count }))
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl ClusterHandle {
    pub(super) async fn pipeline(&mut self, request: Many<'_>) -> RedisResult<Vec<Value>> {
        if let Demand::Unshareable(which) = request.demand() {
            let reason = Reason::NotOnSharedLink { command: which.command, hint: which.hint };
            return Err(self.common.fail(Outcome::NotSent, reason));
        }
        self.pieces_of(request).await
    }
}

impl fmt::Debug for ClusterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterHandle")
            .field("endpoint", &self.common.endpoint)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
