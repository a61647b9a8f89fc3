//! The handle to replicas: finds one that serves and sends through its tether's own handle, which sends and fails as any handle does.
//! What is left to do here is what only reading from several does: refusing what may write, taking them in turn, going on to the
//! next where one would not, and falling back to the primary.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::past::Past;
use super::reads::{scan, written};
use super::scans::{Bound, Scan, ScanAt, Scans};
use super::{NoReplica, Replica, ReplicaSet, Roster, Seat};
use crate::config::{Fallback, HoldMode, Retry};
use crate::handle::command::Demand;
use crate::handle::request::{Many, One, Request};
use crate::handle::{Handle, Policy};
use crate::outcome::{CommandError, Facts, Outcome, OutcomeExt, Reason};
use crate::room::Stay;
use crate::shared::Shared;
use crate::stats::Stats;

/// Sends reads to the replicas of a tether's primary, in turn to each that serves. Cheap to clone; one per task is usual. Made by
/// [`Tether::replicas`](crate::Tether::replicas).
///
/// It is a [`ConnectionLike`]: `redis::AsyncCommands`, `Cmd::query_async` and pipelines work with it as they are. What a [`Handle`]
/// says of outcomes, deadlines, policies and cancel safety holds here as well.
///
/// # What an answer is worth
/// A replica answers with what it has, and that may be old: usually by less than a millisecond, by seconds where it has much to catch
/// up with, and each replica by its own time, so that a later read may show less than an earlier one. What must see a write
/// that was just done is read from the primary, through [`Tether::handle`](crate::Tether::handle).
///
/// # Who serves
/// - The replicas are those that the primary itself tells of (`ROLE`, else `INFO replication`), that the sentinels or the cluster know
///   as well, or that a reader endpoint names ([`replicas.host`](crate::ReplicaSettings::host)).
/// - Each has a link of its own, on which it is asked, when that is made and at every probe, whether it is a replica, is not loading its
///   dataset, and has its primary. One that is promoted, suspect or lost gets no reads until that is over. One that loses its
///   primary gets none while another has it, or the primary itself serves: so reads go on through an outage of the primary, as old
///   as that. How far behind a replica is that has its primary, is not asked.
/// - A read that one of them refuses, or that provably did not reach it, goes to the next. One that was in flight when a replica was lost
///   fails as [`Ambiguous`](Outcome::Ambiguous), unless the policy has it sent again ([`Retry`]): then to the next.
/// - Where none serves, the read goes to the primary, or is held until one does: within the hold window and the deadline, as
///   [`replicas.fallback`](crate::ReplicaSettings::fallback) says.
/// - `SCAN` and its kin go on where they began, since a cursor means something to one server alone. Where that one serves no more, they fail
///   by [`Reason::ScanLost`]; so does a cursor that came from another handle, since a handle (with the clones that are made
///   meanwhile) knows of its own scans only.
///
/// # Errors
/// As those of a [`Handle`], and: a command that is not known to only read is refused before it is sent, by
/// [`Reason::NotForReplicas`]; so is a pipeline or transaction with one in it. `EVAL_RO`, `EVALSHA_RO` and `FCALL_RO` read, other scripts
/// may write.
///
/// # Panics
/// As those of a [`Handle`].
///
/// # Examples
/// ```no_run
/// # use redis_tether::{Config, Tether, redis::AsyncCommands};
/// # async fn example(tether: Tether) -> Result<(), Box<dyn std::error::Error>> {
/// let mut replicas = tether.replicas();
/// let views: Option<u64> = replicas.get("views").await?;
/// # let _ = views;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReplicaHandle {
    set: Arc<ReplicaSet>,
    rosters: watch::Receiver<Arc<Roster>>,
    roster: Arc<Roster>,
    /// Of the roster's seats, in their order.
    handles: Vec<Option<Handle>>,
    primary: Handle,
    policy: Policy,
    /// Who was asked last.
    asked: To,
    scans: Scans,
    // What must live as long as any handle does. It is lent to the handles above, and never looked at.
    lifeline: Arc<dyn Any + Send + Sync>,
}

