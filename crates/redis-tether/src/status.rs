//! The state of a tether at one moment, for everybody to see: readiness endpoints, dashboards, people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::{Address, Epoch, Role};
use tokio::time::Instant;

/// What a tether is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Phase {
    /// There has not been a link yet; the first one is being made.
    Connecting,
    /// A link serves.
    Connected,
    /// The link is mute, or says that it is not fit to serve. Commands are held, and a better link is looked for.
    Suspect,
    /// The link was lost; another one is being made.
    Recovering,
    /// The tether is ending. It takes no commands any more; those in flight may still get their replies. What it shows of
    /// its link is how that was left.
    Stopping,
    /// The tether has ended, and will not come back. None of its tasks, actors, sockets and timers is left.
    Stopped,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Connecting => "connecting",
            Phase::Connected => "connected",
            Phase::Suspect => "suspect",
            Phase::Recovering => "recovering",
            Phase::Stopping => "stopping",
            Phase::Stopped => "stopped",
        })
    }
}

/// The state of a tether at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// What the tether is doing.
    pub phase: Phase,
    /// The endpoint as configured, without credentials.
    pub endpoint: Arc<str>,
    /// Where the present link leads, if there is one.
    pub address: Option<Address>,
    /// What the server at its end says that it is.
    pub role: Option<Role>,
    /// The number of the present link.
    pub epoch: Option<Epoch>,
    /// When the phase began.
    pub since: Instant,
    /// Rounds of attempts that have failed since a link took commands.
    pub attempt: u32,
    /// What went wrong last. It stays after a recovery, so that a later look still finds the reason.
    pub last_error: Option<Arc<str>>,
    /// Whether automatic moves are frozen.
    pub pinned: bool,
}

impl Status {
    pub(crate) fn connecting(endpoint: Arc<str>) -> Self {
        Status {
            phase: Phase::Connecting,
            endpoint,
            address: None,
            role: None,
            epoch: None,
            since: Instant::now(),
            attempt: 0,
            last_error: None,
            pinned: false,
        }
    }

    /// How ready the tether is.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match (self.phase, self.role) {
            (Phase::Connected, Some(Role::Replica)) => Readiness::Reachable,
            (Phase::Connected, _) => Readiness::Writable,
            (Phase::Suspect, Some(_)) => Readiness::Reachable,
            _ => Readiness::Down,
        }
    }

    /// How long the phase has lasted.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl fmt::Display for Status {
    /// One line for a log or a health endpoint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for {:.1?}", self.endpoint, self.phase, self.elapsed())?;
        if let Some(address) = &self.address {
            write!(f, ", address {address}")?;
        }
        if let Some(epoch) = self.epoch {
            write!(f, ", epoch {epoch}")?;
        }
        if self.attempt > 0 {
            write!(f, ", attempt {}", self.attempt)?;
        }
        if self.pinned {
            f.write_str(", pinned")?;
        }
        match &self.last_error {
            // What is over would be taken for what is.
            Some(error) if self.phase != Phase::Connected => write!(f, ", last error: {error}"),
            _ => Ok(()),
        }
    }
}

/// How ready a tether is, graded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Readiness {
    /// No link, or the tether is ending.
    Down,
    /// There is a link; it takes no commands now (it is suspect, or not a primary), or reads alone, since it is one to a
    /// [replica](crate::Replica).
    Reachable,
    /// Commands go through, writes included.
    Writable,
}
