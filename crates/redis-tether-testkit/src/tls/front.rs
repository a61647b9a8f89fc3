//! TLS in front of a TCP server: accepts, shakes hands, and passes bytes on. For servers that were built without TLS, and for
//! peers in memory.
//!
//! It reads its files anew for each connection, so that renewing them suffices. A port that is closed refuses, as that of a
//! server that is down does; its owner closes it with the server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::authority::{Authority, Issued};
use super::files::{ServerFiles, TlsFiles};

/// How soon it tries again where accepting fails.
const RETRY: Duration = Duration::from_millis(5);

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// They are not asked for one.
    NotAsked,
    /// Who has none from the same authority is refused.
    Required,
}

/// The server's side of TLS for streams in memory: it shows this pair, and trusts this authority where clients have to show
/// something.
///
/// # Errors
/// Where the pair is none.
pub fn acceptor(pair: &Issued, clients: Option<&Authority>) -> io::Result<TlsAcceptor> {
    let roots = clients.map(Authority::pem);
    accepting(pair.certificate.as_bytes(), pair.key.as_bytes(), roots.as_deref().map(str::as_bytes))
}

fn accepting(certificate: &[u8], key: &[u8], clients: Option<&[u8]>) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem)? {
                roots.add(certificate).map_err(io::Error::other)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(io::Error::other)?)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
    let config = builder.with_single_cert(certificates(certificate)?, key).map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(io::Error::other)
}

/// TLS in front of a TCP server, at an address of its own; dropping it closes its port and all its connections.
#[derive(Debug)]
pub struct TlsFront {
    addr: SocketAddr,
    target: SocketAddr,
    files: ServerFiles,
    clients: ClientCertificates,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl TlsFront {
    /// Starts one at this address, which should be one of [`allocate_addresses`](crate::server::allocate_addresses), with its
    /// port open.
    ///
    /// # Errors
    /// Those of binding the address.
    pub async fn start(
        addr: SocketAddr,
        target: SocketAddr,
        files: &TlsFiles,
        clients: ClientCertificates,
    ) -> io::Result<Self> {
        let front = Self::closed(addr, target, files.server(), clients);
        front.open().await?;
        Ok(front)
    }

    pub(crate) fn closed(
        addr: SocketAddr,
        target: SocketAddr,
        files: ServerFiles,
        clients: ClientCertificates,
    ) -> Self {
        Self { addr, target, files, clients, task: Mutex::new(None) }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Opens its port again. Nothing happens where it is open.
    ///
    /// # Errors
    /// Those of binding the address.
    pub async fn open(&self) -> io::Result<()> {
        if self.lock().is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.addr).await?;
        let task = tokio::spawn(keep(listener, self.target, self.files.clone(), self.clients));
        *self.lock() = Some(task);
        Ok(())
    }

    /// Closes its port and ends all connections, and returns when the port is closed.
    pub async fn close(&self) {
        let task = self.lock().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        if let Some(task) = self.lock().take() {
            task.abort();
        }
    }
}

async fn keep(listener: TcpListener, target: SocketAddr, files: ServerFiles, clients: ClientCertificates) {
    let mut connections = JoinSet::new();
    loop {
        let client = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match client {
            Ok((client, _)) => {
                connections.spawn(pass(client, target, files.clone(), clients));
            }
            // It is out of descriptors, say; others will hang up.
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// What fails here, either side sees as the end of its connection.
async fn pass(
    client: TcpStream,
    target: SocketAddr,
    files: ServerFiles,
    clients: ClientCertificates,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = read_acceptor(&files, clients)?.accept(client).await?;
    let mut server = TcpStream::connect(target).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

fn read_acceptor(files: &ServerFiles, clients: ClientCertificates) -> io::Result<TlsAcceptor> {
    let clients = match clients {
        ClientCertificates::NotAsked => None,
        ClientCertificates::Required => Some(fs::read(&files.ca)?),
    };
    accepting(&fs::read(&files.certificate)?, &fs::read(&files.key)?, clients.as_deref())
}
