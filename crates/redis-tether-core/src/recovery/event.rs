//! What the recovery machine is told, and what it wants done.

use std::time::Duration;

use crate::{Address, Epoch, FailureKind};

/// Something that happened. Each names the epoch it speaks of; one of an epoch that is no longer (or not yet) in play
/// changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The incarnation begins.
    Started,
    /// The endpoint means these addresses now. An empty answer is none, and changes nothing.
    Resolved {
        /// In the order in which the resolver gave them.
        addresses: Vec<Address>,
    },
    /// The endpoint has moved to these addresses: whoever appoints primaries has said so, in so many words. A fit link
    /// elsewhere is left as soon as a primary is verified at one of them, without the caution that a resolver's answers need.
    /// An empty list changes nothing.
    Moved {
        /// The best first.
        addresses: Vec<Address>,
    },
    /// An attempt met a server that may be published.
    AttemptReady {
        /// The attempt, and the link if it is published.
        epoch: Epoch,
        /// How much is known of the server.
        met: Met,
    },
    /// An attempt failed.
    AttemptFailed {
        /// The attempt.
        epoch: Epoch,
        /// Why.
        kind: FailureKind,
    },
    /// A link's transport ended.
    LinkEnded {
        /// The link.
        epoch: Epoch,
    },
    /// A link that was listened to has spoken.
    LinkHeard {
        /// The link.
        epoch: Epoch,
    },
    /// A link owes answers and is mute.
    LinkSilent {
        /// The link.
        epoch: Epoch,
        /// Since when.
        since: Duration,
    },
    /// The server refused a command in a way that says it is not fit to serve: READONLY, LOADING and their like.
    LinkRefused {
        /// The link.
        epoch: Epoch,
    },
    /// A probe was answered.
    Probed {
        /// The link.
        epoch: Epoch,
        /// What the answer shows.
        sight: Sight,
    },
    /// Time has passed: whatever is due is done. Harmless when nothing is.
    Tick,
    /// Somebody asks for a new link by hand, over addresses that are asked for first. The rate limit is the caller's.
    Reconnect,
    /// Automatic moves are frozen: only the present address is served from now on.
    Pin,
    /// Automatic moves are allowed again.
    Unpin,
}

/// How an attempt that may be published was met.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Met {
    /// The server was asked, and answered.
    Answered,
    /// The connection was accepted, and nothing was asked: the kernel of a frozen host does as much.
    Unasked,
}

/// What a probe's answer shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sight {
    /// A server that serves, in the role that is wanted: a primary, unless the link is one to a replica.
    Primary,
    /// A server that is not fit to serve now: a replica, or one that loads its dataset.
    Unfit,
    /// The peer lives, and its answer tells no more than that.
    Unclear,
}

/// Something to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Begin an attempt.
    Dial {
        /// The attempt's number.
        epoch: Epoch,
        /// Where to.
        address: Address,
    },
    /// An attempt is no longer wanted, whether it is under way or ready.
    Cancel {
        /// The attempt.
        epoch: Epoch,
    },
    /// Commands go to this link from now on. Any earlier one gets none; what becomes of it, a `Retire` says.
    Publish {
        /// The link.
        epoch: Epoch,
    },
    /// New commands are held; those in flight stay.
    Hold {
        /// The link that no longer gets any.
        epoch: Epoch,
        /// Why.
        reason: HoldReason,
    },
    /// The link that was held takes commands again.
    Resume {
        /// The link.
        epoch: Epoch,
    },
    /// The link is over.
    Retire {
        /// The link.
        epoch: Epoch,
        /// How it goes.
        teardown: Teardown,
    },
    /// Report when this link speaks.
    Listen {
        /// The link.
        epoch: Epoch,
    },
    /// Probe this link now.
    Probe {
        /// The link.
        epoch: Epoch,
    },
    /// Resolve at this pace from now on.
    ResolveAt(ResolvePace),
    /// Resolve once more, this much later, besides the pace.
    ResolveAfter(Duration),
    /// This incarnation gives up: replace it by a fresh one, with the endpoint resolved anew.
    Restart,
}

/// Why commands are held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HoldReason {
    /// The link owes answers and is mute.
    Suspect,
    /// The link speaks, and says that it is not fit to serve.
    Demoted,
}

/// How a link goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Teardown {
    /// Commands in flight get their replies, within the bound of all drains.
    Drain,
    /// It is mute, and may speak yet: commands in flight get the replies that come within this time.
    Linger(Duration),
    /// Commands in flight end at once.
    Abort,
}

/// How often to resolve.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ResolvePace {
    /// All is well.
    Settled,
    /// It is not.
    Urgent,
}
