//! A TCP proxy that breaks connections in the ways in which networks break them.
//!
//! Tests put a [`Proxy`] between the client under test and any TCP server. It knows no protocol: it passes bytes on, late,
//! in part, or not at all. One task accepts, and each connection is a task of its own; all end with the proxy.

mod pump;
mod relay;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::select;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::server::allocate_addresses;
use crate::wait::{Signal, TimedOut};

/// How soon the proxy tries again where its port is taken or accepting fails.
const RETRY: Duration = Duration::from_millis(5);

/// A fault proxy in front of a TCP server; dropping it closes its port and all its connections.
///
/// It is in one mode at a time, which applies to the connections that exist as well as to new ones, and starts with
/// [`pass`](Self::pass). [`reset`](Self::reset) is no mode but happens once.
///
/// ```
/// # use redis_tether_testkit::{FakeServer, Proxy};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = FakeServer::new();
/// let listener = server.listen("127.0.0.1:0".parse()?).await?;
/// let proxy = Proxy::start(listener.addr()).await?;
/// let mut client = tokio::net::TcpStream::connect(proxy.addr()).await?;
/// proxy.cut_before_reply();
/// client.write_all(b"INCR k\r\n").await?;
/// assert_eq!(client.read(&mut [0; 9]).await?, 0); // no reply,
/// assert_eq!(server.executions("INCR"), 1); // and yet it has happened
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The mode, or something else that a connection goes by, has changed.
    changed: Signal,
    /// A count has changed, or the port was opened or closed.
    counted: Signal,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    mode: Mode,
    /// Grows with each change of the mode: what counts "from now on" starts again.
    mode_number: u64,
    resets: u64,
    port: Port,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    Refuse,
    BlackHole,
    BlackHoleReplies,
    Delay(Duration),
    CutReplyAfter(u64),
    HalfOpen,
    Drip(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    accepted: u64,
    live: usize,
    bytes_to_server: u64,
    bytes_to_client: u64,
}

