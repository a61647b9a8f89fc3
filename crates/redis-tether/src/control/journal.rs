//! What a tether writes to the log of its own accord: each event at the level that it deserves, and at growing intervals
//! that no link takes commands yet. The board calls it with whatever it shows. An attempt that fails is one line among hundreds,
//! so it is logged at `debug`, and the reminders say why the last one failed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::Level;

use crate::event::Event;
use crate::lock::lock;
use crate::status::Status;

/// An outage that is shorter is told of by its events alone.
const FIRST_REMINDER: Duration = Duration::from_secs(1);

/// Reminders come half as often each time, and at least this often.
const LAST_INTERVAL: Duration = Duration::from_secs(60);

pub(crate) struct Journal {
    endpoint: Arc<str>,
    /// How long an outage has lasted when to say again that no link takes commands.
    due_after: Mutex<Duration>,
}

impl Journal {
    pub(crate) fn new(endpoint: Arc<str>) -> Self {
        Journal { endpoint, due_after: Mutex::new(FIRST_REMINDER) }
    }

    pub(crate) fn enter(&self, event: &Event) {
        let endpoint = &*self.endpoint;
        match level_of(event) {
            Some(Level::WARN) => tracing::warn!(endpoint, "{event}"),
            Some(Level::INFO) => tracing::info!(endpoint, "{event}"),
            Some(_) => tracing::debug!(endpoint, "{event}"),
            None => {}
        }
    }

    /// Called with every status that is shown, changed or not.
    pub(crate) fn remind(&self, status: &Status) {
        if self.is_due(status) {
            tracing::warn!(endpoint = &*self.endpoint, "{}", status.without_endpoint());
        }
    }

    fn is_due(&self, status: &Status) -> bool {
        let mut due_after = lock(&self.due_after);
        let Some(down_for) = status.down_for() else {
            *due_after = FIRST_REMINDER;
            return false;
        };
        if down_for < *due_after {
            return false;
        }
        *due_after = down_for + down_for.min(LAST_INTERVAL);
        true
    }
}

/// `None` is for what others log.
fn level_of(event: &Event) -> Option<Level> {
    match event {
        Event::Suspected { .. }
        | Event::Demoted { .. }
        | Event::Lost { .. }
        | Event::Retired { drained: false, .. }
        | Event::LineageChanged { .. }
        | Event::ReplicasUnknown { .. } => Some(Level::WARN),
        Event::Connected { .. }
        | Event::Resumed { .. }
        | Event::AddressesChanged { .. }
        | Event::ReplicaAdded { .. }
        | Event::ReplicaRemoved { .. }
        | Event::Stopped => Some(Level::INFO),
        // Whoever sends one of the three that fail again and again says so the first time, at `warn`.
        Event::ResolveFailed { .. }
        | Event::CredentialsFailed { .. }
        | Event::ReauthenticationFailed { .. }
        | Event::Dialling { .. }
        | Event::DialFailed { .. }
        | Event::Retired { drained: true, .. }
        | Event::Reauthenticated { .. }
        | Event::Restarted { .. } => Some(Level::DEBUG),
        // The link's own journal has it.
        Event::Replica { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use redis_tether_core::{Address, Epoch};

    use super::*;
    use crate::status::Phase;

    fn status(phase: Phase) -> Status {
        let mut status = Status::connecting("redis:6379".into());
        status.enter(phase);
        status
    }

    #[tokio::test(start_paused = true)]
    async fn reminders_come_less_and_less_often_and_never_stop() {
        let (journal, down) = (Journal::new("redis:6379".into()), status(Phase::Recovering));
        let mut reminded = Vec::new();
        for second in 0..300 {
            if journal.is_due(&down) {
                reminded.push(second);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(reminded, [1, 2, 4, 8, 16, 32, 64, 124, 184, 244]);
    }

    /// What was in flight on a link that is given up is lost to its callers, and nobody else says so.
    #[test]
    fn a_link_that_is_given_up_is_worth_a_warning_and_one_that_is_drained_is_not() {
        let address = Address::Tcp(([10, 0, 0, 1], 6379).into());
        let retired = |drained| Event::Retired { epoch: Epoch::FIRST, address: address.clone(), drained };
        assert_eq!(level_of(&retired(false)), Some(Level::WARN));
        assert_eq!(level_of(&retired(true)), Some(Level::DEBUG));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_ends_the_reminders_and_the_next_outage_begins_anew() {
        let journal = Journal::new("redis:6379".into());
        let down = status(Phase::Connecting);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(journal.is_due(&down));
        assert!(!journal.is_due(&status(Phase::Connected)));
        // A server that goes on being a replica is an outage, too.
        let down_again = status(Phase::Suspect);
        assert!(!journal.is_due(&down_again));
        tokio::time::advance(FIRST_REMINDER).await;
        assert!(journal.is_due(&down_again));
    }
}
