//! The application's own code, where the control path runs it: conversions of events, wakers, drops. It may panic; what was
//! to happen after it happens all the same.

use std::panic::{AssertUnwindSafe, catch_unwind};

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
