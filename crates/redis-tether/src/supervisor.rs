//! The supervisor of one tether: it owns what the endpoint means, the restarts of its children, and the end. Its
//! handlers only note things and pass them on. However it ends (stopped, killed, panicked, its runtime dropped), its
//! state's `Drop` ends the tether.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use redis_tether_core::Address;
use redis_tether_core::recovery::ResolvePace;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Endpoint;
use crate::connection::{Connection, ConnectionArgs, ConnectionMsg, GAVE_UP};
use crate::control::Control;
use crate::event::Event;
use crate::resolve::ResolveError;
use crate::task;
use crate::watcher::{EndpointWatcher, WatcherArgs, WatcherMsg};

/// How long a fresh incarnation waits for a fresh answer, before it begins with the last one.
pub(crate) const FRESH_ANSWER_LIMIT: Duration = Duration::from_millis(250);

/// A child that dies again within a second waits this long before its next start, doubling.
const CRASH_BACKOFF: Duration = Duration::from_millis(10);

/// And at most this long.
const CRASH_BACKOFF_LIMIT: Duration = Duration::from_secs(1);

pub(crate) enum SupervisorMsg {
    /// A lookup is over.
    Answered(Result<Vec<Address>, ResolveError>),
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
    /// End: let commands in flight finish, within the limit.
    ShutDown,
    /// They have, or the limit has passed.
    Drained,
}

#[cfg(feature = "cluster")]
impl ractor::Message for SupervisorMsg {}

pub(crate) struct TetherSupervisor;

pub(crate) struct SupervisorState {
    control: Arc<Control>,
    known: Vec<Address>,
    pace: ResolvePace,
    connection: Child<ConnectionMsg>,
    watcher: Child<WatcherMsg>,
    incarnation: u64,
    /// What was ordered last. Orders to an actor that is being replaced get lost with it, so its successor is told anew.
    pinned: bool,
    /// A new link was asked for while there was no connection actor.
    reconnect: bool,
    drain: Option<AbortOnDropHandle<()>>,
    _ending: Ending,
}

/// Ends the tether when it is dropped, however that came about.
struct Ending(Arc<Control>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A child that is started again whenever it ends.
struct Child<M: ractor::Message> {
    actor: Option<ActorRef<M>>,
    started_at: Instant,
    crashes: u32,
    restart: Option<AbortOnDropHandle<()>>,
}

impl<M: ractor::Message> Child<M> {
    fn none() -> Self {
        Child { actor: None, started_at: Instant::now(), crashes: 0, restart: None }
    }

    fn is(&self, who: &ActorCell) -> bool {
        self.actor.as_ref().is_some_and(|actor| actor.get_id() == who.get_id())
    }

    fn started(&mut self, actor: ActorRef<M>) {
        self.actor = Some(actor);
        self.started_at = Instant::now();
        self.restart = None;
    }

    /// The child died of itself. How long to wait before it is started again: not at all, unless it keeps dying.
    fn crashed(&mut self) -> Duration {
        self.actor = None;
        if self.started_at.elapsed() > CRASH_BACKOFF_LIMIT {
            self.crashes = 0;
        }
        self.crashes = self.crashes.saturating_add(1);
        match self.crashes {
            1 => Duration::ZERO,
            again => CRASH_BACKOFF.saturating_mul(1 << (again - 2).min(16)).min(CRASH_BACKOFF_LIMIT),
        }
    }

    fn tell(&self, message: M) {
        if let Some(actor) = &self.actor {
            // An actor that is gone is being replaced, and told what it needs when it starts.
            let _ = actor.send_message(message);
        }
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
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
            pace: ResolvePace::Urgent,
            connection: Child::none(),
            watcher: Child::none(),
            incarnation: 0,
            pinned: false,
            reconnect: false,
            drain: None,
            _ending: Ending(control.clone()),
            control,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.start_connection(&myself, "started").await;
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
            SupervisorMsg::Answered(Ok(addresses)) => state.answered(&myself, addresses).await,
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
                state.reconnect = state.connection.actor.is_none();
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
            SupervisorMsg::StartConnection => state.start_connection(&myself, "restarted").await,
            SupervisorMsg::StartWatcher => state.start_watcher(&myself).await,
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
            state.connection_ended(&myself, &reason);
        } else if state.watcher.is(&who) {
            tracing::warn!(reason, "the endpoint watcher ended, and is started again");
            let delay = state.watcher.crashed();
            state.watcher.restart = Some(later(&myself, delay, || SupervisorMsg::StartWatcher));
        }
        Ok(())
    }
}

