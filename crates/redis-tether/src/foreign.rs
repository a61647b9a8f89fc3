//! The application's own code, where the control path runs it: conversions of events, sources, wakers, drops. It may panic; what was
//! to happen after it happens all the same.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// Runs `code`, of which `what` says what it is; `None` if it panicked.
///
/// Whatever it shares with others must be whole wherever it can panic.
pub(crate) fn run<T>(what: &str, code: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(code));
    if outcome.is_err() {
        tracing::error!(what, "code of the application's panicked on the tether's control path");
    }
    outcome.ok()
}

/// What comes of `work`, or `None` if it panicked: while it was polled, or while it was dropped after that.
pub(crate) async fn caught<T>(work: Pin<Box<dyn Future<Output = T> + Send>>) -> Option<T> {
    let mut work = Some(work);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            // It is there until it has ended.
            let polled = work.as_mut().map_or(Poll::Pending, |work| work.as_mut().poll(cx));
            if polled.is_ready() {
                work = None;
            }
            polled
        }));
        if let Ok(polled) = polled {
            return polled.map(Some);
        }
        // Nobody is to poll it again, and what it leaves behind may panic as well.
        let _ = catch_unwind(AssertUnwindSafe(|| work = None));
        Poll::Ready(None)
    })
    .await
}
