//! What a write over TLS says when the transport fails in the middle of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis_tether_core::Address;
use redis_tether_testkit::tls::{TlsFiles, acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::config::TlsSettings;
use crate::tls::names::OF_SERVERS;
use crate::tls::whom::{Whom, server_name};
use crate::tls::{TlsParts, TlsStage};

const LIMIT: Duration = Duration::from_secs(10);

/// Is reset once it has taken so many bytes.
struct Limited {
    inner: DuplexStream,
    left: Arc<AtomicUsize>,
}

impl AsyncRead for Limited {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Limited {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &buf[..buf.len().min(left)]))?;
        self.left.fetch_sub(written, Ordering::SeqCst);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// How many bytes of many the stream said that it took, and how many the server could read, where the transport is reset after
/// `limit` bytes and holds `room`.
async fn accepted_and_received(limit: usize, room: usize) -> (usize, usize) {
    let files = TlsFiles::create(&["redis"]).expect("certificates");
    let pair = files.authority().issue(&["redis"]).expect("a certificate");
    let acceptor = acceptor(&pair, None).expect("a sound pair");
    let (ours, theirs) = duplex(room);
    let server = tokio::spawn(async move {
        let mut stream = acceptor.accept(theirs).await.expect("shaken hands");
        stream.write_all(b"+welcome\r\n").await.expect("written");
        stream.flush().await.expect("flushed");
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        received.len()
    });
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let stream = Box::new(Limited { inner: ours, left: Arc::clone(&left) });
    let settings = TlsSettings::new().with_ca_file(files.ca_file());
    let redis = Whom::Named(server_name("redis").expect("a name"));
    let stage =
        TlsStage::new("redis:6379".into(), &settings, &OF_SERVERS, redis, TlsParts::default()).expect("sound files");
    let address = Address::Tcp(([127, 0, 0, 1], 6379).into());
    let mut stream = stage.shake_hands(stream, &address, "no TLS").await.expect("shaken hands");
    stream.read_exact(&mut [0; 10]).await.expect("a welcome");

    left.store(limit, Ordering::SeqCst);
    let (bytes, mut accepted) = (vec![b'x'; 300_000], 0);
    while let Ok(written) = stream.write(&bytes[accepted..]).await {
        accepted += written;
    }
    drop(stream);
    (accepted, timeout(LIMIT, server).await.expect("in time").expect("no panic"))
}

#[tokio::test]
async fn whatever_the_server_can_read_was_said_to_be_written() {
    for (limit, room) in [(10, 1 << 20), (20_000, 1 << 20), (40_000, 1 << 20), (150_000, 1 << 20), (150_000, 10_000)] {
        let (accepted, received) = accepted_and_received(limit, room).await;
        assert!(received <= accepted, "{limit}: {received} were read and {accepted} written");
        assert!(received + RECORD >= accepted, "{limit}: of {accepted} at most a record never left, {received} did");
        assert!(received + 2 * RECORD >= limit, "{limit}: {received}");
    }
}
