//! Who watches a scenario as it is played: a timeline on a terminal, say. Called by the player and the writer as things
//! happen; must not block.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::report::Operation;

/// Is told what happens in a scenario, as it happens. Its methods must not block.
pub trait Observer: Sync {
    /// The scenario goes on to this step.
    fn stepped(&self, _at: Instant, _step: &Step) {}

    /// The writer's write number `operation.n` is over.
    fn wrote(&self, _operation: &Operation) {}
}

/// Watches nothing.
impl Observer for () {}

/// A step of a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// The writer starts; all is well.
    #[non_exhaustive]
    Started {
        /// Where the primary is.
        primary: SocketAddr,
    },
    /// The fault begins.
    #[non_exhaustive]
    Fault {
        /// What was done, for people.
        what: &'static str,
        /// The node that it was done to.
        node: SocketAddr,
    },
    /// The fault is over: a primary is reachable under the name.
    #[non_exhaustive]
    Reachable {
        /// What was done, for people.
        what: &'static str,
        /// Where the primary is.
        primary: SocketAddr,
    },
    /// A write has succeeded on the primary that is reachable.
    #[non_exhaustive]
    Recovered {
        /// Its number.
        n: u64,
    },
    /// The client had its time and no write has succeeded.
    NotRecovered,
    /// The writer stops.
    Ended,
}
