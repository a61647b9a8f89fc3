//! The live timeline: the steps of the scenario, what the tether says of itself, and how the writes fare, a line each.
//! Beside what it shows it keeps what the summary needs: when trouble was noticed first, and by what, and what was counted.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis_tether::Event;
use redis_tether_testkit::scenario::{Observer, Operation, Step};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};

use crate::arguments::Output;
use crate::screen::{Counts, Screen, Tone};
use crate::topology::{Play, Topology};
use crate::watched::{Counters, Watched};

/// A write that took this long, and succeeded, is worth a line.
const LONG: Duration = Duration::from_millis(100);

/// What the tether noticed of the fault, and what it counted.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Which detector fired first.
    pub(crate) noticed: Option<String>,
    /// When the link was suspected first.
    pub(crate) suspected: Option<Instant>,
    /// When the timeline began.
    pub(crate) before: Counters,
    /// When it ended.
    pub(crate) after: Counters,
}

/// Watches a scenario and a tether at the same time.
pub(crate) struct Timeline {
    inner: Arc<Mutex<Inner>>,
    watching: JoinHandle<()>,
}

struct Inner {
    screen: Screen,
    topology: Topology,
    watched: Watched,
    began: Instant,
    seen: Seen,
    is_faulty: bool,
    writes: Arc<AtomicU64>,
    done: u64,
    failed: u64,
    failed_dials: u64,
    last_failure: Option<String>,
}

impl Timeline {
    /// `writes` counts the writes that were begun.
    pub(crate) fn begin(play: Play, output: Output, watched: &Watched, writes: Arc<AtomicU64>) -> Self {
        let before = watched.counters();
        let inner = Inner {
            screen: Screen::new(output),
            topology: play.topology(),
            watched: watched.clone(),
            began: Instant::now(),
            seen: Seen { noticed: None, suspected: None, before, after: before },
            is_faulty: false,
            writes,
            done: 0,
            failed: 0,
            failed_dials: 0,
            last_failure: None,
        };
        inner.screen.head();
        let inner = Arc::new(Mutex::new(inner));
        let watching = tokio::spawn(watch(watched.clone(), play.tick(), inner.clone()));
        Timeline { inner, watching }
    }

    /// The timeline is over: what it has seen.
    pub(crate) fn end(self) -> Seen {
        self.watching.abort();
        let mut inner = lock(&self.inner);
        inner.show_more_dials();
        Seen { after: inner.watched.counters(), ..inner.seen.clone() }
    }
}

impl Observer for Timeline {
    fn stepped(&self, at: Instant, step: &Step) {
        lock(&self.inner).stepped(at, step);
    }

    fn wrote(&self, operation: &Operation) {
        lock(&self.inner).wrote(operation);
    }
}

async fn watch(watched: Watched, tick: Duration, inner: Arc<Mutex<Inner>>) {
    let mut events = watched.events();
    // Half a tick off the whole seconds, at which things happen.
    let mut ticks = interval_at(Instant::now() + tick / 2, tick);
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some((shard, event)) => lock(&inner).happened(shard, &event),
                None => return,
            },
            _ = ticks.tick() => lock(&inner).show_state(),
        }
    }
}

impl Inner {
    fn stepped(&mut self, at: Instant, step: &Step) {
        match step {
            Step::Started { primary, .. } => {
                self.began = at;
                self.show(at, Tone::Plain, "start", format_args!("a SET every 5 ms, to {primary}"));
            }
            Step::Fault { what, node, .. } => {
                self.is_faulty = true;
                self.show(at, Tone::Fault, "FAULT", format_args!("{node} {what}"));
            }
            Step::Reachable { what, primary, .. } => {
                self.show(at, Tone::Fault, "REACHABLE", format_args!("{primary} {what}"));
            }
            Step::Recovered { n, .. } => {
                self.show(at, Tone::Good, "RECOVERED", format_args!("write {n} succeeded there"));
            }
            Step::NotRecovered => self.show(at, Tone::Fault, "LOST", "no write has succeeded in time"),
            Step::Ended => self.show(at, Tone::Plain, "end", ""),
            _ => {}
        }
    }

