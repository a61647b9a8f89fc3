//! Why the gate is closed and what is known of the outage: the words that a failed command shows. The control side names
//! the cause, the gate keeps it; nothing is decided by it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::reply::Refusal;

use crate::ledger::LinkEnd;

/// Why the gate is closed: for the line that a failed command shows.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub(crate) enum ClosedCause {
    /// There is no link yet, or a new one is being made.
    Connecting,
    /// The link may be dead, because of this.
    Suspect(Arc<str>),
    /// The link does not lead to a primary any more, because of this.
    Demoted(Arc<str>),
    /// The server refused a command that the primary would take.
    Refused(Refusal),
    /// The link ended.
    Lost(LinkEnd),
}

impl ClosedCause {
    pub(crate) fn suspect(cause: Arc<str>) -> ClosedCause {
        ClosedCause::Suspect(cause)
    }

    pub(crate) fn demoted(cause: Arc<str>) -> ClosedCause {
        ClosedCause::Demoted(cause)
    }

    pub(crate) fn lost(end: LinkEnd) -> ClosedCause {
        ClosedCause::Lost(end)
    }
}

impl fmt::Display for ClosedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClosedCause::Connecting => f.write_str("connecting"),
            ClosedCause::Suspect(cause) => write!(f, "link suspect, {cause}"),
            ClosedCause::Demoted(cause) => write!(f, "primary demoted, {cause}"),
            ClosedCause::Refused(refusal) => write!(f, "server refused with {refusal}"),
            ClosedCause::Lost(end) => write!(f, "link lost, {end}"),
        }
    }
}

/// What the gate knows of the present outage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outage {
    /// For how long there has been no link to send on. `None` while there is one.
    pub(crate) down_for: Option<Duration>,
    /// In which state the tether is.
    pub(crate) state: Option<ClosedCause>,
    /// The rounds of dials that failed since the last link.
    pub(crate) failed_rounds: u32,
    /// How the last attempt failed.
    pub(crate) failure: Option<Arc<str>>,
    /// The other commands held at that moment.
    pub(crate) held: usize,
}
