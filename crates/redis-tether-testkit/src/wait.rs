//! Waiting for things to happen: a change signal, and the error of a wait that ran out.
//!
//! Every module of the kit that lets a test wait ("until the third lookup", "until the link is in sync") does it through
//! [`Signal::until`]. Nothing here polls on a timer, and nothing waits without a limit. Signals wake in the order in
//! which the waiters arrived, so that a simulation replays exactly.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How long the `wait_for_…` methods of this crate wait before they give up: one minute on tokio's clock, which is
/// virtual where the test has paused it.
///
/// It is a safety net and no measure of anything; a test that asserts how soon something happens measures it itself.
pub const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// What a test waited for did not happen in time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimedOut {
    /// What was waited for, for people.
    pub what: String,
    /// How long was waited.
    pub after: Duration,
    /// How things stood when the wait was given up, for people; may be empty.
    pub last: String,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:?} for {}", self.after, self.what)?;
        if !self.last.is_empty() {
            write!(f, "; last seen: {}", self.last)?;
        }
        Ok(())
    }
}

impl std::error::Error for TimedOut {}

impl From<TimedOut> for std::io::Error {
    fn from(error: TimedOut) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, error)
    }
}

/// "Something changed, look again": a condition variable for tasks.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    notify: Notify,
}

impl Signal {
    /// Wakes everyone who waits now.
    pub(crate) fn raise(&self) {
        self.notify.notify_waiters();
    }

    /// A future that completes at the first [`raise`](Self::raise) after this call, polled or not. Take it before
    /// looking at the state, so that no change falls between the look and the wait.
    pub(crate) fn next(&self) -> Notified<'_> {
        self.notify.notified()
    }

    /// Waits until `look` has something to say. Cancel safe.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let next = self.next();
            if let Some(found) = look() {
                return found;
            }
            next.await;
        }
    }

    /// Waits until `count` has reached `least`, at most for [`WAIT_LIMIT`].
    pub(crate) async fn until_at_least(
        &self,
        what: impl FnOnce() -> String,
        least: u64,
        mut count: impl FnMut() -> u64,
    ) -> Result<(), TimedOut> {
        let reached = self.until(|| (count() >= least).then_some(()));
        let outcome = limited(WAIT_LIMIT, reached).await;
        outcome.ok_or_else(|| TimedOut {
            what: format!("{} to reach {least}", what()),
            after: WAIT_LIMIT,
            last: count().to_string(),
        })
    }
}

async fn limited<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_says_what_it_waited_for_and_how_things_stood() {
        let error = Signal::default()
            .until_at_least(|| "lookups of redis.test".to_owned(), 3, || 2)
            .await
            .expect_err("the count stays at 2");
        assert_eq!(error.to_string(), "waited 60s for lookups of redis.test to reach 3; last seen: 2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_raise_between_the_look_and_the_wait_is_not_lost() {
        let signal = Signal::default();
        let looks = AtomicU64::new(0);
        let wait = signal.until(|| {
            let look = looks.fetch_add(1, Ordering::Relaxed);
            if look == 0 {
                signal.raise();
            }
            (look == 1).then_some(())
        });
        limited(Duration::from_secs(1), wait).await.expect("the second look");
    }
}
