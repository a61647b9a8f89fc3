//! Late timers. A timer that fires long after it was due says that this process stood still: throttled, stopped, or its
//! only worker was busy. What was waited for may have arrived meanwhile and only not been looked at, so the verdict is
//! put off for a moment, in which the sockets are read. Handles and held commands keep one [`Patience`] a command; dials
//! keep one for each of their waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::stats::Counters;

/// How late a timer must be to count as late. Well above what a busy machine delays timers by.
const LATE: Duration = Duration::from_millis(50);

/// How long a verdict is put off: enough to read what waits in the sockets.
const GRACE: Duration = Duration::from_millis(250);

/// How much putting off one command has left.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
}

impl Patience {
    /// Puts off for `limit` altogether, but once in any case.
    pub(crate) fn new(limit: Duration) -> Patience {
        Patience { left: limit.max(GRACE) }
    }

    /// A timer that was due at `due` has fired. If it is late, says until when to wait before judging.
    pub(crate) fn put_off(&mut self, due: Instant, counters: &Counters) -> Option<Instant> {
        let later = self.later(due)?;
        counters.late_deadlines.increment();
        Some(later)
    }

    /// The same for a wait that is no command's and is not counted.
    pub(crate) fn later(&mut self, due: Instant) -> Option<Instant> {
        let now = Instant::now();
        if now.saturating_duration_since(due) <= LATE {
            return None;
        }
        self.left = self.left.checked_sub(GRACE)?;
        Some(now + GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn puts_off_while_timers_are_late_and_never_for_longer_than_its_limit() {
        let counters = Counters::default();
        let mut patience = Patience::new(Duration::from_millis(600));
        let due = Instant::now();
        assert_eq!(patience.put_off(due, &counters), None, "in time");
        tokio::time::advance(LATE).await;
        assert_eq!(patience.put_off(due, &counters), None, "late by as much as may be");
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(patience.put_off(due, &counters), Some(Instant::now() + GRACE));
        }
        assert_eq!(patience.put_off(due, &counters), None, "the limit is used up");
        assert_eq!(counters.late_deadlines.value(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn puts_off_once_for_the_shortest_limit() {
        let counters = Counters::default();
        let mut patience = Patience::new(Duration::from_millis(1));
        let due = Instant::now();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(patience.put_off(due, &counters).is_some());
        assert!(patience.put_off(due, &counters).is_none());
    }
}