impl Proxy {
    /// Starts a proxy at a loopback address of its own.
    ///
    /// # Errors
    /// Where there is no free address.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let addr = allocate_addresses(1)?.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Self::start_on(addr, target).await
    }

    /// Starts a proxy at this address.
    ///
    /// # Errors
    /// Those of binding the address.
    pub async fn start_on(addr: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let state =
            State { target, mode: Mode::Pass, mode_number: 0, resets: 0, port: Port::Open, counts: Counts::default() };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Signal::default(), counted: Signal::default() });
        let task = tokio::spawn(keep(Arc::clone(&shared), addr, listener));
        Ok(Self { addr, shared, task })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on new connections go to this server. Those that exist stay.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.change(|state| state.target = target);
    }

    /// Passes everything on, beginning with what was held back. After [`refuse`](Self::refuse), the same address accepts
    /// again; [`wait_until_open`](Self::wait_until_open) says when.
    pub fn pass(&self) {
        self.set(Mode::Pass);
    }

    /// Closes the port, so that connects are refused; connections that exist go on.
    /// [`wait_until_closed`](Self::wait_until_closed) says when it is closed. Every other mode opens it again.
    pub fn refuse(&self) {
        self.set(Mode::Refuse);
    }

    /// Accepts and passes nothing on in either direction, not even the end of a connection. What is held back arrives
    /// after [`pass`](Self::pass), as by TCP's retransmission.
    pub fn black_hole(&self) {
        self.set(Mode::BlackHole);
    }

    /// Passes requests on and holds replies back.
    pub fn black_hole_replies(&self) {
        self.set(Mode::BlackHoleReplies);
    }

    /// Passes everything on after this delay, in each direction.
    pub fn delay(&self, one_way: Duration) {
        self.set(Mode::Delay(one_way));
    }

    /// Passes this many more bytes of replies on for each connection and closes it then, on both sides. With 0 it is closed
    /// when the first byte of a reply comes.
    pub fn cut_reply_after(&self, bytes: u64) {
        self.set(Mode::CutReplyAfter(bytes));
    }

    /// Passes requests on and closes the connection as soon as a reply comes: what was asked has happened, and nobody
    /// says so.
    pub fn cut_before_reply(&self) {
        self.cut_reply_after(0);
    }

    /// Closes the server's side and keeps the client's, which is told nothing: what it sends vanishes. After any other
    /// mode is set, the next thing that it sends is answered with a reset, as by a host that has rebooted.
    pub fn half_open(&self) {
        self.set(Mode::HalfOpen);
    }

    /// Passes replies on one byte at a time, with this pause after each; requests are passed on as they come.
    pub fn drip(&self, interval: Duration) {
        self.set(Mode::Drip(interval));
    }

    /// Resets (RST) all connections that exist. The mode stays.
    pub fn reset(&self) {
        self.shared.change(|state| state.resets += 1);
    }

    /// Connections accepted so far.
    pub fn connections_accepted(&self) -> u64 {
        self.shared.lock().counts.accepted
    }

    /// Connections that are open now, on the client's side at least.
    pub fn live_connections(&self) -> usize {
        self.shared.lock().counts.live
    }

    /// Bytes passed on to servers so far.
    pub fn bytes_to_server(&self) -> u64 {
        self.shared.lock().counts.bytes_to_server
    }

    /// Bytes passed on to clients so far.
    pub fn bytes_to_client(&self) -> u64 {
        self.shared.lock().counts.bytes_to_client
    }

    /// Waits until `count` connections were accepted altogether.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_for_connections(&self, count: u64) -> Result<(), TimedOut> {
        let what = || format!("the connections accepted at {}", self.addr);
        self.shared.counted.until_at_least(what, count, || self.connections_accepted()).await
    }

    /// Waits until this many bytes were passed on to servers altogether.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_for_bytes_to_server(&self, count: u64) -> Result<(), TimedOut> {
        let what = || format!("the bytes passed on by {}", self.addr);
        self.shared.counted.until_at_least(what, count, || self.bytes_to_server()).await
    }

    /// Waits until no connection is left.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_until_idle(&self) -> Result<(), TimedOut> {
        let what = || format!("the times that {} has no connection", self.addr);
        self.shared.counted.until_at_least(what, 1, || u64::from(self.live_connections() == 0)).await
    }

    /// Waits until the port accepts connections.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_until_open(&self) -> Result<(), TimedOut> {
        self.wait_for_port(Port::Open).await
    }

    /// Waits until the port refuses connections.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_until_closed(&self) -> Result<(), TimedOut> {
        self.wait_for_port(Port::Closed).await
    }

    async fn wait_for_port(&self, wanted: Port) -> Result<(), TimedOut> {
        let what = || format!("the times that the port of {} is {wanted:?}", self.addr);
        self.shared.counted.until_at_least(what, 1, || u64::from(self.shared.lock().port == wanted)).await
    }

    fn set(&self, mode: Mode) {
        self.shared.change(|state| {
            state.mode = mode;
            state.mode_number += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections are in the task's own set and end with it.
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.raise();
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.lock().counts);
        self.counted.raise();
    }

    fn set_port(&self, port: Port) {
        self.lock().port = port;
        self.counted.raise();
    }

    fn is_refusing(&self) -> bool {
        self.lock().mode == Mode::Refuse
    }
}

async fn keep(shared: Arc<Shared>, addr: SocketAddr, mut listener: TcpListener) {
    let mut relays = JoinSet::new();
    loop {
        accept_until_refused(&shared, &listener, &mut relays).await;
        drop(listener);
        shared.set_port(Port::Closed);
        shared.changed.until(|| (!shared.is_refusing()).then_some(())).await;
        listener = bind_again(addr).await;
        shared.set_port(Port::Open);
    }
}

async fn accept_until_refused(shared: &Arc<Shared>, listener: &TcpListener, relays: &mut JoinSet<()>) {
    let refused = shared.changed.until(|| shared.is_refusing().then_some(()));
    tokio::pin!(refused);
    loop {
        select! {
            biased;
            () = &mut refused => return,
            Some(_) = relays.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(relays.spawn(relay::run(Arc::clone(shared), client))),
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
