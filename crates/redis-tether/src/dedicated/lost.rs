//! How a dedicated connection is lost: what [`Dedicated::lost`](crate::Dedicated::lost) tells, and failed commands repeat.
//! Pure data.

use std::fmt;
use std::sync::Arc;

use redis_tether_core::{Address, Epoch};

/// Why a [`Dedicated`](crate::Dedicated) takes no commands any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// The tether moved to another link: to another primary, or to a fresh connection.
    Moved,
    /// The tether's own link to that server was lost.
    LinkLost,
    /// The connection itself ended.
    Ended,
    /// The tether was shut down, or the runtime that it lived on ended. There will be no other one.
    Stopped,
    /// It was made a subscription ([`into_pub_sub`](crate::Dedicated::into_pub_sub)).
    Subscribed,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Moved => "the tether moved to another link",
            Loss::LinkLost => "the tether lost its link to that server",
            Loss::Ended => "it ended",
            Loss::Stopped => "the tether stopped",
            Loss::Subscribed => "it was made a subscription",
        })
    }
}

/// A dedicated connection that was lost. Its `Display` is one line:
///
/// `dedicated connection to 10.0.0.1:6379 lost: it ended, closed by the peer; epoch 3`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    pub(super) epoch: Epoch,
    pub(super) address: Address,
    pub(super) loss: Loss,
    pub(super) cause: Option<Arc<str>>,
}

impl Lost {
    /// The epoch of the link that it was tied to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The server that it led to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Why it is over.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// What the transport had to say, where that was the end.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Without what the line that it goes into says itself.
    pub(super) fn brief(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}, {cause}", self.loss),
            None => self.loss.to_string(),
        }
    }

    /// Whether what is in flight may finish: the server and the connection are well.
    pub(super) fn is_orderly(&self) -> bool {
        matches!(self.loss, Loss::Moved | Loss::Stopped)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dedicated connection to {} lost: {}; epoch {}", self.address, self.brief(), self.epoch)
    }
}

impl std::error::Error for Lost {}
