//! A fake server in a network of its own, and a dialer that leads there: what the tests of dials begin with.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use redis_tether_core::{Address, Epoch};
use redis_tether_testkit::{FakeServer, SimNet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LIMIT;
use crate::config::Config;
use crate::credentials::CredentialSource;
use crate::credentials::keyring::{Keyring, Report};
use crate::dial::wanted::Wanted;
use crate::dial::{Books, Connector, DialError, Dialer};
use crate::gate::Gate;
use crate::ledger::{LinkEnd, LinkObserver};
use crate::link::Link;
#[cfg(feature = "tls-no-provider")]
use crate::tls::{TlsParts, TlsStage};
use crate::transport::{BoxFuture, BoxedStream, Transport};

/// A fake server in a network of its own, and a dialer that leads there.
pub(super) struct World {
    pub(super) net: SimNet,
    pub(super) server: FakeServer,
    pub(super) address: SocketAddr,
    pub(super) gate: Arc<Gate>,
    pub(super) ends: Arc<Ends>,
    pub(super) open_streams: Arc<AtomicUsize>,
    dialer: Dialer,
}

impl World {
    pub(super) fn new() -> World {
        World::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> World {
        World::with_source(None, change)
    }

    /// One whose dialer asks this source for credentials.
    pub(super) fn with_source(source: Option<Arc<dyn CredentialSource>>, change: impl FnOnce(&mut Config)) -> World {
        let address = SocketAddr::from(([10, 0, 0, 1], 6379));
        let mut config = Config::new("redis", 6379);
        change(&mut config);
        let (net, server) = (SimNet::new(), FakeServer::new());
        net.bind(address, server.clone());
        let gate = Gate::new(&config.commands, Arc::default());
        let (ends, open_streams) = (Arc::new(Ends::default()), Arc::new(AtomicUsize::new(0)));
        let transport = SimTransport { net: net.clone(), open: Arc::clone(&open_streams) };
        let connector = Connector::new(Arc::new(transport), &config);
        #[cfg(feature = "tls-no-provider")]
        let connector = connector.with_tls(TlsStage::of(&config, TlsParts::default()).expect("sound files"));
        let config = Arc::new(config);
        let (tasks, books) = (TaskTracker::new(), Books::Published(Arc::clone(&gate), ends.clone()));
        let endpoint: Arc<str> = config.endpoint.to_string().into();
        let report = Report::new(endpoint.clone(), |_| {});
        let keyring = Keyring::new(&config, source, tasks.clone(), CancellationToken::new(), report);
        let dialer = Dialer::new(endpoint, config, Wanted::Primary, connector, Arc::new(keyring), books, tasks);
        World { net, server, address, gate, ends, open_streams, dialer }
    }

    pub(super) async fn dial(&self) -> Result<Link, DialError> {
        self.dialer.dial(Epoch::FIRST, Address::Tcp(self.address)).await
    }

    pub(super) async fn failure(&self) -> DialError {
        self.dial().await.map(|link| link.verify_level()).expect_err("the dial fails")
    }

    pub(super) fn dials(&self) -> u64 {
        self.net.dials(self.address)
    }

    pub(super) async fn until_no_stream_is_left(&self) {
        let gone = async {
            while self.open_streams.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, gone).await.expect("every stream is dropped");
    }
}

#[derive(Default)]
pub(super) struct Ends(Mutex<Vec<LinkEnd>>);

impl Ends {
    pub(super) fn seen(&self) -> Vec<LinkEnd> {
        self.0.lock().expect("no panic").clone()
    }
}

impl LinkObserver for Ends {
    fn link_ended(&self, _epoch: Epoch, end: LinkEnd) {
        self.0.lock().expect("no panic").push(end);
    }

    fn link_heard(&self, _epoch: Epoch) {}
}

struct SimTransport {
    net: SimNet,
    open: Arc<AtomicUsize>,
}

impl Transport for SimTransport {
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxedStream>> {
        let Address::Tcp(address) = *address else {
            panic!("no unix sockets here");
        };
        let (net, open) = (self.net.clone(), Arc::clone(&self.open));
        Box::pin(async move {
            let stream = net.connect(address).await?;
            open.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Counted { stream, open }) as BoxedStream)
        })
    }
}

/// A stream that is counted until it is dropped.
struct Counted<S> {
    stream: S,
    open: Arc<AtomicUsize>,
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl World {
    /// Puts a peer in the server's place that answers each batch of commands with the next of these.
    pub(super) fn script(&self, answers: &[&'static [u8]]) -> Arc<Mutex<Vec<String>>> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answers, listening) = (answers.to_vec(), Arc::clone(&heard));
        self.net.bind_with(self.address, move |mut io| {
            let (answers, heard) = (answers.clone(), Arc::clone(&listening));
            tokio::spawn(async move {
                for answer in answers {
                    let mut batch = vec![0; 4096];
                    let size = io.read(&mut batch).await.expect("a batch");
                    heard.lock().expect("no panic").push(String::from_utf8_lossy(&batch[..size]).into_owned());
                    io.write_all(answer).await.expect("it is read");
                }
                // Held open until the other side leaves.
                let _ = io.read(&mut [0]).await;
            });
        });
        heard
    }
}
