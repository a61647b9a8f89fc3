//! One client's connection to the fake server: reading, waiting as the faults demand, executing, writing.
//!
//! [`FakeServer::serve`](super::FakeServer::serve) spawns [`serve`] as a task. The decisions are those of `command.rs`;
//! here is what takes time. A connection ends when the client leaves, when a fault says so, or when the server ends all
//! connections, whatever it is waiting for at that moment.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until};

use super::FakeServer;
use super::session::{Identity, Pop, Session, Step};
use super::state::{Attention, CloseAfter, Content, End, Obstacle, Power, Role, State};
use crate::resp::{Malformed, Reply, Request, encode_reply, parse_request};

/// What a client gets where it expects replies.
const GARBAGE: &[u8] = b"\x00\xffHTTP/1.1 400 Bad Request\r\n\r\n";
const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
const UNBLOCKED: &str = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
/// A hung server reads on, but not without end.
const INPUT_LIMIT: usize = 16 * 1024 * 1024;

/// A client's place among the open connections, given back when the connection ends.
pub(super) struct Place {
    server: FakeServer,
    id: u64,
    identity: Identity,
    life: u64,
}

/// Why a client is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// There are too many.
    Away,
    /// Nobody is there.
    Down,
}

/// Serves one client until its connection ends. `reset` makes the stream end with a reset when it is dropped.
pub(super) async fn serve<T>(place: Place, mut io: T, reset: fn(&T))
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let inner = &place.server.inner;
    let mut connection = Connection {
        input: Vec::new(),
        parsed: 0,
        output: Vec::new(),
        sent: 0,
        inbound: Inbound::Open,
        session: Session::new(place.id, place.identity),
        server: &place.server,
        io: &mut io,
    };
    let ended = inner.changed.until(|| {
        let now = inner.lock().life;
        (now.number != place.life).then_some(now.last_end)
    });
    let end = select! {
        biased;
        end = ended => Some(end),
        _ = connection.run() => None,
    };
    if end == Some(End::Reset) {
        reset(&io);
    }
}

/// Tells a client that there are too many, and closes.
pub(super) async fn turn_away<T: AsyncWrite + Unpin>(mut io: T) {
    // The client may have left already, which is just as well.
    let _ = io.write_all(TOO_MANY_CLIENTS).await;
    let _ = io.shutdown().await;
}

impl Place {
    pub(super) fn take(server: &FakeServer) -> Result<Self, Turned> {
        let taken = {
            let mut state = server.inner.lock();
            let life = state.life.number;
            state.take_place().map(|(id, identity)| Self { server: server.clone(), id, identity, life })
        };
        server.inner.counted.raise();
        taken
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.inner.lock().counts.open -= 1;
        self.server.inner.counted.raise();
    }
}

impl State {
    fn take_place(&mut self) -> Result<(u64, Identity), Turned> {
        if self.power == Power::Off {
            return Err(Turned::Down);
        }
        if self.faults.max_clients.is_some_and(|most| self.counts.open >= most) {
            self.counts.rejected += 1;
            return Err(Turned::Away);
        }
        self.counts.accepted += 1;
        self.counts.open += 1;
        let identity = if self.access.password.is_none() { Identity::Known } else { Identity::Unknown };
        Ok((self.counts.accepted, identity))
    }
}

