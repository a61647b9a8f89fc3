//! The tether as an application holds it: started from `main` or under one of its actors, asked for handles, watched,
//! and shut down. Everything here sends messages or reads what the actors have written; it decides nothing.

pub(crate) mod builder;
pub(crate) mod means;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use self::builder::TetherBuilder;

use crate::config::{Config, ConfigError};
use crate::control::Control;
use crate::control::ending::{self, Ends};
use crate::control::supervisor::SupervisorMsg;
use crate::event::Event;
use crate::handle::Handle;
use crate::lock::lock;
use crate::replicas::ReplicaHandle;
use crate::stats::Stats;
use crate::status::{Phase, Status};
#[cfg(feature = "tls-no-provider")]
use crate::tls::TlsError;

/// Two reconnects by hand are at least this far apart: each costs the server a connection, and an impatient script none.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// A shutdown that takes longer than all its bounds together, and this for the messages in between, is not waited for.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

/// A connection to one Redis or Valkey endpoint that is kept on the current primary.
///
/// Clones are the same tether. It runs until [`shutdown`](Tether::shutdown), until the token that it was given is
/// cancelled, until the actor that it was linked to ends, until its runtime is dropped, or until the last clone of it
/// and the last [`Handle`] are dropped.
///
/// # Examples
///
/// ```no_run
/// use redis_tether::{Config, Tether, redis::AsyncCommands};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tether = Tether::start(Config::from_env()?).await?;
/// let mut redis = tether.handle();
/// let visits: u64 = redis.incr("visits", 1).await?;
/// println!("visit number {visits}");
/// tether.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tether {
    pub(crate) control: Arc<Control>,
    supervisor: ActorRef<SupervisorMsg>,
    pub(crate) lifeline: Arc<Lifeline>,
    reconnected_at: Arc<Mutex<Option<Instant>>>,
}

