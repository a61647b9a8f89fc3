//! One command's time: a deadline that covers holding, sending again and the reply. It starts when it is first asked for. The
//! timer is the link's, one for all of its commands.

use std::time::Duration;

use tokio::time::Instant;

use super::command::Demand;
use crate::ledger::Ledger;
use crate::multiplexer::{News, Outcome, Sent};
use crate::patience::Patience;
use crate::stats::Counters;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Clock {
    /// `None`: it takes as long as it takes, as the caller has asked of the server.
    limit: Option<Duration>,
    deadline: Duration,
    started: Option<Instant>,
    pub(crate) patience: Patience,
}

impl Clock {
    /// A blocking command's own timeout comes on top of the deadline.
    pub(crate) fn new(deadline: Duration, demand: Demand) -> Clock {
        let limit = match demand {
            Demand::Plain | Demand::Unshareable(_) => Some(deadline),
            Demand::Blocking(wait) | Demand::Acknowledgement(wait) => wait.map(|wait| wait.saturating_add(deadline)),
        };
        Clock { limit, deadline, started: None, patience: Patience::new(deadline) }
    }

    /// When the command is overdue. A limit that no clock reaches is none.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        let started = *self.started.get_or_insert_with(Instant::now);
        started.checked_add(self.limit?)
    }

    /// Whether the command is overdue before it was sent. That it comes late because this process stood still is no excuse
    /// here: nothing is lost by not sending it.
    pub(crate) fn is_overdue(&mut self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    /// Waits for what becomes of a request that is due then. What is late because this process stood still is put off, so that a
    /// reply that waits in the socket is read first.
    ///
    /// Where a blocking command keeps the server from answering, those behind it have their deadline after that.
    pub(super) async fn run(
        &mut self,
        mut sent: Sent<'_>,
        due: Option<Instant>,
        ledger: &Ledger,
        counters: &Counters,
    ) -> End {
        let mut due = due;
        loop {
            match sent.news().await {
                News::Done(outcome) => return End::Done(outcome),
                News::Overdue => {}
            }
            let after_blocking = ledger.blocked_until().and_then(|until| until.checked_add(self.deadline));
            let Some(later) = after_blocking.or_else(|| self.patience.put_off(due?, counters)) else {
                return if sent.take_back() { End::Unsent } else { End::Overdue };
            };
            sent.put_off(later);
            due = Some(later);
        }
    }
}

/// How the wait for a request ended.
#[derive(Debug)]
pub(super) enum End {
    Done(Outcome),
    /// It was overdue, and may have left.
    Overdue,
    /// It was overdue, and had not left; nor will it.
    Unsent,
}
