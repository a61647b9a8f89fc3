//! Bounding a wait by a timer that may itself be late.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A timer this late says that our runtime stood still, not that the peer did.
const LATE: Duration = Duration::from_millis(50);

/// What is granted then, once: time to read what has arrived meanwhile.
const GRACE: Duration = Duration::from_millis(250);

/// What `future` yields within `limit`, or `None`.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(future);
    let due = Instant::now() + limit;
    tokio::select! {
        biased;
        output = &mut future => return Some(output),
        () = sleep_until(due) => {}
    }
    if due.elapsed() <= LATE {
        return None;
    }
    tokio::select! {
        biased;
        output = &mut future => Some(output),
        () = sleep_until(Instant::now() + GRACE) => None,
    }
}
