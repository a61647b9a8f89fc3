//! TLS at a port of its own beside the plain one, which the kit goes on using: by the server itself where it was built with
//! TLS, else by a front that is up when the server is. Or TLS alone, which only the server itself can speak: then the kit uses
//! the unix socket.

use std::io;
use std::net::SocketAddr;

use super::{Server, ServerError};
use crate::tls::{ClientCertificates, ServerFiles, TlsFront};

/// What a server is to speak TLS with.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    port: u16,
    /// Where a front is, if it is not beside the server.
    front: Option<SocketAddr>,
    files: ServerFiles,
    clients: ClientCertificates,
    pub(super) plain: Plain,
}

/// What becomes of the plain port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plain {
    Stays,
    /// It is closed, and replicas, sentinels and whoever else the server connects to are spoken to over TLS as well.
    Closed,
}

impl Wanted {
    pub(super) fn new(port: u16, files: ServerFiles, clients: ClientCertificates) -> Self {
        Self { port, front: None, files, clients, plain: Plain::Stays }
    }

    /// With a front, if there has to be one, at this address.
    pub(super) fn or_front_at(self, front: SocketAddr) -> Self {
        Self { front: Some(front), ..self }
    }

    /// At the port of the server's address, and nothing else.
    pub(super) fn alone(addr: SocketAddr, files: ServerFiles) -> Self {
        Self { plain: Plain::Closed, ..Self::new(addr.port(), files, ClientCertificates::Required) }
    }

    /// The lines of the configuration of a server that speaks TLS itself.
    fn lines(&self) -> Vec<String> {
        let clients = match self.clients {
            ClientCertificates::NotAsked => "no",
            ClientCertificates::Required => "yes",
        };
        let mut lines = vec![format!("tls-port {}", self.port), format!("tls-auth-clients {clients}")];
        lines.extend(self.settings().map(|(name, path)| format!("{name} {path}")));
        if self.plain == Plain::Closed {
            lines.extend(["port 0", "tls-replication yes"].map(str::to_owned));
        }
        lines
    }

    /// The settings that name files. The kit's own directories have no spaces.
    fn settings(&self) -> [(&'static str, String); 3] {
        let ServerFiles { ca, certificate, key } = &self.files;
        [("tls-cert-file", certificate), ("tls-key-file", key), ("tls-ca-cert-file", ca)]
            .map(|(name, path)| (name, path.display().to_string()))
    }
}

/// How it speaks TLS.
#[derive(Debug)]
pub(super) enum Secure {
    Itself(Wanted),
    Front(TlsFront),
}

impl Secure {
    /// With the lines that its configuration needs.
    pub(super) fn new(wanted: Wanted, addr: SocketAddr, is_built_in: bool) -> (Self, Vec<String>) {
        if is_built_in {
            let lines = wanted.lines();
            return (Self::Itself(wanted), lines);
        }
        let at = wanted.front.unwrap_or(SocketAddr::new(addr.ip(), wanted.port));
        (Self::Front(TlsFront::closed(at, addr, wanted.files, wanted.clients)), Vec::new())
    }

    pub(super) async fn open(&self) -> io::Result<()> {
        match self {
            Self::Itself(_) => Ok(()),
            Self::Front(front) => front.open().await,
        }
    }

    pub(super) async fn close(&self) {
        if let Self::Front(front) = self {
            front.close().await;
        }
    }

    /// Whether there is no other way in over the network.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::Itself(Wanted { plain: Plain::Closed, .. }))
    }

    fn addr(&self, server: SocketAddr) -> SocketAddr {
        match self {
            Self::Itself(wanted) => SocketAddr::new(server.ip(), wanted.port),
            Self::Front(front) => front.addr(),
        }
    }
}

/// # TLS
impl Server {
    /// Where it speaks TLS, if it does.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.secure().map(|secure| secure.addr(self.addr()))
    }

    /// Has it read its certificate, key and authority again; connections that exist stay.
    ///
    /// # Errors
    /// As [`command`](Self::command), where the server does not like what it reads.
    pub async fn reload_tls(&self) -> Result<(), ServerError> {
        // A front reads them for each connection.
        if let Some(Secure::Itself(wanted)) = self.secure() {
            let settings = wanted.settings();
            let mut command = vec!["CONFIG", "SET"];
            for (name, path) in &settings {
                command.extend([*name, path.as_str()]);
            }
            self.command(&command).await?;
        }
        Ok(())
    }
}
