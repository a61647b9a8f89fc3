//! What an application may bring along in place of what is there by itself, be it for one server or for a cluster of them, and
//! how that is made ready. The builders collect it.

use std::sync::Arc;

use crate::config::Config;
#[cfg(feature = "tls-no-provider")]
use crate::config::{Endpoint, SentinelEndpoint, SentinelTls};
use crate::control::Brought;
use crate::credentials::CredentialSource;
use crate::dial::Connector;
use crate::resolve::{Resolve, SystemResolver};
use crate::tether::StartError;
#[cfg(feature = "tls-no-provider")]
use crate::tls::{TlsError, TlsParts, TlsStage};
use crate::transport::{SocketTransport, Transport};

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Means {
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
    pub(crate) credentials: Option<Arc<dyn CredentialSource>>,
    pub(crate) sentinel_credentials: Option<Arc<dyn CredentialSource>>,
    pub(crate) seed: Option<u64>,
    #[cfg(feature = "tls-no-provider")]
    pub(crate) tls: TlsParts,
    /// In place of the roots among these, for sentinels with settings of their own.
    #[cfg(feature = "tls-no-provider")]
    pub(crate) sentinel_roots: Option<Vec<u8>>,
}

impl Means {
    /// Ready for use with this configuration.
    pub(crate) async fn bring(self, config: &Config) -> Result<Brought, StartError> {
        let transport = self.transport.unwrap_or_else(|| Arc::new(SocketTransport::new(&config.dial)));
        let connector = Connector::new(transport, config);
        #[cfg(feature = "tls-no-provider")]
        let sentinel_tls = TlsParts { provider: self.tls.provider.clone(), roots: self.sentinel_roots };
        #[cfg(feature = "tls-no-provider")]
        let connector = connector.with_tls(servers_stage(config, self.tls).await?);
        let sentinel_connector = connector.for_sentinels();
        #[cfg(feature = "tls-no-provider")]
        let sentinel_connector = over_own_tls(sentinel_connector, config, sentinel_tls).await?;
        Ok(Brought {
            connector,
            sentinel_connector,
            resolver: self.resolver.unwrap_or_else(|| Arc::new(SystemResolver::new())),
            credentials: self.credentials,
            sentinel_credentials: self.sentinel_credentials,
            seed: self.seed,
        })
    }
}

#[cfg(feature = "tls-no-provider")]
async fn servers_stage(config: &Config, parts: TlsParts) -> Result<Option<TlsStage>, StartError> {
    if config.tls.is_none() {
        return Ok(None);
    }
    let config = config.clone();
    read(move || TlsStage::of(&config, parts)).await
}

/// Where sentinels are not spoken to as servers are.
#[cfg(feature = "tls-no-provider")]
async fn over_own_tls(connector: Connector, config: &Config, parts: TlsParts) -> Result<Connector, StartError> {
    match &config.endpoint {
        Endpoint::Sentinel(SentinelEndpoint { tls: SentinelTls::Off, .. }) => Ok(connector.with_tls(None)),
        Endpoint::Sentinel(SentinelEndpoint { tls: SentinelTls::Own(settings), .. }) => {
            let (endpoint, settings) = (config.endpoint.to_string().into(), settings.clone());
            let stage = read(move || TlsStage::of_sentinels(endpoint, &settings, parts)).await?;
            Ok(connector.with_tls(Some(stage)))
        }
        _ => Ok(connector),
    }
}

/// Files are read, which may block.
#[cfg(feature = "tls-no-provider")]
async fn read<T: Send + 'static>(
    stage: impl FnOnce() -> Result<T, TlsError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(stage).await {
        Ok(stage) => Ok(stage?),
        Err(error) => Err(StartError::Spawn(error.to_string())),
    }
}