/// Who gets a read.
#[derive(Clone, Copy)]
enum To {
    /// By its place in the roster.
    Replica(usize),
    Primary,
    /// Nobody serves.
    Nobody,
}

impl ReplicaHandle {
    pub(crate) fn new(set: Arc<ReplicaSet>, primary: Handle, lifeline: Arc<dyn Any + Send + Sync>) -> ReplicaHandle {
        let mut rosters = set.rosters.subscribe();
        let roster = rosters.borrow_and_update().clone();
        let (handles, policy) = (vec![None; roster.seats.len()], primary.policy());
        ReplicaHandle {
            set,
            rosters,
            roster,
            handles,
            primary,
            policy,
            asked: To::Nobody,
            scans: Scans::default(),
            lifeline,
        }
    }

    /// How this handle treats its commands.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// This handle, with commands that are treated so.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> ReplicaHandle {
        self.set_policy(policy);
        self
    }

    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// What sends to the primary, for as long as the policy says.
    pub(crate) fn at_primary(&mut self) -> &mut Handle {
        self.asked = To::Primary;
        self.primary.set_policy(self.policy);
        &mut self.primary
    }

    /// The node that was asked last has no such slots any more, nor has its primary: nobody else is to be sent there.
    pub(crate) fn report_moved(&self) {
        match self.asked {
            To::Replica(place) => {
                self.handles.get(place).and_then(Option::as_ref).into_iter().for_each(Handle::report_moved);
            }
            To::Primary => self.primary.report_moved(),
            // One that has left meanwhile.
            To::Nobody => {}
        }
    }

    /// Whether it reads from the replicas of that tether.
    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.set.of, shared)
    }

    /// The replicas that are known now, and how the link to each of them is.
    #[must_use]
    pub fn members(&self) -> Vec<Replica> {
        let roster = self.set.rosters.borrow().clone();
        let member = |seat: &Seat| {
            let status = seat.board.status().borrow().clone();
            let stats = Stats::of(&seat.shared.counters);
            Replica { name: seat.place.to_string().into(), status, has_primary: !seat.is_stale(), stats }
        };
        roster.seats.iter().map(member).collect()
    }

    /// Waits until a replica serves, at most for `limit`, and says which there are.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`NoReplica`], with the reason as far as it is known.
    pub async fn ready(&self, limit: Duration) -> Result<Vec<Replica>, NoReplica> {
        let begun = Instant::now();
        let mut rosters = self.set.rosters.subscribe();
        let settled = rosters.wait_for(|roster| roster.has_ended || roster.none_since.is_none());
        let settled = timeout(limit, settled).await;
        // What was waited for is borrowed until here: nothing may ask for it again before, since a writer may wait in between.
        let serves = matches!(settled.map(|roster| roster.is_ok_and(|roster| !roster.has_ended)), Ok(true));
        if serves {
            return Ok(self.members());
        }
        let reason = self.cause().unwrap_or_else(|| "the tether has ended, or knows of none".to_owned());
        let (endpoint, waited) = (self.set.of.endpoint.clone(), begun.elapsed());
        Err(NoReplica { endpoint, waited, reason: reason.into() })
    }

    async fn run<R: Request>(&mut self, request: R) -> RedisResult<R::Reply> {
        self.run_after(&mut Stay::default(), request).await
    }

    /// Reads what may have been held until now.
    pub(crate) async fn run_after<R: Request>(&mut self, stay: &mut Stay, request: R) -> RedisResult<R::Reply> {
        if let Demand::Unshareable(which) = request.demand() {
            return Err(self.primary.unshareable(which));
        }
        if let Some(name) = written(request) {
            return Err(self.fail(Outcome::NotSent, Reason::NotForReplicas, Some(name)));
        }
        let scans: Vec<Scan> = request.words().filter_map(scan).collect();
        let mut past = Past::default();
        let reply = self.tries(request, &scans, stay, &mut past).await;
        if let Ok(reply) = &reply
            && !scans.is_empty()
            && let Some(at) = self.scan_at()
        {
            self.scans.answered(&scans, &at, R::leads_on(reply));
        }
        reply.map_err(|error| past.told(error))
    }

    async fn tries<R: Request>(
        &mut self,
        request: R,
        scans: &[Scan],
        stay: &mut Stay,
        past: &mut Past,
    ) -> RedisResult<R::Reply> {
        let begun = Instant::now();
        loop {
            self.refresh();
            if self.roster.has_ended {
                return Err(self.fail(past.outcome(), Reason::Stopped, None));
            }
            let left = self.policy.deadline.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
            let Some(left) = left else {
                return Err(self.fail(past.outcome(), Reason::DeadlinePassed, self.cause()));
            };
            let to = self.choose(scans);
            match to.ok_or_else(|| self.fail(past.outcome(), Reason::ScanLost, None))? {
                To::Replica(place) => {
                    let reply = self.send_to(place, request, left, stay).await;
                    match reply.as_ref().err().and_then(RedisError::command_error) {
                        Some(error) if is_for_the_next(error) => past.failed(error.outcome()),
                        Some(error) if self.tries_again(error, past.retries) => {
                            past.failed(error.outcome());
                            self.set.of.counters.resent_ambiguous.increment();
                        }
                        _ => return reply,
                    }
                }
                To::Primary => {
                    self.set.of.counters.fallbacks.increment();
                    self.asked = To::Primary;
                    self.primary.set_policy(self.policy.deadline(left));
                    return self.primary.run_after(stay, request).await;
                }
                To::Nobody => self.wait(request.bytes(), begun + self.policy.deadline, stay, past).await?,
            }
        }
    }

    /// Never held there: another one may serve.
    async fn send_to<R: Request>(
        &mut self,
        place: usize,
        request: R,
        left: Duration,
        stay: &mut Stay,
    ) -> RedisResult<R::Reply> {
        let (seat, lifeline) = (&self.roster.seats[place], &self.lifeline);
        let handle = self.handles[place].get_or_insert_with(|| Handle::new(seat.shared.clone(), lifeline.clone()));
        self.asked = To::Replica(place);
        handle.set_policy(self.policy.deadline(left).fail_fast().retry(Retry::Never));
        handle.run_after(stay, request).await
    }

    /// Who is next. A scan goes on where it began; `None` if it cannot.
    fn choose(&self, scans: &[Scan]) -> Option<To> {
        match self.scans.bound(scans) {
            Bound::Anywhere => Some(self.next_in_turn()),
            Bound::Rather(at) => Some(self.serving(&at).unwrap_or_else(|| self.next_in_turn())),
            Bound::Only(at) => self.serving(&at),
            Bound::Lost => None,
        }
    }

    fn serving(&self, at: &ScanAt) -> Option<To> {
        match at {
            ScanAt::Primary => Some(To::Primary),
            ScanAt::Replica(shared) => {
                let is_it = |seat: &Seat| Arc::ptr_eq(&seat.shared, shared) && seat.serves();
                self.roster.seats.iter().position(is_it).map(To::Replica)
            }
        }
    }

    /// Where a scan goes on that was just answered.
    fn scan_at(&self) -> Option<ScanAt> {
        match self.asked {
            To::Replica(place) => Some(ScanAt::Replica(self.roster.seats.get(place)?.shared.clone())),
            To::Primary => Some(ScanAt::Primary),
            To::Nobody => None,
        }
    }

    /// The freshest answer that is to be had: of a replica that has its primary, of the primary, of a replica that has lost it.
    fn next_in_turn(&self) -> To {
        let turn = self.set.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.in_turn(turn, |seat| seat.serves() && !seat.is_stale()) {
            return To::Replica(place);
        }
        let stale = self.in_turn(turn, Seat::serves);
        match (self.set.config.replicas.fallback, stale) {
            (Fallback::Primary, _) if self.set.of.gate.is_open() => To::Primary,
            (_, Some(place)) => To::Replica(place),
            (Fallback::Primary, None) => To::Primary,
            (Fallback::None, None) => To::Nobody,
        }
    }

    /// One of those that are so, by turns: counted among them alone, so that the share of one that is out is everybody's.
    fn in_turn(&self, turn: usize, is_so: impl Fn(&Seat) -> bool) -> Option<usize> {
        let those = || self.roster.seats.iter().enumerate().filter(|(_, seat)| is_so(seat)).map(|(place, _)| place);
        let place = turn.checked_rem(those().count())?;
        // Of one that has gone since they were counted, the turn is another's.
        those().nth(place).or_else(|| those().next())
    }

    fn tries_again(&self, error: &CommandError, retries: u32) -> bool {
        // Nothing that comes here changes anything, so that opting in for reads is enough.
        let is_lost = error.outcome() == Outcome::Ambiguous && error.reason() == Reason::LinkLost;
        is_lost && self.policy.retry != Retry::Never && retries < self.policy.max_retries
    }

    /// Waits for something to happen to the replicas, within the hold window.
    async fn wait(&mut self, bytes: usize, due: Instant, stay: &mut Stay, past: &Past) -> RedisResult<()> {
        // What is seen here may not have been shown yet. If it were not, its end would be no news, and nobody woken by that.
        self.set.look();
        self.refresh();
        if self.roster.has_ended || self.roster.none_since.is_none() {
            return Ok(());
        }
        let window = self.set.config.commands.hold_window;
        let over_at = self.roster.none_since.map(|since| since + window);
        let now = Instant::now();
        let reason = if self.policy.hold == HoldMode::FailFast {
            Reason::FailFast
        } else if over_at.is_some_and(|over_at| over_at <= now) {
            Reason::HoldWindowPassed
        } else {
            if !matches!(stay, Stay::Now(_)) {
                self.set.hold(bytes).into_iter().for_each(|held| stay.begin(held));
            }
            if let Stay::Now(_) = stay {
                let until = over_at.map_or(due, |over_at| over_at.min(due));
                // Waiting has marked as seen what it saw.
                if timeout_at(until, self.rosters.changed()).await.is_ok() {
                    self.take_over();
                }
                return Ok(());
            }
            Reason::HoldFull
        };
        Err(self.fail(past.outcome(), reason, self.cause()))
    }

    pub(super) fn refresh(&mut self) {
        if self.rosters.has_changed().unwrap_or(false) {
            self.take_over();
        }
    }

    /// Takes over what is shown; the handles of replicas that stay are kept.
    fn take_over(&mut self) {
        self.roster = self.rosters.borrow_and_update().clone();
        self.asked = To::Nobody;
        let mut before = std::mem::take(&mut self.handles);
        let of_it = |seat: &Seat| {
            let known = before.iter_mut().find(|known| known.as_ref().is_some_and(|known| known.is_of(&seat.shared)));
            known.and_then(Option::take)
        };
        self.handles = self.roster.seats.iter().map(of_it).collect();
    }

    /// Why no replica serves, as far as is known.
    fn cause(&self) -> Option<String> {
        let roster = self.set.rosters.borrow().clone();
        let of_links = || {
            let of_link = |seat: &Seat| seat.board.status().borrow().last_error.clone();
            roster.seats.iter().find_map(of_link)
        };
        roster.error.clone().or_else(of_links).map(|cause| cause.to_string())
    }

    fn fail(&self, outcome: Outcome, reason: Reason, cause: Option<String>) -> RedisError {
        let down_for = match reason {
            Reason::HoldWindowPassed | Reason::FailFast => self.roster.none_since.map(|since| since.elapsed()),
            _ => None,
        };
        let facts = Facts { cause, down_for, ..Facts::new(outcome, reason, &self.set.of.endpoint) };
        self.set.of.fail(facts).into()
    }
}

/// It did nothing there, and that replica takes no more at present.
fn is_for_the_next(error: &CommandError) -> bool {
    error.outcome() != Outcome::Ambiguous && matches!(error.reason(), Reason::FailFast | Reason::Stopped)
}

impl ConnectionLike for ReplicaHandle {
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
        self.primary.get_db()
    }
}

impl fmt::Debug for ReplicaHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaHandle")
            .field("endpoint", &self.set.of.endpoint)
            .field("replicas", &self.roster.seats.len())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
