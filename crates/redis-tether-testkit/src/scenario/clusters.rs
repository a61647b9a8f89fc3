//! The scenarios of a cluster: what befalls the primary of its first shard, its slots, or all of its nodes. The writer's keys
//! are of the first shard, so that others may be written to meanwhile and be compared.

use std::net::SocketAddr;

use tokio::time::{Instant, sleep_until};

use super::client::{Client, key};
use super::names::{UnknownScenario, find};
use super::node::has_keys;
use super::observer::{Observer, Step};
use super::play::{self, Course, Drama, ScenarioError, fault, mended};
use super::report::Report;
use super::timings::Timings;
use crate::dns::Dns;
use crate::server::{ClusterDeployment, ServerBinary};
use crate::tls::TlsFiles;

/// The configuration endpoint; the DNS decides what it means.
const NAME: &str = "cluster.test";

/// The shard that things happen to.
const STRUCK: usize = 0;

/// What happens to a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum ClusterScenario {
    /// A primary is killed.
    Crash,
    /// A primary freezes: its kernel acknowledges, it never answers.
    Hang,
    /// A replica is told to take over (`CLUSTER FAILOVER`).
    Planned,
    /// All nodes are killed. A second later the configuration endpoint leads to others, at other addresses, without data.
    Replace,
    /// Half of the slots of each shard go to the next one, with their keys.
    Reshard,
}

impl ClusterScenario {
    /// All of them, in the order in which they are usually shown.
    pub const ALL: [Self; 5] = [Self::Crash, Self::Hang, Self::Planned, Self::Replace, Self::Reshard];

    /// By its name.
    ///
    /// # Errors
    /// Where there is none of this name, with those that there are.
    pub fn named(word: &str) -> Result<Self, UnknownScenario> {
        find(word, &Self::ALL, Self::name)
    }

    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Planned => "planned",
            Self::Replace => "replace",
            Self::Reshard => "reshard",
        }
    }

    /// What happens, in one line for people.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Self::Crash => "one primary of three is killed, its replica takes over",
            Self::Hang => "one primary of three freezes, its replica takes over",
            Self::Planned => "a replica is told to take over",
            Self::Replace => "all nodes are killed, and the same configuration endpoint leads to others",
            Self::Reshard => "half of the slots of each shard go to the next one, under load",
        }
    }
}

/// A cluster of three primaries and three replicas behind a DNS name, all real.
///
/// Processes end with it.
#[derive(Debug)]
pub struct ClusterStage {
    scenario: ClusterScenario,
    dns: Dns,
    cluster: ClusterDeployment,
    plot: Plot,
}

/// A scenario, with what it needs.
#[derive(Debug)]
enum Plot {
    Kill,
    Freeze,
    HandOver,
    ReplaceBy(Box<ClusterDeployment>),
    Reshard,
}

impl ClusterStage {
    /// Starts all nodes, and returns when they agree on who has what.
    ///
    /// # Errors
    /// Where a server does not start or the machine has no address for it.
    pub async fn set(binary: &ServerBinary, scenario: ClusterScenario) -> Result<Self, ScenarioError> {
        Self::on(ClusterDeployment::start(binary).await?, binary, scenario).await
    }

