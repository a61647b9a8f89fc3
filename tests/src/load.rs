//! Callers that write all the while, each value once. What they were told is compared afterwards with what the servers
//! hold: that is how a test sees a command that was lost, or executed twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis_tether::redis::{AsyncCommands, RedisError};
use redis_tether::{Handle, Outcome, OutcomeExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::watch::{PATIENCE, within};

/// The list that values are appended to.
pub const LIST: &str = "log";

/// Between two writes of one caller.
const PAUSE: Duration = Duration::from_millis(1);

/// Callers at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<watch::Sender<u64>>,
    callers: Vec<JoinHandle<Tally>>,
}

/// What callers were told.
#[derive(Default)]
pub struct Tally {
    /// The values whose write was reported as done.
    pub done: Vec<String>,
    /// The values whose write failed, and how.
    pub failed: Vec<(String, RedisError)>,
    /// The longest that a write took.
    pub slowest: Duration,
}

impl Load {
    /// Starts so many callers, each with a clone of `handle`.
    pub fn start(handle: &Handle, callers: usize) -> Load {
        Load::with_pause(handle, callers, PAUSE)
    }

    /// The same, with callers that send their next write when the last one is answered.
    pub fn without_pause(handle: &Handle, callers: usize) -> Load {
        Load::with_pause(handle, callers, Duration::ZERO)
    }

    fn with_pause(handle: &Handle, callers: usize, pause: Duration) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(watch::Sender::new(0)));
        let start = |caller| tokio::spawn(call(caller, handle.clone(), pause, stop.clone(), done.clone()));
        Load { callers: (0..callers).map(start).collect(), stop, done }
    }

    /// Waits until so many writes more than now are done.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    pub async fn go_on_for(&self, writes: u64) {
        let mut done = self.done.subscribe();
        let goal = *done.borrow() + writes;
        let reached = done.wait_for(|done| *done >= goal);
        let what = format!("{writes} writes to be done");
        let _ = within(PATIENCE, &what, reached).await.expect("the load has the other end");
    }

    /// Lets every caller finish the write that it is at.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`], or a caller panicked.
    pub async fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for caller in self.callers {
            let tally = within(PATIENCE, "the callers to finish", caller).await.expect("no caller panics");
            all.done.extend(tally.done);
            all.failed.extend(tally.failed);
            all.slowest = all.slowest.max(tally.slowest);
        }
        all
    }
}

async fn call(
    caller: usize,
    mut handle: Handle,
    pause: Duration,
    stop: Arc<AtomicBool>,
    done: Arc<watch::Sender<u64>>,
) -> Tally {
    let mut tally = Tally::default();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let value = format!("{caller}-{number}");
        let begun = Instant::now();
        match handle.rpush::<_, _, u64>(LIST, &value).await {
            Ok(_) => {
                tally.done.push(value);
                done.send_modify(|done| *done += 1);
            }
            Err(error) => tally.failed.push((value, error)),
        }
        tally.slowest = tally.slowest.max(begun.elapsed());
        // Even the shortest sleep is a millisecond.
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
    tally
}

impl Tally {
    /// The values whose writes failed with this outcome.
    pub fn with(&self, outcome: Outcome) -> Vec<&str> {
        let failed = self.failed.iter().filter(|(_, error)| error.outcome() == Some(outcome));
        failed.map(|(value, _)| value.as_str()).collect()
    }

    /// # Panics
    /// If a write failed, with the first error.
    pub fn assert_none_failed(&self) {
        if let Some((value, error)) = self.failed.first() {
            let (failed, all) = (self.failed.len(), self.failed.len() + self.done.len());
            panic!("{failed} of {all} writes failed; {value}: {error}");
        }
    }

    /// Compares what was told with what `held` has, in whatever order: what was reported as done is there, no value is
    /// there twice, and what was reported as not executed is not there at all.
    ///
    /// # Panics
    /// If that is not so.
    pub fn assert_true_of(&self, held: &[String]) {
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        for value in held {
            *times.entry(value).or_default() += 1;
        }
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "executed more than once: {twice:?}");
        let lost: Vec<_> = self.done.iter().filter(|value| !times.contains_key(value.as_str())).collect();
        assert!(lost.is_empty(), "reported as done and not there: {lost:?}");
        for outcome in [Outcome::NotSent, Outcome::Refused] {
            let there: Vec<_> = self.with(outcome).into_iter().filter(|value| times.contains_key(value)).collect();
            assert!(there.is_empty(), "reported as {outcome} and there: {there:?}");
        }
    }
}
