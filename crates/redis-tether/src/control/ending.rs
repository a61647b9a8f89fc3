//! How a tether ends. One task sees to it, started with the tether and outside its actors: it asks for the end when nobody
//! holds the tether any more or its token is cancelled, and whatever brought the supervisor's end about (a shutdown, a
//! stop, a kill, a panic), it ends the rest and says so when nothing is left. It waits for the supervisor's own task and not
//! for a supervision event: that would be handled when the application's actor above finds the time.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use ractor::concurrency::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Control;
use super::supervisor::SupervisorMsg;

/// Aborted tasks end when they are polled the next time. Only code of the application's can put that off, by blocking the
/// thread (in a resolver, a transport, a conversion of events), and for so long it is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// To be run from the start of a tether to its end. `actor` is the supervisor's task. Dropping what this returns ends the tether
/// as well, also where it was never polled: a runtime may be dropped before it gets round to that.
pub(crate) fn see_to(
    control: Arc<Control>,
    supervisor: ActorRef<SupervisorMsg>,
    actor: JoinHandle<()>,
    released: CancellationToken,
    cancelled_by: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let ending = Ending(control);
    async move { end_in_order(&ending.0, supervisor, actor, released, cancelled_by).await }
}

async fn end_in_order(
    control: &Control,
    supervisor: ActorRef<SupervisorMsg>,
    actor: JoinHandle<()>,
    released: CancellationToken,
    cancelled_by: CancellationToken,
) {
    // Bounded by the drain's limit.
    let ask = || drop(supervisor.send_message(SupervisorMsg::ShutDown));
    until_over(actor, released, cancelled_by, ask).await;
    control.end();
    if timeout(LIMIT, control.tasks.wait()).await.is_err() {
        let left = control.tasks.len();
        tracing::warn!(
            endpoint = &*control.shared.endpoint,
            left,
            "the tether stops with tasks that do not end: code of the application's blocks their thread"
        );
    }
}

/// Waits for the end of a supervisor's task, which `ask` is to bring about once nobody holds what it supervises or its token is
/// cancelled.
pub(crate) async fn until_over(
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
struct Ending(Arc<Control>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
        self.0.announce_end();
    }
}

#[cfg(test)]
mod tests;
