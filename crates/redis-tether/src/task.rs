//! Tasks that report back to the actor that began them. A handler never awaits I/O; it begins a task, and the task's end
//! comes back as a message, even where the work panicked.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// Runs `work`; whatever becomes of it, `done` hears: its outcome, or `None` if it panicked. Dropping the handle ends both.
pub(crate) fn reporting<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    done: impl FnOnce(Option<T>) + Send + 'static,
) -> AbortOnDropHandle<()> {
    let work = AbortOnDropHandle::new(tokio::spawn(work));
    AbortOnDropHandle::new(tokio::spawn(async move { done(work.await.ok()) }))
}

/// Calls `done` at `at`, unless the handle is dropped before.
pub(crate) fn at(at: Instant, done: impl FnOnce() + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        sleep_until(at).await;
        done();
    }))
}

/// Calls `done` after `delay`, unless the handle is dropped before.
pub(crate) fn after(delay: Duration, done: impl FnOnce() + Send + 'static) -> AbortOnDropHandle<()> {
    at(Instant::now() + delay, done)
}