struct Connection<'a, T> {
    server: &'a FakeServer,
    io: &'a mut T,
    session: Session,
    input: Vec<u8>,
    /// How much of the input has been executed.
    parsed: usize,
    output: Vec<u8>,
    /// Bytes written to this client so far.
    sent: u64,
    inbound: Inbound,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inbound {
    Open,
    /// The client sends no more. What it has sent is executed nevertheless.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Close,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<'_, T> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            if self.answer_requests().await? == Next::Close {
                self.flush().await?;
                return self.io.shutdown().await;
            }
            self.flush().await?;
            if self.inbound == Inbound::Ended {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// Executes what has been read completely.
    async fn answer_requests(&mut self) -> io::Result<Next> {
        loop {
            let request = match self.next_request() {
                Ok(None) => return Ok(Next::Continue),
                Ok(Some(request)) => request,
                Err(malformed) => {
                    self.put(&Reply::error(format!("ERR {malformed}")));
                    return Ok(Next::Close);
                }
            };
            if !request.is_empty() && self.answer(request).await? == Next::Close {
                return Ok(Next::Close);
            }
        }
    }

    fn next_request(&mut self) -> Result<Option<Request>, Malformed> {
        let parsed = parse_request(&self.input[self.parsed..])?;
        Ok(parsed.map(|(request, used)| {
            self.parsed += used;
            request
        }))
    }

    async fn answer(&mut self, request: Request) -> io::Result<Next> {
        self.until_ready().await?;
        let latency = self.server.inner.lock().faults.latency;
        if !latency.is_zero() {
            self.flush().await?;
            sleep(latency).await;
        }
        let step = self.server.inner.lock().run(&mut self.session, request);
        self.server.after_command();
        let next = match step {
            Step::Reply(reply) => self.put(&reply),
            Step::ReplyAfter(delay, reply) => {
                self.flush().await?;
                sleep(delay).await;
                self.put(&reply)
            }
            Step::Block(pop) => self.block(&pop).await?,
            Step::Close(reply) => {
                if let Some(reply) = reply {
                    self.put(&reply);
                }
                Next::Close
            }
        };
        Ok(next)
    }

    /// Waits in a blocking pop: until there is something, the time is over, or the server has become a replica.
    async fn block(&mut self, pop: &Pop) -> io::Result<Next> {
        self.flush().await?;
        loop {
            self.until_ready().await?;
            let server = self.server;
            let (pushed, changed) = (server.inner.pushed.next(), server.inner.changed.next());
            if let Some((reply, next)) = server.try_unblock(pop) {
                self.put(&reply);
                return Ok(next);
            }
            let deadline = async {
                match pop.deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            select! {
                biased;
                () = pushed => {}
                () = changed => {}
                () = deadline => {}
                read = self.read(), if self.has_room() => {
                    read?;
                    if self.inbound == Inbound::Ended {
                        return Ok(Next::Close);
                    }
                }
            }
        }
    }

    /// Waits while the server is frozen, hung or busy. In the last two cases it goes on reading.
    async fn until_ready(&mut self) -> io::Result<()> {
        loop {
            let server = self.server;
            let changed = server.inner.changed.next();
            let obstacle = server.inner.lock().faults.obstacle(Instant::now());
            match obstacle {
                None => return Ok(()),
                Some(Obstacle::Frozen) => changed.await,
                Some(Obstacle::Hung) => select! {
                    biased;
                    () = changed => {}
                    read = self.read(), if self.has_room() => read?,
                },
                Some(Obstacle::BusyUntil(end)) => select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(end) => {}
                    read = self.read(), if self.has_room() => read?,
                },
            }
        }
    }

    /// Reads what comes next; nothing while the server is frozen.
    async fn fill(&mut self) -> io::Result<()> {
        loop {
            let server = self.server;
            let changed = server.inner.changed.next();
            if server.inner.lock().faults.attention == Attention::Frozen {
                changed.await;
                continue;
            }
            select! {
                biased;
                () = changed => {}
                read = self.read() => return read,
            }
        }
    }

    /// Whether to read on while something else is waited for.
    fn has_room(&self) -> bool {
        self.inbound == Inbound::Open && self.input.len() - self.parsed < INPUT_LIMIT
    }

    /// Cancel safe.
    async fn read(&mut self) -> io::Result<()> {
        self.input.drain(..self.parsed);
        self.parsed = 0;
        let count = self.io.read_buf(&mut self.input).await?;
        if count == 0 {
            self.inbound = Inbound::Ended;
        }
        self.server.count_read(count);
        Ok(())
    }

    fn put(&mut self, reply: &Reply) -> Next {
        let faults = self.server.inner.lock().faults.output;
        match faults.content {
            Content::Replies => encode_reply(reply, self.session.protocol, &mut self.output),
            Content::Garbage => self.output.extend_from_slice(GARBAGE),
        }
        match faults.close_after {
            CloseAfter::Never => Next::Continue,
            CloseAfter::EachReply => Next::Close,
        }
    }

    /// Sends the replies, in the way and to the extent that the faults allow.
    async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.until_ready().await?;
        let output = std::mem::take(&mut self.output);
        let mut rest = output.as_slice();
        while !rest.is_empty() {
            let faults = self.server.inner.lock().faults.output;
            let allowed = faults.close_after_bytes.map_or(u64::MAX, |most| most.saturating_sub(self.sent));
            if allowed == 0 {
                self.io.shutdown().await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let at_once = if faults.drip.is_some() { 1 } else { rest.len() };
            let (now, later) = rest.split_at(at_once.min(usize::try_from(allowed).unwrap_or(usize::MAX)));
            self.io.write_all(now).await?;
            self.io.flush().await?;
            self.sent += now.len() as u64;
            rest = later;
            if let Some(interval) = faults.drip {
                self.pause(interval).await?;
            }
        }
        Ok(())
    }

    /// Waits between two bytes, at most until the faults change.
    async fn pause(&mut self, interval: Duration) -> io::Result<()> {
        let changed = self.server.inner.changed.next();
        select! {
            biased;
            () = changed => {}
            () = sleep(interval) => {}
        }
        self.until_ready().await
    }
}

impl FakeServer {
    /// How a blocked pop ends, if it does now.
    fn try_unblock(&self, pop: &Pop) -> Option<(Reply, Next)> {
        let mut state = self.inner.lock();
        if matches!(state.role, Role::Replica(_)) {
            return Some((Reply::error(UNBLOCKED), Next::Close));
        }
        if let Some(reply) = state.try_pop(pop) {
            return Some((reply, Next::Continue));
        }
        pop.deadline.filter(|deadline| *deadline <= Instant::now()).map(|_| (Reply::Nil, Next::Continue))
    }

    fn after_command(&self) {
        self.inner.counted.raise();
        self.inner.pushed.raise();
    }

    fn count_read(&self, count: usize) {
        self.inner.lock().counts.bytes_read += count as u64;
        self.inner.counted.raise();
    }
}
