//! What an application may bring along in place of what is there by itself, be it for one server or for a cluster of them, and
//! how that is made ready. The builders collect it.

use std::sync::Arc;

use crate::config::Config;
use crate::control::Brought;
use crate::credentials::CredentialSource;
use crate::dial::Connector;
use crate::resolve::{Resolve, SystemResolver};
use crate::tether::StartError;
#[cfg(feature = "tls-no-provider")]
use crate::tls::{TlsParts, TlsStage};
use crate::transport::{SocketTransport, Transport};

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Means {
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
    pub(crate) credentials: Option<Arc<dyn CredentialSource>>,
    pub(crate) seed: Option<u64>,
    #[cfg(feature = "tls-no-provider")]
    pub(crate) tls: TlsParts,
}

impl Means {
    /// Ready for use with this configuration.
    pub(crate) async fn bring(self, config: &Config) -> Result<Brought, StartError> {
        let transport = self.transport.unwrap_or_else(|| Arc::new(SocketTransport::new(&config.dial)));
        let connector = Connector::new(transport, config);
        #[cfg(feature = "tls-no-provider")]
        let connector = connector.with_tls(tls_stage(config, self.tls).await?);
        let resolver = self.resolver.unwrap_or_else(|| Arc::new(SystemResolver::new()));
        Ok(Brought { connector, resolver, credentials: self.credentials, seed: self.seed })
    }
}

/// Files are read, which may block.
#[cfg(feature = "tls-no-provider")]
async fn tls_stage(config: &Config, parts: TlsParts) -> Result<Option<TlsStage>, StartError> {
    if config.tls.is_none() {
        return Ok(None);
    }
    let config = config.clone();
    let reading = tokio::task::spawn_blocking(move || TlsStage::of(&config, parts));
    match reading.await {
        Ok(stage) => Ok(stage?),
        Err(error) => Err(StartError::Spawn(error.to_string())),
    }
}
