//! Asks again what the endpoint's name means: slowly while all is well, fast while it is not. It reports every answer that
//! somebody can learn from to the supervisor, and decides nothing. Lookups run in tasks; one that hangs delays the next,
//! and nothing else.

mod lookup;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use redis_tether_core::Lane;
use redis_tether_core::pacing::Pacing;
use redis_tether_core::recovery::ResolvePace;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::lookup::{SettledPace, ask, until_news};
use super::Control;
use super::source::{Answer, Asking, Evidence, Source, SourceError};
use super::supervisor::SupervisorMsg;
use super::task;
use crate::config::Config;
use crate::resolve::Lifetime;
use crate::sentinel::News;

/// Settled lookups are up to this much earlier or later than the interval says, so that a fleet does not ask in step; urgent
/// ones only earlier, since recovery waits for them.
pub(crate) const INTERVAL_JITTER: f64 = 0.2;

/// While a link serves, an answer that another tether was given may be this part of the interval old: a thousand tethers
/// of one name ask four times a second between them, and a move is noticed hardly later.
pub(crate) const SETTLED_ANSWER_AGE: u32 = 8;

/// While none serves, this part of the interval.
pub(crate) const URGENT_ANSWER_AGE: u32 = 2;

/// Tethers of one name wait for each other's lookups at most this long, whatever the intervals: less than the limit of one,
/// so that waiting is not taken for a resolver that does not answer.
const LONGEST_SPACING: Duration = Duration::from_secs(1);

/// How long after a panic sentinels are listened to again: code of the application's did it, and may do it again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

pub(crate) enum WatcherMsg {
    /// Ask at this pace from now on.
    Pace(ResolvePace),
    /// Ask once more, this much later.
    After(Duration),
    /// An incarnation gave up: tell its successor. An answer that is no older than the pace is fresh enough.
    Again,
    /// It is time to ask.
    Due,
    /// The watch of this number has an answer.
    Answered(u64, Result<Answer, SourceError>),
    /// A sentinel gives cause to ask.
    News(News),
    /// The cluster has another primary for this shard, as somebody found out.
    Displaced,
    /// Listening for announcements ended, which only a panic brings about.
    NobodyListens,
    /// It is time to listen again.
    Listen,
}

#[cfg(feature = "ractor-cluster")]
impl ractor::Message for WatcherMsg {}

pub(crate) struct EndpointWatcher;

pub(crate) struct WatcherArgs {
    pub(crate) control: Arc<Control>,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    pub(crate) source: Source,
    pub(crate) pace: ResolvePace,
}

pub(crate) struct WatcherState {
    args: WatcherArgs,
    rng: fastrand::Rng,
    urgent_since: Option<Instant>,
    watch: Watch,
    /// The number of the watch. One that was given up may have sent its answer already.
    watches: u64,
    /// When a lookup is due by the pace. Answers that somebody wanted besides may be shared ones, and put nothing off.
    due_by_pace: Instant,
    /// Somebody wants an answer that is younger than the one under way.
    wanted: Option<Wish>,
    /// What has not been asked about yet.
    news: Option<News>,
    /// The pace at which those are asked whose answer only people can change.
    patience: Pacing,
    /// Listens for announcements, or waits to do so again.
    listener: Option<AbortOnDropHandle<()>>,
}

/// What leads to the next answer.
enum Watch {
    /// A lookup is due then, and this is the timer for it.
    Due { at: Instant, _timer: AbortOnDropHandle<()> },
    /// One is under way.
    Asking { _task: AbortOnDropHandle<()> },
    /// They follow each other at the settled pace until one brings news.
    Settled { _task: AbortOnDropHandle<()> },
}

/// An answer that is wanted besides those of the pace.
struct Wish {
    at: Instant,
    max_age: Duration,
}

