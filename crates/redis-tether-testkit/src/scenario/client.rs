//! What a scenario asks of the client under test: to write one key, and to say how that went.

use std::fmt;
use std::future::Future;

/// The client under test, as the one writer of a scenario uses it.
pub trait Client: Send {
    /// Does `SET key(n) n` once, and returns when the client knows how it went.
    ///
    /// The client's own retries are its own affair; an error counts as one failed write. It is dropped if it has not
    /// returned when the scenario is over.
    fn set(&mut self, n: u64) -> impl Future<Output = Result<(), Failed>> + Send;

    /// How many writes the client has held back so far while it had no connection. Zero for clients that hold none.
    fn held(&self) -> u64 {
        0
    }
}

/// The key that write number `n` sets: each its own, so that the servers can be asked which writes they executed.
#[must_use]
pub fn key(n: u64) -> String {
    format!("scenario:{n}")
}

/// A write that failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Failed {
    /// Whether it can have been executed.
    pub failure: Failure,
    /// What the client said.
    pub message: String,
}

impl Failed {
    /// A write that failed with this message.
    pub fn new(failure: Failure, message: impl fmt::Display) -> Self {
        Self { failure, message: message.to_string() }
    }
}

/// Whether a failed write can have been executed, as far as the client knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It never left the client.
    NotSent,
    /// A server answered that it would not do it.
    Refused,
    /// It left, and no answer came.
    Ambiguous,
    /// The client does not say.
    Other,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Failure::NotSent => "not sent",
            Failure::Refused => "refused",
            Failure::Ambiguous => "ambiguous",
            Failure::Other => "other",
        })
    }
}
