//! What a tether tells its application as it happens: to tasks through a broadcast channel, to actors as messages of
//! their own type. Made by the actors, sent by the [`Board`](crate::control::board::Board).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::{Address, Epoch, FailureKind, Role};

/// Something that happened to a tether.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt to make a link has begun.
    #[non_exhaustive]
    Dialling {
        /// Its number, which becomes the link's.
        epoch: Epoch,
        /// Where to.
        address: Address,
    },
    /// An attempt failed.
    #[non_exhaustive]
    DialFailed {
        /// Its number.
        epoch: Epoch,
        /// Where it went.
        address: Address,
        /// What kind of failure it was.
        kind: FailureKind,
        /// What happened, in one line.
        error: Arc<str>,
    },
    /// A link takes commands from now on.
    #[non_exhaustive]
    Connected {
        /// Its number.
        epoch: Epoch,
        /// Where it leads.
        address: Address,
        /// What the server says that it is.
        role: Role,
        /// For how long no link took commands; zero for a move during which one always did.
        down_for: Duration,
    },
    /// The link owes answers and is mute. New commands are held, those in flight stay.
    #[non_exhaustive]
    Suspected {
        /// The link.
        epoch: Epoch,
        /// Where it leads.
        address: Address,
        /// What noticed it.
        detector: Detector,
        /// For how long nothing had been read.
        silent_for: Duration,
    },
    /// The link speaks, and says that it is not fit to serve. New commands are held, those in flight finish.
    #[non_exhaustive]
    Demoted {
        /// The link.
        epoch: Epoch,
        /// Where it leads.
        address: Address,
        /// What noticed it.
        detector: Detector,
        /// What showed it: the server's refusal or its answer to the probe, in one line.
        cause: Arc<str>,
    },
    /// The link that was held takes commands again: nothing was lost.
    #[non_exhaustive]
    Resumed {
        /// The link.
        epoch: Epoch,
        /// For how long it took none.
        held_for: Duration,
    },
    /// The link's transport ended.
    #[non_exhaustive]
    Lost {
        /// The link.
        epoch: Epoch,
        /// Where it led.
        address: Address,
        /// What noticed it.
        detector: Detector,
        /// Why it ended.
        cause: Arc<str>,
    },
    /// A link is over, since another serves or it was given up.
    #[non_exhaustive]
    Retired {
        /// The link.
        epoch: Epoch,
        /// Where it led.
        address: Address,
        /// Whether its commands in flight get their replies (within the drain limit) or end at once.
        drained: bool,
    },
    /// The primary does not hold all of the replication history (told by its replication id and offset) that the one before
    /// had: it was restarted without its data, or from what
    /// was on its disk, or a replica was promoted that was behind, or somebody put another one in its place. Told where the server
    /// allows `INFO`, which it is asked when a link is made.
    ///
    /// What a restart has brought back from the disk may be all, and nothing that a server says can show that: with
    /// `appendfsync always` it is, with a snapshot hardly ever. A replica that was promoted goes on from the one before, unless two
    /// were promoted between two links, or it was itself restarted from its disk and its primary sent it nothing since; that it was behind shows only if it lacks what was there when the link was made.
    #[non_exhaustive]
    LineageChanged {
        /// The link that leads there.
        epoch: Epoch,
        /// Where it leads.
        address: Address,
        /// Whether the server held no keys at all when it was asked.
        is_empty: bool,
    },
    /// The endpoint means other addresses than before.
    #[non_exhaustive]
    AddressesChanged {
        /// In the order in which the resolver gave them.
        addresses: Vec<Address>,
    },
    /// The endpoint could not be resolved.
    #[non_exhaustive]
    ResolveFailed {
        /// What happened, in one line.
        error: Arc<str>,
    },
    /// The source of credentials, or the file that they are in, has none. What was had before is used until it expires.
    #[non_exhaustive]
    CredentialsFailed {
        /// What happened, in one line.
        error: Arc<str>,
    },
    /// The link is signed in with fresh credentials, and goes on.
    #[non_exhaustive]
    Reauthenticated {
        /// The link.
        epoch: Epoch,
    },
    /// Fresh credentials were refused, or not answered in time. The link goes on with those that it had; they are tried
    /// again.
    #[non_exhaustive]
    ReauthenticationFailed {
        /// The link.
        epoch: Epoch,
        /// What happened, in one line.
        error: Arc<str>,
    },
    /// Reads may go to this replica from now on, once there is a link to it
    /// ([`Tether::replicas`](crate::Tether::replicas)).
    #[non_exhaustive]
    ReplicaAdded {
        /// Its host and port.
        replica: Arc<str>,
    },
    /// It is no replica of the primary any more. What is in flight to it finishes.
    #[non_exhaustive]
    ReplicaRemoved {
        /// Its host and port.
        replica: Arc<str>,
    },
    /// It happened to the link to a replica.
    #[non_exhaustive]
    Replica {
        /// Its host and port.
        replica: Arc<str>,
        /// What happened. Here `Connected` speaks of the replica.
        event: Box<Event>,
    },
    /// It could not be found out which replicas there are. Those that are known stay; it is tried again, and told of again while it
    /// goes on failing only where it turns out that somebody has to change a configuration.
    #[non_exhaustive]
    ReplicasUnknown {
        /// What happened, in one line.
        error: Arc<str>,
    },
    /// The connection actor was replaced by a fresh one.
    #[non_exhaustive]
    Restarted {
        /// Its number, from 1 for the first.
        incarnation: u64,
        /// Why, in one line: after how many failures the one before gave up, or what it died of.
        reason: Arc<str>,
    },
    /// The tether has stopped, and nothing of it is left; nothing follows.
    Stopped,
}

