//! From an address to a stream that is ready for commands: the transport's connection and, where the configuration asks for it,
//! TLS over it. The dialer calls it for each connection; whoever else must talk to a peer of the same deployment can. It
//! makes one connection, within bounds, and knows no commands.

use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::{Address, FailureKind};
use tokio::time::Instant;

use super::Rejection;
use super::within::within;
use crate::config::Config;
#[cfg(feature = "tls-no-provider")]
use crate::tls::TlsStage;
use crate::transport::{BoxedStream, Transport};

/// Makes connections. Clones share everything.
#[derive(Clone)]
pub(crate) struct Connector {
    transport: Arc<dyn Transport>,
    connect_timeout: Duration,
    /// After how long without a word a TLS handshake is given up: what is left of a dial's time then suffices to find out why.
    #[cfg(feature = "tls-no-provider")]
    handshake_by: Duration,
    #[cfg(feature = "tls-no-provider")]
    tls: Option<Arc<TlsStage>>,
}

impl Connector {
    /// Connects in plain.
    pub(crate) fn new(transport: Arc<dyn Transport>, config: &Config) -> Connector {
        Connector {
            transport,
            connect_timeout: config.dial.connect_timeout,
            #[cfg(feature = "tls-no-provider")]
            handshake_by: config.dial.timeout * 9 / 10,
            #[cfg(feature = "tls-no-provider")]
            tls: None,
        }
    }

    /// Speaks TLS over each connection, if there is a stage for that.
    #[cfg(feature = "tls-no-provider")]
    pub(crate) fn with_tls(mut self, tls: Option<TlsStage>) -> Connector {
        self.tls = tls.map(Arc::new);
        self
    }

    /// Connects to `address`. The TCP connection has `dial.connect_timeout`; TLS over it is given up when nine tenths of
    /// `dial.timeout` have passed without a word from the peer, and else it is the caller who bounds it.
    ///
    /// Cancel safe: dropping the future closes the socket.
    pub(crate) async fn connect(&self, address: &Address) -> Result<BoxedStream, Rejection> {
        let begun = Instant::now();
        let stream = match within(self.connect_timeout, self.transport.connect(address)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return Err(Rejection::by_io(&error)),
            None => {
                let detail = format!("no connection after {:?}", self.connect_timeout);
                return Err(Rejection { kind: FailureKind::TimedOut, detail });
            }
        };
        self.secured(stream, address, begun).await
    }

    #[cfg(feature = "tls-no-provider")]
    async fn secured(&self, stream: BoxedStream, address: &Address, begun: Instant) -> Result<BoxedStream, Rejection> {
        match &self.tls {
            Some(tls) => tls.shake_hands(stream, address, self.handshake_by.saturating_sub(begun.elapsed())).await,
            None => Ok(stream),
        }
    }

    #[cfg(not(feature = "tls-no-provider"))]
    async fn secured(&self, stream: BoxedStream, _: &Address, _: Instant) -> Result<BoxedStream, Rejection> {
        Ok(stream)
    }
}