    /// The same over TLS, as [`tls`](Self::tls) says. Nodes announce names, each with a certificate for its own and for that of the
    /// configuration endpoint, and want one of their clients.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_over_tls(binary: &ServerBinary, scenario: ClusterScenario) -> Result<Self, ScenarioError> {
        Self::on(ClusterDeployment::start_over_tls_behind(binary, NAME).await?, binary, scenario).await
    }

    async fn on(
        cluster: ClusterDeployment,
        binary: &ServerBinary,
        scenario: ClusterScenario,
    ) -> Result<Self, ScenarioError> {
        let plot = match scenario {
            ClusterScenario::Crash => Plot::Kill,
            ClusterScenario::Hang => Plot::Freeze,
            ClusterScenario::Planned => Plot::HandOver,
            ClusterScenario::Replace => {
                Plot::ReplaceBy(Box::new(ClusterDeployment::start_beside(binary, &cluster).await?))
            }
            ClusterScenario::Reshard => Plot::Reshard,
        };
        let stage = Self { scenario, dns: Dns::new(), cluster, plot };
        stage.lead_to(&stage.cluster);
        Ok(stage)
    }

    /// The configuration endpoint, and where nodes announce names those as well.
    fn lead_to(&self, cluster: &ClusterDeployment) {
        let ips = || cluster.nodes.iter().map(|node| ClusterDeployment::client_addr(node).ip());
        self.dns.set(NAME, ips().collect());
        for (node, ip) in ips().enumerate().filter(|(node, _)| cluster.tls_files(*node).is_some()) {
            self.dns.set(&ClusterDeployment::hostname(node), vec![ip]);
        }
    }

    /// The DNS that knows the configuration endpoint.
    #[must_use]
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// The configuration endpoint: name and port.
    #[must_use]
    pub fn endpoint(&self) -> (&'static str, u16) {
        (NAME, ClusterDeployment::client_addr(&self.cluster.nodes[0]).port())
    }

    /// What the nodes show and want, where they speak TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFiles> {
        self.cluster.tls_files(STRUCK)
    }

    /// What the keys of the client's writes have to begin with, before [`key`]: what makes them keys of the shard that things
    /// happen to, or nothing where they happen to all.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self.plot {
            Plot::Reshard => String::new(),
            _ => self.cluster.key_in(STRUCK, ""),
        }
    }

    /// The same for each of the shards that nothing happens to.
    #[must_use]
    pub fn prefixes_elsewhere(&self) -> Vec<String> {
        match self.plot {
            Plot::Kill | Plot::Freeze | Plot::HandOver => {
                let others = (0..ClusterDeployment::SHARDS).filter(|shard| *shard != STRUCK);
                others.map(|shard| self.cluster.key_in(shard, "")).collect()
            }
            Plot::ReplaceBy(_) | Plot::Reshard => Vec::new(),
        }
    }

    /// Plays the scenario, once, while `client` writes every [`period`](Timings::period).
    ///
    /// It takes as long as the cluster does. Not cancel safe.
    ///
    /// # Errors
    /// Where a server or the machine does not do its part.
    pub async fn play(
        &mut self,
        timings: &Timings,
        client: &mut impl Client,
        observer: &impl Observer,
    ) -> Result<Report, ScenarioError> {
        play::play(self, timings, client, observer).await
    }

    async fn takeover(&self, fault: Instant, observer: &impl Observer) -> Result<Course, ScenarioError> {
        let replica = self.cluster.replica(STRUCK);
        let reachable = self.cluster.taken_over(replica).await?;
        observer.stepped(reachable, &Step::Reachable { what: "has taken over", primary: replica.addr() });
        Ok(Course { fault, new_order: None, reachable })
    }

    async fn replacement(
        &self,
        successor: &ClusterDeployment,
        timings: &Timings,
        observer: &impl Observer,
    ) -> Result<Course, ScenarioError> {
        let fault = fault(observer, "killed, as are all nodes", self.primary());
        for node in &self.cluster.nodes {
            node.kill().await?;
        }
        sleep_until(fault + timings.promote_after).await;
        self.lead_to(successor);
        Ok(mended(fault, observer, "what the name leads to now", successor.primary(STRUCK).addr()))
    }

    /// One shard after another: nodes that hand keys on in a circle wait for each other.
    async fn resharding(&self, observer: &impl Observer) -> Result<Course, ScenarioError> {
        const SHARDS: u16 = ClusterDeployment::SHARDS as u16;
        const SLOTS: u16 = ClusterDeployment::SLOTS as u16 / SHARDS;
        let fault = fault(observer, "and all others hand on half of their slots", self.primary());
        for shard in 0..SHARDS {
            let slots = shard * SLOTS..shard * SLOTS + SLOTS / 2;
            self.cluster.reshard(slots, usize::from(shard), usize::from((shard + 1) % SHARDS)).await?;
        }
        Ok(mended(fault, observer, "and all others have done so", self.primary()))
    }
}

impl Drama for ClusterStage {
    fn name(&self) -> &'static str {
        self.scenario.name()
    }

    fn primary(&self) -> SocketAddr {
        self.cluster.primary(STRUCK).addr()
    }

    async fn strike_and_mend(&mut self, timings: &Timings, observer: &impl Observer) -> Result<Course, ScenarioError> {
        let primary = self.cluster.primary(STRUCK);
        match &self.plot {
            Plot::Kill => {
                self.cluster.elect_after(ClusterDeployment::QUICKLY).await?;
                let fault = fault(observer, "killed", primary.addr());
                primary.kill().await?;
                self.takeover(fault, observer).await
            }
            Plot::Freeze => {
                self.cluster.elect_after(ClusterDeployment::QUICKLY).await?;
                let fault = fault(observer, "frozen", primary.addr());
                primary.freeze().await?;
                self.takeover(fault, observer).await
            }
            Plot::HandOver => {
                let fault = fault(observer, "to be replaced: its replica is told to take over", primary.addr());
                self.cluster.failover(STRUCK).await?;
                self.takeover(fault, observer).await
            }
            Plot::ReplaceBy(successor) => self.replacement(successor, timings, observer).await,
            Plot::Reshard => self.resharding(observer).await,
        }
    }

    async fn arrived(&self, writes: &[u64]) -> Result<Option<Vec<bool>>, ScenarioError> {
        let primary = match &self.plot {
            Plot::Kill | Plot::Freeze | Plot::HandOver => self.cluster.replica(STRUCK),
            Plot::ReplaceBy(successor) => successor.primary(STRUCK),
            Plot::Reshard => return Ok(None),
        };
        let prefix = self.prefix();
        has_keys(primary, writes.iter().map(|n| format!("{prefix}{}", key(*n)))).await.map(Some)
    }
}