#[cfg_attr(feature = "ractor-async-trait", ractor::async_trait)]
impl Actor for EndpointWatcher {
    type Msg = WatcherMsg;
    type State = WatcherState;
    type Arguments = WatcherArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<WatcherMsg>,
        args: WatcherArgs,
    ) -> Result<WatcherState, ActorProcessingErr> {
        let now = Instant::now();
        let urgent_since = (args.pace == ResolvePace::Urgent).then_some(now);
        let timer = task::at(&args.control.tasks, now, due(&myself));
        let mut state = WatcherState {
            rng: args.control.fork_rng(),
            urgent_since,
            watch: Watch::Due { at: now, _timer: timer },
            watches: 0,
            due_by_pace: now,
            wanted: None,
            news: None,
            patience: Pacing::new(args.control.settings.pacing),
            listener: None,
            args,
        };
        state.listen(&myself);
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
            WatcherMsg::Due => state.look_up(&myself),
            WatcherMsg::Answered(watch, answer) => {
                state.be_patient(&answer);
                let _ = state.args.supervisor.send_message(SupervisorMsg::Answered(answer));
                if watch == state.watches {
                    state.go_on(&myself);
                }
            }
            WatcherMsg::News(news) => {
                state.news = Some(news.after(state.news));
                state.want_now(&myself);
            }
            WatcherMsg::Displaced => state.want_now(&myself),
            WatcherMsg::NobodyListens => {
                let endpoint = &*state.args.control.shared.endpoint;
                tracing::warn!(endpoint, "listening to sentinels panicked, and is begun again");
                let again = myself.clone();
                state.listener = Some(task::after(&state.args.control.tasks, LISTEN_AGAIN, move || {
                    let _ = again.send_message(WatcherMsg::Listen);
                }));
            }
            WatcherMsg::Listen => state.listen(&myself),
        }
        Ok(())
    }
}

