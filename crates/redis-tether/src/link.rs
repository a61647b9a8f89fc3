//! One dialled and verified connection. The dialer makes links, the gate publishes one of them, handles and probes send over
//! it. A link knows what it is and how to end; whether it should is decided elsewhere.

use std::fmt;
use std::sync::Arc;

use redis_tether_core::{Address, Epoch, Role};
use tokio_util::task::AbortOnDropHandle;

use crate::credentials::keyring::{Issued, SignedIn};
use crate::dial::cluster::Membership;
use crate::dial::verify::{Verdict, VerifyLevel};
use crate::ledger::{Ledger, LinkEnd};
use crate::multiplexer::Multiplexer;

/// A connection to a server that was found fit to take commands.
///
/// Dropping it ends it: the driver is aborted, whatever is still in flight fails, the socket is closed.
pub(crate) struct Link {
    address: Address,
    role: Role,
    level: VerifyLevel,
    membership: Membership,
    ledger: Arc<Ledger>,
    multiplexer: Multiplexer,
    driver: AbortOnDropHandle<()>,
    signed_in: SignedIn,
}

impl Link {
    pub(crate) fn new(
        address: Address,
        verdict: &Verdict,
        ledger: Arc<Ledger>,
        multiplexer: Multiplexer,
        driver: AbortOnDropHandle<()>,
    ) -> Link {
        Link {
            address,
            role: verdict.role,
            level: verdict.level,
            membership: Membership::Unknown,
            ledger,
            multiplexer,
            driver,
            signed_in: SignedIn::default(),
        }
    }

    /// The same, signed in like this.
    pub(crate) fn signed_in_with(mut self, issued: Option<Arc<Issued>>) -> Link {
        self.signed_in = SignedIn::with(issued);
        self
    }

    /// The same, to a server that is this to a cluster.
    pub(crate) fn in_cluster(mut self, membership: Membership) -> Link {
        self.membership = membership;
        self
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.ledger.epoch()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The role that the server gave when the link was dialled.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// What the peer was found to answer: a probe asks no more than that.
    pub(crate) fn verify_level(&self) -> VerifyLevel {
        self.level
    }

    /// What its `MOVED` means.
    pub(crate) fn membership(&self) -> Membership {
        self.membership
    }

    /// What it is signed in with, which may be renewed.
    pub(crate) fn signed_in(&self) -> &SignedIn {
        &self.signed_in
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// For a handle or a probe. It does not keep the link alive.
    pub(crate) fn multiplexer(&self) -> Multiplexer {
        self.multiplexer.clone()
    }

    /// Ends the link at once, and with it everything in flight. The first reason given stands.
    pub(crate) fn abort(&self, end: LinkEnd) {
        self.ledger.kill(end);
        self.driver.abort();
    }

    /// Ends the link as [`abort`](Link::abort) does, for somebody who does not keep it alive.
    pub(crate) fn retirement(&self) -> impl FnOnce() + Send + use<> {
        let (ledger, driver) = (Arc::clone(&self.ledger), self.driver.abort_handle());
        move || {
            ledger.kill(LinkEnd::Retired);
            driver.abort();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.abort(LinkEnd::Retired);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .field("role", &self.role)
            .field("level", &self.level)
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}
