//! The supervisor of one cluster: it has its slots surveyed, keeps a tether for each shard, and shows handles which shard has
//! which. Its handlers only note things, start and end tethers; what a shard's own failures lead to, that shard's tether sees to.

use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::Common;
use super::error::SurveyError;
use super::event::ClusterEvent;
use super::layout::{Layout, Number};
use super::roster::Roster;
use super::shard::ShardSource;
use crate::control::Brought;
use crate::control::task;
use crate::question::Trouble;
use crate::tether::Tether;
use crate::tether::builder::{Part, Whole};

/// How long after its end a shard's tether is started again, where it should not have ended.
const RESTART_AFTER: Duration = Duration::from_millis(100);

pub(crate) enum ClusterMsg {
    /// A survey has told something new.
    Surveyed,
    /// The surveys panicked.
    SurveysEnded,
    /// Start again what did not start or has ended.
    Mend,
    /// End: let commands in flight finish.
    ShutDown,
    /// They have.
    Drained,
}

#[cfg(feature = "ractor-cluster")]
impl ractor::Message for ClusterMsg {}

pub(crate) struct ClusterSupervisor;

pub(crate) struct ClusterState {
    common: Arc<Common>,
    tasks: TaskTracker,
    /// Those of them that see shards to their ends, each as long as what is in flight may take.
    leaving: TaskTracker,
    tethers: BTreeMap<Number, Tether>,
    /// Have ended, and are shown until others are there in their place.
    ended: Vec<Tether>,
    surveys: Option<AbortOnDropHandle<()>>,
    news: Option<AbortOnDropHandle<()>>,
    mending: Option<AbortOnDropHandle<()>>,
    is_ending: bool,
}

#[cfg_attr(feature = "ractor-async-trait", ractor::async_trait)]
impl Actor for ClusterSupervisor {
    type Msg = ClusterMsg;
    type State = ClusterState;
    type Arguments = Arc<Common>;

    async fn pre_start(
        &self,
        _myself: ActorRef<ClusterMsg>,
        common: Arc<Common>,
    ) -> Result<ClusterState, ActorProcessingErr> {
        let tasks = common.tasks.clone();
        let (leaving, tethers, ended) = (TaskTracker::new(), BTreeMap::new(), Vec::new());
        let (surveys, news, mending) = (None, None, None);
        Ok(ClusterState { common, tasks, leaving, tethers, ended, surveys, news, mending, is_ending: false })
    }

    async fn post_start(
        &self,
        myself: ActorRef<ClusterMsg>,
        state: &mut ClusterState,
    ) -> Result<(), ActorProcessingErr> {
        // In this order: what the first survey finds is told only to whoever listens by then.
        state.listen(&myself);
        state.begin_surveys(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<ClusterMsg>,
        message: ClusterMsg,
        state: &mut ClusterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ClusterMsg::Surveyed => state.follow(&myself).await,
            ClusterMsg::SurveysEnded => {
                let endpoint = &*state.common.endpoint;
                tracing::warn!(endpoint, "surveying the cluster's slots panicked, and is begun again");
                state.surveys = None;
                state.mend_later(&myself);
            }
            ClusterMsg::Mend => {
                state.mending = None;
                if state.surveys.is_none() {
                    state.begin_surveys(&myself);
                }
                state.follow(&myself).await;
            }
            ClusterMsg::ShutDown => state.shut_down(&myself),
            ClusterMsg::Drained => myself.stop(None),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ClusterMsg>,
        event: SupervisionEvent,
        state: &mut ClusterState,
    ) -> Result<(), ActorProcessingErr> {
        let (SupervisionEvent::ActorFailed(who, _) | SupervisionEvent::ActorTerminated(who, _, _)) = event else {
            return Ok(());
        };
        let ended = state.tethers.iter().find(|(_, tether)| tether.actor().get_id() == who.get_id());
        if let Some(number) = ended.map(|(number, _)| *number).filter(|_| !state.is_ending) {
            let endpoint = &*state.common.endpoint;
            tracing::warn!(endpoint, shard = number.value(), "the tether of a shard ended, and is started again");
            state.ended.extend(state.tethers.remove(&number));
            state.mend_later(&myself);
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<ClusterMsg>,
        state: &mut ClusterState,
    ) -> Result<(), ActorProcessingErr> {
        // ractor hands the state to the actor above: nothing that lives may be in it.
        state.tethers.clear();
        state.ended.clear();
        (state.surveys, state.news, state.mending) = (None, None, None);
        Ok(())
    }
}

impl ClusterState {
    fn begin_surveys(&mut self, myself: &ActorRef<ClusterMsg>) {
        let (surveyor, rng) = (self.common.surveyor.clone(), self.common.fork_rng());
        let pacing = self.common.pacing;
        let myself = myself.clone();
        let work = async move { surveyor.run(pacing, rng).await };
        // It ends by a panic alone: of the application's resolver, or its transport.
        self.surveys = Some(task::reporting(&self.tasks, work, move |_| {
            let _ = myself.send_message(ClusterMsg::SurveysEnded);
        }));
    }

    /// Has itself told of what surveys find.
    fn listen(&mut self, myself: &ActorRef<ClusterMsg>) {
        let (mut found, myself, common) = (self.common.surveyor.found(), myself.clone(), self.common.clone());
        let work = async move {
            let mut known: Option<Arc<Layout>> = None;
            let (mut trouble, mut noticed) = (Trouble::default(), None);
            while found.changed().await.is_ok() {
                let (layout, error, notice) = {
                    let found = found.borrow_and_update();
                    (found.layout.clone(), found.error.clone(), found.notice.clone())
                };
                let is_news = trouble.is_news(SurveyError::trouble(error.as_ref()));
                if let Some(error) = error {
                    let endpoint = &*common.endpoint;
                    if is_news {
                        tracing::warn!(endpoint, %error, "the cluster's slots could not be surveyed");
                        common.send(ClusterEvent::SurveyFailed { error: error.to_string().into() });
                    } else {
                        tracing::debug!(endpoint, %error, "the cluster's slots could not be surveyed again");
                    }
                }
                if notice != noticed {
                    if let Some(notice) = &notice {
                        tracing::warn!(endpoint = &*common.endpoint, "{notice}");
                    }
                    noticed = notice;
                }
                if known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &layout)) {
                    known = Some(layout);
                    let _ = myself.send_message(ClusterMsg::Surveyed);
                }
            }
        };
        self.news = Some(task::reporting(&self.tasks, work, |_| ()));
    }

