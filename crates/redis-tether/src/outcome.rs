//! What a failed command tells its caller: whether it can have been executed, why it failed, and what was known then.
//! The handle puts a [`CommandError`] inside the `redis::RedisError` that it must return; [`OutcomeExt`] gets it out
//! again, and classifies the errors that servers gave. Nothing here decides what happens to a command.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind};
use redis_tether_core::Epoch;
use redis_tether_core::reply::{self, ErrorClass};

use crate::status::rounds_failed;

/// Whether a failed command can have been executed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It never left this process. It was not executed and will not be.
    NotSent,
    /// A server answered that it would not do it. It was not executed and will not be.
    Refused,
    /// It left, and what became of it is unknown: it may have been executed, it may be executed yet, or never.
    /// Send it again only if doing it twice is as good as doing it once.
    Ambiguous,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::NotSent => "not sent",
            Outcome::Refused => "refused",
            Outcome::Ambiguous => "ambiguous",
        })
    }
}

/// Why a command failed in the tether rather than at the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The tether was shut down, or the runtime that it lived on ended.
    Stopped,
    /// There was no link for as long as the hold window.
    HoldWindowPassed,
    /// There was no link, and as many commands (or bytes) were held as may be.
    HoldFull,
    /// There was no link, and the handle fails fast.
    FailFast,
    /// The command's deadline passed.
    DeadlinePassed,
    /// The link ended before the reply came.
    LinkLost,
    /// The link over which this handle's earlier commands went is not the live one any more, and the command speaks of
    /// those (`WAIT`, `WAITAOF`): over another link its answer would be wrong.
    LinkReplaced,
    /// It is none of the commands that only read, and [replicas](crate::ReplicaHandle) take no others: its name is the
    /// [`cause`](CommandError::cause).
    NotForReplicas,
    /// It goes on with a scan whose cursor means something to one replica alone, and that one does not serve now; or to one shard of
    /// a cluster, and there is no such shard any more.
    ScanLost,
    /// The server refused a command inside a script; what the script did before that has happened.
    RefusedInScript,
    /// The server refused `MULTI` itself, so that the commands behind it ran one by one, if they ran.
    MultiRefused,
    /// Some shards of a cluster have done their part, and another one has not, or nobody knows.
    PartlyDone,
    /// The command speaks of one node of a cluster, and does not say which: its shard's own tether is the place for it
    /// ([`ClusterTether::shards`](crate::ClusterTether::shards)).
    OfOneNode,
    /// No [dedicated connection](crate::Tether::dedicated) could be made.
    NotDialled,
    /// The [dedicated connection](crate::Dedicated) is over; see [`Lost`](crate::Lost).
    ConnectionOver,
    /// The command has no place on a [dedicated connection](crate::Dedicated) either.
    NotOnDedicated {
        /// The command.
        command: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// The command would change the link for everybody who shares it.
    NotOnSharedLink {
        /// The command.
        command: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Stopped => f.write_str("tether stopped"),
            Reason::HoldWindowPassed => f.write_str("hold window passed"),
            Reason::HoldFull => f.write_str("too much is held already"),
            Reason::FailFast => f.write_str("no link, and not to be held"),
            Reason::DeadlinePassed => f.write_str("deadline passed"),
            Reason::LinkLost => f.write_str("link lost before the reply"),
            Reason::LinkReplaced => f.write_str("link was replaced since the writes it asks about"),
            Reason::NotForReplicas => {
                f.write_str("not known to only read, and replicas take nothing else: use Tether::handle()")
            }
            Reason::ScanLost => f.write_str("whoever gave the cursor does not serve any more: begin the scan again"),
            Reason::RefusedInScript => f.write_str("refused inside a script"),
            Reason::MultiRefused => f.write_str("MULTI was refused, and what came behind it was no transaction"),
            Reason::PartlyDone => f.write_str("some shards have done their part, and not all"),
            Reason::OfOneNode => {
                f.write_str("it speaks of one node: use the tether of its shard, from ClusterTether::shards()")
            }
            Reason::NotDialled => f.write_str("no dedicated connection could be made"),
            Reason::ConnectionOver => f.write_str("dedicated connection is over"),
            Reason::NotOnDedicated { command, hint } => write!(f, "{command} cannot be sent like this: {hint}"),
            Reason::NotOnSharedLink { command, hint } => {
                write!(f, "{command} has no place on a shared link: {hint}")
            }
        }
    }
}

