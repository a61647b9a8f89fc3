//! What the control actors of one tether share, and what outlives each of them: the gate, the board, the memory that a
//! fresh incarnation goes on from. Actors come and go around it; it keeps count of the tasks, and waits for nothing.

mod beat;
pub(crate) mod board;
pub(crate) mod connection;
mod descent;
pub(crate) mod ending;
mod journal;
pub(crate) mod probe;
mod renewal;
mod silence;
mod source;
pub(crate) mod supervisor;
pub(crate) mod task;
pub(crate) mod watcher;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ractor::ActorRef;
use redis_tether_core::recovery::{Live, Memory, Settings};
use redis_tether_core::reply::Refusal;
use redis_tether_core::{Address, Epoch};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::beat::Beat;
use self::board::Board;
use self::connection::ConnectionMsg;
use self::descent::Descent;
use self::ending::Ends;
use crate::cluster::ShardSource;
use crate::config::Config;
use crate::credentials::CredentialSource;
use crate::credentials::keyring::{Keyring, Report};
use crate::dial::wanted::Wanted;
use crate::dial::{Books, Connector, Dialer};
use crate::event::{Detector, Event};
use crate::foreign;
use crate::gate::Gate;
use crate::ledger::{LinkEnd, LinkObserver};
use crate::link::Link;
use crate::lock::lock;
use crate::replicas::ReplicaSet;
use crate::resolve::Resolve;
use crate::sentinel::Entrance;
use crate::shared::{RefusalObserver, Shared};
use crate::status::Phase;

pub(crate) struct Control {
    pub(crate) config: Arc<Config>,
    pub(crate) settings: Settings,
    /// What its links lead to.
    pub(crate) wanted: Wanted,
    pub(crate) shared: Arc<Shared>,
    pub(crate) board: Arc<Board>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) dialer: Dialer,
    /// For connections beside the link that the other one made.
    pub(crate) aside: Dialer,
    pub(crate) resolver: Arc<dyn Resolve>,
    /// The shard that this is the tether of, if it is one of a cluster's.
    pub(crate) shard: Option<Arc<ShardSource>>,
    /// Made when somebody reads from them first.
    replicas: OnceLock<Arc<ReplicaSet>>,
    /// What the dialer connects through, for those whom the tether keeps beside its link.
    pub(crate) connector: Connector,
    /// For whoever asks sentinels.
    pub(crate) sentinels: Entrance,
    /// What the keyring asks, for the keyrings of replicas.
    pub(crate) credentials: Option<Arc<dyn CredentialSource>>,
    /// What its random numbers begin with, if that was said.
    pub(crate) seed: Option<u64>,
    pub(crate) reports: Arc<Reports>,
    /// Cancelled when the tether ends, however that comes about: a task that no actor owns must end with it.
    pub(crate) ended: CancellationToken,
    /// Cancelled when nothing of it is left.
    pub(crate) stopped: CancellationToken,
    /// Every task of this tether, those of its actors and drivers included.
    pub(crate) tasks: TaskTracker,
    /// Where the tether lives, and its tasks run: callers may be elsewhere.
    pub(crate) runtime: Handle,
    /// Those that drain links which were replaced, and those that see to dedicated connections. No actor owns them.
    pub(crate) drains: TaskTracker,
    /// Which history the server of the last link held.
    descent: Descent,
    /// What its rounds keep to while it is idle.
    beat: Beat,
    origin: Instant,
    saved: Mutex<Saved>,
    rng: Mutex<fastrand::Rng>,
}

/// What an application has brought, or what is there in its place.
#[derive(Clone)]
pub(crate) struct Brought {
    pub(crate) connector: Connector,
    /// What connects to sentinels, in whichever way they are spoken to.
    pub(crate) sentinel_connector: Connector,
    pub(crate) resolver: Arc<dyn Resolve>,
    /// Goes before the credentials of the configuration.
    pub(crate) credentials: Option<Arc<dyn CredentialSource>>,
    /// The same at the sentinels.
    pub(crate) sentinel_credentials: Option<Arc<dyn CredentialSource>>,
    pub(crate) seed: Option<u64>,
}

