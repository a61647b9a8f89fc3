//! What a scenario is played on: a primary and, where one is needed, a replica, behind one DNS name. Whoever plays a
//! scenario sets the stage first and then points a client at it.

use std::fmt;
use std::net::SocketAddr;

use super::Scenario;
use super::node::{Node, Tls};
use super::play::ScenarioError;
use crate::dns::Dns;
use crate::server::{ServerBinary, allocate_addresses, free_common_port};
use crate::tls::TlsFiles;

/// The name under which clients find the primary.
const NAME: &str = "redis.test";
/// The password of stages that have one. It guards nothing: the servers are on loopback and hold numbers.
const PASSWORD: &str = "first-password";

/// What kind of servers a stage has.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Servers {
    /// Processes of this binary.
    Real(ServerBinary),
    /// Fake servers in this process, over TCP.
    Fake,
}

impl Servers {
    /// `redis`, `valkey` or `fake`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Servers::Real(binary) => binary.kind().to_string(),
            Servers::Fake => "fake".to_owned(),
        }
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Servers::Real(binary) => write!(f, "{binary}"),
            Servers::Fake => f.write_str("fake servers"),
        }
    }
}

/// A primary behind a DNS name, with a replica if the scenario needs one, on the same port at another address.
///
/// Processes and sockets end with it.
#[derive(Debug)]
pub struct Stage {
    scenario: Scenario,
    dns: Dns,
    primary: Node,
    replica: Option<Node>,
    password: Option<&'static str>,
    tls: Option<Tls>,
}

impl Stage {
    /// Starts what `scenario` needs, and returns when it is ready: the name resolves, the replica is in sync.
    ///
    /// # Errors
    /// Where a server does not start or the machine has no address for it.
    pub async fn set(servers: &Servers, scenario: Scenario) -> Result<Self, ScenarioError> {
        let addresses = addresses_for(scenario)?;
        Self::set_at(&addresses, servers, scenario, None).await
    }

    /// The same, with nodes that speak TLS at the [port](Self::port) of the stage, as [`tls`](Self::tls) says, and want a
    /// certificate of their clients.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_over_tls(servers: &Servers, scenario: Scenario) -> Result<Self, ScenarioError> {
        let addresses = addresses_for(scenario)?;
        let port = free_common_port(&addresses).map_err(ScenarioError::machine("find a free port for TLS"))?;
        let files = TlsFiles::create(&[NAME]).map_err(ScenarioError::machine("make certificates"))?;
        Self::set_at(&addresses, servers, scenario, Some(Tls { port, files })).await
    }

    async fn set_at(
        addresses: &[SocketAddr],
        servers: &Servers,
        scenario: Scenario,
        tls: Option<Tls>,
    ) -> Result<Self, ScenarioError> {
        let password = (scenario == Scenario::Auth).then_some(PASSWORD);

        let primary = Node::start(servers, addresses[0], password, tls.as_ref()).await?;
        let replica = match addresses.get(1) {
            Some(addr) => {
                let replica = Node::start(servers, *addr, password, tls.as_ref()).await?;
                replica.replicate(&primary).await?;
                Some(replica)
            }
            None => None,
        };
        let stage = Self { scenario, dns: Dns::new(), primary, replica, password, tls };
        stage.point_name_at(&stage.primary);
        Ok(stage)
    }

    /// What it is set for.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// The DNS that knows the name.
    #[must_use]
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// The name of the primary.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The port of the primary, whoever that is: the one for TLS, where the stage has that.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.tls.as_ref().map_or(self.primary.addr().port(), |tls| tls.port)
    }

    /// What the nodes show and want, where they speak TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref().map(|tls| &tls.files)
    }

    /// The password that clients need, if they need one.
    #[must_use]
    pub fn password(&self) -> Option<&'static str> {
        self.password
    }

    /// The node that is the primary when the scenario begins.
    #[must_use]
    pub fn first_primary(&self) -> &Node {
        &self.primary
    }

    /// The node that is the primary when the scenario ends: the same one where nothing fails over.
    #[must_use]
    pub fn last_primary(&self) -> &Node {
        self.replica.as_ref().unwrap_or(&self.primary)
    }

    pub(super) fn point_name_at(&self, node: &Node) {
        self.dns.set(NAME, vec![node.addr().ip()]);
    }
}

fn addresses_for(scenario: Scenario) -> Result<Vec<SocketAddr>, ScenarioError> {
    let nodes = if scenario.is_failover() { 2 } else { 1 };
    allocate_addresses(nodes).map_err(ScenarioError::machine("find free loopback addresses"))
}
