//! Those whom a fault is none of the business of: callers of the other shards of a cluster, each asked for a write on a schedule,
//! whatever became of the one before, so that a gap cannot hide by putting off the writes that would have met it.

use std::time::Duration;

use redis_tether::ClusterHandle;
use redis_tether_testkit::scenario::{OpenLoop, Operation, Report};
use serde::Serialize;

use crate::watched::Watched;
use crate::writer::Writer;

/// From one write to the next, at each of the other shards.
const PERIOD: Duration = Duration::from_millis(5);

pub(crate) struct Bystanders(Vec<OpenLoop>);

/// What they met.
#[derive(Debug, Serialize)]
pub(crate) struct Bystood {
    pub(crate) done_ops: usize,
    pub(crate) failed_ops: usize,
    /// The longest that a write took from the moment it was due, since the fault.
    pub(crate) max_op_s: f64,
    /// The same before the fault: what the machine adds by itself.
    pub(crate) max_op_before_s: f64,
}

impl Bystanders {
    /// One for each of these beginnings of keys.
    pub(crate) fn begin(handle: &ClusterHandle, watched: &Watched, prefixes: Vec<String>) -> Self {
        let writer = |prefix| Writer::new(handle.clone(), watched.clone(), prefix);
        Bystanders(prefixes.into_iter().map(|prefix| OpenLoop::start(writer(prefix), PERIOD)).collect())
    }

    /// `None` where there were none.
    pub(crate) async fn end(self, report: &Report) -> Option<Bystood> {
        let mut operations = Vec::new();
        for writes in self.0 {
            operations.extend(writes.finish().await);
        }
        (!operations.is_empty()).then(|| Bystood::of(&operations, report))
    }
}

impl Bystood {
    fn of(operations: &[Operation], report: &Report) -> Self {
        let fault = report.started + report.fault;
        let longest = |was_met: &dyn Fn(&Operation) -> bool| {
            let took = operations.iter().filter(|one| was_met(one)).map(Operation::took).max();
            (took.unwrap_or_default().as_secs_f64() * 10_000.0).round() / 10_000.0
        };
        let failed = operations.iter().filter(|one| one.result.is_err()).count();
        Bystood {
            done_ops: operations.len() - failed,
            failed_ops: failed,
            max_op_s: longest(&|one| one.ended >= fault),
            max_op_before_s: longest(&|one| one.ended < fault),
        }
    }
}
