//! Asks again what the endpoint's name means: slowly while all is well, fast while it is not. It reports every answer to
//! the supervisor and decides nothing. Lookups run in tasks; one that hangs delays the next, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use redis_tether_core::Address;
use redis_tether_core::recovery::ResolvePace;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::control::Control;
use crate::resolve::{Query, ResolveError};
use crate::supervisor::SupervisorMsg;
use crate::task;

/// Settled lookups are this much earlier or later than the interval says, so that a fleet does not ask in step.
pub(crate) const INTERVAL_JITTER: f64 = 0.2;

/// While a link serves, an answer that another tether was given may be this part of the interval old: a thousand tethers
/// of one name ask four times a second between them, and a move is noticed hardly later.
pub(crate) const SETTLED_ANSWER_AGE: u32 = 8;

/// While none serves, this part of the interval.
pub(crate) const URGENT_ANSWER_AGE: u32 = 2;

/// A lookup that takes longer is reported as failed, and the next one joins it if it is still under way.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

pub(crate) enum WatcherMsg {
    /// Ask at this pace from now on.
    Pace(ResolvePace),
    /// Ask once more, this much later.
    After(Duration),
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
    /// Somebody wants an answer that is younger than the one under way.
    wanted_at: Option<Instant>,
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
            wanted_at: None,
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
                let at = Instant::now() + delay;
                state.wanted_at = Some(at);
                state.arm_no_later(&myself, at);
            }
            WatcherMsg::Due => {
                state.next = None;
                state.look_up(&myself);
            }
            WatcherMsg::Answered(answer) => {
                state.under_way = None;
                let _ = state.args.supervisor.send_message(SupervisorMsg::Answered(answer));
                let next = state.next_by_pace();
                state.arm_no_later(&myself, next);
                if let Some(at) = state.wanted_at {
                    state.arm_no_later(&myself, at);
                }
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
                self.wanted_at = Some(now);
                self.arm_no_later(myself, now);
            }
            (ResolvePace::Settled, Some(_)) => {
                self.urgent_since = None;
                self.wanted_at = None;
                let next = self.next_by_pace();
                self.arm(myself, next);
            }
            _ => {}
        }
    }

    fn next_by_pace(&mut self) -> Instant {
        let jitter = 1.0 + INTERVAL_JITTER * (2.0 * self.rng.f64() - 1.0);
        let resolve = &self.config().resolve;
        Instant::now()
            + match self.urgent_since {
                Some(since) if since.elapsed() < resolve.fast_for => resolve.fast_interval,
                Some(_) => resolve.outage_interval,
                None => resolve.interval.mul_f64(jitter),
            }
    }

    fn arm_no_later(&mut self, myself: &ActorRef<WatcherMsg>, at: Instant) {
        if self.under_way.is_none() && self.next.as_ref().is_none_or(|(next, _)| at < *next) {
            self.arm(myself, at);
        }
    }

    fn arm(&mut self, myself: &ActorRef<WatcherMsg>, at: Instant) {
        let myself = myself.clone();
        let timer = task::at(at, move || {
            let _ = myself.send_message(WatcherMsg::Due);
        });
        self.next = Some((at, timer));
    }

    fn look_up(&mut self, myself: &ActorRef<WatcherMsg>) {
        if self.under_way.is_some() {
            return;
        }
        let now = Instant::now();
        let max_age = match self.wanted_at {
            // An answer from before the wish does not fulfil it.
            Some(at) if at <= now => {
                self.wanted_at = None;
                Duration::ZERO
            }
            _ if self.urgent_since.is_some() => self.config().resolve.fast_interval / URGENT_ANSWER_AGE,
            _ => self.config().resolve.interval / SETTLED_ANSWER_AGE,
        };
        let query = Query::new(&self.args.host, self.args.port).with_max_age(max_age);
        let lookup = self.args.control.resolver.resolve(query);
        let myself = myself.clone();
        let (host, panicked) = (self.args.host.clone(), self.args.host.clone());
        let work = async move {
            let addresses = timeout(LOOKUP_LIMIT, lookup).await.unwrap_or(Err(ResolveError::TimedOut { host }))?;
            Ok(addresses.into_iter().map(Address::Tcp).collect())
        };
        self.under_way = Some(task::reporting(work, move |answer| {
            let answer = answer
                .unwrap_or(Err(ResolveError::Failed { host: panicked, message: "the resolver panicked".to_owned() }));
            let _ = myself.send_message(WatcherMsg::Answered(answer));
        }));
    }
}
