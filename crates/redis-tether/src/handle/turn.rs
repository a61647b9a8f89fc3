//! Commands that were held before they came to this handle, for a shard or a replica to be found: they are sent when it is their turn, so
//! that the server is not met by all of them at once.

use redis::{RedisError, RedisResult};
use tokio::time::Instant;

use super::{Handle, Request, flight_kind};
use crate::ledger::FlightKind;
use crate::outcome::{Facts, Outcome, Reason};
use crate::room::Stay;

/// What is told of a command that was held until there was a link, and then longer than it had time for.
pub(super) const WAITED_FOR_ITS_TURN: &str = "there is a link, and what was held is let go to it batch by batch";

impl Handle {
    /// Sends what may have been held until now.
    pub(crate) async fn run_after<R: Request>(&mut self, stay: &mut Stay, request: R) -> RedisResult<R::Reply> {
        match stay {
            Stay::Never => self.run(request).await,
            // Boxed, so that what was never held does not carry the room for it.
            Stay::Now(_) | Stay::Before => Box::pin(self.run_in_turn(stay, request)).await,
        }
    }

    async fn run_in_turn<R: Request>(&mut self, stay: &mut Stay, request: R) -> RedisResult<R::Reply> {
        let (begun, deadline) = (Instant::now(), self.policy.deadline);
        let turn = stay.end_at(&self.shared, begun.checked_add(deadline)).await;
        let left = deadline.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
        let (Ok(turn), Some(left)) = (turn, left) else {
            return Err(self.out_of_turn());
        };
        self.policy = self.policy.deadline(left);
        // One that blocks may be answered in an hour; the others do not wait for that.
        let turn = turn.filter(|_| matches!(flight_kind(request.demand()), FlightKind::Plain));
        let reply = self.run(request).await;
        drop(turn);
        reply
    }

    /// The error of one who waited here until it was overdue.
    fn out_of_turn(&self) -> RedisError {
        let held = self.shared.turnstile.waiting();
        let facts = self.facts(Outcome::NotSent, Reason::DeadlinePassed);
        self.fail(Facts { held, cause: Some(WAITED_FOR_ITS_TURN.to_owned()), ..facts })
    }
}
