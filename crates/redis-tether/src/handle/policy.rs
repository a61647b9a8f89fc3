//! What one handle does with its commands: for how long, whether they are held, whether they are sent again. Pure data; it
//! begins as the configuration has it, and an application changes it for a handle of its own.

use std::time::Duration;

use crate::config::{CommandSettings, HoldMode, Retry};

/// How a [`Handle`](crate::Handle) treats its commands.
///
/// A policy is made from that of a handle ([`Handle::policy`](crate::Handle::policy)), so that it keeps what the configuration says of all
/// that is not changed.
///
/// # Defaults
/// The configuration's ([`CommandSettings`]). Unless it says otherwise: a deadline of 5 s, commands are held
/// while there is no link, and none is sent again that may have been executed (and three times at most, where that is asked
/// for).
///
/// # Examples
/// ```
/// # use redis_tether::{Handle, Retry};
/// # use std::time::Duration;
/// # fn example(handle: Handle) {
/// let policy = handle.policy();
/// // A cache: an answer within 50 ms, or none.
/// let cache = handle.clone().with_policy(policy.deadline(Duration::from_millis(50)).fail_fast());
/// // Reads that come through whatever happens to the connection meanwhile.
/// let reads = handle.with_policy(policy.retry(Retry::ReadOnly));
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Policy {
    pub(crate) deadline: Duration,
    pub(crate) hold: HoldMode,
    pub(crate) retry: Retry,
    pub(crate) max_retries: u32,
}

impl Policy {
    pub(crate) fn of(settings: &CommandSettings) -> Policy {
        let CommandSettings { deadline, hold, retry, max_retries, .. } = *settings;
        Policy { deadline, hold, retry, max_retries }
    }

    /// How long a command may take: holding, sending again and the reply. A blocking command's own timeout comes on top.
    pub fn deadline(self, deadline: Duration) -> Policy {
        Policy { deadline, ..self }
    }

    /// While there is no link, commands are held: until there is one, the deadline, or the end of the hold window.
    pub fn hold(self) -> Policy {
        Policy { hold: HoldMode::Hold, ..self }
    }

    /// Commands are never held: while there is no link they fail at once as not sent.
    pub fn fail_fast(self) -> Policy {
        Policy { hold: HoldMode::FailFast, ..self }
    }

    /// Which commands are sent again though they may have been executed.
    pub fn retry(self, retry: Retry) -> Policy {
        Policy { retry, ..self }
    }

    /// How often one of those is sent again, at most.
    pub fn max_retries(self, max_retries: u32) -> Policy {
        Policy { max_retries, ..self }
    }
}
