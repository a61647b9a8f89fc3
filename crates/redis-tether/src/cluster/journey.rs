//! One call's way through a cluster: how long it may take in all, and where it goes next when a node sends it elsewhere.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::handle::Policy;
use crate::room::Stay;

/// So often a command is sent on at once. After that the cluster is in the middle of something.
const AT_ONCE: u32 = 3;

/// How long to wait then: a few round trips of a migration or of gossip.
const BETWEEN: Duration = Duration::from_millis(20);

pub(super) struct Journey {
    pub(super) started: Instant,
    pub(super) policy: Policy,
    hops: u32,
    /// While nobody has its slot.
    pub(super) stay: Stay,
}

impl Journey {
    pub(super) fn new(policy: Policy) -> Journey {
        Journey { started: Instant::now(), policy, hops: 0, stay: Stay::default() }
    }

    /// When it is overdue. A moment that no clock reaches is none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.started.checked_add(self.policy.deadline)
    }

    /// The policy for what is left of the time; `None` if nothing is.
    pub(super) fn rest(&self) -> Option<Policy> {
        let left = self.policy.deadline.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero())?;
        Some(self.policy.deadline(left))
    }

    /// It is sent elsewhere: at once, or in a moment where that has not helped. `false` if there is no time for it.
    pub(super) async fn hop(&mut self) -> bool {
        self.hops += 1;
        self.hops <= AT_ONCE || self.wait().await
    }

    /// Waits a moment. `false` if there is no time for it.
    pub(super) async fn wait(&mut self) -> bool {
        let until = Instant::now() + BETWEEN;
        if self.due().is_some_and(|due| due <= until) {
            return false;
        }
        sleep_until(until).await;
        true
    }
}
