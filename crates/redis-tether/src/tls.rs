//! TLS between a transport's stream and everything above: the stage of a dial in which both sides show who they are. The
//! connector calls it for each connection where the configuration asks for TLS, whatever the transport. It bounds its own
//! waiting for a peer that says nothing; reading the files that it goes by is `tls/material.rs`' business, noticing that they
//! changed `tls/reload.rs`', and what a failure means `tls/failure.rs`'.

mod anyone;
mod error;
mod failure;
mod material;
mod overheard;
mod reload;
mod stream;

#[cfg(all(test, feature = "tls"))]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::{Address, FailureKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{Connect, TlsConnector};

pub use self::error::TlsError;
pub(crate) use self::failure::TlsFailure;

use self::failure::Facts;
use self::material::Sources;
use self::overheard::Overheard;
use self::reload::Reloaded;
use self::stream::TlsLinkStream;
use crate::config::{Config, Endpoint, TlsSettings, TlsVerify};
use crate::dial::Rejection;
use crate::transport::BoxedStream;

/// What a builder was given beside the configuration, which is plain data.
#[derive(Clone, Default)]
pub(crate) struct TlsParts {
    pub(crate) provider: Option<Arc<CryptoProvider>>,
    pub(crate) roots: Option<Vec<u8>>,
}

/// Makes TLS streams of plain ones.
pub(crate) struct TlsStage {
    /// Whom the certificate must be for. `None` where neither the settings nor the endpoint have a name: then the address.
    name: Option<ServerName<'static>>,
    material: Reloaded,
    facts: Arc<Facts>,
}

impl TlsStage {
    /// The stage that `config` asks for, if it does. Reads the files: may block.
    pub(crate) fn of(config: &Config, parts: TlsParts) -> Result<Option<TlsStage>, TlsError> {
        let Some(settings) = &config.tls else { return Ok(None) };
        let name = settings.server_name.as_deref().or(match &config.endpoint {
            Endpoint::Tcp { host, .. } => Some(host),
            Endpoint::Unix { .. } => None,
        });
        TlsStage::new(settings, name, parts).map(Some)
    }

    fn new(settings: &TlsSettings, name: Option<&str>, parts: TlsParts) -> Result<TlsStage, TlsError> {
        let name = name.map(server_name).transpose()?;
        if settings.verify == TlsVerify::Insecure {
            tracing::warn!("tls.verify is insecure: any certificate is accepted, and nothing protects what is sent");
        }
        let facts = Arc::new(Facts::new(settings, parts.roots.is_some()));
        let material = Reloaded::load(Sources::new(settings.clone(), parts)?)?;
        Ok(TlsStage { name, material, facts })
    }

    /// Shakes hands over `stream`. A peer that has not said a word within `patience` is asked in plain whether it is there, so
    /// that one that does not speak TLS is known by its answer; a little later it is given up.
    ///
    /// Cancel safe: dropping the future closes the stream.
    pub(crate) async fn shake_hands(
        &self,
        stream: BoxedStream,
        address: &Address,
        patience: Duration,
    ) -> Result<BoxedStream, Rejection> {
        let config = self.material.current().await;
        let name = match (&self.name, address) {
            (Some(name), _) => name.clone(),
            (None, Address::Tcp(address)) => ServerName::from(address.ip()),
            (None, _) => return Err(tls("a unix socket has no name to verify: set tls.server_name")),
        };
        let (stream, heard) = Overheard::new(stream);
        let mut handshake = TlsConnector::from(config).connect(name.clone(), stream);
        let failed = match timeout(patience, &mut handshake).await {
            Ok(Ok(stream)) => return Ok(self.link(stream)),
            Ok(Err(error)) => error,
            Err(_) if heard.get().is_none() => return Err(ask_plainly(handshake, patience).await),
            Err(_) => match handshake.await {
                Ok(stream) => return Ok(self.link(stream)),
                Err(error) => error,
            },
        };
        match heard.get() {
            Some(first) if !overheard::is_tls(*first) => Err(tls(NOT_TLS)),
            _ => Err(self.facts.handshake_failed(&failed, &name)),
        }
    }

    fn link(&self, stream: TlsStream<Overheard>) -> BoxedStream {
        Box::new(TlsLinkStream::new(stream, Arc::clone(&self.facts)))
    }
}

const NOT_TLS: &str = "the server does not speak TLS at this port: use redis://, or the port at which it does";

/// A plain server takes the greeting for the beginning of a line, and waits for its end: given that, it answers with an error.
/// One that speaks TLS hangs up on it, so this comes when there is nothing left to hope for.
async fn ask_plainly(mut handshake: Connect<Overheard>, patience: Duration) -> Rejection {
    let mut answer = [0];
    let asking = async {
        let stream = handshake.get_mut()?;
        stream.write_all(b"\r\n").await.ok()?;
        stream.flush().await.ok()?;
        stream.read(&mut answer).await.ok()
    };
    match timeout(patience / 20, asking).await {
        Ok(Some(1)) if !overheard::is_tls(answer[0]) => tls(NOT_TLS),
        _ => {
            let detail = format!("no answer to the TLS handshake after {patience:?}");
            Rejection { kind: FailureKind::TimedOut, detail }
        }
    }
}

fn tls(detail: impl Into<String>) -> Rejection {
    Rejection { kind: FailureKind::Tls, detail: detail.into() }
}

/// Certificates have names without the dot that makes one absolute in DNS.
fn server_name(text: &str) -> Result<ServerName<'static>, TlsError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ServerName::from(ip));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name)
}
