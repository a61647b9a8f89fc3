//! What ties a dedicated connection to the published link of its epoch: one task for each, on the tether's runtime. It takes
//! no commands from the moment at which that link is over; what is in flight may finish within the drain limit, unless the
//! server is gone; then it is closed. Nobody needs to look for that. Commands look for themselves, at three words.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis_tether_core::Address;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lost::{Loss, Lost};
use crate::control::Control;
use crate::foreign;
use crate::gate::Gate;
use crate::ledger::{Ledger, LinkEnd};

/// See the head of this file.
pub(super) struct Tie {
    gate: Arc<Gate>,
    /// The books of the published link.
    link: Arc<Ledger>,
    /// Those of the connection.
    own: Arc<Ledger>,
    address: Address,
    is_subscribed: AtomicBool,
    lost: OnceLock<Lost>,
    known: CancellationToken,
}

impl Tie {
    /// Ties the connection of the books `own` to the link of the books `link`. `close` closes it.
    pub(super) fn bind(
        control: &Control,
        link: Arc<Ledger>,
        own: Arc<Ledger>,
        address: Address,
        close: impl FnOnce() + Send + 'static,
    ) -> Arc<Tie> {
        let tie = Arc::new(Tie::new(Arc::clone(control.gate()), link, own, address));
        let (limit, ended) = (control.config.drain_timeout, control.ended.clone());
        // Among the drains for its whole life: the gate has stopped before anybody waits for those, and from then on it is one.
        let announced = Announced { tie: Arc::clone(&tie), close: Some(Box::new(close)) };
        let watch = control.drains.track_future(watch(announced, limit, ended));
        control.tasks.spawn_on(watch, &control.runtime);
        tie
    }

    fn new(gate: Arc<Gate>, link: Arc<Ledger>, own: Arc<Ledger>, address: Address) -> Tie {
        let (is_subscribed, lost, known) = (AtomicBool::new(false), OnceLock::new(), CancellationToken::new());
        Tie { gate, link, own, address, is_subscribed, lost, known }
    }

    /// Why the connection takes no commands any more. As with a drain of the gate, for a command that was entered in its books
    /// before.
    pub(super) fn lost(&self) -> Option<&Lost> {
        if let Some(lost) = self.lost.get() {
            return Some(lost);
        }
        let (loss, end) = self.loss()?;
        Some(self.settle(loss, end))
    }

    /// Waits until the connection is lost. Cancel safe; any number may wait.
    pub(super) async fn until_lost(&self) -> &Lost {
        if self.lost().is_none() {
            self.known.cancelled().await;
        }
        self.settled()
    }

    /// No commands any more: it is going to be a subscription. What was in flight before has to be waited for.
    pub(super) fn subscribe(&self) {
        self.is_subscribed.store(true, Ordering::SeqCst);
        self.announce();
    }

    pub(super) fn link(&self) -> &Arc<Ledger> {
        &self.link
    }

    fn loss(&self) -> Option<(Loss, Option<&LinkEnd>)> {
        if self.gate.has_stopped() {
            return Some((Loss::Stopped, None));
        }
        match self.link.end() {
            // The runtime is going, and drops its tasks in any order: the one that stops the gate comes later.
            Some(LinkEnd::DriverGone) => return Some((Loss::Stopped, None)),
            Some(LinkEnd::Retired) => return Some((Loss::Moved, None)),
            Some(end) => return Some((Loss::LinkLost, Some(end))),
            None if self.link.is_over() => return Some((Loss::Moved, None)),
            None => {}
        }
        if self.is_subscribed.load(Ordering::SeqCst) {
            return Some((Loss::Subscribed, None));
        }
        match self.own.end()? {
            LinkEnd::DriverGone => Some((Loss::Stopped, None)),
            end => Some((Loss::Ended, Some(end))),
        }
    }

    fn settle(&self, loss: Loss, end: Option<&LinkEnd>) -> &Lost {
        self.lost.get_or_init(|| Lost {
            epoch: self.own.epoch(),
            address: self.address.clone(),
            loss,
            cause: end.map(|end| end.to_string().into()),
        })
    }

    /// For one who knows that it is lost: where nothing shows why, what would have shown it is gone, with the runtime.
    fn settled(&self) -> &Lost {
        match self.lost() {
            Some(lost) => lost,
            None => self.settle(Loss::Stopped, None),
        }
    }

    fn announce(&self) {
        self.settled();
        foreign::run("a waker", || self.known.cancel());
    }

    async fn over(&self) {
        tokio::select! {
            biased;
            () = self.gate.stopped() => {}
            () = self.link.over() => {}
            () = self.own.over() => {}
        }
    }
}

async fn watch(mut announced: Announced, limit: Duration, ended: CancellationToken) {
    let tie = Arc::clone(&announced.tie);
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        () = tie.over() => {}
    }
    tie.announce();
    if tie.settled().is_orderly() {
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            () = tie.own.over() => {}
            () = tie.own.idle() => {}
            () = sleep(limit) => {}
        }
    }
    announced.close();
}

/// Tells those who wait and closes the connection, when it is dropped at the latest: with the runtime, if it comes to that, and
/// before it has run at all if need be.
struct Announced {
    tie: Arc<Tie>,
    close: Option<Box<dyn FnOnce() + Send>>,
}

impl Announced {
    fn close(&mut self) {
        if let Some(close) = self.close.take() {
            foreign::run("a waker or a stream", close);
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.tie.announce();
        self.close();
    }
}

#[cfg(test)]
mod tests;