struct Saved {
    memory: Memory,
    live: Option<Live>,
}

impl Control {
    pub(crate) fn new(
        config: Arc<Config>,
        settings: Settings,
        wanted: Wanted,
        shared: Arc<Shared>,
        reports: Arc<Reports>,
        Brought { connector, sentinel_connector, resolver, credentials, sentinel_credentials, seed }: Brought,
    ) -> Self {
        let observer: Arc<dyn LinkObserver> = reports.clone();
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let board = Arc::new(Board::new(shared.endpoint.clone()));
        let report = Report::new(shared.endpoint.clone(), credentials_failed(&board));
        let keyring = Arc::new(Keyring::new(&config, credentials.clone(), tasks.clone(), ended.clone(), report));
        let report = Report::new(shared.endpoint.clone(), sentinels_credentials_failed(&board));
        let at_sentinels = Keyring::at_sentinels(&config, sentinel_credentials, tasks.clone(), ended.clone(), report);
        let sentinels = Entrance { connector: sentinel_connector, keyring: Arc::new(at_sentinels) };
        let (endpoint, books) = (shared.endpoint.clone(), Books::Published(shared.gate.clone(), observer));
        let dialer =
            Dialer::new(endpoint, config.clone(), wanted, connector.clone(), keyring.clone(), books, tasks.clone());
        Control {
            board,
            keyring,
            aside: dialer.aside(),
            dialer,
            runtime: Handle::current(),
            saved: Mutex::new(Saved { memory: Memory::new(&settings), live: None }),
            replicas: OnceLock::new(),
            config,
            settings,
            wanted,
            shared,
            resolver,
            shard: None,
            connector,
            sentinels,
            credentials,
            seed,
            reports,
            ended,
            stopped: CancellationToken::new(),
            tasks,
            drains: TaskTracker::new(),
            descent: Descent::default(),
            beat: seed.map_or_else(Beat::common, |_| Beat::own()),
            origin: Instant::now(),
            rng: Mutex::new(fastrand::Rng::with_seed(seed.unwrap_or_else(|| RandomState::new().hash_one(())))),
        }
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.shared.gate
    }

    /// The present moment, as the recovery machine counts it.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// A moment of the recovery machine's, as timers count it.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.origin + at
    }

    /// A generator of its own for whoever needs random numbers, drawn from the tether's seed.
    pub(crate) fn fork_rng(&self) -> fastrand::Rng {
        lock(&self.rng).fork()
    }

    pub(crate) fn save(&self, memory: &Memory, live: Option<&Live>) {
        let mut saved = lock(&self.saved);
        saved.memory.clone_from(memory);
        saved.live = live.cloned();
    }

    /// Whether the recovery machine has taken this answer in, and none since.
    pub(crate) fn remembers(&self, answer: &[Address]) -> bool {
        lock(&self.saved).memory.knows(answer)
    }

    /// Whether the recovery machine has nothing to learn from this answer, as long as its link serves.
    pub(crate) fn expects(&self, answer: &[Address]) -> bool {
        let saved = lock(&self.saved);
        saved.live.as_ref().is_some_and(|live| saved.memory.expects(answer, &live.address))
    }

    /// What the incarnation before left behind: its memory, and the link if that still lives. A link that ended while no
    /// incarnation was there to see it is told of now, and forgotten.
    pub(crate) fn inheritance(&self) -> (Memory, Option<(Live, Arc<Link>)>) {
        let mut saved = lock(&self.saved);
        let memory = saved.memory.clone();
        let Some(live) = saved.live.clone() else { return (memory, None) };
        let link = self.gate().link().filter(|link| link.epoch() == live.epoch);
        let cause = match &link {
            Some(link) => link.ledger().end().map(ToString::to_string),
            // Only an actor takes a link from the gate, and this one noted no more.
            None => Some("given up as the connection actor ended".to_owned()),
        };
        let Some(cause) = cause else { return (memory, link.map(|link| (live, link))) };
        saved.live = None;
        drop(saved);
        self.gate().clear();
        let (detector, cause) = (Detector::Transport, cause.into());
        self.board.send(Event::Lost { epoch: live.epoch, address: live.address, detector, cause });
        (memory, None)
    }

    /// The replicas of its primary, if somebody reads from them.
    pub(crate) fn replicas(&self) -> Option<&Arc<ReplicaSet>> {
        self.replicas.get()
    }

    /// The same for who wants to. `true` the first time: then somebody has to keep them.
    pub(crate) fn want_replicas(&self) -> (Arc<ReplicaSet>, bool) {
        let mut is_first = false;
        let replicas = self.replicas.get_or_init(|| {
            is_first = true;
            Arc::new(ReplicaSet::new(self.config.clone(), self.shared.clone()))
        });
        if self.gate().has_stopped() {
            // The end may have passed them by.
            replicas.stop();
        }
        (replicas.clone(), is_first)
    }

    /// Begins the end: new commands fail from now on, held ones at once; those in flight may go on.
    pub(crate) fn stop_commands(&self) {
        foreign::run("a waker", || self.board.update(|status| status.phase = Phase::Stopping));
        foreign::run("a waker", || self.gate().stop());
        foreign::run("a waker", || self.replicas.get().map(|replicas| replicas.stop()));
    }
}

