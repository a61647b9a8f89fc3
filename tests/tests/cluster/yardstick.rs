//! What the machine makes every caller wait, whoever it asks: measured over plain connections of redis-rs's to nodes that nothing
//! happens to, while a test measures the tether. A wait that is no longer is not the tether's.

use std::time::Duration;

use redis_tether::redis::{AsyncConnectionConfig, Client};
use redis_tether_testkit::Server;
use redis_tether_testkit::scenario::{OpenLoop, Operation};
use redis_tether_tests::watch::{PATIENCE, within};
use redis_tether_tests::writer::Writer;

/// Callers of some nodes, on the schedule of those that they are compared with.
pub(crate) struct Yardstick(Vec<OpenLoop>);

impl Yardstick {
    /// One caller for each node, whose keys begin with what is beside it.
    pub(crate) async fn start(nodes: impl IntoIterator<Item = (&Server, String)>, period: Duration) -> Yardstick {
        let mut callers = Vec::new();
        for (node, prefix) in nodes {
            let client = Client::open(format!("redis://{}", node.addr())).expect("a URL");
            // It is to be kept waiting for as long as it takes.
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            let connecting = client.get_multiplexed_async_connection_with_config(&config);
            let connection = within(PATIENCE, "a plain connection", connecting).await.expect("the node is well");
            callers.push(OpenLoop::start(Writer::new(connection, prefix), period));
        }
        Yardstick(callers)
    }

    /// The longest that anybody waited for an answer.
    pub(crate) async fn finish(self) -> Duration {
        let mut longest = Duration::ZERO;
        for caller in self.0 {
            longest = longest.max(longest_wait(&caller.finish().await));
        }
        longest
    }
}

/// Whoever is refused, as by a node that heard of no other for a while, asks again: it has waited until one that was due later is
/// answered.
fn longest_wait(operations: &[Operation]) -> Duration {
    let (mut longest, mut answered) = (Duration::ZERO, None);
    for operation in operations.iter().rev() {
        if operation.result.is_ok() {
            answered = Some(operation.ended);
        }
        longest = longest.max(answered.unwrap_or(operation.ended) - operation.started);
    }
    longest
}
