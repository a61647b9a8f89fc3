//! Finding out who has which slots. One task does it for the whole cluster: slowly while all is well, and at once when a command
//! was sent elsewhere or a shard is in doubt. While all is well one node is asked, over a connection that is kept; else several
//! are, and the configuration endpoint is resolved anew. Whom to believe, the core decides.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use redis_tether_core::Lane;
use redis_tether_core::cluster::{Group, Testimony, believed, has_majority, is_of_the_past};
use redis_tether_core::pacing::{Pacing, PacingSettings};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::error::SurveyError;
use super::guests::Guests;
use super::layout::Layout;
use super::notice::ClusterNotice;
use super::testimony;
use crate::config::{ClusterEndpoint, Config};
use crate::control::Brought;
use crate::credentials::keyring::Keyring;
use crate::dial::Connector;
use crate::question::{Canvass, Hearing, Line, failed};
use crate::resolve::{Query, Resolve, ResolveError};
use crate::stats::Counter;

/// So many of the known nodes are asked at a time. Most of them are right, and a cluster may have a thousand.
const NODES_ASKED: usize = 6;

/// So many addresses of each seed are.
const ADDRESSES_ASKED: usize = 3;

/// A name that takes longer to resolve is passed over, this time.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(250);

/// Surveys are up to this part of the interval early, so that a fleet does not ask in step.
const JITTER: f64 = 0.2;

/// See the head of this file.
pub(crate) struct Surveyor {
    config: Arc<Config>,
    endpoint: ClusterEndpoint,
    connector: Connector,
    keyring: Keyring,
    resolver: Arc<dyn Resolve>,
    found: watch::Sender<Found>,
    wanted: Notify,
    is_doubted: AtomicBool,
    guests: Guests,
    surveys: Counter,
    /// Whose turn it is to be asked.
    turn: AtomicUsize,
}

/// What came of the surveys so far.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) layout: Arc<Layout>,
    /// The latest configuration epoch of whoever said so.
    epoch: u64,
    /// When the last survey began.
    begun: Option<Instant>,
    /// Why it told nothing.
    pub(crate) error: Option<SurveyError>,
    /// What is to be said of the endpoint.
    pub(crate) notice: Option<ClusterNotice>,
}

/// The connections that are kept from survey to survey.
type Lines = BTreeMap<SocketAddr, Line>;

/// What a node says, and the connection over which it said so.
type Told = (Testimony, Line);

impl Surveyor {
    pub(crate) fn new(
        config: Arc<Config>,
        endpoint: ClusterEndpoint,
        brought: &Brought,
        keyring: Keyring,
        turn: usize,
    ) -> Surveyor {
        let (connector, resolver) = (brought.connector.clone(), brought.resolver.clone());
        let found = Found { layout: Arc::new(Layout::unknown()), epoch: 0, begun: None, error: None, notice: None };
        Surveyor {
            config,
            endpoint,
            connector,
            keyring,
            resolver,
            found: watch::Sender::new(found),
            wanted: Notify::new(),
            is_doubted: AtomicBool::new(true),
            guests: Guests::default(),
            surveys: Counter::default(),
            turn: AtomicUsize::new(turn),
        }
    }

    pub(crate) fn found(&self) -> watch::Receiver<Found> {
        self.found.subscribe()
    }

    /// How many there were.
    pub(crate) fn surveys(&self) -> u64 {
        self.surveys.value()
    }

    pub(crate) fn layout(&self) -> Arc<Layout> {
        self.found.borrow().layout.clone()
    }

    /// What is known is in doubt: it is surveyed as soon as may be.
    pub(crate) fn doubt(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
        self.wanted.notify_one();
    }

    /// A command was sent to the node that is announced there, which may have no slot yet: it has a place in the layout from now on.
    pub(crate) fn invite(&self, host: &str, port: u16) {
        if self.guests.invite(host, port) {
            self.found.send_if_modified(|found| self.learn(found, None));
        }
    }

    /// A command is sent to the node that is announced there. If it was invited, it stays on.
    pub(crate) fn visit(&self, host: &str, port: u16) {
        self.guests.visit(host, port);
    }

    /// Takes over who has which slots, or what stands, with those who have none. `false` if that is no news.
    fn learn(&self, found: &mut Found, groups: Option<&[Group]>) -> bool {
        let standing: Vec<Group>;
        let groups = match groups {
            Some(groups) => groups,
            None => {
                standing = found.layout.groups_with_slots().cloned().collect();
                &standing
            }
        };
        let news = found.layout.succeeded_by(&self.guests.beside(groups));
        let is_news = news.is_some();
        if let Some(layout) = news {
            found.layout = Arc::new(layout);
        }
        is_news
    }

