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
    /// Since when no link takes commands, over all phases of the outage; `None` while one does. A tether that has stopped shows how
    /// that was when it began to.
    pub down_since: Option<Instant>,
    /// Rounds of dials that have failed since a link took commands. In each, every address that the endpoint
    /// means was tried in vain.
    pub failed_rounds: u32,
    /// What went wrong last: with the link, a dial, the name or the credentials. It stays after a recovery, so that a later look still
    /// finds the reason.
    pub last_error: Option<Arc<str>>,
    /// When that was.
    pub last_error_at: Option<Instant>,
    /// Whether automatic moves are frozen.
    pub pinned: bool,
}

impl Status {
    pub(crate) fn connecting(endpoint: Arc<str>) -> Self {
        let now = Instant::now();
        Status {
            phase: Phase::Connecting,
            endpoint,
            address: None,
            role: None,
            epoch: None,
            since: now,
            down_since: Some(now),
            failed_rounds: 0,
            last_error: None,
            last_error_at: None,
            pinned: false,
        }
    }

    /// Something went wrong just now.
    pub(crate) fn failed(&mut self, error: &Arc<str>) {
        self.last_error = Some(Arc::clone(error));
        self.last_error_at = Some(Instant::now());
    }

    /// The phase begins now.
    pub(crate) fn enter(&mut self, phase: Phase) {
        if phase == self.phase {
            return;
        }
        (self.phase, self.since) = (phase, Instant::now());
        match phase {
            Phase::Connected => self.down_since = None,
            Phase::Connecting | Phase::Suspect | Phase::Recovering => {
                self.down_since.get_or_insert(self.since);
            }
            Phase::Stopping | Phase::Stopped => {}
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

    /// For how long no link has taken commands. `None` while one does, and once the tether is ending.
    #[must_use]
    pub fn down_for(&self) -> Option<Duration> {
        let is_ending = matches!(self.phase, Phase::Stopping | Phase::Stopped);
        self.down_since.filter(|_| !is_ending).map(|since| since.elapsed())
    }

    /// The line without the endpoint, for where that stands beside it.
    pub(crate) fn without_endpoint(&self) -> impl fmt::Display {
        WithoutEndpoint(self)
    }
}

impl fmt::Display for Status {
    /// One line for a log or a health endpoint. What went wrong last is in it whatever the phase, with how long ago that was: a link
    /// may serve while its credentials or its name fail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.endpoint, WithoutEndpoint(self))
    }
}

struct WithoutEndpoint<'a>(&'a Status);

impl fmt::Display for WithoutEndpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        write!(f, "{} for {:.1?}", status.phase, status.elapsed())?;
        if status.down_since != Some(status.since)
            && let Some(down_for) = status.down_for()
        {
            write!(f, ", no commands taken for {down_for:.1?}")?;
        }
        if let Some(address) = &status.address {
            write!(f, ", address {address}")?;
        }
        if let Some(role) = status.role {
            write!(f, ", role {role}")?;
        }
        if let Some(epoch) = status.epoch {
            write!(f, ", epoch {epoch}")?;
        }
        if status.failed_rounds > 0 {
            write!(f, ", {}", rounds_failed(status.failed_rounds))?;
        }
        if status.pinned {
            f.write_str(", pinned")?;
        }
        match (&status.last_error, status.last_error_at) {
            (Some(error), Some(at)) => write!(f, ", last error {:.1?} ago: {error}", at.elapsed()),
            _ => Ok(()),
        }
    }
}

/// For people to read.
pub(crate) fn rounds_failed(number: u32) -> String {
    format!("{number} {} failed", if number == 1 { "round" } else { "rounds" })
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
    /// A link serves, and its server is not known to be a replica: commands go through, writes included. Where the server was not
    /// asked for its role, or does not tell it ([`Verify::Ping`](crate::Verify::Ping), [`Verify::None`](crate::Verify::None), a proxy such as
    /// twemproxy; [`Status::role`] is then unknown), that is an assumption: a write that is refused there with `READONLY` corrects it.
    Writable,
}

#[cfg(test)]
mod tests {
    use redis_tether_core::Role;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connected() -> Status {
        let mut status = Status::connecting("redis:6379".into());
        status.enter(Phase::Connected);
        (status.address, status.epoch) = (Some(Address::Tcp(([10, 0, 0, 1], 6379).into())), Some(Epoch::FIRST));
        status.role = Some(Role::Primary);
        status
    }

    /// Credentials and names fail while a link serves, and whoever looks at the line must not hear of it in the next outage first.
    #[tokio::test(start_paused = true)]
    async fn the_line_has_the_role_and_what_failed_last_while_a_link_serves() {
        let mut status = connected();
        advance(2 * SECOND).await;
        status.failed(&"no fresh credentials".into());
        advance(SECOND).await;
        assert_eq!(
            status.to_string(),
            "redis:6379 connected for 3.0s, address 10.0.0.1:6379, role primary, epoch 1, \
             last error 1.0s ago: no fresh credentials"
        );
        status.role = Some(Role::Replica);
        assert!(status.to_string().contains("role replica"), "{status}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_has_the_length_of_the_outage_beside_that_of_its_phase() {
        let mut status = connected();
        advance(SECOND).await;
        status.enter(Phase::Suspect);
        advance(5 * SECOND).await;
        status.enter(Phase::Recovering);
        status.failed_rounds = 1;
        (status.address, status.epoch, status.role) = (None, None, None);
        advance(SECOND).await;
        assert_eq!(status.down_for(), Some(6 * SECOND));
        assert_eq!(
            status.without_endpoint().to_string(),
            "recovering for 1.0s, no commands taken for 6.0s, 1 round failed"
        );
        status.enter(Phase::Connected);
        assert_eq!(status.down_for(), None);
        advance(SECOND).await;
        status.enter(Phase::Suspect);
        assert_eq!(status.down_for(), Some(Duration::ZERO), "another outage begins anew");
    }
}
