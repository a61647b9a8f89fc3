//! What can go wrong with a real server, for the one who reads a failed test.
//!
//! Every fallible method of the module returns [`ServerError`]. No variant carries arguments of commands, since these
//! include passwords.

use std::io;
use std::net::SocketAddr;
use std::process::ExitStatus;

use super::ServerKind;
use crate::gateway::GatewayKind;
use crate::wait::TimedOut;

/// An operation on a real server failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is no such server on this machine.
    #[error(
        "no {} that runs: looked in {}, on the PATH, and in target/servers",
        kind.binary_name(),
        kind.variable()
    )]
    NotFound {
        /// What was looked for.
        kind: ServerKind,
    },
    /// There is no such proxy on this machine.
    #[error(
        "no {}: looked in {}, on the PATH, in /usr/sbin, and in target/servers",
        kind.binary_name(),
        kind.variable()
    )]
    NoGateway {
        /// What was looked for.
        kind: GatewayKind,
    },
    /// The machine did not do its part: no address, no directory, no process.
    #[error("could not {doing}")]
    Machine {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The process ended before it answered.
    #[error("the server at {addr} ended with {status}; its log ends:\n{log}")]
    Ended {
        /// Where it should have listened.
        addr: SocketAddr,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The process runs and did not answer in time.
    #[error("the server at {addr} did not answer PING in time ({last}); its log ends:\n{log}")]
    NotReady {
        /// Where it should have listened.
        addr: SocketAddr,
        /// What came of the last try.
        last: String,
        /// The end of its log.
        log: String,
    },
    /// There is no process: it was killed or stopped.
    #[error("the server at {addr} is not running")]
    NotRunning {
        /// Where it listened.
        addr: SocketAddr,
    },
    /// The server answered a command with an error.
    #[error("the server at {addr} refused {command}: {reply}")]
    Refused {
        /// Where it listens.
        addr: SocketAddr,
        /// The command, without its arguments.
        command: String,
        /// The error, code included.
        reply: String,
    },
    /// The connection to the server failed.
    #[error("lost the connection to the server at {addr} upon {command}")]
    Connection {
        /// Where it listens.
        addr: SocketAddr,
        /// The command, without its arguments.
        command: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something that was waited for did not happen.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

impl ServerError {
    pub(crate) fn machine(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Machine { doing, source }
    }
}
