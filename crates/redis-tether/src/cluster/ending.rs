//! How a cluster ends. One task sees to it, as `control/ending.rs` has one for each tether: it asks for the end when nobody holds
//! the cluster any more or its token is cancelled, and whatever brought the supervisor's end about, it ends the rest and says so when
//! nothing is left. The tethers of the shards see to their own ends.

use std::sync::Arc;

use ractor::ActorRef;
use ractor::concurrency::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Common;
use super::supervisor::ClusterMsg;
use crate::tether::Tether;

pub(super) use crate::control::ending::LIMIT;
use crate::control::ending::until_over;

/// To be run from the start of a cluster to its end. `actor` is the supervisor's task. Dropping what this returns ends the cluster as
/// well, also where it was never polled: a runtime may be dropped before it gets round to that.
pub(super) fn see_to(
    common: Arc<Common>,
    supervisor: ActorRef<ClusterMsg>,
    actor: JoinHandle<()>,
    released: CancellationToken,
    cancelled_by: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let ending = Ending(common);
    async move { end_in_order(&ending.0, supervisor, actor, released, cancelled_by).await }
}

async fn end_in_order(
    common: &Common,
    supervisor: ActorRef<ClusterMsg>,
    actor: JoinHandle<()>,
    released: CancellationToken,
    cancelled_by: CancellationToken,
) {
    // Bounded by the shutdowns of the shards.
    let ask = || drop(supervisor.send_message(ClusterMsg::ShutDown));
    until_over(actor, released, cancelled_by, ask).await;
    common.end();
    if timeout(LIMIT, common.tasks.wait()).await.is_err() {
        let (endpoint, left) = (&*common.endpoint, common.tasks.len());
        tracing::warn!(
            endpoint,
            left,
            "the cluster stops with tasks that do not end: code of the application's blocks their thread"
        );
    }
}

/// Ends everything where nobody else does: the runtime stands still, and polls none of those who would.
pub(super) fn at_once(common: &Common) {
    let shown = common.rosters.borrow().clone();
    let tethers: Vec<Tether> = shown.tethers().cloned().chain(common.counts.ending()).collect();
    common.end();
    for tether in tethers {
        tether.control.end();
        tether.control.announce_end();
    }
    common.announce_end();
}

/// Ends the cluster when it is dropped, however that came about.
struct Ending(Arc<Common>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
        self.0.announce_end();
    }
}

#[cfg(test)]
mod tests;
