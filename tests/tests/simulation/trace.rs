//! What happened in one schedule, in order and with its virtual time: faults, the tether's events, the fates of commands.
//! Everybody who acts in a schedule writes it. It is what a failing seed prints, and its hash is what a replay must
//! reproduce.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A log that all its clones write to.
#[derive(Clone)]
pub(crate) struct Trace {
    origin: Instant,
    lines: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Trace {
    pub(crate) fn new() -> Trace {
        Trace { origin: Instant::now(), lines: Arc::default() }
    }

    /// Virtual time since the trace began.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(crate) fn note(&self, line: impl Into<String>) {
        let entry = (self.now(), line.into());
        self.lines().push(entry);
    }

    /// The same for the same course of things.
    pub(crate) fn hash(&self) -> u64 {
        // Keyed alike at every run.
        let mut hasher = DefaultHasher::new();
        for (at, line) in self.lines().iter() {
            hasher.write_u128(at.as_nanos());
            hasher.write(line.as_bytes());
        }
        hasher.finish()
    }

    fn lines(&self) -> MutexGuard<'_, Vec<(Duration, String)>> {
        // A list of lines is whole after every push.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.lines().iter() {
            writeln!(f, "{:>10.3}s  {line}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
