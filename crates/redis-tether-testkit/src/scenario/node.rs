//! One server of a stage, real or fake, with the few things that scenarios do to it. The stage and the player call it;
//! it knows no scenario.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::client::key;
use super::play::ScenarioError;
use super::stage::Servers;
use crate::fake::{FakeListener, FakeServer};
use crate::resp::Reply;
use crate::server::Server;
use crate::tls::{ClientCertificates, TlsFiles, TlsFront};

/// How many keys are asked for at once: few enough that the answer disturbs no other client.
const KEYS_AT_ONCE: usize = 500;

/// One server of a [`Stage`](super::Stage).
#[derive(Debug)]
#[non_exhaustive]
pub enum Node {
    /// A process of its own.
    Real(Server),
    /// A fake server in this process.
    #[non_exhaustive]
    Fake {
        /// The server.
        server: FakeServer,
        /// Its port.
        listener: FakeListener,
        /// What speaks TLS for it, where it is to.
        front: Option<TlsFront>,
    },
}

/// How the nodes of a stage speak TLS.
#[derive(Debug)]
pub(super) struct Tls {
    /// Of each of them.
    pub(super) port: u16,
    pub(super) files: TlsFiles,
}

impl Node {
    pub(super) async fn start(
        servers: &Servers,
        addr: SocketAddr,
        password: Option<&str>,
        tls: Option<&Tls>,
    ) -> Result<Self, ScenarioError> {
        match servers {
            Servers::Real(binary) => {
                let builder = Server::builder(binary).on(addr);
                let builder = match password {
                    Some(password) => builder.password(password),
                    None => builder,
                };
                let builder = match tls {
                    Some(Tls { port, files }) => builder.tls(*port, files, ClientCertificates::Required),
                    None => builder,
                };
                Ok(Node::Real(builder.start().await?))
            }
            Servers::Fake => {
                let server = FakeServer::new();
                server.require_password(password);
                let listener = server.listen(addr).await.map_err(ScenarioError::machine("listen"))?;
                let front = match tls {
                    Some(Tls { port, files }) => {
                        let (at, clients) = (SocketAddr::new(addr.ip(), *port), ClientCertificates::Required);
                        let front = TlsFront::start(at, addr, files, clients).await;
                        Some(front.map_err(ScenarioError::machine("listen for TLS"))?)
                    }
                    None => None,
                };
                Ok(Node::Fake { server, listener, front })
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        match self {
            Node::Real(server) => server.addr(),
            Node::Fake { listener, .. } => listener.addr(),
        }
    }

    /// How many connections clients have to it, without the kit's own.
    ///
    /// # Errors
    /// Where it does not answer, as while it is frozen.
    pub async fn clients(&self) -> Result<usize, ScenarioError> {
        match self {
            Node::Real(server) => {
                let list = server.command(&["CLIENT", "LIST", "TYPE", "normal"]).await?;
                Ok(list.text().unwrap_or_default().lines().count().saturating_sub(1))
            }
            Node::Fake { server, .. } => Ok(server.open_connections()),
        }
    }

    /// Which of these writes of a [`Client`](super::Client) it has, one answer for each.
    ///
    /// # Errors
    /// Where it does not answer, as while it is frozen.
    pub async fn has(&self, writes: &[u64]) -> Result<Vec<bool>, ScenarioError> {
        match self {
            Node::Real(server) => has(server, writes).await,
            Node::Fake { server, .. } => {
                Ok(writes.iter().map(|n| server.run(&["GET".to_owned(), key(*n)]) != Reply::Nil).collect())
            }
        }
    }

    pub(super) async fn replicate(&self, primary: &Node) -> Result<(), ScenarioError> {
        match (self, primary) {
            (Node::Real(this), Node::Real(primary)) => this.replicate(primary).await?,
            _ => self.demote_to(primary).await?,
        }
        Ok(())
    }

    pub(super) async fn demote_to(&self, primary: &Node) -> Result<(), ScenarioError> {
        match (self, primary) {
            (Node::Real(this), Node::Real(primary)) => this.demote_to(primary).await?,
            (Node::Fake { server, .. }, Node::Fake { server: primary, .. }) => server.replicate_from(primary),
            _ => unreachable!("the nodes of a stage are of one kind"),
        }
        Ok(())
    }

    pub(super) async fn promote(&self) -> Result<(), ScenarioError> {
        match self {
            Node::Real(server) => server.promote().await?,
            Node::Fake { server, .. } => server.promote(),
        }
        Ok(())
    }

    pub(super) async fn kill(&self) -> Result<(), ScenarioError> {
        match self {
            Node::Real(server) => server.kill().await?,
            Node::Fake { server, listener, front } => {
                if let Some(front) = front {
                    front.close().await;
                }
                server.crash();
                listener.wait_until_closed().await?;
            }
        }
        Ok(())
    }

    pub(super) async fn restart(&self) -> Result<(), ScenarioError> {
        match self {
            Node::Real(server) => server.restart().await?,
            Node::Fake { server, listener, front } => {
                server.lose_data();
                server.restart();
                listener.wait_until_open().await?;
                if let Some(front) = front {
                    front.open().await.map_err(ScenarioError::machine("listen for TLS"))?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn freeze(&self) -> Result<(), ScenarioError> {
        match self {
            Node::Real(server) => server.freeze().await?,
            Node::Fake { server, .. } => server.freeze(),
        }
        Ok(())
    }

    /// Keeps it busy for this long, as a script would, and returns when it is free again. A real script would take longer
    /// on a busy machine, where its clock is the processor's.
    pub(super) async fn keep_busy(&self, time: Duration) -> Result<(), ScenarioError> {
        match self {
            Node::Real(server) => server.spawn_stall(time).await?.finished().await?,
            Node::Fake { server, .. } => {
                server.busy_for(time);
                sleep(time).await;
            }
        }
        Ok(())
    }

    pub(super) async fn set_password(&self, password: &str) -> Result<(), ScenarioError> {
        match self {
            Node::Real(server) => server.set_password(Some(password)).await?,
            Node::Fake { server, .. } => server.require_password(Some(password)),
        }
        Ok(())
    }

    pub(super) async fn kill_clients(&self) -> Result<(), ScenarioError> {
        match self {
            Node::Real(server) => server.kill_clients().await?,
            Node::Fake { server, .. } => server.kill_connections(),
        }
        Ok(())
    }

    /// The values that clients wrote to it, in order, where it keeps such a log.
    pub(super) fn written_values(&self) -> Option<Vec<Vec<u8>>> {
        match self {
            Node::Real(_) => None,
            Node::Fake { server, .. } => Some(server.written_values()),
        }
    }
}

/// Which of these writes of a [`Client`](super::Client) the server has, one answer for each.
pub(super) async fn has(server: &Server, writes: &[u64]) -> Result<Vec<bool>, ScenarioError> {
    has_keys(server, writes.iter().copied().map(key)).await
}

/// Which of these keys the server has, one answer for each. Those of a node of a cluster must be of one slot.
pub(super) async fn has_keys(server: &Server, keys: impl Iterator<Item = String>) -> Result<Vec<bool>, ScenarioError> {
    let keys: Vec<String> = keys.collect();
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let command: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
        let reply = server.command(&command).await?;
        let Reply::Array(values) = reply else {
            let odd = io::Error::new(io::ErrorKind::InvalidData, format!("{reply:?}"));
            return Err(ScenarioError::machine("read the answer to MGET")(odd));
        };
        found.extend(values.iter().map(|value| *value != Reply::Nil));
    }
    Ok(found)
}
