//! Finding out who has which slots. One task does it for the whole cluster: slowly while all is well, and at once when a command
//! was sent elsewhere or a shard is in doubt. While all is well one node is asked, over a connection that is kept; else several
//! are, and the configuration endpoint is resolved anew. How they are asked is in `nodes.rs`, how soon again in `pace.rs`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis_tether_core::cluster::{Group, Testimony, is_of_the_past};
use redis_tether_core::pacing::PacingSettings;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::error::SurveyError;
use super::guests::Guests;
use super::layout::Layout;
use super::nodes::{Belief, Lines, Nodes};
use super::notice::ClusterNotice;
use super::pace::Pace;
use crate::config::{ClusterEndpoint, Config};
use crate::control::Brought;
use crate::credentials::keyring::Keyring;
use crate::resolve::Query;
use crate::stats::Counter;

/// See the head of this file.
pub(crate) struct Surveyor {
    config: Arc<Config>,
    nodes: Nodes,
    found: watch::Sender<Found>,
    wanted: Notify,
    is_doubted: AtomicBool,
    guests: Guests,
    surveys: Counter,
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

impl Surveyor {
    pub(crate) fn new(
        config: Arc<Config>,
        endpoint: ClusterEndpoint,
        brought: &Brought,
        keyring: Keyring,
        turn: usize,
    ) -> Surveyor {
        let found = Found { layout: Arc::new(Layout::unknown()), epoch: 0, begun: None, error: None, notice: None };
        Surveyor {
            nodes: Nodes::new(config.clone(), endpoint, brought, keyring, turn),
            config,
            found: watch::Sender::new(found),
            wanted: Notify::new(),
            is_doubted: AtomicBool::new(true),
            guests: Guests::default(),
            surveys: Counter::default(),
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
        self.nodes.locate_node(query).await
    }

    /// Surveys for ever. Dropping the future closes every connection.
    pub(crate) async fn run(&self, pacing: PacingSettings, rng: fastrand::Rng) -> Infallible {
        let mut lines = Lines::new();
        let mut pace = Pace::new(self.config.resolve.clone(), pacing, rng, Instant::now());
        loop {
            let begun = Instant::now();
            self.surveys.increment();
            let is_doubted = self.is_doubted.swap(false, Ordering::Relaxed);
            let outcome = self.survey(&mut lines, is_doubted).await;
            let due = pace.after(begun, Instant::now(), outcome.as_ref().err());
            if outcome.is_err() {
                // Nobody may be there to ask for it: there is no shard before the first layout.
                self.is_doubted.store(true, Ordering::Relaxed);
            }
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
                    sleep_until(due.by_itself).await;
                } => {}
            }
            sleep_until(due.earliest).await;
        }
    }

    /// What is believed; `None` if it is what stands.
    async fn survey(&self, lines: &mut Lines, is_doubted: bool) -> Result<Option<Testimony>, SurveyError> {
        if !is_doubted && self.nodes.ask_one(lines).await.is_some_and(|said| self.stands(&said)) {
            return Ok(None);
        }
        let Belief { testimony, is_told_by_most } = self.nodes.ask_around(&self.layout(), lines).await?;
        if !is_told_by_most && self.is_of_the_past(&testimony) {
            return Err(SurveyError::Outdated);
        }
        Ok(Some(testimony))
    }

    fn stands(&self, said: &Testimony) -> bool {
        self.layout().groups_with_slots().eq(&said.groups)
    }

    fn is_of_the_past(&self, testimony: &Testimony) -> bool {
        let (layout, epoch) = {
            let found = self.found.borrow();
            (found.layout.clone(), found.epoch)
        };
        let known: Vec<Group> = layout.groups_with_slots().cloned().collect();
        is_of_the_past(testimony, &known, epoch)
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

    /// Whether the endpoint will lead to the cluster for as long as there is one. Shards wait for surveys, and none for this.
    async fn judge_endpoint(&self) {
        let Some((seed, places)) = self.nodes.lone_seed().await else { return };
        let notice = ClusterNotice::of(seed, &places, self.layout().groups_with_slots());
        self.found.send_if_modified(|found| {
            let is_news = found.notice != notice;
            found.notice = notice;
            is_news
        });
    }
}