impl fmt::Display for Event {
    /// One line for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Dialling { epoch, address } => write!(f, "dialling {address}, epoch {epoch}"),
            Event::DialFailed { epoch, error, .. } => write!(f, "dial failed, epoch {epoch}: {error}"),
            Event::Connected { epoch, address, role, down_for } => {
                write!(f, "connected to {address} ({role}), epoch {epoch}")?;
                if down_for.is_zero() { Ok(()) } else { write!(f, ", after {down_for:.1?} without a link") }
            }
            Event::Suspected { epoch, address, detector, silent_for } => {
                write!(
                    f,
                    "link to {address} suspect, epoch {epoch}: {detector}, nothing read for {silent_for:.1?}; \
                     commands are held"
                )
            }
            Event::Demoted { epoch, address, detector, cause } => {
                write!(f, "{address} not fit to serve, epoch {epoch}: {detector}, {cause}; commands are held")
            }
            Event::Resumed { epoch, held_for } => {
                write!(f, "link serves again, epoch {epoch}; commands were held for {held_for:.1?}")
            }
            Event::Lost { epoch, address, detector, cause } => {
                write!(f, "link to {address} lost, epoch {epoch}: {detector}, {cause}")
            }
            Event::Retired { epoch, address, drained: true } => {
                write!(f, "link to {address} retired, epoch {epoch}: what is in flight is waited for")
            }
            Event::Retired { epoch, address, drained: false } => {
                write!(f, "link to {address} given up, epoch {epoch}: what was in flight is ambiguous")
            }
            Event::LineageChanged { epoch, address, is_empty } => {
                write!(f, "{address} does not go on from the primary before, epoch {epoch}")?;
                if *is_empty { f.write_str(": it holds no keys at all") } else { Ok(()) }
            }
            Event::AddressesChanged { addresses } => {
                f.write_str("the endpoint means ")?;
                for (place, address) in addresses.iter().enumerate() {
                    write!(f, "{}{address}", if place == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Event::ResolveFailed { error } => write!(f, "not resolved: {error}"),
            Event::CredentialsFailed { error } => write!(f, "no fresh credentials: {error}"),
            Event::Reauthenticated { epoch } => write!(f, "link signed in with fresh credentials, epoch {epoch}"),
            Event::ReauthenticationFailed { epoch, error } => {
                write!(f, "fresh credentials not taken, epoch {epoch}: {error}; the link goes on with the old ones")
            }
            Event::ReplicaAdded { replica } => write!(f, "reads may go to the replica {replica}"),
            Event::ReplicaRemoved { replica } => write!(f, "{replica} is no replica any more"),
            Event::Replica { replica, event } => write!(f, "replica {replica}: {event}"),
            Event::ReplicasUnknown { error } => write!(f, "replicas not found: {error}"),
            Event::Restarted { incarnation, reason } => {
                write!(f, "connection actor restarted, incarnation {incarnation}: {reason}")
            }
            Event::Stopped => f.write_str("stopped"),
        }
    }
}

/// What noticed that a link cannot serve.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Detector {
    /// The peer closed the connection, or the transport failed.
    Transport,
    /// Bytes were outstanding and nothing was read.
    Silence,
    /// A command was refused as by a server that is no serving primary.
    Refusal,
    /// The probe's answer.
    Probe,
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Detector::Transport => "transport",
            Detector::Silence => "silence",
            Detector::Refusal => "refusal",
            Detector::Probe => "probe",
        })
    }
}