/// A silence that would be shown as 0.0 s is not worth a word.
const WORTH_SAYING: Duration = Duration::from_millis(50);

/// A command that failed in the tether. Its `Display` is one line that says what was known, without any secret:
///
/// `not sent: hold window passed, no link for 3.0s (connecting, 12 rounds failed): 10.0.0.1:6379: connection refused; endpoint redis:6379, held 57`
///
/// It travels inside a `redis::RedisError` whose `retry_method()` says not to retry; see [`OutcomeExt::command_error`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandError {
    facts: Box<Facts>,
}

/// What a [`CommandError`] knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Reason,
    pub(crate) endpoint: Arc<str>,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) down_for: Option<Duration>,
    pub(crate) silent_for: Option<Duration>,
    pub(crate) in_flight: u64,
    pub(crate) held: usize,
    pub(crate) state: Option<String>,
    pub(crate) failed_rounds: u32,
    pub(crate) times_sent: u32,
    pub(crate) cause: Option<String>,
}

impl Facts {
    pub(crate) fn new(outcome: Outcome, reason: Reason, endpoint: &Arc<str>) -> Facts {
        Facts {
            outcome,
            reason,
            endpoint: Arc::clone(endpoint),
            epoch: None,
            down_for: None,
            silent_for: None,
            in_flight: 0,
            held: 0,
            state: None,
            failed_rounds: 0,
            times_sent: 0,
            cause: None,
        }
    }
}

impl CommandError {
    pub(crate) fn new(facts: Facts) -> CommandError {
        CommandError { facts: Box::new(facts) }
    }

    /// The same of a command of which more is to be told than came of it at last.
    pub(crate) fn with_outcome(&self, outcome: Outcome) -> CommandError {
        CommandError::new(Facts { outcome, ..Facts::clone(&self.facts) })
    }

    /// Whether the command can have been executed.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.facts.outcome
    }

    /// Why it failed.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.facts.reason
    }

    /// The endpoint that the tether is configured with.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.facts.endpoint
    }

    /// The link that the command went over, if it went over any.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.facts.epoch
    }

    /// For how long there had been no link. `None` if there was one.
    #[must_use]
    pub fn down_for(&self) -> Option<Duration> {
        self.facts.down_for
    }

    /// For how long the server had owed a reply without sending a byte. `None` if it owed none, or if a blocking command
    /// kept it from answering.
    #[must_use]
    pub fn silent_for(&self) -> Option<Duration> {
        self.facts.silent_for
    }

    /// How many commands were outstanding on the link, this one included.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.facts.in_flight
    }

    /// How many other commands were held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.facts.held
    }

    /// How many rounds of dials had failed since the last link: in each, every address that the endpoint means was tried. Zero
    /// while there was a link.
    #[must_use]
    pub fn failed_rounds(&self) -> u32 {
        self.facts.failed_rounds
    }

    /// How often the command was sent: not at all, once, or more often where servers refused it, or where sending it again
    /// was asked for ([`Retry`](crate::Retry)). A sending of which provably nothing left does not count.
    #[must_use]
    pub fn times_sent(&self) -> u32 {
        self.facts.times_sent
    }

    /// What the last attempt, the link or the server had to say, or that there was a link and its turn had not come; for
    /// [`Reason::NotForReplicas`] the command.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.facts.cause.as_deref()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &*self.facts;
        write!(f, "{}: {}", facts.outcome, facts.reason)?;
        if let Some(down_for) = facts.down_for {
            write!(f, ", no link for {:.1}s", down_for.as_secs_f64())?;
        }
        match (&facts.state, facts.failed_rounds) {
            (Some(state), 0) => write!(f, " ({state})")?,
            (Some(state), failed) => write!(f, " ({state}, {})", rounds_failed(failed))?,
            (None, 0) => {}
            (None, failed) => write!(f, " ({})", rounds_failed(failed))?,
        }
        if let Some(cause) = &facts.cause {
            write!(f, ": {cause}")?;
        }
        write!(f, "; endpoint {}", facts.endpoint)?;
        if let Some(epoch) = facts.epoch {
            write!(f, ", epoch {epoch}")?;
        }
        if facts.times_sent > 1 {
            write!(f, ", sent {} times", facts.times_sent)?;
        }
        if let Some(silent_for) = facts.silent_for.filter(|silent_for| *silent_for >= WORTH_SAYING) {
            write!(f, ", silent for {:.1}s", silent_for.as_secs_f64())?;
        }
        if facts.in_flight > 0 {
            write!(f, ", in flight {}", facts.in_flight)?;
        }
        if facts.held > 0 {
            write!(f, ", held {}", facts.held)?;
        }
        Ok(())
    }
}

