//! TLS over a transport of the application's own, with roots that are in no file: what a simulation has. And what TLS makes of
//! the batches in which commands leave.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use redis_tether::redis::AsyncCommands;
use redis_tether::{Address, BoxedStream, Config, Tether, TlsSettings, Transport};
use redis_tether_testkit::tls::{Authority, acceptor};
use redis_tether_testkit::{FakeServer, SimNet};
use redis_tether_tests::rig::InMemory;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

const ADDRESS: &str = "10.0.0.1:6379";

/// A server that speaks TLS in memory, and the authority that vouches for it.
fn server_in(net: &SimNet) -> (FakeServer, Authority) {
    let authority = Authority::new().expect("an authority");
    let acceptor = acceptor(&authority.issue(&["10.0.0.1"]).expect("a certificate"), None).expect("a sound pair");
    let server = FakeServer::new();
    let behind = server.clone();
    net.bind_with(ADDRESS.parse().expect("an address"), move |io| {
        let (server, acceptor) = (behind.clone(), acceptor.clone());
        tokio::spawn(async move { acceptor.accept(io).await.map(|stream| server.serve(stream)) });
    });
    (server, authority)
}

async fn connected(transport: impl Transport, authority: &Authority) -> Tether {
    let config = Config::new("10.0.0.1", 6379).with_tls(TlsSettings::new());
    let builder = Tether::builder(config).transport(transport).tls_roots(authority.pem());
    let tether = builder.start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    tether
}

#[tokio::test(start_paused = true)]
async fn a_transport_of_ones_own_can_have_it() {
    let net = SimNet::new();
    let (server, authority) = server_in(&net);
    let tether = connected(InMemory(net), &authority).await;
    let () = tether.handle().set("key", "value").await.expect("written");
    assert_eq!(server.executions("SET"), 1);

    // Abort and retry, since every transport ends some day.
    server.kill_connections();
    let () = tether.handle().set("key", "again").await.expect("written over the next link");
    tether.shutdown().await;
}

/// What many callers send at once leaves at once, in records that are put together and not one by one.
#[tokio::test(start_paused = true)]
async fn a_batch_is_a_batch_over_tls() {
    const CALLERS: u64 = 64;
    let (net, writes) = (SimNet::new(), Arc::new(AtomicU64::new(0)));
    let (server, authority) = server_in(&net);
    let tether = connected(Counting(InMemory(net), writes.clone()), &authority).await;

    let (before, mut callers) = (writes.load(Ordering::Relaxed), JoinSet::new());
    for caller in 0..CALLERS {
        let mut handle = tether.handle();
        callers.spawn(async move { handle.set::<_, _, ()>(caller, "value").await });
    }
    let done = within(PATIENCE, "all replies", callers.join_all()).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(server.executions("SET"), CALLERS);
    let writes = writes.load(Ordering::Relaxed) - before;
    assert!(writes <= 4, "{writes} writes for {CALLERS} commands");
    tether.shutdown().await;
}

/// Counts the writes of its streams.
struct Counting(InMemory, Arc<AtomicU64>);

impl Transport for Counting {
    fn connect(&self, address: &Address) -> Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send>> {
        let (connecting, writes) = (self.0.connect(address), self.1.clone());
        Box::pin(async move { Ok(Box::new(Counted(connecting.await?, writes)) as BoxedStream) })
    }
}

struct Counted(BoxedStream, Arc<AtomicU64>);

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
