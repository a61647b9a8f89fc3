//! What a tether writes to the log of its own accord: each event at the level that it deserves, and at growing intervals
//! that no link takes commands yet. The board calls it with whatever it shows. An attempt that fails is one line among hundreds,
//! so it is logged at `debug`, and the reminders say why the last one failed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::event::Event;
use crate::lock::lock;
use crate::status::{Phase, Status};

/// An outage that is shorter is told of by its events alone.
const FIRST_REMINDER: Duration = Duration::from_secs(1);

/// Reminders come half as often each time, and at least this often.
const LAST_INTERVAL: Duration = Duration::from_secs(60);

pub(crate) struct Journal {
    endpoint: Arc<str>,
    reminder: Mutex<Option<Reminder>>,
}

/// When to say again that no link takes commands.
struct Reminder {
    down_since: Instant,
    after: Duration,
}

impl Journal {
    pub(crate) fn new(endpoint: Arc<str>) -> Self {
        Journal { endpoint, reminder: Mutex::new(None) }
    }

    pub(crate) fn enter(&self, event: &Event) {
        let endpoint = &*self.endpoint;
        match event {
            Event::Suspected { .. } | Event::Demoted { .. } | Event::Lost { .. } | Event::LineageChanged { .. } => {
                tracing::warn!(endpoint, "{event}");
            }
            // The link's own journal has it.
            Event::Replica { .. } => {}
            Event::ReplicasUnknown { .. } => tracing::warn!(endpoint, "{event}"),
            Event::Connected { .. }
            | Event::Resumed { .. }
            | Event::AddressesChanged { .. }
            | Event::ReplicaAdded { .. }
            | Event::ReplicaRemoved { .. }
            | Event::Stopped => {
                tracing::info!(endpoint, "{event}");
            }
            Event::Dialling { .. }
            | Event::DialFailed { .. }
            | Event::Retired { .. }
            | Event::ResolveFailed { .. }
            | Event::CredentialsFailed { .. }
            | Event::Reauthenticated { .. }
            | Event::ReauthenticationFailed { .. }
            | Event::Restarted { .. } => tracing::debug!(endpoint, "{event}"),
        }
    }

    /// Called with every status that is shown, changed or not.
    pub(crate) fn remind(&self, status: &Status) {
        if self.is_due(status) {
            tracing::warn!("{status}");
        }
    }

    fn is_due(&self, status: &Status) -> bool {
        let mut reminder = lock(&self.reminder);
        if !matches!(status.phase, Phase::Connecting | Phase::Suspect | Phase::Recovering) {
            *reminder = None;
            return false;
        }
        let reminder = reminder.get_or_insert(Reminder { down_since: status.since, after: FIRST_REMINDER });
        let down_for = reminder.down_since.elapsed();
        if down_for < reminder.after {
            return false;
        }
        reminder.after = down_for + down_for.min(LAST_INTERVAL);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(phase: Phase) -> Status {
        Status { phase, ..Status::connecting("redis:6379".into()) }
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
