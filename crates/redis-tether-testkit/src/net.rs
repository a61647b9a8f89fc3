//! A network in memory, for whole systems under virtual time.
//!
//! Tests bind [`FakeServer`]s (or servers of their own) to addresses and let the client under test dial through
//! [`SimNet::connect`] in place of `TcpStream::connect`. No socket is opened and no thread is used, so that under
//! `#[tokio::test(start_paused = true)]` an hour of faults takes milliseconds and always takes the same course.

mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::fake::FakeServer;
use crate::wait::{Signal, TimedOut};

pub use stream::SimStream;
use stream::{Flow, LinkControl, Path};

/// A simulated network, shared by all its clones.
///
/// An address where nothing is bound, or where a [crashed](FakeServer::crash) fake is, refuses connections. Scripted
/// behaviour belongs to the address and stays when something else is bound there.
///
/// ```
/// # use redis_tether_testkit::{FakeServer, SimNet};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let net = SimNet::new();
/// let addr = "10.0.0.1:6379".parse().unwrap();
/// net.bind(addr, FakeServer::new());
/// let mut stream = net.connect(addr).await?;
/// stream.write_all(b"PING\r\n").await?;
/// let mut reply = [0; 7];
/// stream.read_exact(&mut reply).await?;
/// assert_eq!(&reply, b"+PONG\r\n");
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct SimNet {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    places: Mutex<BTreeMap<SocketAddr, Place>>,
    changed: Signal,
    dialled: Signal,
}

/// An address and what happens to those who dial it.
struct Place {
    host: Option<Host>,
    reach: Reach,
    connect_delay: Duration,
    latency: Duration,
    dials: Vec<Instant>,
    links: Vec<LinkControl>,
}

#[derive(Clone)]
enum Host {
    Fake(FakeServer),
    Custom(Arc<dyn Fn(SimStream) + Send + Sync>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Open,
    Refuse,
    Unreachable,
    BlackHole,
}

impl SimNet {
    /// A network where nothing is bound.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `server` accepts the connections to `addr`. One server may have several addresses. Links to what
    /// was bound there before stay as they are.
    pub fn bind(&self, addr: SocketAddr, server: FakeServer) {
        self.change(addr, |place| place.host = Some(Host::Fake(server)));
    }

    /// From now on `accept` gets the server's end of each connection to `addr`: for servers of your own. It must not
    /// block; let it spawn a task.
    pub fn bind_with(&self, addr: SocketAddr, accept: impl Fn(SimStream) + Send + Sync + 'static) {
        self.change(addr, |place| place.host = Some(Host::Custom(Arc::new(accept))));
    }

    /// From now on nobody listens at `addr`. Links stay; see [`reset`](Self::reset).
    pub fn unbind(&self, addr: SocketAddr) {
        self.change(addr, |place| place.host = None);
    }

    /// From now on connections to `addr` are refused. Links stay.
    pub fn refuse(&self, addr: SocketAddr) {
        self.change(addr, |place| place.reach = Reach::Refuse);
    }

    /// From now on connections to `addr` fail with `HostUnreachable`. Links stay.
    pub fn unreachable(&self, addr: SocketAddr) {
        self.change(addr, |place| place.reach = Reach::Unreachable);
    }

    /// From now on every packet to and from `addr` vanishes: connecting takes until [`heal`](Self::heal), and nothing
    /// arrives on the links that exist. What was sent meanwhile arrives after the healing, as by TCP's retransmission.
    pub fn black_hole(&self, addr: SocketAddr) {
        self.change(addr, |place| place.reach = Reach::BlackHole);
    }

    /// Takes back [`refuse`](Self::refuse), [`unreachable`](Self::unreachable) and [`black_hole`](Self::black_hole).
    pub fn heal(&self, addr: SocketAddr) {
        self.change(addr, |place| place.reach = Reach::Open);
    }

    /// From now on connecting to `addr` takes this long, also when it is refused. Default: zero.
    pub fn connect_delay(&self, addr: SocketAddr, delay: Duration) {
        self.change(addr, |place| place.connect_delay = delay);
    }

