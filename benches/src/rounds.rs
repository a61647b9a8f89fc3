//! Rounds: the clients take turns at the same work, again and again, so that what the machine does meanwhile strikes all of
//! them alike. What is compared are the pairs within a round, never a round with another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

use crate::peers::{Error, Peer, Session};

/// What each caller does, again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// `SET`.
    Set,
    /// `GET`.
    Get,
    /// So many `SET`s in one pipeline.
    Pipeline(usize),
}

/// What is to be done in one turn.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// What is sent.
    pub operation: Operation,
    /// How many tasks send at the same time, each one after the other.
    pub callers: usize,
    /// The bytes of a value.
    pub value: usize,
    /// How many operations all callers do together.
    pub operations: usize,
}

impl Work {
    /// How many commands the server is sent.
    #[must_use]
    pub fn commands(&self) -> usize {
        let per_operation = match self.operation {
            Operation::Set | Operation::Get => 1,
            Operation::Pipeline(length) => length,
        };
        self.operations * per_operation
    }
}

/// What one turn took.
#[derive(Clone, Debug)]
pub struct Turn {
    /// By the clock.
    pub time: Duration,
    /// What the process computed, for itself and in the kernel, but for what [`Busy`] did.
    pub cpu: Duration,
    /// How long each operation took, where that was asked for.
    pub latencies: Vec<Duration>,
}

/// Whether the time of each operation is taken, which itself takes a little.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Latencies {
    /// It is not.
    Left,
    /// It is.
    Taken,
}

/// Lets each peer do the work once in each round, beginning with another one each time. The first round warms up and is
/// not counted. Gives the turns by peer, one for each round.
///
/// # Errors
/// Where an operation fails: the server is well, so nothing may. Or where what is read is not as long as it was to be.
pub async fn play(peers: &[Peer], work: Work, latencies: Latencies, rounds: usize) -> Result<Vec<Vec<Turn>>, Error> {
    if let (Operation::Get, Some(first)) = (work.operation, peers.first()) {
        // One after another: each caller's key is set once.
        take_turn(first, Work { operation: Operation::Set, operations: work.callers, ..work }, Latencies::Left).await?;
    }
    let mut turns = vec![Vec::with_capacity(rounds); peers.len()];
    for round in 0..=rounds {
        for place in 0..peers.len() {
            let index = (round + place) % peers.len();
            let turn = take_turn(&peers[index], work, latencies).await?;
            if round > 0 {
                turns[index].push(turn);
            }
        }
    }
    Ok(turns)
}

async fn take_turn(peer: &Peer, work: Work, latencies: Latencies) -> Result<Turn, Error> {
    match peer {
        Peer::Tether(session, _) => work_through(session, work, latencies).await,
        Peer::Multiplexed(session) | Peer::MultiplexedUntimed(session) => work_through(session, work, latencies).await,
        Peer::Manager(session) => work_through(session, work, latencies).await,
        Peer::Bb8(session) => work_through(session, work, latencies).await,
        Peer::Deadpool(session) => work_through(session, work, latencies).await,
        Peer::Fred(session) => work_through(session, work, latencies).await,
    }
}

async fn work_through(session: &impl Session, work: Work, latencies: Latencies) -> Result<Turn, Error> {
    let mut callers = JoinSet::new();
    let each = work.operations / work.callers;
    let (began, cpu_before) = (Instant::now(), cpu_time());
    for caller in 0..work.callers {
        callers.spawn(call(session.clone(), format!("key:{caller}"), work, each, latencies));
    }
    let mut taken = Vec::new();
    while let Some(latencies) = callers.join_next().await {
        taken.extend(latencies??);
    }
    Ok(Turn { time: began.elapsed(), cpu: cpu_time() - cpu_before, latencies: taken })
}

async fn call(
    mut session: impl Session,
    key: String,
    work: Work,
    operations: usize,
    latencies: Latencies,
) -> Result<Vec<Duration>, Error> {
    let value = vec![b'v'; work.value];
    let mut taken = Vec::with_capacity(if latencies == Latencies::Taken { operations } else { 0 });
    for _ in 0..operations {
        let began = (latencies == Latencies::Taken).then(Instant::now);
        match work.operation {
            Operation::Set => session.set(&key, &value).await?,
            Operation::Get => match session.get(&key).await? {
                length if length == work.value => {}
                length => return Err(format!("{key} has {length} B, and was to have {}", work.value).into()),
            },
            Operation::Pipeline(length) => session.pipeline(&key, &value, length).await?,
        }
        taken.extend(began.map(|began| began.elapsed()));
    }
    Ok(taken)
}

/// What this process has computed so far, but for what [`Busy`] did.
#[must_use]
pub fn cpu_time() -> Duration {
    let spun = Duration::from_nanos(SPUN.load(Ordering::Relaxed));
    time_of(ClockId::ProcessCPUTime).saturating_sub(spun)
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Never negative.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The nanoseconds that all that is [`Busy`] has computed.
static SPUN: AtomicU64 = AtomicU64::new(0);

/// Keeps the workers of this runtime busy for four fifths of the time until it is dropped, as an application with work
/// of its own does: in slices of a tenth of a millisecond, between which other tasks have their turn.
#[derive(Debug)]
pub struct Busy {
    _tasks: JoinSet<()>,
}

impl Busy {
    /// Begins, with a task for each of so many workers.
    #[must_use]
    pub fn start(workers: usize) -> Busy {
        const SLICES: u32 = 40;
        const PAUSE: Duration = Duration::from_millis(1);
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            tasks.spawn(async {
                loop {
                    for _ in 0..SLICES {
                        spin();
                        tokio::task::yield_now().await;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Busy { _tasks: tasks }
    }
}

fn spin() {
    const SLICE: Duration = Duration::from_micros(100);
    let (until, before) = (Instant::now() + SLICE, time_of(ClockId::ThreadCPUTime));
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    let spun = time_of(ClockId::ThreadCPUTime).saturating_sub(before);
    SPUN.fetch_add(u64::try_from(spun.as_nanos()).unwrap_or_default(), Ordering::Relaxed);
}
