//! Why sentinels could not say where the primary is. One line, which names the sentinel, what is wrong, and what to do where
//! only a person can do it; secrets are taken out where the peer's words are read.

use crate::dial::DialError;
use crate::question::Several;
use crate::resolve::ResolveError;

/// What came of asking.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SentinelError {
    /// It is a sentinel, and watches no such master.
    #[error("the sentinel at {at} knows no master called {master}: give the name in its `sentinel monitor` line")]
    UnknownMaster { at: String, master: String },
    /// Somebody else listens there.
    #[error("{at} is no sentinel (it does not know the command): for a server, use redis:// with its own address")]
    NotASentinel { at: String },
    /// It could not be connected to, would not let us in, or did not answer.
    #[error("sentinel {0}")]
    Failed(#[from] DialError),
    /// The name of a sentinel means nothing.
    #[error("sentinel: {0}")]
    NotFound(ResolveError),
    /// The name that sentinels announce for the primary means nothing here.
    #[error("what the sentinels announce for the primary: {0}")]
    NotLocated(ResolveError),
    /// None of several could say it; here is what one of them met.
    #[error("none of {} sentinels says where the primary is; {}", .0.asked(), .0.told())]
    NoPrimary(Several<SentinelError>),
    /// The same of the replicas.
    #[error("none of {} sentinels says which replicas there are; {}", .0.asked(), .0.told())]
    NoReplicas(Several<SentinelError>),
    /// They took too long, together.
    #[error("asking the sentinels timed out")]
    TimedOut,
    /// The code that asked died of it: a resolver or transport of the application's.
    #[error("asking the sentinels panicked")]
    Panicked,
}

impl SentinelError {
    /// Whether asking again cannot help until somebody has changed a configuration, here or there.
    pub(crate) fn is_for_people(&self) -> bool {
        match self {
            SentinelError::UnknownMaster { .. } | SentinelError::NotASentinel { .. } => true,
            SentinelError::Failed(error) => error.is_for_people(),
            SentinelError::NoPrimary(several) | SentinelError::NoReplicas(several) => several.is_for_people(),
            SentinelError::NotFound(_) | SentinelError::NotLocated(_) => false,
            SentinelError::TimedOut | SentinelError::Panicked => false,
        }
    }

    /// Of what each sentinel met, and what it comes to where there are several.
    pub(super) fn of_all(
        errors: Vec<SentinelError>,
        none: fn(Several<SentinelError>) -> SentinelError,
    ) -> SentinelError {
        match Several::of(errors, SentinelError::is_for_people).map(Several::only) {
            Some(Ok(one)) => one,
            Some(Err(several)) => none(several),
            None => SentinelError::TimedOut,
        }
    }
}
