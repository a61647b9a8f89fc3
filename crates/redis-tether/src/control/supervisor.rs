//! The supervisor of one tether: it owns what the endpoint means, the restarts of its children, and the end. Its
//! handlers only note things and pass them on. However it ends (stopped, killed, panicked, its runtime dropped), the
//! [ending](super::ending) sees to the rest.

mod child;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use redis_tether_core::recovery::ResolvePace;
use redis_tether_core::{Address, name_the_same};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use self::child::Child;
use super::Control;
use super::connection::{Connection, ConnectionArgs, ConnectionMsg, GAVE_UP};
use super::ending::Ends;
use super::source::{Answer, Evidence, Source, SourceError};
use super::task;
use super::watcher::{EndpointWatcher, WatcherArgs, WatcherMsg};
use crate::config::Endpoint;
use crate::event::Event;
use crate::replicas::keeper;

/// How long after a panic replicas are kept again: code of the application's did it, and may do it again.
const KEEP_AGAIN: Duration = Duration::from_secs(1);

pub(crate) enum SupervisorMsg {
    /// A lookup is over.
    Answered(Result<Answer, SourceError>),
    /// Resolve at this pace from now on.
    ResolveAt(ResolvePace),
    /// Resolve once more, this much later.
    ResolveAfter(Duration),
    /// For the connection actor.
    Reconnect,
    /// For the connection actor.
    Pin,
    /// For the connection actor.
    Unpin,
    /// It is time to start the connection actor again.
    StartConnection,
    /// It is time to start the watcher again.
    StartWatcher,
    /// Somebody reads from replicas: find them, and keep links to them.
    KeepReplicas,
    /// Keeping them ended, which only a panic brings about.
    ReplicasLeft,
    /// End: let commands in flight finish, within the limit.
    ShutDown,
    /// They have, or the limit has passed.
    Drained,
}

#[cfg(feature = "ractor-cluster")]
impl ractor::Message for SupervisorMsg {}

pub(crate) struct TetherSupervisor;

pub(crate) struct SupervisorState {
    control: Arc<Control>,
    known: Vec<Address>,
    /// The last lookup failed.
    is_unresolved: bool,
    pace: ResolvePace,
    connection: Child<ConnectionMsg>,
    watcher: Child<WatcherMsg>,
    incarnation: u64,
    /// Why the connection actor before ended.
    ended_because: String,
    /// What was ordered last. Orders to an actor that is being replaced get lost with it, so its successor is told anew.
    pinned: bool,
    /// A new link was asked for while there was no connection actor.
    reconnect: bool,
    /// Keeps the replicas, once they are wanted, or waits to do so again.
    replicas: Option<AbortOnDropHandle<()>>,
    drain: Option<AbortOnDropHandle<()>>,
}

