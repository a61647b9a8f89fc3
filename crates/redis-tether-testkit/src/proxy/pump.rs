//! One direction of a proxied connection: what is read, when it is passed on, and how much of it.
//!
//! `relay.rs` runs two of them for each connection. A pump goes by the proxy's mode at every step, so that a mode that
//! changes applies to bytes that are under way already.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Mode, Shared};

/// Bytes under way in one direction before it reads no more.
const CAPACITY: usize = 1024 * 1024;
const CHUNK: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Requests,
    Replies,
}

pub(super) struct Pump<'a> {
    shared: &'a Shared,
    direction: Direction,
    under_way: VecDeque<Chunk>,
    bytes: usize,
    source: Source,
    /// The bytes passed on since the mode of this number was set.
    passed: (u64, u64),
}

struct Chunk {
    due: Instant,
    bytes: VecDeque<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Open,
    Ended,
}

/// What the mode means for one direction.
#[derive(Clone, Copy)]
enum Flow {
    Held,
    Free { delay: Duration },
    Drip(Duration),
    Limited { bytes: u64 },
}

impl<'a> Pump<'a> {
    pub(super) fn new(shared: &'a Shared, direction: Direction) -> Self {
        Self { shared, direction, under_way: VecDeque::new(), bytes: 0, source: Source::Open, passed: (0, 0) }
    }

    /// Passes bytes on until their end, which is passed on as well. `ConnectionAborted` is the proxy's own doing.
    pub(super) async fn run(&mut self, from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>) -> io::Result<()> {
        let mut buf = vec![0; CHUNK];
        loop {
            let shared = self.shared;
            let changed = shared.changed.next();
            let flow = self.flow();
            if matches!(flow, Flow::Held) {
                changed.await;
                continue;
            }
            let due = self.under_way.front().map(|chunk| chunk.due);
            match due {
                Some(due) if due <= Instant::now() => self.deliver(flow, to).await?,
                None if self.source == Source::Ended => return to.shutdown().await,
                _ => select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                    count = from.read(&mut buf), if self.source == Source::Open && self.bytes < CAPACITY => {
                        self.accept(&buf[..count?], flow);
                    }
                },
            }
        }
    }

    fn flow(&mut self) -> Flow {
        let (mode, number) = {
            let state = self.shared.lock();
            (state.mode, state.mode_number)
        };
        if self.passed.0 != number {
            self.passed = (number, 0);
        }
        match (mode, self.direction) {
            (Mode::BlackHole, _) | (Mode::BlackHoleReplies, Direction::Replies) => Flow::Held,
            (Mode::Delay(delay), _) => Flow::Free { delay },
            (Mode::Drip(interval), Direction::Replies) => Flow::Drip(interval),
            (Mode::CutReplyAfter(most), Direction::Replies) => {
                Flow::Limited { bytes: most.saturating_sub(self.passed.1) }
            }
            // A half-open connection is ended by its relay.
            _ => Flow::Free { delay: Duration::ZERO },
        }
    }

    fn accept(&mut self, bytes: &[u8], flow: Flow) {
        if bytes.is_empty() {
            self.source = Source::Ended;
            return;
        }
        let delay = match flow {
            Flow::Free { delay } => delay,
            Flow::Held | Flow::Drip(_) | Flow::Limited { .. } => Duration::ZERO,
        };
        let due = Instant::now() + delay;
        // A delay that was lowered in between must not let later bytes overtake earlier ones.
        let due = self.under_way.back().map_or(due, |last| last.due.max(due));
        self.bytes += bytes.len();
        self.under_way.push_back(Chunk { due, bytes: bytes.iter().copied().collect() });
    }

    async fn deliver(&mut self, flow: Flow, to: &mut WriteHalf<'_>) -> io::Result<()> {
        match flow {
            Flow::Held => Ok(()),
            Flow::Free { .. } => self.write(usize::MAX, to).await,
            Flow::Drip(interval) => {
                self.write(1, to).await?;
                let changed = self.shared.changed.next();
                select! {
                    biased;
                    () = changed => {}
                    () = sleep(interval) => {}
                }
                Ok(())
            }
            Flow::Limited { bytes } => {
                let most = usize::try_from(bytes).unwrap_or(usize::MAX);
                let offered = self.under_way.front().map_or(0, |chunk| chunk.bytes.len());
                self.write(most, to).await?;
                if offered < most { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
            }
        }
    }

    /// Writes at most this much of the first chunk.
    async fn write(&mut self, most: usize, to: &mut WriteHalf<'_>) -> io::Result<()> {
        let Some(chunk) = self.under_way.front_mut() else {
            return Ok(());
        };
        let count = chunk.bytes.len().min(most);
        let bytes: Vec<u8> = chunk.bytes.drain(..count).collect();
        if chunk.bytes.is_empty() {
            self.under_way.pop_front();
        }
        self.bytes -= count;
        self.passed.1 += count as u64;
        to.write_all(&bytes).await?;
        let direction = self.direction;
        self.shared.count(|counts| match direction {
            Direction::Requests => counts.bytes_to_server += count as u64,
            Direction::Replies => counts.bytes_to_client += count as u64,
        });
        Ok(())
    }
}
