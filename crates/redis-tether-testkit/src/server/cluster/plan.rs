//! The configuration of the nodes of a cluster, in plain and over TLS.

use std::io;
use std::net::SocketAddr;

use super::super::address::{allocate_at_port, free_common_port};
use super::super::process::ServerBuilder;
use super::super::{Server, ServerBinary};
use super::{ClusterDeployment, NO_ELECTIONS, NODE_TIMEOUT, TALKATIVE_MS};
use crate::tls::TlsFiles;

/// What nodes that speak TLS announce themselves as, and have certificates for: each for itself and nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Announced {
    /// Names: [`ClusterDeployment::hostname`].
    Names,
    /// Their addresses. Needs servers that speak TLS themselves.
    Addresses,
}

/// How the nodes of a cluster speak TLS.
#[derive(Debug)]
pub(super) struct Tls {
    announced: Announced,
    /// A name that every certificate is for, beside that of its node.
    endpoint: Option<String>,
    /// Of those servers that speak TLS themselves.
    port: u16,
    /// Servers that cannot speak TLS announce their plain port. What speaks TLS for them is at that port of another address, to which
    /// only their names lead.
    fronts: Vec<SocketAddr>,
    /// Of each node.
    pub(super) files: Vec<TlsFiles>,
    /// The nodes among themselves speak it, if they can.
    pub(super) is_spoken_by_nodes: bool,
}

impl Tls {
    /// For nodes at these addresses.
    pub(super) fn new(
        binary: &ServerBinary,
        announced: Announced,
        endpoint: Option<&str>,
        addresses: &[SocketAddr],
    ) -> io::Result<Self> {
        let tls = Tls {
            announced,
            endpoint: endpoint.map(str::to_owned),
            port: free_common_port(addresses)?,
            fronts: Vec::new(),
            files: Vec::new(),
            is_spoken_by_nodes: binary.speaks_tls(),
        };
        tls.beside(addresses)
    }

    /// The same for nodes at other addresses.
    pub(super) fn beside(&self, addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut files: Vec<TlsFiles> = Vec::new();
        for (node, addr) in addresses.iter().enumerate() {
            let own = match self.announced {
                Announced::Names => ClusterDeployment::hostname(node),
                Announced::Addresses => addr.ip().to_string(),
            };
            let names: Vec<&str> = std::iter::once(&*own).chain(self.endpoint.as_deref()).collect();
            files.push(match self.files.first().or(files.first()) {
                None => TlsFiles::create(&names)?,
                Some(first) => first.of_another(&names)?,
            });
        }
        let fronts = allocate_at_port(addresses.len(), addresses[0].port())?;
        Ok(Tls { files, fronts, endpoint: self.endpoint.clone(), ..*self })
    }

    /// What the nodes announce themselves as, where those are names.
    pub(super) fn names(&self) -> Vec<String> {
        match self.announced {
            Announced::Names => (0..self.files.len()).map(ClusterDeployment::hostname).collect(),
            Announced::Addresses => Vec::new(),
        }
    }

    /// Has the node with this number speak it.
    pub(super) fn add_to(&self, plan: ServerBuilder, node: usize) -> ServerBuilder {
        let mut plan = plan.tls_or_front(self.port, self.fronts[node], &self.files[node]);
        if self.is_spoken_by_nodes {
            plan = plan.config_line("tls-cluster yes").config_line("tls-replication yes");
        }
        if self.announced == Announced::Names {
            let name = ClusterDeployment::hostname(node);
            plan = plan.config_line(&format!("cluster-announce-hostname {name}"));
            plan = plan.config_line("cluster-preferred-endpoint-type hostname");
        }
        plan
    }
}

/// A node at this address, in plain.
pub(super) fn plan(binary: &ServerBinary, addr: SocketAddr) -> ServerBuilder {
    Server::builder(binary)
        .on(addr)
        .config_line("cluster-enabled yes")
        .config_line("cluster-require-full-coverage no")
        .config_line("cluster-replica-validity-factor 0")
        .config_line("cluster-allow-replica-migration no")
        .config_line(&format!("{NO_ELECTIONS} yes"))
        .config_line(&format!("{NODE_TIMEOUT} {TALKATIVE_MS}"))
        .config_line(&format!("cluster-announce-ip {}", addr.ip()))
}
