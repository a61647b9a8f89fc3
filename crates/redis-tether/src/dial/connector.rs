//! From an address to a stream that is ready for commands: the transport's connection and, where the configuration asks for it,
//! TLS over it. The dialer calls it for each connection; whoever else must talk to a peer of the same deployment can. It
//! makes one connection, within bounds, and knows no commands. Where a peer will not speak as it should, it can find out
//! whether that is because it speaks TLS, or because it does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::{Address, FailureKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::Rejection;
use super::rejection::SPEAKS_TLS;
use super::within::within;
use crate::config::Config;
#[cfg(feature = "tls-no-provider")]
use crate::tls::{Namer, TlsStage};
use crate::transport::{BoxedStream, Transport};

/// A greeting of TLS that is cut short. A TLS server answers it with an alert; a plain one waits for the end of the line.
const BROKEN_GREETING: &[u8] = b"\x16\x03\x01\x00\x04\x01\x00\x00\x00";
/// The type of an alert.
const ALERT: u8 = 0x15;

const SENTINEL_SPEAKS_TLS: &str = "it speaks TLS at this port: use rediss+sentinel://, or sentinel_tls=true where servers speak \
                                   plainly, or its plain port";

/// How long a peer at least has to show what it speaks: it is asked once it has failed to answer otherwise.
const SHORTEST_ANSWER: Duration = Duration::from_millis(250);

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peers {
    Servers,
    Sentinels,
}

/// Makes connections. Clones share everything.
#[derive(Clone)]
pub(crate) struct Connector {
    transport: Arc<dyn Transport>,
    peers: Peers,
    connect_timeout: Duration,
    /// Within this all is done that belongs to a connection.
    #[cfg(feature = "tls-no-provider")]
    dial_timeout: Duration,
    #[cfg(feature = "tls-no-provider")]
    tls: Option<Arc<TlsStage>>,
}

impl Connector {
    /// Connects in plain.
    pub(crate) fn new(transport: Arc<dyn Transport>, config: &Config) -> Connector {
        Connector {
            transport,
            peers: Peers::Servers,
            connect_timeout: config.dial.connect_timeout,
            #[cfg(feature = "tls-no-provider")]
            dial_timeout: config.dial.timeout,
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

    /// One for the sentinels of these servers, whom it speaks to alike. Each of them is connected to and asked within
    /// `dial.connect_timeout`, so why one does not speak TLS has to be known by then.
    pub(crate) fn for_sentinels(&self) -> Connector {
        Connector {
            peers: Peers::Sentinels,
            #[cfg(feature = "tls-no-provider")]
            dial_timeout: self.connect_timeout,
            ..self.clone()
        }
    }

    /// Connects to `address`. The TCP connection has `dial.connect_timeout`; TLS must be spoken before nine tenths of
    /// `dial.timeout` have passed (of sentinels `dial.connect_timeout`), so that what is left suffices to tell why it was not.
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

    /// Why a peer that hung up on plain questions may have done so: it speaks TLS. Asks over a connection of its own, and
    /// waits as long again as the peer took so far, since `begun`.
    pub(crate) async fn why_hung_up(&self, address: &Address, begun: Instant) -> Option<Rejection> {
        if self.speaks_tls() {
            return None;
        }
        let patience = SHORTEST_ANSWER.max(begun.elapsed());
        let answer = timeout(patience, self.ask(address, BROKEN_GREETING)).await.ok()??;
        (answer == ALERT).then(|| Rejection::by_tls(self.peers.speak_tls()))
    }

    /// The first byte that the peer answers to this over a fresh connection.
    async fn ask(&self, address: &Address, question: &[u8]) -> Option<u8> {
        let mut stream = self.transport.connect(address).await.ok()?;
        stream.write_all(question).await.ok()?;
        stream.flush().await.ok()?;
        stream.read_u8().await.ok()
    }
}

impl Peers {
    /// What is told of one that answers as a TLS server does.
    fn speak_tls(self) -> &'static str {
        match self {
            Peers::Servers => SPEAKS_TLS,
            Peers::Sentinels => SENTINEL_SPEAKS_TLS,
        }
    }

    /// What is told of one that answers as a plain server does.
    #[cfg(feature = "tls-no-provider")]
    fn do_not_speak_tls(self) -> &'static str {
        match self {
            Peers::Servers => "the server does not speak TLS at this port: use redis://, or the port at which it does",
            Peers::Sentinels => {
                "it does not speak TLS at this port: use redis+sentinel://, or sentinel_tls=false where servers speak TLS, or \
                 the port at which it does"
            }
        }
    }
}

#[cfg(feature = "tls-no-provider")]
impl Connector {
    /// For a replica of the primary that this one leads to. Its certificate may be for a name of its own, or for that of an endpoint
    /// of the replicas.
    pub(crate) fn of_replica(&self, reader: Option<&str>) -> Connector {
        Connector { tls: self.tls.as_ref().map(|tls| tls.of_replica(reader)), ..self.clone() }
    }

    /// A cluster calls the node at this address so, or a primary its replica, and its certificate may be for that.
    pub(crate) fn announce(&self, address: SocketAddr, host: &str) {
        if let Some(tls) = &self.tls {
            tls.announce(address, host, Namer::Peers);
        }
    }

    /// A seed of a cluster, or a sentinel, is at this address, and its certificate must be for its name unless the cluster has
    /// another.
    pub(crate) fn announce_listed(&self, address: SocketAddr, host: &str) {
        if let Some(tls) = &self.tls {
            tls.announce(address, host, Namer::Seed);
        }
    }

    fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A plain server takes the greeting of TLS for the beginning of a line, and waits for its end. So one that has been silent
    /// for a while is asked in plain as well, over a connection of its own: if it answers that, waiting is of no use.
    async fn secured(&self, stream: BoxedStream, address: &Address, begun: Instant) -> Result<BoxedStream, Rejection> {
        let Some(tls) = &self.tls else { return Ok(stream) };
        let not_tls = self.peers.do_not_speak_tls();
        let mut handshake = std::pin::pin!(tls.shake_hands(stream, address, not_tls));
        if let Some(outcome) = within(SHORTEST_ANSWER.max(self.dial_timeout / 4), &mut handshake).await {
            return outcome;
        }
        let patience = (self.dial_timeout * 9 / 10).saturating_sub(begun.elapsed());
        let outcome = within(patience, async {
            tokio::select! {
                biased;
                outcome = handshake => outcome,
                true = self.answers_plainly(address) => Err(Rejection::by_tls(not_tls)),
            }
        });
        outcome.await.unwrap_or_else(|| {
            let detail = "no answer to the TLS handshake".to_owned();
            Err(Rejection { kind: FailureKind::TimedOut, detail })
        })
    }

    async fn answers_plainly(&self, address: &Address) -> bool {
        matches!(self.ask(address, b"*1\r\n$4\r\nPING\r\n").await, Some(b'+' | b'-'))
    }
}

#[cfg(not(feature = "tls-no-provider"))]
impl Connector {
    pub(crate) fn of_replica(&self, _: Option<&str>) -> Connector {
        self.clone()
    }

    pub(crate) fn announce(&self, _: SocketAddr, _: &str) {}

    pub(crate) fn announce_listed(&self, _: SocketAddr, _: &str) {}

    fn speaks_tls(&self) -> bool {
        false
    }

    async fn secured(&self, stream: BoxedStream, _: &Address, _: Instant) -> Result<BoxedStream, Rejection> {
        Ok(stream)
    }
}
