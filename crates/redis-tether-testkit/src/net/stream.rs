//! One connection of the simulated network: two ends, two directions, and what can go wrong in between.
//!
//! [`SimNet`](super::SimNet) makes the links, scripts their faults through [`LinkControl`] and hands the two
//! [`SimStream`]s out. Bytes are kept in order, are never lost while the link lives, and arrive after the link's latency
//! on tokio's clock. Nothing here runs a task of its own.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that a direction holds before its writer has to wait, as the socket buffers of a kernel would.
const CAPACITY: usize = 64 * 1024;

/// One end of a simulated TCP connection.
///
/// Behaves as a `TcpStream` does: dropping an end is an end of file at the other after what was written before;
/// writing to an end that is gone is a `BrokenPipe`; after a reset both ends fail with `ConnectionReset`, and what was
/// under way is lost.
pub struct SimStream {
    link: Arc<Mutex<Link>>,
    side: Side,
    /// Wakes the reader when bytes under way are due.
    arrival: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// The handle by which the network changes a link. Does not keep it alive.
#[derive(Clone)]
pub(super) struct LinkControl {
    link: std::sync::Weak<Mutex<Link>>,
}

/// How a link treats what is sent over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// How long a byte is under way.
    pub(super) latency: Duration,
    pub(super) flow: Flow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    /// Nothing arrives; what was sent does once the path is open again, as TCP's retransmissions do.
    Stalled,
}

struct Link {
    path: Path,
    reset: bool,
    to_server: Direction,
    to_client: Direction,
}

#[derive(Default)]
struct Direction {
    under_way: VecDeque<Packet>,
    bytes: usize,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Packet {
    due: Instant,
    /// Empty for the end of file.
    bytes: Vec<u8>,
    read: usize,
}

/// Two connected ends, the client's first.
pub(super) fn link(path: Path) -> (SimStream, SimStream, LinkControl) {
    let state = Link { path, reset: false, to_server: Direction::default(), to_client: Direction::default() };
    let link = Arc::new(Mutex::new(state));
    let control = LinkControl { link: Arc::downgrade(&link) };
    let end = |side| SimStream { link: Arc::clone(&link), side, arrival: None };
    (end(Side::Client), end(Side::Server), control)
}

impl SimStream {
    /// Ends the connection as a TCP reset does.
    pub fn reset(&self) {
        lock(&self.link).reset();
    }

    /// Waits until the first packet is due.
    fn poll_arrival(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let arrival = self.arrival.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if arrival.deadline() != due {
            arrival.as_mut().reset(due);
        }
        arrival.as_mut().poll(cx)
    }
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let due = {
            let mut link = lock(&self.link);
            if link.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let flow = link.path.flow;
            let direction = link.towards(self.side);
            if flow == Flow::Open && direction.take_due(buf) {
                return Poll::Ready(Ok(()));
            }
            direction.reader = Some(cx.waker().clone());
            let due = direction.under_way.front().map(|packet| packet.due);
            due.filter(|_| flow == Flow::Open)
        };
        if let Some(due) = due
            && self.poll_arrival(due, cx).is_ready()
        {
            // Due by now; the next poll finds it.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut link = lock(&self.link);
        if link.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let due = Instant::now() + link.path.latency;
        let direction = link.towards(self.side.other());
        if direction.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY.saturating_sub(direction.bytes).min(data.len());
        if room == 0 && !data.is_empty() {
            direction.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if room > 0 {
            direction.send(due, &data[..room]);
        }
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.link).finish(self.side);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut link = lock(&self.link);
        link.finish(self.side);
        let inbound = link.towards(self.side);
        inbound.reader_gone = true;
        inbound.wake_writer();
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream").field("side", &self.side).finish_non_exhaustive()
    }
}

impl LinkControl {
    /// Whether both ends are still held by somebody.
    pub(super) fn is_live(&self) -> bool {
        self.link.upgrade().is_some_and(|link| {
            let link = lock(&link);
            !link.reset && !link.to_client.reader_gone && !link.to_server.reader_gone
        })
    }

    pub(super) fn reset(&self) {
        if let Some(link) = self.link.upgrade() {
            lock(&link).reset();
        }
    }