    /// Has a tether for each shard that there is, and none besides.
    async fn follow(&mut self, myself: &ActorRef<ClusterMsg>) {
        if self.is_ending {
            return;
        }
        let layout = self.common.surveyor.layout();
        for shard in layout.shards() {
            if self.tethers.contains_key(&shard.number) {
                continue;
            }
            match self.start(myself, shard.number).await {
                Some(tether) => drop(self.tethers.insert(shard.number, tether)),
                None => self.mend_later(myself),
            }
        }
        let is_there = |number: &Number| layout.shard(*number).is_some();
        let gone: Vec<Number> = self.tethers.keys().copied().filter(|number| !is_there(number)).collect();
        // Handles are shown the new state before anything of the old one ends.
        self.common.show(Roster::new(layout, &self.tethers));
        self.keep_counts();
        for number in gone {
            if let Some(tether) = self.tethers.remove(&number) {
                self.common.send(ClusterEvent::ShardRemoved { shard: number.value() });
                self.see_off(tether);
            }
        }
    }

    async fn start(&self, myself: &ActorRef<ClusterMsg>, number: Number) -> Option<Tether> {
        let (common, shard) = (&self.common, number.value());
        let seed = common.brought.seed.map(|seed| seed.wrapping_add(u64::from(shard)));
        // That it is there comes before whatever it tells, which may be before this thread goes on.
        let added = Arc::new(Once::new());
        let part = Part {
            of: Whole::Cluster(Arc::new(ShardSource::new(number, common.surveyor.clone()))),
            name: format!("{} shard {shard}", common.endpoint).into(),
            brought: Brought { seed, ..common.brought.clone() },
            told: Box::new({
                let (common, added) = (common.clone(), added.clone());
                move |event| {
                    added.call_once_force(|_| common.send(ClusterEvent::ShardAdded { shard }));
                    common.send(ClusterEvent::Shard { shard, event: event.clone() });
                    true
                }
            }),
        };
        let builder = Tether::builder((*common.config).clone()).part(part).supervisor(myself.get_cell());
        match builder.start().await {
            Ok(tether) => {
                added.call_once_force(|_| common.send(ClusterEvent::ShardAdded { shard }));
                Some(tether)
            }
            Err(error) => {
                tracing::error!(endpoint = &*common.endpoint, shard, %error, "the tether of a shard did not start, and is started again");
                None
            }
        }
    }

    /// Of those that are not shown any more, which would be counted twice before.
    fn keep_counts(&mut self) {
        self.ended.drain(..).for_each(|ended| self.common.counts.keep(&ended));
    }

    fn mend_later(&mut self, myself: &ActorRef<ClusterMsg>) {
        let myself = myself.clone();
        self.mending = Some(task::after(&self.tasks, RESTART_AFTER, move || {
            let _ = myself.send_message(ClusterMsg::Mend);
        }));
    }

    fn shut_down(&mut self, myself: &ActorRef<ClusterMsg>) {
        if std::mem::replace(&mut self.is_ending, true) {
            return;
        }
        self.common.end_commands();
        self.keep_counts();
        (self.surveys, self.news, self.mending) = (None, None, None);
        for tether in std::mem::take(&mut self.tethers).into_values() {
            self.see_off(tether);
        }
        // Shards that were gone before may still be at it.
        let (leaving, myself) = (self.leaving.clone(), myself.clone());
        leaving.close();
        self.tasks.spawn(async move {
            leaving.wait().await;
            let _ = myself.send_message(ClusterMsg::Drained);
        });
    }

    /// Sees the tether of a shard that is gone to its end. It is known to be ending from now on.
    fn see_off(&self, tether: Tether) {
        let (common, place) = (self.common.clone(), self.common.counts.begins_to_end(&tether));
        self.tasks.spawn(self.leaving.track_future(async move {
            tether.shutdown().await;
            common.counts.has_ended(place, &tether);
        }));
    }
}

#[cfg(test)]
mod tests;
