//! How a tether ends, and a cluster's tether. One task sees to it, started with the tether and outside its actors: it asks for the
//! end when nobody holds the tether any more or its token is cancelled, and whatever brought the supervisor's end about (a shutdown,
//! a stop, a kill, a panic), it ends the rest and says so when nothing is left. It waits for the supervisor's own task and not
//! for a supervision event: that would be handled when the application's actor above finds the time.

use std::sync::Arc;
use std::time::Duration;

use ractor::concurrency::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Aborted tasks end when they are polled the next time. Only code of the application's can put that off, by blocking the
/// thread (in a resolver, a transport, a conversion of events), and for so long it is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// What a supervisor supervises, where that ends: a tether, or a cluster's.
pub(crate) trait Ends: Send + Sync + 'static {
    /// For people.
    const KIND: &'static str;

    fn endpoint(&self) -> &str;

    fn tasks(&self) -> &TaskTracker;

    /// Ends what the supervisor has left. Safe to call again.
    fn end(&self);

    /// Tells whoever waits for it that nothing is left. Safe to call again.
    fn announce_end(&self);
}

/// To be run from the start of a tether to its end. `actor` is the supervisor's task, and `ask` has it end. Dropping what this returns
/// ends the tether as well, also where it was never polled: a runtime may be dropped before it gets round to that.
pub(crate) fn see_to<W: Ends>(
    whole: Arc<W>,
    actor: JoinHandle<()>,
    ask: impl FnOnce() + Send + 'static,
    released: CancellationToken,
    cancelled_by: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let ending = Ending(whole);
    async move {
        let whole = &*ending.0;
        // Bounded by the drain's limit.
        until_over(actor, released, cancelled_by, ask).await;
        whole.end();
        if timeout(LIMIT, whole.tasks().wait()).await.is_err() {
            let (endpoint, left) = (whole.endpoint(), whole.tasks().len());
            tracing::warn!(
                endpoint,
                left,
                "the {} stops with tasks that do not end: code of the application's blocks their thread",
                W::KIND
            );
        }
    }
}

/// Waits for the end of a supervisor's task, which `ask` is to bring about once nobody holds what it supervises or its token is
/// cancelled.
async fn until_over(
    mut actor: JoinHandle<()>,
    released: CancellationToken,
    cancelled_by: CancellationToken,
    ask: impl FnOnce(),
) {
    tokio::select! {
        biased;
        _ = &mut actor => return,
        () = released.cancelled() => {}
        () = cancelled_by.cancelled() => {}
    }
    ask();
    let _ = actor.await;
}

/// Ends the tether when it is dropped, however that came about.
struct Ending<W: Ends>(Arc<W>);

impl<W: Ends> Drop for Ending<W> {
    fn drop(&mut self) {
        self.0.end();
        self.0.announce_end();
    }
}

#[cfg(test)]
mod tests;
