//! Asks again what the endpoint's name means: slowly while all is well, fast while it is not. It reports every answer to
//! the supervisor and decides nothing. Lookups run in tasks; one that hangs delays the next, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use redis_tether_core::Address;
use redis_tether_core::recovery::ResolvePace;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Control;
use super::supervisor::SupervisorMsg;
use super::task;
use crate::config::Config;
use crate::resolve::{Query, ResolveError};

/// Settled lookups are up to this much earlier or later than the interval says, so that a fleet does not ask in step; urgent
/// ones only earlier, since recovery waits for them.
pub(crate) const INTERVAL_JITTER: f64 = 0.2;

/// While a link serves, an answer that another tether was given may be this part of the interval old: a thousand tethers
/// of one name ask four times a second between them, and a move is noticed hardly later.
pub(crate) const SETTLED_ANSWER_AGE: u32 = 8;

/// While none serves, this part of the interval.
pub(crate) const URGENT_ANSWER_AGE: u32 = 2;

/// A lookup that takes longer is reported as failed, and the next one joins it if it is still under way.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// Tethers of one name wait for each other's lookups at most this long, whatever the intervals: less than the limit of one,
/// so that waiting is not taken for a resolver that does not answer.
const LONGEST_SPACING: Duration = Duration::from_secs(1);

pub(crate) enum WatcherMsg {
    /// Ask at this pace from now on.
    Pace(ResolvePace),
    /// Ask once more, this much later.
    After(Duration),
    /// An incarnation gave up: tell its successor. An answer that is no older than the pace is fresh enough.
    Again,
    /// It is time to ask.
    Due,
    /// A lookup is over.
    Answered(Result<Vec<Address>, ResolveError>),
}

#[cfg(feature = "cluster")]
impl ractor::Message for WatcherMsg {}

pub(crate) struct EndpointWatcher;

pub(crate) struct WatcherArgs {
    pub(crate) control: Arc<Control>,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) pace: ResolvePace,
}

pub(crate) struct WatcherState {
    args: WatcherArgs,
    rng: fastrand::Rng,
    urgent_since: Option<Instant>,
    under_way: Option<AbortOnDropHandle<()>>,
    /// When the next lookup is due, and the timer for it.
    next: Option<(Instant, AbortOnDropHandle<()>)>,
    /// When a lookup is due by the pace. Answers that somebody wanted besides may be shared ones, and put nothing off.
    due_by_pace: Instant,
    /// Somebody wants an answer that is younger than the one under way.
    wanted: Option<Wish>,
}

/// An answer that is wanted besides those of the pace.
struct Wish {
    at: Instant,
    max_age: Duration,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for EndpointWatcher {
    type Msg = WatcherMsg;
    type State = WatcherState;
    type Arguments = WatcherArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<WatcherMsg>,
        args: WatcherArgs,
    ) -> Result<WatcherState, ActorProcessingErr> {
        let urgent_since = (args.pace == ResolvePace::Urgent).then(Instant::now);
        let mut state = WatcherState {
            rng: args.control.fork_rng(),
            urgent_since,
            under_way: None,
            next: None,
            due_by_pace: Instant::now(),
            wanted: None,
            args,
        };
        state.arm(&myself, Instant::now());
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<WatcherMsg>,
        message: WatcherMsg,
        state: &mut WatcherState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WatcherMsg::Pace(pace) => state.set_pace(&myself, pace),
            WatcherMsg::After(delay) => {
                let max_age = state.config().resolve.fast_interval / URGENT_ANSWER_AGE;
                state.want(&myself, Wish { at: Instant::now() + delay, max_age });
            }
            WatcherMsg::Again => {
                let max_age = state.interval();
                state.want(&myself, Wish { at: Instant::now(), max_age });
            }
            WatcherMsg::Due => {
                state.next = None;
                state.look_up(&myself);
            }
            WatcherMsg::Answered(answer) => {
                state.under_way = None;
                let _ = state.args.supervisor.send_message(SupervisorMsg::Answered(answer));
                if state.due_by_pace <= Instant::now() {
                    state.due_by_pace = state.next_by_pace();
                }
                let wanted_at = state.wanted.as_ref().map(|wish| wish.at);
                let next = wanted_at.into_iter().fold(state.due_by_pace, Instant::min);
                state.arm_no_later(&myself, next);
            }
        }
        Ok(())
    }
}

impl WatcherState {
    fn config(&self) -> &Config {
        &self.args.control.config
    }