    /// From now on each byte to or from `addr` is under way this long, on links that exist as well. Default: zero.
    pub fn latency(&self, addr: SocketAddr, one_way: Duration) {
        self.change(addr, |place| place.latency = one_way);
    }

    /// Ends all links to `addr` as a TCP reset does, on both sides.
    pub fn reset(&self, addr: SocketAddr) {
        let links = self.with(addr, |place| std::mem::take(&mut place.links));
        links.iter().for_each(LinkControl::reset);
    }

    /// How often `addr` was dialled, whatever came of it.
    pub fn dials(&self, addr: SocketAddr) -> u64 {
        self.with(addr, |place| place.dials.len() as u64)
    }

    /// When `addr` was dialled, oldest first, to check a pace against.
    pub fn dial_times(&self, addr: SocketAddr) -> Vec<Instant> {
        self.with(addr, |place| place.dials.clone())
    }

    /// Links to `addr` of which both ends still exist.
    pub fn links(&self, addr: SocketAddr) -> usize {
        self.with(addr, |place| place.links.iter().filter(|link| link.is_live()).count())
    }

    /// Waits until `addr` was dialled `count` times altogether.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_for_dials(&self, addr: SocketAddr, count: u64) -> Result<(), TimedOut> {
        let what = || format!("the dials of {addr}");
        self.shared.dialled.until_at_least(what, count, || self.dials(addr)).await
    }

    /// Dials `addr`: what the client under test calls in place of `TcpStream::connect`. The dial counts from the first
    /// poll. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionRefused` where nobody listens, and what the address is scripted to.
    pub fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<SimStream>> + Send + 'static {
        let net = self.clone();
        async move {
            let delay = net.note_dial(addr);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            net.shared.changed.until(|| net.try_connect(addr)).await
        }
    }

    fn note_dial(&self, addr: SocketAddr) -> Duration {
        let delay = self.with(addr, |place| {
            place.dials.push(Instant::now());
            place.connect_delay
        });
        self.shared.dialled.raise();
        delay
    }

    /// The outcome of a dial; `None` while the address swallows it.
    fn try_connect(&self, addr: SocketAddr) -> Option<io::Result<SimStream>> {
        let (host, client, server) = {
            let mut places = self.places();
            let place = places.entry(addr).or_insert_with(Place::vacant);
            match place.reach {
                Reach::BlackHole => return None,
                Reach::Refuse => return Some(Err(io::ErrorKind::ConnectionRefused.into())),
                Reach::Unreachable => return Some(Err(io::ErrorKind::HostUnreachable.into())),
                Reach::Open => {}
            }
            let Some(host) = place.host.clone().filter(Host::is_listening) else {
                return Some(Err(io::ErrorKind::ConnectionRefused.into()));
            };
            let (client, server) = place.add_link();
            (host, client, server)
        };
        host.accept(server);
        Some(Ok(client))
    }

    fn change(&self, addr: SocketAddr, change: impl FnOnce(&mut Place)) {
        self.with(addr, |place| {
            change(place);
            place.apply_path();
        });
        self.shared.changed.raise();
    }

    fn with<T>(&self, addr: SocketAddr, act: impl FnOnce(&mut Place) -> T) -> T {
        act(self.places().entry(addr).or_insert_with(Place::vacant))
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Place>> {
        self.shared.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").finish_non_exhaustive()
    }
}

impl Place {
    fn vacant() -> Self {
        Self {
            host: None,
            reach: Reach::Open,
            connect_delay: Duration::ZERO,
            latency: Duration::ZERO,
            dials: Vec::new(),
            links: Vec::new(),
        }
    }

    fn path(&self) -> Path {
        let flow = if self.reach == Reach::BlackHole { Flow::Stalled } else { Flow::Open };
        Path { latency: self.latency, flow }
    }

    fn apply_path(&mut self) {
        let path = self.path();
        self.links.iter().for_each(|link| link.set_path(path));
    }

    fn add_link(&mut self) -> (SimStream, SimStream) {
        let (client, server, control) = stream::link(self.path());
        // Swept when the list has doubled: a storm of dials costs no scan each.
        if self.links.len() == self.links.capacity() {
            self.links.retain(LinkControl::is_live);
        }
        self.links.push(control);
        (client, server)
    }
}