    fn wrote(&mut self, operation: &Operation) {
        match &operation.result {
            Ok(()) => {
                self.done += 1;
                self.last_failure = None;
                if operation.took() > LONG {
                    let line =
                        format!("write {} succeeded, after {:.3} s", operation.n, operation.took().as_secs_f64());
                    self.show(operation.ended, Tone::Good, "done", line);
                }
            }
            Err(failed) => {
                self.failed += 1;
                // The first of its kind is news, its successors are counted.
                let kind = failed.failure.to_string();
                if self.last_failure.as_ref() != Some(&kind) {
                    let line = format!("write {}: {}", operation.n, failed.message);
                    self.show(operation.ended, Tone::Doubt, "failed", line);
                    self.last_failure = Some(kind);
                }
            }
        }
    }

    fn happened(&mut self, shard: Option<u32>, event: &Event) {
        let now = Instant::now();
        let whose = shard.map(|shard| format!("shard {shard}, ")).unwrap_or_default();
        match event {
            Event::Dialling { .. } | Event::Restarted { .. } => return,
            Event::DialFailed { address, error, .. } => {
                self.failed_dials += 1;
                if self.failed_dials == 1 {
                    let error = error.strip_prefix(&format!("{address}: ")).unwrap_or(error);
                    self.show(now, Tone::Plain, "dial", format_args!("{whose}{address}: {error}"));
                }
                return;
            }
            _ => self.show_more_dials(),
        }
        match event {
            Event::Connected { epoch, address, role, down_for, .. } => {
                if down_for.is_zero() {
                    self.notice(&self.topology.source());
                }
                let down_for = down_for.as_secs_f64();
                let line = format!("{whose}epoch {epoch} to {address} ({role}), after {down_for:.3} s without a link");
                self.show(now, Tone::Good, "link", line);
            }
            Event::Suspected { epoch, detector, silent_for, .. } => {
                self.notice(detector);
                self.seen.suspected.get_or_insert(now);
                let silent_for = silent_for.as_secs_f64();
                let line =
                    format!("{whose}epoch {epoch}, by {detector}: mute for {silent_for:.3} s; new writes are held");
                self.show(now, Tone::Doubt, "suspect", line);
            }
            Event::Demoted { epoch, detector, .. } => {
                self.notice(detector);
                self.show(
                    now,
                    Tone::Doubt,
                    "demoted",
                    format_args!("{whose}epoch {epoch}, by {detector}; new writes are held"),
                );
            }
            Event::Lost { epoch, detector, cause, .. } => {
                self.notice(detector);
                let line = format!("{whose}epoch {epoch}, by {detector}: {cause}; new writes are held");
                self.show(now, Tone::Doubt, "lost", line);
            }
            Event::Resumed { epoch, held_for, .. } => {
                let line = format!("{whose}epoch {epoch} speaks again, after {:.3} s", held_for.as_secs_f64());
                self.show(now, Tone::Good, "resumed", line);
            }
            Event::Retired { epoch, drained, .. } => {
                let how = if *drained { "drained" } else { "aborted" };
                self.show(now, Tone::Plain, "retired", format_args!("{whose}epoch {epoch}, {how}"));
            }
            Event::AddressesChanged { addresses, .. } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let line = format!("{whose}the primary is at {}", addresses.join(", "));
                self.show(now, Tone::Plain, self.topology.source(), line);
            }
            Event::ResolveFailed { error, .. } => {
                self.show(now, Tone::Doubt, self.topology.source(), format_args!("{whose}{error}"));
            }
            _ => {}
        }
    }

    fn notice(&mut self, detector: &dyn Display) {
        if self.is_faulty && self.seen.noticed.is_none() {
            self.seen.noticed = Some(detector.to_string());
        }
    }

    /// The failed dials after the first, in one line.
    fn show_more_dials(&mut self) {
        let more = std::mem::take(&mut self.failed_dials).saturating_sub(1);
        if more > 0 {
            self.show(Instant::now(), Tone::Plain, "dial", format_args!("and {more} more that failed"));
        }
    }

    fn show_state(&self) {
        self.show(Instant::now(), Tone::Plain, "", self.watched.state());
    }

    fn show(&self, at: Instant, tone: Tone, what: &str, detail: impl Display) {
        let counters = self.watched.counters();
        let counts = Counts {
            writes: self.writes.load(Ordering::Relaxed),
            held: counters.held_now,
            refused: counters.refusals.saturating_sub(self.seen.before.refusals),
            done: self.done,
            failed: self.failed,
        };
        self.screen.line(at.saturating_duration_since(self.began), tone, what, counts, &detail.to_string());
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
