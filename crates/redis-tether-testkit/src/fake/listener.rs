//! A fake server on a TCP port.
//!
//! [`FakeServer::listen`] spawns one task per listener, which accepts while the server is up and closes its socket while it
//! is down, so that connections are refused by the kernel as those to a crashed process are.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::select;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::FakeServer;
use crate::wait::{Signal, TimedOut};

/// How soon a listener tries again where its port is taken or accepting fails.
const RETRY: Duration = Duration::from_millis(5);

/// A TCP port at which a fake server accepts connections; dropping it closes the port and leaves the connections.
#[derive(Debug)]
pub struct FakeListener {
    addr: SocketAddr,
    door: Arc<Door>,
    task: JoinHandle<()>,
}

/// Whether the port is open now.
#[derive(Debug)]
struct Door {
    is_open: AtomicBool,
    moved: Signal,
}

impl FakeServer {
    /// Accepts connections at `addr`; port 0 takes a free one. May be called for several addresses.
    ///
    /// # Errors
    /// Those of binding the address.
    pub async fn listen(&self, addr: SocketAddr) -> io::Result<FakeListener> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let door = Arc::new(Door { is_open: AtomicBool::new(true), moved: Signal::default() });
        let task = tokio::spawn(keep(self.clone(), addr, listener, Arc::clone(&door)));
        Ok(FakeListener { addr, door, task })
    }
}

impl FakeListener {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until connections are accepted: after [`FakeServer::restart`].
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_until_open(&self) -> Result<(), TimedOut> {
        let is_open = || u64::from(self.door.is_open.load(Ordering::Acquire));
        self.door.moved.until_at_least(|| format!("the opening of {}", self.addr), 1, is_open).await
    }

    /// Waits until connections are refused: after [`FakeServer::crash`].
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_until_closed(&self) -> Result<(), TimedOut> {
        let is_closed = || u64::from(!self.door.is_open.load(Ordering::Acquire));
        self.door.moved.until_at_least(|| format!("the closing of {}", self.addr), 1, is_closed).await
    }
}

impl Drop for FakeListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Door {
    fn set_open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.moved.raise();
    }

    fn set_closed(&self) {
        self.is_open.store(false, Ordering::Release);
        self.moved.raise();
    }
}

async fn keep(server: FakeServer, addr: SocketAddr, mut listener: TcpListener, door: Arc<Door>) {
    loop {
        accept_while_up(&server, &listener).await;
        drop(listener);
        door.set_closed();
        server.inner.changed.until(|| server.is_up().then_some(())).await;
        listener = bind_again(addr).await;
        door.set_open();
    }
}

async fn accept_while_up(server: &FakeServer, listener: &TcpListener) {
    let down = server.inner.changed.until(|| (!server.is_up()).then_some(()));
    tokio::pin!(down);
    loop {
        select! {
            biased;
            () = &mut down => return,
            accepted = listener.accept() => match accepted {
                Ok((io, _)) => {
                    // Replies are small and flushed whole; waiting for more would only add delay.
                    let _ = io.set_nodelay(true);
                    server.serve_tcp(io);
                }
                // Out of descriptors, say: no reason to spin.
                Err(_) => sleep(RETRY).await,
            }
        }
    }
}

/// The address was ours; whoever holds it now will let go of it.
async fn bind_again(addr: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(_) => sleep(RETRY).await,
        }
    }
}
