//! A primary with a replica, as there is behind one DNS name.
//!
//! Both have the same port at different addresses, since a name moves the address and keeps the port.

use std::net::{IpAddr, SocketAddr};

use super::address::{allocate_addresses, free_common_port};
use super::process::ServerBuilder;
use super::{Server, ServerBinary, ServerError};
use crate::tls::{ClientCertificates, TlsFiles};

/// Two servers, the second in sync with the first. Named by the roles that they were started in.
#[derive(Debug)]
pub struct Deployment {
    /// Started as the primary.
    pub primary: Server,
    /// Started as the replica.
    pub replica: Server,
}

impl Deployment {
    /// Starts both with the [defaults](ServerBuilder) and waits until they are in sync.
    ///
    /// # Errors
    /// As [`ServerBuilder::start`] and [`Server::replicate`].
    pub async fn start(binary: &ServerBinary) -> Result<Self, ServerError> {
        Self::start_with(binary, |builder| builder).await
    }

    /// Starts both with further settings; the addresses are given.
    ///
    /// # Errors
    /// As [`ServerBuilder::start`] and [`Server::replicate`].
    pub async fn start_with(
        binary: &ServerBinary,
        settings: impl Fn(ServerBuilder) -> ServerBuilder,
    ) -> Result<Self, ServerError> {
        let addresses = two_addresses()?;
        Self::start_at(&addresses, binary, settings).await
    }

    /// Starts both with TLS beside their plain ports, at a port that is common to them as well: [`tls_port`](Self::tls_port).
    /// Clients have to show a certificate.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_over_tls(binary: &ServerBinary, files: &TlsFiles) -> Result<Self, ServerError> {
        let addresses = two_addresses()?;
        let port = free_common_port(&addresses).map_err(ServerError::machine("find a free port for TLS"))?;
        Self::start_at(&addresses, binary, |builder| builder.tls(port, files, ClientCertificates::Required)).await
    }

    async fn start_at(
        addresses: &[SocketAddr],
        binary: &ServerBinary,
        settings: impl Fn(ServerBuilder) -> ServerBuilder,
    ) -> Result<Self, ServerError> {
        let start = |index: usize| settings(Server::builder(binary)).on(addresses[index]).start();
        let (primary, replica) = (start(0).await?, start(1).await?);
        replica.replicate(&primary).await?;
        Ok(Self { primary, replica })
    }

    /// The port of both.
    pub fn port(&self) -> u16 {
        self.primary.addr().port()
    }

    /// The port at which both speak TLS, if they do.
    pub fn tls_port(&self) -> Option<u16> {
        self.primary.tls_addr().map(|addr| addr.port())
    }

    /// The address of the server that was started as the primary.
    pub fn primary_ip(&self) -> IpAddr {
        self.primary.addr().ip()
    }

    /// The address of the server that was started as the replica.
    pub fn replica_ip(&self) -> IpAddr {
        self.replica.addr().ip()
    }
}

fn two_addresses() -> Result<Vec<SocketAddr>, ServerError> {
    allocate_addresses(2).map_err(ServerError::machine("find two free loopback addresses"))
}