impl SupervisorState {
    async fn start_connection(&mut self, myself: &ActorRef<SupervisorMsg>, reason: &str) {
        if self.connection.actor.is_some() || self.drain.is_some() {
            return;
        }
        self.incarnation += 1;
        let args = ConnectionArgs { control: self.control.clone(), supervisor: myself.clone() };
        match Actor::spawn_linked(None, Connection, args, myself.get_cell()).await {
            Ok((connection, _)) => {
                self.connection.started(connection);
                self.connection.tell(if self.pinned { ConnectionMsg::Pin } else { ConnectionMsg::Unpin });
                if !self.known.is_empty() {
                    self.connection.tell(ConnectionMsg::Resolved(self.known.clone()));
                }
                if std::mem::take(&mut self.reconnect) {
                    self.connection.tell(ConnectionMsg::Reconnect);
                }
                if self.incarnation > 1 {
                    self.control.shared.counters.restarts.increment();
                    let (incarnation, reason) = (self.incarnation, reason.into());
                    self.control.board.send(Event::Restarted { incarnation, reason });
                }
            }
            Err(error) => {
                tracing::error!(%error, "the connection actor did not start, and is started again");
                let delay = self.connection.crashed().max(CRASH_BACKOFF);
                self.connection.restart = Some(later(myself, delay, || SupervisorMsg::StartConnection));
            }
        }
    }

    async fn start_watcher(&mut self, myself: &ActorRef<SupervisorMsg>) {
        let Endpoint::Tcp { host, port } = &self.control.config.endpoint else { return };
        if self.watcher.actor.is_some() || self.drain.is_some() {
            return;
        }
        let args = WatcherArgs {
            control: self.control.clone(),
            supervisor: myself.clone(),
            host: host.clone(),
            port: *port,
            pace: self.pace,
        };
        match Actor::spawn_linked(None, EndpointWatcher, args, myself.get_cell()).await {
            Ok((watcher, _)) => self.watcher.started(watcher),
            Err(error) => {
                tracing::error!(%error, "the endpoint watcher did not start, and is started again");
                let delay = self.watcher.crashed().max(CRASH_BACKOFF);
                self.watcher.restart = Some(later(myself, delay, || SupervisorMsg::StartWatcher));
            }
        }
    }

    async fn answered(&mut self, myself: &ActorRef<SupervisorMsg>, addresses: Vec<Address>) {
        self.control.shared.counters.lookups.increment();
        if !same(&self.known, &addresses) {
            self.control.board.send(Event::AddressesChanged { addresses: addresses.clone() });
        }
        self.known.clone_from(&addresses);
        if self.connection.restart.is_some() && self.connection.crashes == 0 {
            // The fresh answer that the fresh incarnation was waiting for.
            self.start_connection(myself, GAVE_UP).await;
        } else {
            self.connection.tell(ConnectionMsg::Resolved(addresses));
        }
    }

    fn resolve_failed(&self, error: &ResolveError) {
        self.control.shared.counters.lookups.increment();
        let error: Arc<str> = error.to_string().into();
        self.control.board.update(|status| status.last_error = Some(error.clone()));
        self.control.board.send(Event::ResolveFailed { error });
    }

    fn connection_ended(&mut self, myself: &ActorRef<SupervisorMsg>, reason: &str) {
        let delay = if reason == GAVE_UP {
            self.connection.actor = None;
            self.connection.crashes = 0;
            self.watcher.tell(WatcherMsg::Again);
            match self.control.config.endpoint {
                Endpoint::Tcp { .. } => FRESH_ANSWER_LIMIT,
                _ => Duration::ZERO,
            }
        } else {
            tracing::warn!(reason, "the connection actor ended, and is started again");
            self.connection.crashed()
        };
        self.connection.restart = Some(later(myself, delay, || SupervisorMsg::StartConnection));
    }

    /// A unix socket means itself, always.
    fn answer_without_watcher(&self) {
        if !matches!(self.control.config.endpoint, Endpoint::Tcp { .. }) {
            self.connection.tell(ConnectionMsg::Resolved(self.known.clone()));
        }
    }

    /// New commands fail from now on; those in flight get their replies, within the limit.
    fn shut_down(&mut self, myself: &ActorRef<SupervisorMsg>) {
        if self.drain.is_some() {
            return;
        }
        self.control.gate().stop();
        let (link, limit) = (self.control.gate().link(), self.control.config.drain_timeout);
        // Links that were replaced shortly before may still be at it.
        let drains = self.control.drains.clone();
        drains.close();
        let work = async move {
            let in_flight = async {
                if let Some(link) = link {
                    link.ledger().idle().await;
                }
                drains.wait().await;
            };
            // An end of the limit is no failure: what is left ends as ambiguous.
            let _ = tokio::time::timeout(limit, in_flight).await;
        };
        let myself = myself.clone();
        self.drain = Some(task::reporting(work, move |_| {
            let _ = myself.send_message(SupervisorMsg::Drained);
        }));
    }
}

fn later(
    myself: &ActorRef<SupervisorMsg>,
    delay: Duration,
    message: impl FnOnce() -> SupervisorMsg + Send + 'static,
) -> AbortOnDropHandle<()> {
    let myself = myself.clone();
    task::after(delay, move || {
        let _ = myself.send_message(message());
    })
}

/// Whether two answers name the same addresses, in whatever order.
fn same(a: &[Address], b: &[Address]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}
