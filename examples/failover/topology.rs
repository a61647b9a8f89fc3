//! The topologies, and what is played in each.

use std::fmt;
use std::time::Duration;

use redis_tether_testkit::scenario::{ClusterScenario, Scenario, SentinelScenario, UnknownScenario};

/// How clients find the primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Topology {
    /// By a DNS name.
    Standalone,
    Sentinel,
    Cluster,
}

impl Topology {
    pub(crate) fn named(word: &str) -> Result<Self, String> {
        match word {
            "standalone" => Ok(Topology::Standalone),
            "sentinel" => Ok(Topology::Sentinel),
            "cluster" => Ok(Topology::Cluster),
            _ => Err(format!("there is no topology {word:?}; there are standalone, sentinel and cluster")),
        }
    }

    /// The plays of this name, or all that there are.
    pub(crate) fn plays(self, word: &str) -> Result<Vec<Play>, String> {
        let one = |play: Result<Play, UnknownScenario>| play.map(|play| vec![play]);
        let named = match (self, word) {
            (Topology::Standalone, "all") => Ok(Scenario::ALL.map(Play::Standalone).to_vec()),
            (Topology::Sentinel, "all") => Ok(SentinelScenario::ALL.map(Play::Sentinel).to_vec()),
            (Topology::Cluster, "all") => Ok(ClusterScenario::ALL.map(Play::Cluster).to_vec()),
            (Topology::Standalone, word) => one(word.parse().map(Play::Standalone)),
            (Topology::Sentinel, word) => one(SentinelScenario::named(word).map(Play::Sentinel)),
            (Topology::Cluster, word) => one(ClusterScenario::named(word).map(Play::Cluster)),
        };
        named.map_err(|unknown| format!("{unknown}, and all"))
    }

    /// What tells that the primary is elsewhere while its link is well.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Topology::Standalone => "dns",
            Topology::Sentinel => "sentinel",
            Topology::Cluster => "slots",
        }
    }

    /// What recoveries are measured from.
    pub(crate) fn origin(self) -> &'static str {
        match self {
            Topology::Standalone => "a primary was reachable under the name",
            Topology::Sentinel => "the first sentinel announced the new primary",
            Topology::Cluster => "the replica had taken over (replace: the name led to the new nodes)",
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Topology::Standalone => "standalone",
            Topology::Sentinel => "sentinel",
            Topology::Cluster => "cluster",
        })
    }
}

/// One scenario of one topology.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Play {
    Standalone(Scenario),
    Sentinel(SentinelScenario),
    Cluster(ClusterScenario),
}

impl Play {
    pub(crate) fn topology(self) -> Topology {
        match self {
            Play::Standalone(_) => Topology::Standalone,
            Play::Sentinel(_) => Topology::Sentinel,
            Play::Cluster(_) => Topology::Cluster,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Play::Standalone(scenario) => scenario.name(),
            Play::Sentinel(scenario) => scenario.name(),
            Play::Cluster(scenario) => scenario.name(),
        }
    }

    /// What happens, in one line for people.
    pub(crate) fn summary(self) -> &'static str {
        match self {
            Play::Standalone(scenario) => scenario.summary(),
            Play::Sentinel(scenario) => scenario.summary(),
            Play::Cluster(scenario) => scenario.summary(),
        }
    }

    /// How often the state is shown although nothing has happened.
    pub(crate) fn tick(self) -> Duration {
        match self {
            Play::Standalone(Scenario::Outage) | Play::Cluster(ClusterScenario::Reshard) => Duration::from_secs(2),
            _ => Duration::from_millis(500),
        }
    }
}
