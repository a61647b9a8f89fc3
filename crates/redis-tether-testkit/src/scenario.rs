//! The ways in which a primary fails, each played against a small deployment while one writer writes, and measured: behind a DNS
//! name ([`Scenario`]), watched by sentinels ([`SentinelScenario`]), in a cluster ([`ClusterScenario`]).
//!
//! Tests, benches and demonstrations share this one definition, so that their figures can be compared. It knows no
//! client: whoever plays a scenario brings one as a [`Client`]. It measures from outside, by what the client's calls
//! return and by what the servers hold, and it decides nothing about what is good enough.
//!
//! ```no_run
//! # use redis_tether_testkit::scenario::{Client, Failed, Scenario, Servers, Stage, Timings};
//! # struct MyClient;
//! # impl MyClient { async fn connect(_: &Stage) -> Self { MyClient } }
//! # impl Client for MyClient { async fn set(&mut self, _: u64) -> Result<(), Failed> { Ok(()) } }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let stage = Stage::set(&Servers::Fake, Scenario::Crash).await?;
//! let mut client = MyClient::connect(&stage).await; // by stage.dns(), name(), port() and password()
//! let report = stage.play(&Timings::default(), &mut client, &()).await?;
//! println!("back after {:?}, {} writes failed", report.recovered_after(), report.failed());
//! # Ok(()) }
//! ```

mod client;
mod clusters;
mod names;
mod node;
mod observer;
mod open_loop;
mod play;
mod report;
mod sentinels;
mod stage;
mod standalone;
mod timings;
mod writer;

use std::fmt;
use std::str::FromStr;

pub use client::{Client, Failed, Failure, key};
pub use clusters::{ClusterScenario, ClusterStage};
pub use names::UnknownScenario;
pub use node::Node;
pub use observer::{Observer, Step};
pub use open_loop::OpenLoop;
pub use play::ScenarioError;
pub use report::{Operation, Report};
pub use sentinels::{SentinelScenario, SentinelStage};
pub use stage::{Servers, Stage};
pub use timings::Timings;

/// A way in which a primary behind a DNS name fails. The times are those of [`Timings`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Scenario {
    /// The primary is killed; a second later the replica is promoted and the name moves to it.
    Crash,
    /// The replica is promoted, the old primary becomes its replica and lives on, and the name moves at once.
    Demote,
    /// The primary freezes: its kernel acknowledges, it never answers. A second later the replica is promoted and the
    /// name moves.
    Hang,
    /// The replica is promoted and the name moves, while the old primary goes on taking writes.
    Move,
    /// The primary is killed, and comes back at the same address two seconds later.
    Restart,
    /// The same, and it comes back half a minute later.
    Outage,
    /// The password is changed and connections are closed; five seconds later the old password is back.
    Auth,
    /// The primary answers nobody for three seconds, as during a slow script. Nothing has failed.
    Slow,
}

impl Scenario {
    /// All of them, in the order in which they are usually shown.
    pub const ALL: [Scenario; 8] = [
        Scenario::Crash,
        Scenario::Demote,
        Scenario::Hang,
        Scenario::Move,
        Scenario::Restart,
        Scenario::Outage,
        Scenario::Auth,
        Scenario::Slow,
    ];

    /// The word that `Display` prints and `FromStr` reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Crash => "crash",
            Scenario::Demote => "demote",
            Scenario::Hang => "hang",
            Scenario::Move => "move",
            Scenario::Restart => "restart",
            Scenario::Outage => "outage",
            Scenario::Auth => "auth",
            Scenario::Slow => "slow",
        }
    }

    /// What happens, in one line for people.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Scenario::Crash => "the primary is killed, the replica takes over and DNS moves",
            Scenario::Demote => "the primary becomes a replica and lives on, DNS moves",
            Scenario::Hang => "the primary freezes, the replica takes over and DNS moves",
            Scenario::Move => "the replica takes over and DNS moves, the old primary still takes writes",
            Scenario::Restart => "the primary is killed and comes back at the same address",
            Scenario::Outage => "the primary is killed and stays away for long, then the same address is back",
            Scenario::Auth => "the password changes for a while and connections are killed",
            Scenario::Slow => "the primary answers nobody for a while, as during a slow script; nothing has failed",
        }
    }

    /// Whether another node is the primary afterwards.
    #[must_use]
    pub fn is_failover(self) -> bool {
        matches!(self, Scenario::Crash | Scenario::Demote | Scenario::Hang | Scenario::Move)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        names::find(word, &Self::ALL, Self::name)
    }
}

#[cfg(test)]
mod tests;