    /// From now on the link is like this. What is under way already arrives when it would have.
    pub(super) fn set_path(&self, path: Path) {
        if let Some(link) = self.link.upgrade() {
            let mut link = lock(&link);
            link.path = path;
            link.wake_all();
        }
    }
}

impl Link {
    /// The direction that `side` reads from.
    fn towards(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.to_client,
            Side::Server => &mut self.to_server,
        }
    }

    fn reset(&mut self) {
        self.reset = true;
        self.wake_all();
    }

    /// `side` writes no more.
    fn finish(&mut self, side: Side) {
        let due = Instant::now() + self.path.latency;
        let outbound = self.towards(side.other());
        if !outbound.under_way.back().is_some_and(Packet::is_end) {
            outbound.send(due, &[]);
        }
    }

    fn wake_all(&mut self) {
        for direction in [&mut self.to_server, &mut self.to_client] {
            direction.wake_reader();
            direction.wake_writer();
        }
    }
}

impl Direction {
    fn send(&mut self, due: Instant, bytes: &[u8]) {
        // A latency that was lowered in between must not let later bytes overtake earlier ones.
        let due = self.under_way.back().map_or(due, |last| last.due.max(due));
        self.under_way.push_back(Packet { due, bytes: bytes.to_vec(), read: 0 });
        self.bytes += bytes.len();
        self.wake_reader();
    }

    /// Moves what has arrived into `buf`. True also for the end of file, which stays, so that it is read again.
    fn take_due(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let now = Instant::now();
        let mut taken = 0;
        while let Some(packet) = self.under_way.front_mut() {
            if packet.due > now || buf.remaining() == 0 {
                break;
            }
            if packet.is_end() {
                return true;
            }
            taken += packet.read_into(buf);
            if packet.read == packet.bytes.len() {
                self.under_way.pop_front();
            }
        }
        self.bytes -= taken;
        if taken > 0 {
            self.wake_writer();
        }
        taken > 0 || buf.remaining() == 0
    }

    fn wake_reader(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn wake_writer(&mut self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

impl Packet {
    fn is_end(&self) -> bool {
        self.bytes.is_empty()
    }

    fn read_into(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let rest = &self.bytes[self.read..];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        self.read += count;
        count
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

fn lock(link: &Mutex<Link>) -> MutexGuard<'_, Link> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const OPEN: Path = Path { latency: Duration::ZERO, flow: Flow::Open };

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_in_order_and_after_the_latency() {
        let latency = Duration::from_millis(30);
        let (mut client, mut server, control) = link(Path { latency, ..OPEN });
        let start = Instant::now();
        client.write_all(b"slow").await.expect("open");
        control.set_path(OPEN);
        client.write_all(b"fast").await.expect("open");
        drop(client);
        let mut read = String::new();
        server.read_to_string(&mut read).await.expect("open");
        assert_eq!((read.as_str(), start.elapsed()), ("slowfast", latency));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_link_delivers_when_it_is_open_again() {
        let (mut client, mut server, control) = link(OPEN);
        control.set_path(Path { flow: Flow::Stalled, ..OPEN });
        client.write_all(b"late").await.expect("open");
        let mut buf = [0; 4];
        let early = tokio::time::timeout(Duration::from_secs(9), server.read_exact(&mut buf)).await;
        assert!(early.is_err());
        control.set_path(OPEN);
        server.read_exact(&mut buf).await.expect("open again");
        assert_eq!(&buf, b"late");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_direction_makes_the_writer_wait() {
        let (mut client, mut server, _control) = link(OPEN);
        let data = vec![7; CAPACITY + 1];
        let writing = tokio::spawn(async move { client.write_all(&data).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!writing.is_finished());
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.expect("open");
        assert_eq!(read.len(), CAPACITY + 1);
        writing.await.expect("no panic").expect("written");
    }

    #[tokio::test(start_paused = true)]
    async fn the_ends_of_a_link_end_as_those_of_tcp() {
        let (mut client, server, control) = link(OPEN);
        assert!(control.is_live());
        drop(server);
        assert!(!control.is_live());
        assert_eq!(client.read_u8().await.expect_err("eof").kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(client.write_u8(0).await.expect_err("gone").kind(), io::ErrorKind::BrokenPipe);

        let (mut client, mut server, control) = link(OPEN);
        client.write_u8(1).await.expect("open");
        control.reset();
        assert_eq!(client.write_u8(0).await.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(server.read_u8().await.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
    }
}