impl Host {
    fn is_listening(&self) -> bool {
        match self {
            Self::Fake(server) => server.is_up(),
            Self::Custom(_) => true,
        }
    }

    fn accept(&self, stream: SimStream) {
        match self {
            Self::Fake(server) => server.serve_sim(stream),
            Self::Custom(accept) => accept(stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3600);

    fn addr() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 6379))
    }

    fn bound() -> SimNet {
        let net = SimNet::new();
        net.bind(addr(), FakeServer::new());
        net
    }

    async fn ping(stream: &mut SimStream) -> io::Result<()> {
        stream.write_all(b"PING\r\n").await?;
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).await?;
        assert_eq!(&reply, b"+PONG\r\n");
        Ok(())
    }

    async fn refusal(net: &SimNet) -> io::ErrorKind {
        net.connect(addr()).await.expect_err("nobody accepts").kind()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_server_answers_and_an_unbound_address_refuses() {
        let net = bound();
        let mut stream = net.connect(addr()).await.expect("bound");
        ping(&mut stream).await.expect("alive");
        assert_eq!(net.links(addr()), 1);
        net.unbind(addr());
        assert_eq!(refusal(&net).await, io::ErrorKind::ConnectionRefused);
        ping(&mut stream).await.expect("links outlive the listener");
        assert_eq!(net.dials(addr()), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crashed_server_refuses_and_resets() {
        let net = SimNet::new();
        let server = FakeServer::new();
        net.bind(addr(), server.clone());
        let mut stream = net.connect(addr()).await.expect("bound");
        ping(&mut stream).await.expect("alive");
        server.crash();
        assert_eq!(refusal(&net).await, io::ErrorKind::ConnectionRefused);
        let error = ping(&mut stream).await.expect_err("crashed");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        server.restart();
        ping(&mut net.connect(addr()).await.expect("restarted")).await.expect("alive again");
    }

    #[tokio::test(start_paused = true)]
    async fn scripted_addresses_do_as_they_are_told() {
        let net = bound();
        net.refuse(addr());
        assert_eq!(refusal(&net).await, io::ErrorKind::ConnectionRefused);
        net.unreachable(addr());
        assert_eq!(refusal(&net).await, io::ErrorKind::HostUnreachable);
        net.heal(addr());
        net.connect_delay(addr(), Duration::from_millis(80));
        let start = Instant::now();
        let mut stream = net.connect(addr()).await.expect("open");
        assert_eq!(start.elapsed(), Duration::from_millis(80));
        net.latency(addr(), Duration::from_millis(5));
        ping(&mut stream).await.expect("alive");
        assert_eq!(start.elapsed(), Duration::from_millis(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_black_hole_swallows_dials_and_bytes_until_it_is_healed() {
        let net = bound();
        let mut stream = net.connect(addr()).await.expect("open");
        net.black_hole(addr());
        assert!(tokio::time::timeout(PATIENCE, net.connect(addr())).await.is_err());
        assert!(tokio::time::timeout(PATIENCE, ping(&mut stream)).await.is_err());
        let dialling = tokio::spawn(net.connect(addr()));
        net.wait_for_dials(addr(), 3).await.expect("the third dial");
        net.heal(addr());
        dialling.await.expect("no panic").expect("healed");
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).await.expect("the reply of before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_ends_the_links_of_its_address() {
        let net = bound();
        let mut stream = net.connect(addr()).await.expect("open");
        net.reset(addr());
        assert_eq!(ping(&mut stream).await.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(net.links(addr()), 0);
        assert_eq!(net.dial_times(addr()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_of_ones_own_gets_the_other_end() {
        let net = SimNet::new();
        net.bind_with(addr(), |mut stream| {
            tokio::spawn(async move { stream.write_all(b"hi").await });
        });
        let mut greeting = String::new();
        let mut stream = net.connect(addr()).await.expect("bound");
        stream.read_to_string(&mut greeting).await.expect("a greeting");
        assert_eq!(greeting, "hi");
    }
}