/// Shared by every clone of a tether and every handle: when the last of them is dropped, the tether ends.
pub(crate) struct Lifeline(CancellationToken);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Tether {
    /// Starts a tether with nobody above it. It succeeds while the server is down: the connection is made, and made
    /// again, in the background.
    ///
    /// # Errors
    /// [`StartError::Config`] if the configuration cannot work whatever the server does, [`StartError::Tls`] if the
    /// certificates that it names cannot.
    ///
    /// # Panics
    /// Outside a tokio runtime with its time and I/O drivers enabled.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::builder(config).start().await
    }

    /// Starts a tether under one of the application's own actors: it ends with that actor, and its end is told to that
    /// actor as a supervision event. (ractor's default for such an event is to stop the supervisor.)
    ///
    /// # Errors
    /// [`StartError::Config`] if the configuration cannot work whatever the server does, [`StartError::Tls`] if the
    /// certificates that it names cannot.
    pub async fn spawn_linked(config: Config, supervisor: ActorCell) -> Result<Self, StartError> {
        Self::builder(config).supervisor(supervisor).start().await
    }

    /// Starts a tether with more than its configuration: a resolver, a transport, a token that ends it.
    pub fn builder(config: Config) -> TetherBuilder {
        TetherBuilder::new(config)
    }

    /// A handle for commands. Cheap to clone; one per task is usual.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.control.shared.clone(), self.lifeline.clone())
    }

    /// A handle for reads that go to the replicas of the primary, in turn to each that serves. The first one that is asked for has
    /// them found and connected to; until then, and whenever none serves, reads go to the primary, or wait, as
    /// [`replicas.fallback`](crate::ReplicaSettings::fallback) says.
    ///
    /// Replicas answer with what they have, which may be old: what must see a write that was just done is read through
    /// [`handle`](Tether::handle). More is said at [`ReplicaHandle`].
    #[must_use]
    pub fn replicas(&self) -> ReplicaHandle {
        let (replicas, is_first) = self.control.want_replicas();
        if is_first {
            // One that has ended has nobody to keep any.
            let _ = self.tell(SupervisorMsg::KeepReplicas);
        }
        ReplicaHandle::new(replicas, self.handle(), self.lifeline.clone())
    }

    /// The status, now and whenever it changes.
    ///
    /// What [`borrow`](watch::Receiver::borrow) returns is a lock, for as long as it is kept: the tether's control actor, which
    /// changes the status, blocks its thread until it is dropped, and no link is made or replaced meanwhile. Clone what is to be kept
    /// (`status().borrow().clone()`), above all across an `.await` or a slow write.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.control.board.status()
    }

    /// Everything that happens from now on. An event may come a moment before the [`status`](Tether::status) shows it. A
    /// subscriber that lags more than 256 events behind loses the oldest, and is
    /// told how many.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.control.board.events()
    }

    /// Sends everything that happens from now on to `actor`, as a message of its own type, until that actor ends. The
    /// conversion runs on the tether's control path and should be quick; one that panics ends the subscription.
    pub fn forward_events<M>(&self, actor: ActorRef<M>)
    where
        M: ractor::Message + From<Event>,
    {
        self.control.board.forward(move |event| actor.send_message(M::from(event.clone())).is_ok());
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let stats = Stats::of(&self.control.shared.counters);
        let held = self.control.replicas().map_or(0, |replicas| replicas.held_now());
        Stats { held_now: stats.held_now.saturating_add(held), ..stats }
    }

    /// Waits until commands go through, at most for `limit`.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`NotReady`], with the status as it was then: the reason is in its `last_error`.
    pub async fn ready(&self, limit: Duration) -> Result<Status, NotReady> {
        let begun = Instant::now();
        let mut status = self.status();
        let is_settled = |status: &Status| matches!(status.phase, Phase::Connected | Phase::Stopping | Phase::Stopped);
        let settled = status.wait_for(is_settled);
        let reached = match timeout(limit, settled).await {
            Ok(Ok(status)) => Some(status.clone()),
            Ok(Err(_)) | Err(_) => None,
        };
        match reached {
            Some(status) if status.phase == Phase::Connected => Ok(status),
            _ => {
                let status = Box::new(self.status().borrow().clone());
                Err(NotReady { status, waited: begun.elapsed() })
            }
        }
    }

    /// Makes a new link now: with fresh addresses, and before the present one is given up, whose commands in flight get
    /// their replies. While there is no link, the next attempt is made at once. Watch the [`status`](Tether::status) or
    /// the [`events`](Tether::events) for the outcome.
    ///
    /// # Errors
    /// [`ReconnectError::TooSoon`] within a second of the last time, [`ReconnectError::Stopped`] when the tether ended.
    pub fn reconnect(&self) -> Result<(), ReconnectError> {
        let mut last = lock(&self.reconnected_at);
        if let Some(wait) = last.and_then(|last| RECONNECT_INTERVAL.checked_sub(last.elapsed())) {
            return Err(ReconnectError::TooSoon { wait });
        }
        self.order(SupervisorMsg::Reconnect)?;
        *last = Some(Instant::now());
        Ok(())
    }

    /// Freezes automatic moves: from now on only the address of the present link is served (of the next one, if there is
    /// none now), and if that one fails it is waited for. For an operator who must keep a fleet where it is.
    ///
    /// # Errors
    /// [`Stopped`] when the tether ended.
    pub fn pin(&self) -> Result<(), Stopped> {
        self.order(SupervisorMsg::Pin)
    }

    /// Allows automatic moves again.
    ///
    /// # Errors
    /// [`Stopped`] when the tether ended.
    pub fn unpin(&self) -> Result<(), Stopped> {
        self.order(SupervisorMsg::Unpin)
    }

    /// Ends the tether. New commands fail at once, held ones too; those in flight get their replies, within the drain
    /// limit of the configuration (5 s). Returns when no task, actor, socket or timer of the tether is left. A second
    /// call, or one at the same time, returns likewise. An actor may wait for it, also where the tether was started under
    /// that actor.
    ///
    /// What code of the application's holds up (a resolver, a transport or a conversion of events that blocks its thread) is
    /// waited for until 5 s after the drain limit, and then left behind with a warning in the log. A lookup of the system's
    /// resolver cannot be cancelled; its thread, which all tethers share, is none of the tether's.
    ///
    /// Cancel safe: the shutdown goes on when the future is dropped.
    pub async fn shutdown(&self) {
        // A supervisor that is gone already has ended the tether.
        let _ = self.tell(SupervisorMsg::ShutDown);
        let limit = self.control.config.drain_timeout.saturating_add(ending::LIMIT).saturating_add(SHUTDOWN_MARGIN);
        if timeout(limit, self.control.stopped.cancelled()).await.is_err() {
            tracing::warn!(
                endpoint = &*self.control.shared.endpoint,
                ?limit,
                "the tether does not end by itself: its runtime stands still, or its supervisor's thread"
            );
            self.supervisor.kill();
            self.control.end();
            self.control.announce_end();
        }
    }

    /// The supervising actor, to link, monitor or stop by ractor's own means.
    #[must_use]
    pub fn actor(&self) -> ActorCell {
        self.supervisor.get_cell()
    }

    /// What an operator asks for. A tether that is stopping would take it and never do it.
    fn order(&self, message: SupervisorMsg) -> Result<(), Stopped> {
        match self.control.board.status().borrow().phase {
            Phase::Stopping | Phase::Stopped => Err(Stopped),
            _ => self.tell(message),
        }
    }

    fn tell(&self, message: SupervisorMsg) -> Result<(), Stopped> {
        self.supervisor.send_message(message).map_err(|_| Stopped)
    }
}

impl fmt::Debug for Tether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tether").field("board", &self.control.board).finish_non_exhaustive()
    }
}

/// Why a tether was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work, whatever the server does.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates, keys or roots that it names cannot be used.
    #[cfg(feature = "tls-no-provider")]
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The supervising actor could not be spawned.
    #[error("the tether's actor could not be spawned: {0}")]
    Spawn(String),
}

/// The tether did not become ready in time, or is ending.
#[derive(Debug, thiserror::Error)]
#[error("not ready after {waited:.1?}: {status}")]
#[non_exhaustive]
pub struct NotReady {
    /// The status when the wait ended.
    pub status: Box<Status>,
    /// How long was waited: the limit, or less where the tether ended.
    pub waited: Duration,
}

/// Why a reconnect by hand was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconnectError {
    /// The last one is not a second old.
    #[error("reconnected less than {RECONNECT_INTERVAL:?} ago; allowed again in {wait:?}")]
    TooSoon {
        /// When it is allowed again.
        wait: Duration,
    },
    /// The tether has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The tether has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the tether has stopped")]
#[non_exhaustive]
pub struct Stopped;

#[cfg(test)]
mod tests;
