//! TLS between a transport's stream and everything above: the stage of a dial in which both sides show who they are. The
//! connector calls it for each connection where the configuration asks for TLS, whatever the transport. Its
//! caller bounds the waiting; reading the files that it goes by is `tls/material.rs`' business, noticing that they
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

use redis_tether_core::Address;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::ServerName;

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
            // Managed services have one certificate for the configuration endpoint and all nodes.
            Endpoint::Cluster(cluster) => {
                let named = cluster.seeds.iter().find(|seed| seed.host.parse::<IpAddr>().is_err());
                named.map(|seed| &*seed.host)
            }
            // Sentinels and the servers that they name have no name in common.
            Endpoint::Unix { .. } | Endpoint::Sentinel(_) => None,
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

    /// Shakes hands over `stream`, for as long as the peer takes.
    ///
    /// Cancel safe: dropping the future closes the stream.
    pub(crate) async fn shake_hands(&self, stream: BoxedStream, address: &Address) -> Result<BoxedStream, Rejection> {
        let config = self.material.current().await;
        let name = match (&self.name, address) {
            (Some(name), _) => name.clone(),
            (None, Address::Tcp(address)) => ServerName::from(address.ip()),
            (None, _) => return Err(Rejection::by_tls("a unix socket has no name to verify: set tls.server_name")),
        };
        let (stream, heard) = Overheard::new(stream);
        match TlsConnector::from(config).connect(name.clone(), stream).await {
            Ok(stream) => Ok(self.link(stream)),
            Err(_) if heard.get().is_some_and(|first| !overheard::is_tls(*first)) => Err(Rejection::by_tls(NOT_TLS)),
            Err(error) => Err(self.facts.handshake_failed(&error, &name)),
        }
    }

    fn link(&self, stream: TlsStream<Overheard>) -> BoxedStream {
        Box::new(TlsLinkStream::new(stream, Arc::clone(&self.facts)))
    }
}

/// What is told of a peer that answers as a plain server does.
pub(crate) const NOT_TLS: &str =
    "the server does not speak TLS at this port: use redis://, or the port at which it does";

/// Certificates have names without the dot that makes one absolute in DNS.
fn server_name(text: &str) -> Result<ServerName<'static>, TlsError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ServerName::from(ip));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name)
}
