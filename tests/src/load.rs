//! Callers that write all the while, each value once. What they were told is compared afterwards with what the servers
//! hold: that is how a test sees a command that was lost, or executed twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis_tether::redis::{AsyncCommands, RedisError};
use redis_tether::{Handle, Outcome, OutcomeExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::watch::{PATIENCE, within};

/// The list that values are appended to where none is named.
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
        Load::of(handle, LIST, callers, PAUSE)
    }

    /// The same, with a list of their own: what the callers of one tether did is told from what those of another did.
    pub fn at(handle: &Handle, list: &str, callers: usize) -> Load {
        Load::of(handle, list, callers, PAUSE)
    }

    /// The same, with callers that send their next write when the last one is answered.
    pub fn without_pause(handle: &Handle, callers: usize) -> Load {
        Load::of(handle, LIST, callers, Duration::ZERO)
    }

    fn of(handle: &Handle, list: &str, callers: usize, pause: Duration) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(watch::Sender::new(0)));
        let start = |caller| {
            let writer = Writer { caller, handle: handle.clone(), list: list.to_owned(), pause };
            tokio::spawn(writer.write(stop.clone(), done.clone()))
        };
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

/// One caller.
struct Writer {
    caller: usize,
    handle: Handle,
    list: String,
    pause: Duration,
}

impl Writer {
    async fn write(mut self, stop: Arc<AtomicBool>, done: Arc<watch::Sender<u64>>) -> Tally {
        let mut tally = Tally::default();
        let mut number = 0u64;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let value = format!("{}-{number}", self.caller);
            let begun = Instant::now();
            match self.handle.rpush::<_, _, u64>(&self.list, &value).await {
                Ok(_) => {
                    tally.done.push(value);
                    done.send_modify(|done| *done += 1);
                }
                Err(error) => tally.failed.push((value, error)),
            }
            tally.slowest = tally.slowest.max(begun.elapsed());
            // Even the shortest sleep is a millisecond.
            if !self.pause.is_zero() {
                sleep(self.pause).await;
            }
        }
        tally
    }
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
        self.assert_none_too_often(held);
        let lost = self.missing_from(held);
        assert!(lost.is_empty(), "reported as done and not there: {lost:?}");
    }

    /// The same, where servers may lose what they have confirmed: nothing is there twice, and nothing that was reported as not executed.
    ///
    /// # Panics
    /// If that is not so.
    pub fn assert_none_too_often(&self, held: &[String]) {
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        for value in held {
            *times.entry(value).or_default() += 1;
        }
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "executed more than once: {twice:?}");
        for outcome in [Outcome::NotSent, Outcome::Refused] {
            let there: Vec<_> = self.with(outcome).into_iter().filter(|value| times.contains_key(value)).collect();
            assert!(there.is_empty(), "reported as {outcome} and there: {there:?}");
        }
    }

    /// What was reported as done and is not there.
    pub fn missing_from(&self, held: &[String]) -> Vec<&str> {
        let held: BTreeSet<&str> = held.iter().map(String::as_str).collect();
        self.done.iter().map(String::as_str).filter(|value| !held.contains(value)).collect()
    }
}
