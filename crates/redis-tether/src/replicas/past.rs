//! What a read has behind it at the replicas that it was sent to. What comes of it at last may be less than has to be told: of one
//! that was lost in flight nobody knows more because another server has refused it.

use redis::RedisError;

use crate::outcome::{Outcome, OutcomeExt};

#[derive(Default)]
pub(super) struct Past {
    /// How often it was to be sent again though it may have been executed.
    pub(super) retries: u32,
    /// A server has refused it.
    was_refused: bool,
}

impl Past {
    pub(super) fn failed(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ambiguous => self.retries += 1,
            Outcome::Refused => self.was_refused = true,
            Outcome::NotSent => {}
        }
    }

    /// What becomes of a read that is not sent (again).
    pub(super) fn outcome(&self) -> Outcome {
        match (self.retries, self.was_refused) {
            (0, false) => Outcome::NotSent,
            (0, true) => Outcome::Refused,
            _ => Outcome::Ambiguous,
        }
    }

    /// The error of the last try, as that of all of them.
    pub(super) fn told(&self, error: RedisError) -> RedisError {
        let Some(own) = error.command_error() else { return error };
        match (own.outcome(), self.outcome()) {
            (Outcome::NotSent, before @ (Outcome::Refused | Outcome::Ambiguous))
            | (Outcome::Refused, before @ Outcome::Ambiguous) => own.with_outcome(before).into(),
            _ => error,
        }
    }
}