impl std::error::Error for CommandError {}

impl From<CommandError> for RedisError {
    fn from(error: CommandError) -> RedisError {
        // The one kind for which redis-rs never advises to retry, connection or not: 'retry immediately', its advice for a
        // timeout, would do an ambiguous write twice.
        RedisError::from(io::Error::new(io::ErrorKind::Unsupported, error))
    }
}

/// What a `redis::RedisError` means to whoever sent the command.
///
/// ```
/// use redis_tether::{Outcome, OutcomeExt, redis};
///
/// // It changed nothing, whether it was a command, a pipeline or a transaction (where the handle's policy is not `Retry::All`).
/// fn may_be_sent_again(error: &redis::RedisError) -> bool {
///     matches!(error.outcome(), Some(Outcome::NotSent | Outcome::Refused))
/// }
/// ```
pub trait OutcomeExt {
    /// Whether the command can have been executed.
    ///
    /// It speaks of all that was sent with one call. For an error reply of a server this is [`Outcome::Refused`], since a command
    /// that answers with an error has changed nothing, or [`Outcome::Ambiguous`] where a script failed on its way, or a proxy lost
    /// the server. (An error that a script makes up, with a code that no server uses, cannot be told from a server's: it counts
    /// as `Refused`, whatever the script did before.)
    ///
    /// Of an error reply it speaks of the last sending alone. That is all there was, or those before it were refused as well or changed
    /// nothing, unless the handle's policy has [`Retry::All`](crate::Retry::All): then an earlier sending, whose reply was lost, may have
    /// been executed. A [`CommandError`] speaks of all sendings.
    ///
    /// A transaction that was aborted (`EXECABORT`) ran not at all, and is `Refused`. A pipeline some of whose commands failed is `Ambiguous`,
    /// and so is a transaction that ran with failures: those that `into_server_errors()` does not list were executed. `None` for
    /// what went wrong on this side: a reply that does not fit the type that was asked for, an empty command.
    fn outcome(&self) -> Option<Outcome>;

    /// The tether's own error, if this is one.
    fn command_error(&self) -> Option<&CommandError>;
}

impl OutcomeExt for RedisError {
    fn outcome(&self) -> Option<Outcome> {
        if let Some(error) = self.command_error() {
            return Some(error.outcome());
        }
        match self.kind() {
            ErrorKind::Server(ServerErrorKind::ExecAbort) if self.detail().is_none() => {
                let causes = self.clone().into_server_errors()?;
                Some(if causes.iter().any(has_run_beside) { Outcome::Ambiguous } else { Outcome::Refused })
            }
            ErrorKind::Server(_) | ErrorKind::Extension => {
                let errors = self.clone().into_server_errors()?;
                let has_run = is_of_pipeline(self, errors.len())
                    || errors.iter().any(|(_, error)| {
                        matches!(
                            reply::classify(error.code(), error.details()),
                            ErrorClass::Partial(_) | ErrorClass::Lost
                        )
                    });
                Some(if has_run { Outcome::Ambiguous } else { Outcome::Refused })
            }
            _ => None,
        }
    }

    fn command_error(&self) -> Option<&CommandError> {
        io_error(self)?.get_ref()?.downcast_ref()
    }
}

/// The I/O error that redis-rs has wrapped.
fn io_error(error: &RedisError) -> Option<&io::Error> {
    let source = std::error::Error::source(error)?;
    // It shows the shared pointer in which it keeps the error, not the error.
    let error = match source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        Some(shared) => &**shared as &(dyn std::error::Error + 'static),
        None => source,
    };
    error.downcast_ref()
}

/// Whether a cause of an aborted transaction shows that something ran: it is the pipeline's own `EXEC` that says so, which the
/// causes of redis-rs's transactions never do, and the commands around that one ran.
fn has_run_beside((_, error): &(usize, ServerError)) -> bool {
    error.code() == "EXECABORT"
}

/// redis-rs gives one error for the failed commands of a pipeline, which has neither details nor, where the first has a code
/// that redis-rs does not know, a code.
fn is_of_pipeline(error: &RedisError, failed: usize) -> bool {
    let is_bare = match error.kind() {
        ErrorKind::Extension => error.code().is_none(),
        _ => error.detail().is_none(),
    };
    failed > 1 || is_bare
}

#[cfg(test)]
mod tests;