#[cfg_attr(feature = "ractor-async-trait", ractor::async_trait)]
impl Actor for TetherSupervisor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = Arc<Control>;

    async fn pre_start(
        &self,
        _myself: ActorRef<SupervisorMsg>,
        control: Arc<Control>,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let known = match &control.config.endpoint {
            Endpoint::Unix { path } => vec![Address::Unix(path.clone())],
            _ => Vec::new(),
        };
        Ok(SupervisorState {
            known,
            is_unresolved: false,
            pace: ResolvePace::Urgent,
            connection: Child::none(),
            watcher: Child::none(),
            incarnation: 0,
            ended_because: String::new(),
            pinned: false,
            reconnect: false,
            replicas: None,
            drain: None,
            control,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.start_connection(&myself).await;
        state.start_watcher(&myself).await;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::Answered(Ok(answer)) => state.answered(&myself, answer).await,
            SupervisorMsg::Answered(Err(error)) => state.resolve_failed(&error),
            SupervisorMsg::ResolveAt(pace) => {
                state.pace = pace;
                state.watcher.tell(WatcherMsg::Pace(pace));
            }
            SupervisorMsg::ResolveAfter(delay) => {
                state.watcher.tell(WatcherMsg::After(delay));
                state.answer_without_watcher();
            }
            SupervisorMsg::Reconnect => {
                state.reconnect = !state.connection.is_there();
                state.connection.tell(ConnectionMsg::Reconnect);
            }
            SupervisorMsg::Pin => {
                state.pinned = true;
                state.connection.tell(ConnectionMsg::Pin);
            }
            SupervisorMsg::Unpin => {
                state.pinned = false;
                state.connection.tell(ConnectionMsg::Unpin);
            }
            SupervisorMsg::StartConnection => state.start_connection(&myself).await,
            SupervisorMsg::StartWatcher => state.start_watcher(&myself).await,
            SupervisorMsg::KeepReplicas => state.keep_replicas(&myself),
            SupervisorMsg::ReplicasLeft => {
                tracing::warn!(endpoint = state.endpoint(), "keeping replicas panicked, and is begun again");
                state.replicas = Some(state.later(&myself, KEEP_AGAIN, SupervisorMsg::KeepReplicas));
            }
            SupervisorMsg::ShutDown => state.shut_down(&myself),
            SupervisorMsg::Drained => myself.stop(None),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let (who, reason) = match event {
            SupervisionEvent::ActorFailed(who, error) => (who, error.to_string()),
            SupervisionEvent::ActorTerminated(who, _, reason) => (who, reason.unwrap_or_else(|| "ended".to_owned())),
            _ => return Ok(()),
        };
        if state.connection.is(&who) {
            state.connection_ended(&myself, reason);
        } else if state.watcher.is(&who) {
            tracing::warn!(endpoint = state.endpoint(), reason, "the endpoint watcher ended, and is started again");
            let delay = state.watcher.crashed();
            state.watcher.restarts_by(state.later(&myself, delay, SupervisorMsg::StartWatcher));
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<SupervisorMsg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.control.end();
        // ractor hands the state to the actor above, and there it may lie until that one finds the time: nothing that lives
        // may be in it.
        state.connection = Child::none();
        state.watcher = Child::none();
        (state.replicas, state.drain) = (None, None);
        Ok(())
    }
}

impl SupervisorState {
    fn endpoint(&self) -> &str {
        &self.control.shared.endpoint
    }

    async fn start_connection(&mut self, myself: &ActorRef<SupervisorMsg>) {
        if self.connection.is_there() || self.drain.is_some() {
            return;
        }
        self.incarnation += 1;
        let args = ConnectionArgs { control: self.control.clone(), supervisor: myself.clone() };
        match task::spawn_child(&self.control.tasks, Connection, args, myself.get_cell()).await {
            Ok(connection) => {
                self.connection.started(connection);
                self.brief_connection();
                if self.incarnation > 1 {
                    self.control.shared.counters.restarts.increment();
                    let (incarnation, reason) = (self.incarnation, std::mem::take(&mut self.ended_because).into());
                    self.control.board.send(Event::Restarted { incarnation, reason });
                }
            }
            Err(error) => {
                tracing::error!(endpoint = self.endpoint(), %error, "the connection actor did not start, and is started again");
                self.ended_because = error.to_string();
                let delay = self.connection.failed_to_start();
                self.connection.restarts_by(self.later(myself, delay, SupervisorMsg::StartConnection));
            }
        }
    }

    /// Tells a fresh connection actor what was ordered and found while there was none, or was lost with the one before. An
    /// answer that the machine has taken in is not told again: it would count as one more.
    fn brief_connection(&mut self) {
        self.connection.tell(if self.pinned { ConnectionMsg::Pin } else { ConnectionMsg::Unpin });
        if !self.known.is_empty() && !self.control.remembers(&self.known) {
            self.connection.tell(ConnectionMsg::Resolved(self.known.clone()));
        }
        if std::mem::take(&mut self.reconnect) {
            self.connection.tell(ConnectionMsg::Reconnect);
        }
    }

    async fn start_watcher(&mut self, myself: &ActorRef<SupervisorMsg>) {
        if self.watcher.is_there() || self.drain.is_some() {
            return;
        }
        let Some(source) = Source::of(&self.control) else { return };
        let args = WatcherArgs { control: self.control.clone(), supervisor: myself.clone(), source, pace: self.pace };
        match task::spawn_child(&self.control.tasks, EndpointWatcher, args, myself.get_cell()).await {
            Ok(watcher) => self.watcher.started(watcher),
            Err(error) => {
                tracing::error!(endpoint = self.endpoint(), %error, "the endpoint watcher did not start, and is started again");
                let delay = self.watcher.failed_to_start();
                self.watcher.restarts_by(self.later(myself, delay, SupervisorMsg::StartWatcher));
            }
        }
    }

    async fn answered(&mut self, myself: &ActorRef<SupervisorMsg>, Answer { addresses, evidence }: Answer) {
        self.control.shared.counters.lookups.increment();
        if std::mem::take(&mut self.is_unresolved) && self.control.shard.is_none() {
            tracing::info!(endpoint = self.endpoint(), "the endpoint is resolved again");
        }
        if !name_the_same(&self.known, &addresses) {
            self.control.board.send(Event::AddressesChanged { addresses: addresses.clone() });
        }
        self.known.clone_from(&addresses);
        if self.connection.is_awaited() {
            // The fresh answer that the fresh incarnation was waiting for.
            self.start_connection(myself).await;
        } else {
            self.connection.tell(match evidence {
                Evidence::Named => ConnectionMsg::Resolved(addresses),
                Evidence::Announced => ConnectionMsg::Moved(addresses),
            });
        }
    }

    fn resolve_failed(&mut self, error: &SourceError) {
        self.control.shared.counters.lookups.increment();
        let error: Arc<str> = error.to_string().into();
        // What a cluster's surveys find is told of once for all its shards, by the cluster.
        if !std::mem::replace(&mut self.is_unresolved, true) && self.control.shard.is_none() {
            tracing::warn!(endpoint = self.endpoint(), %error, "the endpoint is not resolved; the addresses that are known stay");
        }
        self.control.board.update(|status| status.failed(&error));
        self.control.gate().note_failure(&error);
        self.control.board.send(Event::ResolveFailed { error });
    }

    fn connection_ended(&mut self, myself: &ActorRef<SupervisorMsg>, reason: String) {
        let delay = if reason.starts_with(GAVE_UP) {
            self.connection.ended();
            self.watcher.tell(WatcherMsg::Again);
            match self.control.config.endpoint {
                Endpoint::Unix { .. } => Duration::ZERO,
                _ => self.control.settings.fresh_answer_wait,
            }
        } else {
            tracing::warn!(endpoint = self.endpoint(), reason, "the connection actor ended, and is started again");
            self.connection.crashed()
        };
        self.ended_because = reason;
        self.connection.restarts_by(self.later(myself, delay, SupervisorMsg::StartConnection));
    }

    /// A unix socket means itself, always.
    fn answer_without_watcher(&self) {
        if matches!(self.control.config.endpoint, Endpoint::Unix { .. }) {
            self.connection.tell(ConnectionMsg::Resolved(self.known.clone()));
        }
    }

    /// What a panic may have left of it goes on meanwhile.
    fn keep_replicas(&mut self, myself: &ActorRef<SupervisorMsg>) {
        if self.drain.is_some() {
            return;
        }
        let (control, myself) = (self.control.clone(), myself.clone());
        self.replicas = Some(task::reporting(&self.control.tasks, keeper::keep(control), move |kept| {
            if kept.is_none() {
                let _ = myself.send_message(SupervisorMsg::ReplicasLeft);
            }
        }));
    }

    /// New commands fail from now on; those in flight get their replies, within the limit.
    fn shut_down(&mut self, myself: &ActorRef<SupervisorMsg>) {
        if self.drain.is_some() {
            return;
        }
        self.control.stop_commands();
        let (link, limit) = (self.control.gate().link(), self.control.config.drain_timeout);
        // Links that were replaced shortly before may still be at it.
        let (drains, ended) = (self.control.drains.clone(), self.control.ended.clone());
        drains.close();
        self.replicas = None;
        let replicas = self.control.replicas().map(|replicas| replicas.take());
        let work = async move {
            let in_flight = async {
                if let Some(link) = link {
                    link.ledger().idle().await;
                }
                if let Some(replicas) = replicas {
                    replicas.shut_down().await;
                }
                drains.wait().await;
            };
            // What is not done within the limit ends as ambiguous.
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = in_flight => {}
                () = sleep(limit) => {}
            }
        };
        let myself = myself.clone();
        self.drain = Some(task::reporting(&self.control.tasks, work, move |_| {
            let _ = myself.send_message(SupervisorMsg::Drained);
        }));
    }

    fn later(
        &self,
        myself: &ActorRef<SupervisorMsg>,
        delay: Duration,
        message: SupervisorMsg,
    ) -> AbortOnDropHandle<()> {
        let myself = myself.clone();
        task::after(&self.control.tasks, delay, move || {
            let _ = myself.send_message(message);
        })
    }
}