    fn set_pace(&mut self, myself: &ActorRef<WatcherMsg>, pace: ResolvePace) {
        match (pace, self.urgent_since) {
            (ResolvePace::Urgent, None) => {
                let now = Instant::now();
                self.urgent_since = Some(now);
                self.due_by_pace = now;
                let max_age = self.config().resolve.fast_interval / URGENT_ANSWER_AGE;
                self.want(myself, Wish { at: now, max_age });
            }
            (ResolvePace::Settled, Some(_)) => {
                self.urgent_since = None;
                self.wanted = None;
                self.due_by_pace = self.next_by_pace();
                let next = self.due_by_pace;
                self.arm(myself, next);
            }
            _ => {}
        }
    }

    /// The time between lookups at the present pace.
    fn interval(&self) -> Duration {
        let resolve = &self.config().resolve;
        match self.urgent_since {
            Some(since) if since.elapsed() < resolve.fast_for => resolve.fast_interval,
            Some(_) => resolve.outage_interval,
            None => resolve.interval,
        }
    }

    /// The shortest time between lookups at the present pace.
    fn earliest(&self) -> Duration {
        self.interval().mul_f64(1.0 - INTERVAL_JITTER)
    }

    fn next_by_pace(&mut self) -> Instant {
        let (earliest, latest) = match self.urgent_since {
            Some(_) => (1.0 - INTERVAL_JITTER, 1.0),
            None => (1.0 - INTERVAL_JITTER, 1.0 + INTERVAL_JITTER),
        };
        let jitter = earliest + (latest - earliest) * self.rng.f64();
        Instant::now() + self.interval().mul_f64(jitter)
    }

    /// One answer serves all who want one: as soon as the first of them wants it, as fresh as the strictest.
    fn want(&mut self, myself: &ActorRef<WatcherMsg>, wish: Wish) {
        let wish = match self.wanted.take() {
            Some(before) => Wish { at: before.at.min(wish.at), max_age: before.max_age.min(wish.max_age) },
            None => wish,
        };
        self.arm_no_later(myself, wish.at);
        self.wanted = Some(wish);
    }

    fn arm_no_later(&mut self, myself: &ActorRef<WatcherMsg>, at: Instant) {
        if self.under_way.is_none() && self.next.as_ref().is_none_or(|(next, _)| at < *next) {
            self.arm(myself, at);
        }
    }

    fn arm(&mut self, myself: &ActorRef<WatcherMsg>, at: Instant) {
        let myself = myself.clone();
        let timer = task::at(&self.args.control.tasks, at, move || {
            let _ = myself.send_message(WatcherMsg::Due);
        });
        self.next = Some((at, timer));
    }

    /// How fresh the answer must be, and how soon after the last lookup of anybody the next may begin: all tethers of this
    /// process keep to one pace between them.
    fn query(&mut self) -> Query {
        let (now, resolve) = (Instant::now(), &self.args.control.config.resolve);
        let (by_pace, spacing) = match self.urgent_since {
            Some(_) => (self.interval() / URGENT_ANSWER_AGE, self.earliest().min(LONGEST_SPACING)),
            None => (resolve.interval / SETTLED_ANSWER_AGE, resolve.fast_interval),
        };
        let max_age = match self.wanted.take_if(|wish| wish.at <= now) {
            Some(wish) if self.due_by_pace <= now => wish.max_age.min(by_pace),
            Some(wish) => wish.max_age,
            None => by_pace,
        };
        Query::new(&self.args.host, self.args.port).with_max_age(max_age).with_spacing(spacing)
    }

    fn look_up(&mut self, myself: &ActorRef<WatcherMsg>) {
        if self.under_way.is_some() {
            return;
        }
        let query = self.query();
        let resolver = self.args.control.resolver.clone();
        let myself = myself.clone();
        let (host, panicked) = (self.args.host.clone(), self.args.host.clone());
        let work = async move {
            // Asked in here and not before, since it may panic while it is asked as well as while it answers.
            let lookup = timeout(LOOKUP_LIMIT, resolver.resolve(query)).await;
            match lookup {
                Ok(Ok(addresses)) if addresses.is_empty() => Err(ResolveError::NoAddress { host }),
                Ok(answer) => Ok(answer?.into_iter().map(Address::Tcp).collect()),
                Err(_) => Err(ResolveError::TimedOut { host }),
            }
        };
        self.under_way = Some(task::reporting(&self.args.control.tasks, work, move |answer| {
            let answer = answer
                .unwrap_or(Err(ResolveError::Failed { host: panicked, message: "the resolver panicked".to_owned() }));
            let _ = myself.send_message(WatcherMsg::Answered(answer));
        }));
    }
}

#[cfg(test)]
mod tests;
