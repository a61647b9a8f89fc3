//! TLS between a transport's stream and everything above: the stage of a dial in which both sides show who they are. The
//! connector calls it for each connection where the configuration asks for TLS, whatever the transport. Its
//! caller bounds the waiting; reading the files that it goes by is `tls/material.rs`' business, noticing that they
//! changed `tls/reload.rs`', and what a failure means `tls/failure.rs`'.

mod anyone;
mod error;
mod failure;
mod material;
mod names;
mod or_one_of;
mod overheard;
mod reload;
mod stream;
mod whom;

#[cfg(all(test, feature = "tls"))]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use redis_tether_core::Address;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::CryptoProvider;

pub use self::error::TlsError;
pub(crate) use self::failure::TlsFailure;

use self::failure::Facts;
use self::material::Sources;
use self::names::{Names, OF_SENTINELS, OF_SERVERS};
use self::overheard::Overheard;
use self::reload::Reloaded;
use self::stream::TlsLinkStream;
pub(crate) use self::whom::Namer;
use self::whom::Whom;
use crate::config::{Config, TlsSettings, TlsVerify};
use crate::dial::Rejection;
use crate::lock::lock;
use crate::transport::BoxedStream;

/// What a builder was given beside the configuration, which is plain data.
#[derive(Clone, Default)]
pub(crate) struct TlsParts {
    pub(crate) provider: Option<Arc<CryptoProvider>>,
    pub(crate) roots: Option<Vec<u8>>,
}

/// Makes TLS streams of plain ones.
pub(crate) struct TlsStage {
    whom: Mutex<Whom>,
    material: Arc<Reloaded>,
    facts: Arc<Facts>,
}

impl TlsStage {
    /// The stage for servers that `config` asks for, if it does. Reads the files: may block.
    pub(crate) fn of(config: &Config, parts: TlsParts) -> Result<Option<TlsStage>, TlsError> {
        let Some(settings) = &config.tls else { return Ok(None) };
        let whom = Whom::of(config, settings.server_name.as_deref())?;
        TlsStage::new(config.endpoint.to_string().into(), settings, &OF_SERVERS, whom, parts).map(Some)
    }

    /// The stage for the sentinels of this endpoint, which have these settings of their own. Reads the files: may block.
    pub(crate) fn of_sentinels(
        endpoint: Arc<str>,
        settings: &TlsSettings,
        parts: TlsParts,
    ) -> Result<TlsStage, TlsError> {
        TlsStage::new(endpoint, settings, &OF_SENTINELS, Whom::of_sentinels(settings.server_name.as_deref())?, parts)
    }

    fn new(
        endpoint: Arc<str>,
        settings: &TlsSettings,
        names: &'static Names,
        whom: Whom,
        parts: TlsParts,
    ) -> Result<TlsStage, TlsError> {
        if settings.verify == TlsVerify::Insecure {
            tracing::warn!(
                endpoint = &*endpoint,
                "{} is insecure: any certificate is accepted, and nothing protects what is sent",
                names.verify
            );
        }
        let facts = Arc::new(Facts::new(settings, names, parts.roots.is_some()));
        let material = Arc::new(Reloaded::load(endpoint, Sources::new(settings.clone(), names, parts, whom.seeds())?)?);
        Ok(TlsStage { whom: Mutex::new(whom), material, facts })
    }

    /// That for a replica of the primary which this one leads to, at an endpoint of the replicas if there is one: of the same files.
    pub(crate) fn of_replica(self: &Arc<Self>, reader: Option<&str>) -> Arc<TlsStage> {
        let Some(whom) = lock(&self.whom).of_replicas(reader) else { return Arc::clone(self) };
        let (material, facts) = (Arc::clone(&self.material), Arc::clone(&self.facts));
        Arc::new(TlsStage { whom: Mutex::new(whom), material, facts })
    }

    /// The peer at this address is called so, where each may have a name of its own.
    pub(crate) fn announce(&self, address: SocketAddr, host: &str, by: Namer) {
        lock(&self.whom).announce(address, host, by);
    }

    /// Shakes hands over `stream`, for as long as the peer takes. `not_tls` is what to tell of one that speaks something else.
    ///
    /// Cancel safe: dropping the future closes the stream.
    pub(crate) async fn shake_hands(
        &self,
        stream: BoxedStream,
        address: &Address,
        not_tls: &str,
    ) -> Result<BoxedStream, Rejection> {
        let config = self.material.current().await;
        let Some(name) = lock(&self.whom).at(address) else {
            return Err(Rejection::by_tls("a unix socket has no name to verify: set tls.server_name"));
        };
        let (stream, heard) = Overheard::new(stream);
        match TlsConnector::from(config).connect(name.clone(), stream).await {
            Ok(stream) => Ok(self.link(stream)),
            Err(_) if heard.get().is_some_and(|first| !overheard::is_tls(*first)) => Err(Rejection::by_tls(not_tls)),
            Err(error) => Err(self.facts.handshake_failed(&error, &name)),
        }
    }

    fn link(&self, stream: TlsStream<Overheard>) -> BoxedStream {
        Box::new(TlsLinkStream::new(stream, Arc::clone(&self.facts)))
    }
}