/// Says that a lookup is due.
fn due(myself: &ActorRef<WatcherMsg>) -> impl FnOnce() + Send + use<> {
    let myself = myself.clone();
    move || {
        let _ = myself.send_message(WatcherMsg::Due);
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
                self.want_now(myself);
            }
            (ResolvePace::Settled, Some(_)) => {
                self.urgent_since = None;
                self.wanted = None;
                self.due_by_pace = self.next_by_pace();
                if self.news.is_some() {
                    self.want_now(myself);
                } else if !matches!(self.watch, Watch::Asking { .. }) {
                    self.watch_settled(myself);
                }
            }
            _ => {}
        }
    }

    /// There was an answer: sees to the next.
    fn go_on(&mut self, myself: &ActorRef<WatcherMsg>) {
        if self.due_by_pace <= Instant::now() {
            self.due_by_pace = self.next_by_pace();
        }
        match &self.wanted {
            Some(wish) => self.arm(myself, wish.at.min(self.due_by_pace)),
            None if self.urgent_since.is_some() => self.arm(myself, self.due_by_pace),
            None => self.watch_settled(myself),
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
        match self.urgent_since {
            Some(_) => Instant::now() + self.interval().mul_f64(1.0 - INTERVAL_JITTER * self.rng.f64()),
            None => self.settled_pace().next(),
        }
    }

    fn settled_pace(&mut self) -> SettledPace {
        let interval = self.config().resolve.interval;
        SettledPace { interval, beat: self.args.control.beat, rng: self.rng.fork() }
    }

    fn want_now(&mut self, myself: &ActorRef<WatcherMsg>) {
        let max_age = self.config().resolve.fast_interval / URGENT_ANSWER_AGE;
        self.want(myself, Wish { at: Instant::now(), max_age });
    }

    /// One answer serves all who want one: as soon as the first of them wants it, as fresh as the strictest.
    fn want(&mut self, myself: &ActorRef<WatcherMsg>, wish: Wish) {
        let wish = match self.wanted.take() {
            Some(before) => Wish { at: before.at.min(wish.at), max_age: before.max_age.min(wish.max_age) },
            None => wish,
        };
        match &self.watch {
            Watch::Due { at, .. } if *at <= wish.at => {}
            Watch::Due { .. } => self.arm(myself, wish.at),
            Watch::Asking { .. } => {}
            // Its answers may be kept to itself, and may be older than was wished.
            Watch::Settled { .. } => self.arm(myself, wish.at.min(self.due_by_pace)),
        }
        self.wanted = Some(wish);
    }

    /// Where only people can help, asking at the pace of an outage would be a burden and no use, whoever wants it.
    fn be_patient(&mut self, answer: &Result<Answer, SourceError>) {
        let control = &self.args.control;
        match answer {
            Err(error) if error.is_for_people() => {
                self.patience.failed(control.now(), Lane::Rejected, &mut self.rng);
            }
            _ => self.patience = Pacing::new(control.settings.pacing),
        }
    }

    fn arm(&mut self, myself: &ActorRef<WatcherMsg>, at: Instant) {
        let at = at.max(self.args.control.instant(self.patience.not_before()));
        let timer = task::at(&self.args.control.tasks, at, due(myself));
        self.watch = Watch::Due { at, _timer: timer };
    }

    /// How fresh the answer must be, and how soon after the last lookup of anybody the next may begin: all tethers of this
    /// process keep to one pace between them.
    fn asking(&mut self) -> Asking {
        let now = Instant::now();
        let by_pace = match self.urgent_since {
            Some(_) => Asking {
                pace: ResolvePace::Urgent,
                max_age: self.interval() / URGENT_ANSWER_AGE,
                spacing: self.earliest().min(LONGEST_SPACING),
                lifetime: Lifetime::Ignored,
                news: None,
            },
            None => self.settled_asking(),
        };
        let max_age = match self.wanted.take_if(|wish| wish.at <= now) {
            Some(wish) if self.due_by_pace <= now => wish.max_age.min(by_pace.max_age),
            Some(wish) => wish.max_age,
            None => by_pace.max_age,
        };
        Asking { max_age, news: self.news.take(), ..by_pace }
    }

    fn settled_asking(&self) -> Asking {
        let resolve = &self.config().resolve;
        let (max_age, spacing) = (resolve.interval / SETTLED_ANSWER_AGE, resolve.fast_interval);
        Asking { pace: ResolvePace::Settled, max_age, spacing, lifetime: Lifetime::Ignored, news: None }
    }

    fn look_up(&mut self, myself: &ActorRef<WatcherMsg>) {
        if !matches!(self.watch, Watch::Due { .. }) {
            // The timer had been replaced when it fired.
            return;
        }
        let (source, asking) = (self.args.source.clone(), self.asking());
        let work = async move { ask(&source, asking).await };
        self.watch = Watch::Asking { _task: self.begin(myself, work) };
    }

    fn watch_settled(&mut self, myself: &ActorRef<WatcherMsg>) {
        let control = self.args.control.clone();
        let is_expected = move |answer: &Answer| {
            let is_expected = answer.evidence == Evidence::Named && control.expects(&answer.addresses);
            if is_expected {
                control.shared.counters.lookups.increment();
            }
            is_expected
        };
        let (source, asking) = (self.args.source.clone(), self.settled_asking());
        let work = until_news(source, asking, self.due_by_pace, self.settled_pace(), is_expected);
        self.watch = Watch::Settled { _task: self.begin(myself, work) };
    }

    fn begin(
        &mut self,
        myself: &ActorRef<WatcherMsg>,
        work: impl Future<Output = Result<Answer, SourceError>> + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        self.watches += 1;
        let (watch, myself, source) = (self.watches, myself.clone(), self.args.source.clone());
        task::reporting(&self.args.control.tasks, work, move |answer| {
            let answer = answer.unwrap_or_else(|| Err(source.panicked()));
            let _ = myself.send_message(WatcherMsg::Answered(watch, answer));
        })
    }

    /// Has announcements listened for, where there are any.
    fn listen(&mut self, myself: &ActorRef<WatcherMsg>) {
        if let Some(shard) = self.args.source.shard() {
            let myself = myself.clone();
            let work = async move { shard.watch(|| drop(myself.send_message(WatcherMsg::Displaced))).await };
            // It ends with the cluster, and has nothing to report then.
            self.listener = Some(task::reporting(&self.args.control.tasks, work, |_| ()));
            return;
        }
        let Some(sentinels) = self.args.source.announcers() else { return };
        let (pacing, rng) = (self.args.control.settings.pacing, self.rng.fork());
        let (announced, ended) = (myself.clone(), myself.clone());
        let work = async move {
            let heard = move |news| drop(announced.send_message(WatcherMsg::News(news)));
            sentinels.listen(pacing, rng, heard).await
        };
        self.listener = Some(task::reporting(&self.args.control.tasks, work, move |_| {
            let _ = ended.send_message(WatcherMsg::NobodyListens);
        }));
    }
}

#[cfg(test)]
mod tests;
