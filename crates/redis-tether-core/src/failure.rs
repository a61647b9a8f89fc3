//! Why an attempt to make a link failed, as far as it decides what happens next: how soon to try again.

use std::fmt;

/// Which of the two paces an attempt's failure asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// Nobody was met: trying again is cheap for both sides.
    Unreachable,
    /// Somebody accepted and then said no: each attempt costs a recovering server work, and some lock accounts.
    Rejected,
}

/// Why an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FailureKind {
    /// Nothing listens there: connection refused, or no such socket.
    Refused,
    /// No route to the host or the network.
    Unreachable,
    /// Nobody answered in time.
    TimedOut,
    /// The connection was reset.
    Reset,
    /// The peer closed the connection before it was ready.
    Closed,
    /// The TLS handshake failed.
    Tls,
    /// The credentials were refused, or are missing.
    Auth,
    /// The user may not do what setting up a link needs.
    Denied,
    /// The server is loading its dataset.
    Loading,
    /// The server has no room for another client.
    MaxClients,
    /// A server answered, and it is not the primary.
    NotPrimary,
    /// A server answered that was to be a replica, and it is none.
    NotReplica,
    /// A replica answered that has lost its primary, or is still catching up with it.
    OutOfSync,
    /// The peer does not speak the protocol.
    Protocol,
    /// The name could not be resolved.
    Resolve,
    /// The configuration cannot work with this server.
    Config,
    /// Anything else.
    Other,
}

impl FailureKind {
    /// The pace at which to try again.
    #[must_use]
    pub fn lane(self) -> Lane {
        match self {
            FailureKind::Refused | FailureKind::Unreachable | FailureKind::TimedOut | FailureKind::Resolve => {
                Lane::Unreachable
            }
            FailureKind::Reset
            | FailureKind::Closed
            | FailureKind::Tls
            | FailureKind::Auth
            | FailureKind::Denied
            | FailureKind::Loading
            | FailureKind::MaxClients
            | FailureKind::NotPrimary
            | FailureKind::NotReplica
            | FailureKind::OutOfSync
            | FailureKind::Protocol
            | FailureKind::Config
            | FailureKind::Other => Lane::Rejected,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureKind::Refused => "connection refused",
            FailureKind::Unreachable => "unreachable",
            FailureKind::TimedOut => "timed out",
            FailureKind::Reset => "connection reset",
            FailureKind::Closed => "closed by the peer",
            FailureKind::Tls => "tls handshake failed",
            FailureKind::Auth => "authentication failed",
            FailureKind::Denied => "permission denied",
            FailureKind::Loading => "server is loading its dataset",
            FailureKind::MaxClients => "server has no room for another client",
            FailureKind::NotPrimary => "not a primary",
            FailureKind::NotReplica => "not a replica",
            FailureKind::OutOfSync => "replica is out of sync",
            FailureKind::Protocol => "not the redis protocol",
            FailureKind::Resolve => "name not resolved",
            FailureKind::Config => "configuration does not fit the server",
            FailureKind::Other => "failed",
        })
    }
}