impl Ends for Control {
    const KIND: &'static str = "tether";

    fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Ends the rest: the link with all that is in flight, and every task. Each step may wake the application's tasks and
    /// drop its streams; none fails the next. Safe to call again.
    fn end(&self) {
        self.stop_commands();
        self.reports.close();
        let link = self.gate().link();
        foreign::run("a waker or a stream", || link.inspect(|link| link.abort(LinkEnd::Retired)));
        foreign::run("a waker or a stream", || self.gate().clear());
        // Each ends with us, and is waited for among the tasks.
        drop(self.replicas.get().map(|replicas| replicas.take()));
        self.drains.close();
        self.tasks.close();
        foreign::run("a waker", || self.ended.cancel());
    }

    fn announce_end(&self) {
        foreign::run("a waker", || {
            self.board.update(|status| {
                status.phase = Phase::Stopped;
                status.address = None;
                status.role = None;
                status.epoch = None;
            });
        });
        self.board.send(Event::Stopped);
        foreign::run("a waker", || self.stopped.cancel());
    }
}

/// A source of credentials that has none is told of as whatever fails beside a link.
fn credentials_failed(board: &Arc<Board>) -> impl Fn(Arc<str>) + use<> {
    let board = board.clone();
    move |error| {
        board.update(|status| status.failed(&error));
        board.send(Event::CredentialsFailed { error });
    }
}

/// The same of those at the sentinels, which an application's source may take for the others.
fn sentinels_credentials_failed(board: &Arc<Board>) -> impl Fn(Arc<str>) + use<> {
    let tell = credentials_failed(board);
    move |error| tell(format!("for the sentinels: {error}").into())
}

/// Where links and handles report to: the present connection actor. A report while there is none is dropped; a fresh
/// incarnation looks at the link itself when it starts.
#[derive(Default)]
pub(crate) struct Reports {
    connection: Mutex<Option<ActorRef<ConnectionMsg>>>,
}

impl Reports {
    pub(crate) fn route_to(&self, connection: ActorRef<ConnectionMsg>) {
        *lock(&self.connection) = Some(connection);
    }

    /// There is none any more, and there will be none.
    fn close(&self) {
        *lock(&self.connection) = None;
    }

    pub(crate) fn send(&self, message: ConnectionMsg) {
        let connection = lock(&self.connection).clone();
        if let Some(connection) = connection {
            // An actor that is gone is being replaced, and its successor looks for itself.
            let _ = connection.send_message(message);
        }
    }
}

impl LinkObserver for Reports {
    fn link_ended(&self, epoch: Epoch, end: LinkEnd) {
        self.send(ConnectionMsg::ConnectionFailed { epoch, end });
    }

    fn link_heard(&self, epoch: Epoch) {
        self.send(ConnectionMsg::Heard { epoch });
    }
}

impl RefusalObserver for Reports {
    fn refused(&self, epoch: Epoch, refusal: Refusal) {
        self.send(ConnectionMsg::Unfit { epoch, detector: Detector::Refusal, reason: refusal.to_string().into() });
    }
}
