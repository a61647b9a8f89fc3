//! What all handles of one tether share with its control side: the gate, the counters, the settings of the data path.
//! Handles read it, the control side makes it; nothing in it is ever replaced.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use redis_tether_core::Epoch;
use redis_tether_core::reply::Refusal;

use crate::config::CommandSettings;
use crate::gate::{ClosedCause, Gate};
use crate::handle::Flags;
use crate::outcome::{CommandError, Facts, Outcome};
use crate::stats::Counters;
use crate::turnstile::Turnstile;

/// Who is told that a server refuses what a primary would take. Must not block: handles call it.
pub(crate) trait RefusalObserver: Send + Sync + 'static {
    /// The link of this epoch was closed for commands because of this reply. Once per closing, however many commands met
    /// with it.
    fn refused(&self, epoch: Epoch, refusal: Refusal);
}

/// See the head of this file.
pub(crate) struct Shared {
    pub(crate) gate: Arc<Gate>,
    /// For those that were held elsewhere.
    pub(crate) turnstile: Arc<Turnstile>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) commands: CommandSettings,
    pub(crate) db: i64,
    /// As the configuration has it, for people to read; without credentials.
    pub(crate) endpoint: Arc<str>,
    pub(crate) refusals: Arc<dyn RefusalObserver>,
    pub(crate) flags: Flags,
    /// The server is a replica that had lost its primary when it was asked last.
    pub(crate) is_stale: AtomicBool,
}

impl Shared {
    /// A server refuses what a primary would take: nobody else is to be sent there, and the control side hears of it once.
    pub(crate) fn report(&self, epoch: Epoch, refusal: Refusal) {
        self.counters.refusal_replies.increment();
        if self.gate.close_epoch(epoch, ClosedCause::Refused(refusal)) {
            self.refusals.refused(epoch, refusal);
        }
    }

    /// The error of a command that failed in the tether, counted.
    pub(crate) fn fail(&self, facts: Facts) -> CommandError {
        match facts.outcome {
            Outcome::NotSent => &self.counters.failed_not_sent,
            Outcome::Refused => &self.counters.failed_refused,
            Outcome::Ambiguous => &self.counters.failed_ambiguous,
        }
        .increment();
        CommandError::new(facts)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("endpoint", &self.endpoint).field("gate", &self.gate).finish_non_exhaustive()
    }
}
