//! The handle: what applications send commands through. It caches its way to the live link, enters each command in the
//! ledger, checks the gate and sends; everything that is not that simple goes round through `handle/detour.rs`. It owns no
//! task; the timers of what is held belong to the caller's runtime, and those of what was sent to the link, where its runtime is the
//! caller's.

mod asking;
pub(crate) mod clock;
pub(crate) mod command;
mod detour;
mod flags;
mod moved;
mod policy;
pub(crate) mod request;
mod retry;
mod turn;
pub(crate) mod way;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

pub(crate) use self::asking::Asking;
use self::clock::Clock;
use self::command::Demand;
pub(crate) use self::flags::{Flags, Words};
pub use self::policy::Policy;
use self::request::{Many, One, Request};
use self::way::{Carried, Way};
use crate::ledger::FlightKind;
use crate::shared::Shared;
use redis_tether_core::reply::Refusal;

/// Sends commands over whatever link is the live one. Cheap to clone; one per task is usual, since sending takes `&mut`.
///
/// It is a [`ConnectionLike`]: `redis::AsyncCommands`, `Cmd::query_async`, pipelines and scripts work with it as they are.
///
/// # What happens to a command
/// - While there is no link it is held, for as long as the hold window (3 s from the start of the outage) and its own deadline
///   (5 s) allow, within the bounds on held commands; after the window, commands fail at once.
/// - A server's refusal that executed nothing and that another server would not give (`READONLY`, `LOADING`, `MASTERDOWN`,
///   `CLUSTERDOWN`, `UNBLOCKED` by a demotion) is not handed out: the command is sent again on the next good link. So is one that provably never left.
///   `TRYAGAIN` is asked again after 20 ms.
/// - Any other reply is handed out as it came.
/// - A command whose reply did not come is [`Ambiguous`](crate::Outcome::Ambiguous) and is not sent again, unless the handle's
///   [`Policy`] says so ([`Retry`](crate::Retry)).
/// - A pipeline that is no transaction is sent again only if each of its commands was refused; a transaction whose queueing
///   was refused ran as a whole not, and is sent again.
/// - Blocking commands (`BLPOP`, `XREAD BLOCK`, `WAIT` and their kin) may take their own timeout on top of the deadline; one
///   that blocks for ever has no deadline once it was sent. The link is shared, and the server answers in order: commands
///   sent behind a blocking one wait for its end, and their deadline begins then. (Behind one that blocks for ever it runs as
///   always, and they fail.) While one blocks, a server that hangs cannot be told from one that waits: the link is neither
///   suspected nor probed until half a second after its timeout. Under `BLPOP key 0` it never is: a dead host shows only by
///   the transport's own limits (`tcp_user_timeout`, keepalive), a frozen one not at all. Ask with a timeout of a few
///   seconds, again and again, or give who blocks a dedicated connection ([`Tether::dedicated`](crate::Tether::dedicated)), where
///   the tether notices such a host all the same; both also keep the others quick.
/// - `WAIT` and `WAITAOF` speak of the writes over one connection: they fail if this handle's writes went over another link
///   than the live one.
///
/// # Errors
/// What fails here is a [`CommandError`](crate::CommandError) inside the `redis::RedisError`; see
/// [`OutcomeExt`](crate::OutcomeExt). Commands that would change the shared link for everybody are refused (most of them have their
/// place on a [dedicated connection](crate::Tether::dedicated)):
/// - `WATCH`, and a lone `MULTI`, `EXEC` or `DISCARD`; `SELECT`; `AUTH`, and `HELLO` with a version; `RESET`, `QUIT`;
/// - `SUBSCRIBE` and its kin, `MONITOR`, `SYNC`, `PSYNC`, `REPLCONF`, `SCRIPT DEBUG`, and commands set to no response;
/// - `CLIENT` with `REPLY`, `TRACKING`, `CACHING`, `SETNAME`, `SETINFO`, `NO-EVICT`, `NO-TOUCH`, `CAPA` or `IMPORT-SOURCE`;
/// - `ASKING`, `READONLY` and `READWRITE`.
///
/// # Panics
/// Sending may panic outside a tokio runtime whose timers are enabled: what is held needs one. It need not be the runtime that the
/// tether lives on.
///
/// # Cancel safety
/// A command whose future is dropped while it is held is never sent. One that is dropped later may or may not be executed.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    way: Option<Way>,
    // Commands went over another link than that, and no `WAIT` has said so yet.
    has_strayed: bool,
    policy: Policy,
    // What must live as long as any handle does. It is kept, and never looked at.
    _lifeline: Arc<dyn Any + Send + Sync>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, lifeline: Arc<dyn Any + Send + Sync>) -> Handle {
        let policy = Policy::of(&shared.commands);
        Handle { shared, way: None, has_strayed: false, policy, _lifeline: lifeline }
    }

    /// How this handle treats its commands: as the configuration says, unless it was given a policy of its own.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// This handle, with commands that are treated so. Cheap, and of no concern to other handles of the tether.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Handle {
        self.policy = policy;
        self
    }

    /// For a cluster's handle, whose commands have one deadline wherever they go.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The last command was refused by a node of a cluster that is no primary of its slots any more: nobody else is to be sent there.
    pub(crate) fn report_moved(&self) {
        if let Some(way) = &self.way {
            self.shared.report(way.epoch, Refusal::Moved);
        }
    }

    /// Whether it sends what that tether sends.
    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    pub(crate) async fn run<R: Request>(&mut self, request: R) -> RedisResult<R::Reply> {
        let demand = request.demand();
        if let Demand::Unshareable(which) = demand {
            return Err(self.unshareable(which));
        }
        if demand.is_bound_to_link() && std::mem::take(&mut self.has_strayed) {
            return Err(self.strayed());
        }
        let mut clock = Clock::new(self.policy.deadline, demand);
        let mut trouble = None;
        if let Some(way) = &mut self.way {
            // Entered before the gate is looked at: either a drain sees it, or we see the drain's flip.
            let flight = way.ledger.begin(flight_kind(demand));
            if self.shared.gate.admits(way.epoch) {
                match way.carry(request, flight, None, &mut clock, &self.shared.counters).await {
                    Carried::Answer(reply) => return reply,
                    Carried::Trouble(met) => trouble = Some(met),
                }
            }
        }
        // Boxed, so that the common case does not carry the room for it.
        Box::pin(self.detour(request, demand, clock, trouble)).await
    }
}

pub(crate) fn flight_kind(demand: Demand) -> FlightKind {
    match demand {
        Demand::Blocking(wait) | Demand::Acknowledgement(wait) => FlightKind::Blocking(wait),
        Demand::Plain | Demand::Unshareable(_) => FlightKind::Plain,
    }
}

impl ConnectionLike for Handle {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.run(One(cmd)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.run(Many { pipeline, offset, count }))
    }

    fn get_db(&self) -> i64 {
        self.shared.db
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("endpoint", &self.shared.endpoint)
            .field("epoch", &self.way.as_ref().map(|way| way.epoch))
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod tests;
