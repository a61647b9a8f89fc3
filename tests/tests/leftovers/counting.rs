//! Counting what a tether has: streams, and attempts while they last. They take their time to be dropped, so that one that is not
//! waited for is caught.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use redis_tether::{Address, BoxFuture, BoxedStream, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How long the drop of something takes: far longer than a shutdown that does not wait for it.
const DROP_TAKES: Duration = Duration::from_millis(5);

/// How many of something there are.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn one_more(&self) -> One {
        self.0.fetch_add(1, Ordering::SeqCst);
        One(self.clone())
    }

    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) struct One(Count);

impl Drop for One {
    fn drop(&mut self) {
        thread::sleep(DROP_TAKES);
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct CountedStream {
    stream: TcpStream,
    _one: One,
}

impl AsyncRead for CountedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connects for as long as it lets anybody; counts its streams, and its attempts while they last.
#[derive(Clone)]
pub(crate) struct Counting {
    pub(crate) count: Count,
    pub(crate) connects: Connects,
}

#[derive(Clone, Copy)]
pub(crate) enum Connects {
    Really,
    Never,
}

impl Transport for Counting {
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxedStream>> {
        let (Counting { count, connects }, address) = (self.clone(), address.clone());
        Box::pin(async move {
            let _attempt = count.one_more();
            let Address::Tcp(address) = address else { return Err(io::ErrorKind::Unsupported.into()) };
            match connects {
                Connects::Really => {
                    let stream = TcpStream::connect(address).await?;
                    Ok(Box::new(CountedStream { stream, _one: count.one_more() }) as BoxedStream)
                }
                Connects::Never => std::future::pending().await,
            }
        })
    }
}