    /// What a survey tells that began no earlier than this. Its caller bounds the waiting. Cancel safe.
    pub(crate) async fn fresh(&self, not_before: Instant) -> Result<Arc<Layout>, SurveyError> {
        let mut found = self.found();
        loop {
            {
                let found = found.borrow_and_update();
                if found.begun.is_some_and(|begun| begun >= not_before) {
                    return found.error.clone().map_or_else(|| Ok(found.layout.clone()), Err);
                }
            }
            self.doubt();
            if found.changed().await.is_err() {
                return Err(SurveyError::TimedOut);
            }
        }
    }

    /// Where the node is now that a cluster announces so.
    pub(crate) async fn locate_node(&self, query: Query) -> Result<Vec<SocketAddr>, SurveyError> {
        let host = query.host.clone();
        let places = self.locate(query).await?;
        places.iter().for_each(|place| self.connector.announce(*place, &host));
        Ok(places)
    }

    async fn locate_seed(&self, query: Query) -> Result<Vec<SocketAddr>, SurveyError> {
        let host = query.host.clone();
        let places = self.locate(query).await?;
        places.iter().for_each(|place| self.connector.announce_listed(*place, &host));
        Ok(places)
    }

    /// Where a host is now.
    async fn locate(&self, query: Query) -> Result<Vec<SocketAddr>, SurveyError> {
        if let Ok(ip) = query.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, query.port)]);
        }
        let host = query.host.clone();
        let found = self.resolver.resolve(query).await?;
        if found.is_empty() {
            return Err(ResolveError::NoAddress { host }.into());
        }
        Ok(found)
    }

    /// Surveys for ever. Dropping the future closes every connection.
    pub(crate) async fn run(&self, pacing: PacingSettings, mut rng: fastrand::Rng) -> Infallible {
        let mut lines = Lines::new();
        let (origin, mut patience) = (Instant::now(), Pacing::new(pacing));
        let mut doubted_since = None;
        loop {
            let begun = Instant::now();
            self.surveys.increment();
            let is_doubted = self.is_doubted.swap(false, Ordering::Relaxed);
            let outcome = self.survey(&mut lines, is_doubted).await;
            let earliest = match &outcome {
                Err(error) if error.is_for_people() => {
                    origin + patience.failed(origin.elapsed(), Lane::Rejected, &mut rng)
                }
                _ => {
                    patience = Pacing::new(pacing);
                    begun + self.config.resolve.fast_interval
                }
            };
            let by_itself = match &outcome {
                Ok(_) => {
                    doubted_since = None;
                    begun + self.config.resolve.interval.mul_f64(1.0 - JITTER * rng.f64())
                }
                // Nobody may be there to ask for it: there is no shard before the first layout.
                Err(_) => {
                    self.is_doubted.store(true, Ordering::Relaxed);
                    let since = *doubted_since.get_or_insert(begun);
                    begun + self.interval_in_doubt(since)
                }
            };
            let may_have_notice = outcome.is_ok() && (is_doubted || self.found.borrow().notice.is_some());
            self.tell(begun, outcome);
            if !is_doubted {
                // One is enough to ask the next time.
                lines = lines.into_iter().take(1).collect();
            }
            tokio::select! {
                biased;
                () = self.wanted.notified() => {}
                () = async {
                    if may_have_notice {
                        self.judge_endpoint().await;
                    }
                    sleep_until(by_itself).await;
                } => {}
            }
            sleep_until(earliest).await;
        }
    }

    fn interval_in_doubt(&self, since: Instant) -> Duration {
        let resolve = &self.config.resolve;
        if since.elapsed() < resolve.fast_for { resolve.fast_interval } else { resolve.outage_interval }
    }

    /// Whether the endpoint will lead to the cluster for as long as there is one. Shards wait for surveys, and none for this.
    async fn judge_endpoint(&self) {
        let [seed] = self.endpoint.seeds.as_slice() else { return };
        let query = Query::new(&seed.host, seed.port).with_max_age(self.config.resolve.fast_interval);
        let Ok(places) = self.some_of(self.locate(query), ADDRESSES_ASKED).await else { return };
        let notice = ClusterNotice::of(seed, &places, self.layout().groups_with_slots());
        self.found.send_if_modified(|found| {
            let is_news = found.notice != notice;
            found.notice = notice;
            is_news
        });
    }

    fn tell(&self, begun: Instant, outcome: Result<Option<Testimony>, SurveyError>) {
        self.found.send_modify(|found| {
            found.begun = Some(begun);
            match outcome {
                Ok(testimony) => {
                    found.error = None;
                    self.learn(found, testimony.as_ref().map(|testimony| &*testimony.groups));
                    found.epoch = testimony.map_or(found.epoch, |testimony| testimony.epoch);
                }
                Err(error) => found.error = Some(error),
            }
        });
    }

    /// What is believed; `None` if it is what stands.
    async fn survey(&self, lines: &mut Lines, is_doubted: bool) -> Result<Option<Testimony>, SurveyError> {
        if !is_doubted && self.one_confirms(lines).await {
            return Ok(None);
        }
        self.ask_around(lines).await.map(Some)
    }

    /// Whether a node that is known says what is known.
    async fn one_confirms(&self, lines: &mut Lines) -> bool {
        let Some((at, line)) = lines.pop_first() else { return false };
        let Ok((testimony, line)) = self.question(at, Some(line)).await else { return false };
        lines.insert(at, line);
        let layout = self.layout();
        layout.groups_with_slots().eq(&testimony.groups)
    }

    async fn ask_around(&self, lines: &mut Lines) -> Result<Testimony, SurveyError> {
        let max_age = self.config.resolve.fast_interval;
        let mut kept = mem::take(lines);
        let mut canvass = Canvass::new(|at| self.question(at, kept.remove(&at)));
        for (host, port) in self.nodes_to_ask() {
            let places = self.locate_node(Query::new(&host, port).with_max_age(max_age));
            canvass.look_up(self.some_of(places, 1));
        }
        for seed in &self.endpoint.seeds {
            let places = self.locate_seed(Query::new(&seed.host, seed.port).with_max_age(max_age));
            canvass.look_up(self.some_of(places, ADDRESSES_ASKED));
        }
        let hearing = canvass.until(is_told_by_most).await;
        let is_told_by_most = is_told_by_most(&hearing);
        let best = believed(testimonies(&hearing)).cloned();
        let (told, errors) = hearing.into_parts();
        *lines = told.into_iter().map(|(at, (_, line))| (at, line)).collect();
        let best = best.ok_or_else(|| SurveyError::of_all(errors))?;
        if !is_told_by_most && self.is_of_the_past(&best) {
            return Err(SurveyError::Outdated);
        }
        Ok(best)
    }

    fn is_of_the_past(&self, testimony: &Testimony) -> bool {
        let (layout, epoch) = {
            let found = self.found.borrow();
            (found.layout.clone(), found.epoch)
        };
        let known: Vec<Group> = layout.groups_with_slots().cloned().collect();
        is_of_the_past(testimony, &known, epoch)
    }

    /// Some of the nodes that are known, others each time.
    fn nodes_to_ask(&self) -> Vec<(String, u16)> {
        let layout = self.layout();
        let nodes = layout.shards().iter().flat_map(|shard| shard.group.nodes());
        let mut nodes: Vec<_> = nodes.map(|node| (node.host.clone(), node.port)).collect();
        if nodes.len() > NODES_ASKED {
            let turn = self.turn.fetch_add(NODES_ASKED, Ordering::Relaxed) % nodes.len();
            nodes.rotate_left(turn);
            nodes.truncate(NODES_ASKED);
        }
        nodes
    }

    /// Some of these places of a host, others each time.
    async fn some_of(
        &self,
        places: impl Future<Output = Result<Vec<SocketAddr>, SurveyError>>,
        most: usize,
    ) -> Result<Vec<SocketAddr>, SurveyError> {
        let mut places = timeout(LOOKUP_PATIENCE, places).await.map_err(|_| SurveyError::TimedOut)??;
        if places.len() > most {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % places.len();
            places.rotate_left(turn);
            places.truncate(most);
        }
        Ok(places)
    }

    /// Asks the node at this address, over the connection that was kept if that still works.
    async fn question(&self, at: SocketAddr, kept: Option<Line>) -> Result<Told, SurveyError> {
        let limit = self.config.dial.connect_timeout;
        let answer = async {
            let kept = match kept {
                Some(mut line) => line.ask(&testimony::questions()).await.ok().map(|replies| (replies, line)),
                None => None,
            };
            let (replies, line) = match kept {
                Some(answered) => answered,
                None => {
                    let mut line = self.open(at).await?;
                    (line.ask(&testimony::questions()).await?, line)
                }
            };
            Ok((testimony::read(at, replies)?, line))
        };
        timeout(limit, answer).await.unwrap_or_else(|_| Err(failed::timed_out(&at.into(), limit).into()))
    }

    async fn open(&self, at: SocketAddr) -> Result<Line, SurveyError> {
        Ok(Line::open_signed_in(&self.connector, at.into(), &self.keyring).await?)
    }
}

fn testimonies(hearing: &Hearing<Told, SurveyError>) -> impl Iterator<Item = &Testimony> {
    hearing.answers().map(|(testimony, _)| testimony)
}

/// Whether what the others say would change nothing.
fn is_told_by_most(hearing: &Hearing<Told, SurveyError>) -> bool {
    has_majority(testimonies(hearing), hearing.size())
}
