//! Making errors of what a connection for questions met.

use std::io;
use std::time::Duration;

use redis::ServerError;
use redis_tether_core::{Address, FailureKind};

use crate::config::Password;
use crate::dial::{DialError, Rejection};

pub(crate) fn io(at: &Address, error: &io::Error) -> DialError {
    Rejection::by_io(error).at(at)
}

pub(crate) fn refused(at: &Address, error: &ServerError, password: Option<&Password>) -> DialError {
    Rejection::by_server(error).without(password).at(at)
}

pub(crate) fn timed_out(at: &Address, after: Duration) -> DialError {
    DialError::new(FailureKind::TimedOut, at, format!("no answer after {after:?}"))
}

pub(crate) fn protocol(at: &Address, detail: &str) -> DialError {
    DialError::new(FailureKind::Protocol, at, detail)
}
