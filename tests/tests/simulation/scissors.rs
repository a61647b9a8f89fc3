//! What cuts a link at an exact byte, on the tether's side of it: between a request and its reply, or within a request.
//! `faults.rs` says when; the world's transport puts every stream that it makes through here.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use redis_tether_testkit::SimStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where links are cut, by address.
#[derive(Clone, Default)]
pub(crate) struct Scissors {
    cuts: Arc<Mutex<BTreeMap<SocketAddr, Cut>>>,
}

/// Where a link is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// When a reply comes, of which nothing arrives. What was asked has happened.
    BeforeReply,
    /// When so many more bytes of requests have been delivered; the rest of them never leaves.
    AfterRequestBytes(usize),
}

impl Scissors {
    /// Cuts the next link to this address that comes to that point, and that one alone.
    pub(crate) fn cut(&self, addr: SocketAddr, at: Cut) {
        self.lock().insert(addr, at);
    }

    /// Cuts no more.
    pub(crate) fn put_away(&self) {
        self.lock().clear();
    }

    /// This stream, in reach of the scissors.
    pub(crate) fn around(&self, addr: SocketAddr, stream: SimStream) -> Cuttable {
        Cuttable { scissors: self.clone(), addr, stream, is_cut: false }
    }

    /// Whether a link on which a reply has come is cut here.
    fn close_on_reply(&self, addr: SocketAddr) -> bool {
        let mut cuts = self.lock();
        let is_here = cuts.get(&addr) == Some(&Cut::BeforeReply);
        if is_here {
            cuts.remove(&addr);
        }
        is_here
    }

    /// How many of so many bytes leave; none if the link is cut here.
    fn leave(&self, addr: SocketAddr, bytes: usize) -> usize {
        let mut cuts = self.lock();
        match cuts.get_mut(&addr) {
            Some(Cut::AfterRequestBytes(0)) => {
                cuts.remove(&addr);
                0
            }
            Some(Cut::AfterRequestBytes(left)) => {
                let leaving = bytes.min(*left);
                *left -= leaving;
                leaving
            }
            Some(Cut::BeforeReply) | None => bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Cut>> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that may be cut.
pub(crate) struct Cuttable {
    scissors: Scissors,
    addr: SocketAddr,
    stream: SimStream,
    is_cut: bool,
}

impl Cuttable {
    /// The other end reads what was written before, and then the end.
    fn cut<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.is_cut = true;
        // It never waits, and what becomes of it is nobody's concern here.
        let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before && self.scissors.close_on_reply(self.addr) {
            buf.set_filled(before);
            return self.cut(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let leaving = self.scissors.leave(self.addr, data.len());
        if leaving == 0 && !data.is_empty() {
            return self.cut(cx);
        }
        Pin::new(&mut self.stream).poll_write(cx, &data[..leaving])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_is_cut_at_the_byte_and_once() {
    use redis_tether_testkit::{FakeServer, SimNet};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (net, server, scissors) = (SimNet::new(), FakeServer::new(), Scissors::default());
    let addr = crate::world::address(0);
    net.bind(addr, server.clone());
    let connect = async || scissors.around(addr, net.connect(addr).await.expect("a server"));
    let increment = b"INCR key\r\n";
    let mut reply = [0; 4];

    let mut link = connect().await;
    scissors.cut(addr, Cut::BeforeReply);
    link.write_all(increment).await.expect("it leaves");
    link.read_exact(&mut reply).await.expect_err("no reply");
    assert_eq!(server.executions("INCR"), 1, "and yet it was executed");

    let mut link = connect().await;
    scissors.cut(addr, Cut::AfterRequestBytes(increment.len() + 3));
    link.write_all(&[increment.as_slice(), increment].concat()).await.expect_err("the second one does not leave");
    link.read_exact(&mut reply).await.expect_err("no reply");
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    assert_eq!(server.executions("INCR"), 2, "the first one was delivered");

    let mut link = connect().await;
    link.write_all(increment).await.expect("it leaves");
    link.read_exact(&mut reply).await.expect("a reply");
    assert_eq!(&reply, b":3\r\n");
}
