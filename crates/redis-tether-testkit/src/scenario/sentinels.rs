//! The scenarios of a primary that sentinels watch: they notice, they appoint, and what is measured begins when the first of
//! them says so.

use std::net::SocketAddr;

use super::client::Client;
use super::names::{UnknownScenario, find};
use super::node::has;
use super::observer::{Observer, Step};
use super::play::{self, Course, Drama, ScenarioError, fault};
use super::report::Report;
use super::timings::Timings;
use crate::dns::Dns;
use crate::server::{Announcements, SentinelDeployment, Server, ServerBinary};
use crate::tls::TlsFiles;

/// The names of the sentinels; the DNS decides what they mean.
const NAMES: [&str; 3] = ["one.sentinel.test", "two.sentinel.test", "three.sentinel.test"];
/// Whom certificates are for. Servers and sentinels have no name in common but this one.
const CERTIFIED: &str = "redis.test";

/// What happens to a primary that sentinels watch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum SentinelScenario {
    /// The primary is killed.
    Crash,
    /// The primary freezes: its kernel acknowledges, it never answers.
    Hang,
    /// An operator has a sentinel fail over.
    Planned,
    /// All sentinels are replaced by others at other addresses, to which only their names lead. Then the primary is killed.
    Relocate,
}

impl SentinelScenario {
    /// All of them, in the order in which they are usually shown.
    pub const ALL: [Self; 4] = [Self::Crash, Self::Hang, Self::Planned, Self::Relocate];

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
            Self::Relocate => "relocate",
        }
    }

    /// What happens, in one line for people.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Self::Crash => "the primary is killed, the sentinels appoint a replica",
            Self::Hang => "the primary freezes, the sentinels appoint a replica",
            Self::Planned => "a sentinel is told to fail over",
            Self::Relocate => "all sentinels are restarted at other addresses, then the primary is killed",
        }
    }
}

/// A primary, two replicas and three sentinels, all real, and the names of the sentinels.
///
/// Processes end with it.
#[derive(Debug)]
pub struct SentinelStage {
    scenario: SentinelScenario,
    dns: Dns,
    deployment: SentinelDeployment,
    tls: Option<TlsFiles>,
    /// Whom the sentinels have appointed.
    appointed: Option<SocketAddr>,
}

impl SentinelStage {
    /// Starts everything, and returns when the sentinels know all of it.
    ///
    /// # Errors
    /// Where a server does not start or the machine has no address for it.
    pub async fn set(binary: &ServerBinary, scenario: SentinelScenario) -> Result<Self, ScenarioError> {
        Ok(Self::on(SentinelDeployment::start(binary).await?, scenario, None))
    }

    /// The same over TLS and nothing else, as [`tls`](Self::tls) says; everybody wants a certificate of their clients.
    ///
    /// # Errors
    /// As [`set`](Self::set), and where the server was built without TLS.
    pub async fn set_over_tls(binary: &ServerBinary, scenario: SentinelScenario) -> Result<Self, ScenarioError> {
        let files = TlsFiles::create(&[CERTIFIED]).map_err(ScenarioError::machine("make certificates"))?;
        let deployment = SentinelDeployment::start_over_tls(binary, &files, None).await?;
        Ok(Self::on(deployment, scenario, Some(files)))
    }

    fn on(deployment: SentinelDeployment, scenario: SentinelScenario, tls: Option<TlsFiles>) -> Self {
        let stage = Self { scenario, dns: Dns::new(), deployment, tls, appointed: None };
        stage.name_sentinels();
        stage
    }

    fn name_sentinels(&self) {
        for (name, addr) in NAMES.into_iter().zip(self.deployment.sentinel_addrs()) {
            self.dns.set(name, vec![addr.ip()]);
        }
    }

    /// The DNS that knows the names.
    #[must_use]
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// The sentinels, as name and port. What they watch is called [`SentinelDeployment::MASTER`].
    pub fn sentinels(&self) -> impl Iterator<Item = (&'static str, u16)> {
        NAMES.into_iter().zip(self.deployment.sentinel_addrs()).map(|(name, addr)| (name, addr.port()))
    }

    /// What everybody shows and wants, where they speak TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// The name that every certificate is for.
    #[must_use]
    pub fn certified_name(&self) -> &'static str {
        CERTIFIED
    }

    /// Plays the scenario, once, while `client` writes every [`period`](Timings::period).
    ///
    /// It takes as long as the sentinels do. Not cancel safe.
    ///
    /// # Errors
    /// Where a server, a sentinel or the machine does not do its part.
    pub async fn play(
        &mut self,
        timings: &Timings,
        client: &mut impl Client,
        observer: &impl Observer,
    ) -> Result<Report, ScenarioError> {
        play::play(self, timings, client, observer).await
    }

    fn first_primary(&self) -> &Server {
        &self.deployment.nodes[0]
    }
}

impl Drama for SentinelStage {
    fn name(&self) -> &'static str {
        self.scenario.name()
    }

    fn primary(&self) -> SocketAddr {
        self.first_primary().addr()
    }

    async fn strike_and_mend(&mut self, _: &Timings, observer: &impl Observer) -> Result<Course, ScenarioError> {
        if self.scenario == SentinelScenario::Relocate {
            self.deployment.replace_sentinels().await?;
            self.name_sentinels();
        }
        let announcements = self.deployment.announcements().await?;
        let fault = match self.scenario {
            SentinelScenario::Crash | SentinelScenario::Relocate => {
                self.deployment.take_for_down_after(SentinelDeployment::QUICKLY).await?;
                let fault = fault(observer, "killed", self.primary());
                self.first_primary().kill().await?;
                fault
            }
            SentinelScenario::Hang => {
                self.deployment.take_for_down_after(SentinelDeployment::QUICKLY).await?;
                let fault = fault(observer, "frozen", self.primary());
                self.first_primary().freeze().await?;
                fault
            }
            SentinelScenario::Planned => {
                let fault = fault(observer, "to be replaced: a sentinel is told to fail over", self.primary());
                self.deployment.failover().await?;
                fault
            }
        };
        self.appointment(fault, announcements, observer).await
    }

    async fn arrived(&self, writes: &[u64]) -> Result<Option<Vec<bool>>, ScenarioError> {
        match self.appointed.and_then(|at| self.deployment.node(at)) {
            Some(primary) => has(primary, writes).await.map(Some),
            None => Ok(None),
        }
    }
}

impl SentinelStage {
    async fn appointment(
        &mut self,
        fault: tokio::time::Instant,
        mut announcements: Announcements,
        observer: &impl Observer,
    ) -> Result<Course, ScenarioError> {
        let (announced, primary) = announcements.next().await?;
        self.appointed = Some(primary);
        observer.stepped(announced, &Step::Reachable { what: "appointed, the sentinels say", primary });
        Ok(Course { fault, new_order: None, reachable: announced })
    }
}
