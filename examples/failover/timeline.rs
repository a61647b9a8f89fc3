//! The live timeline: the steps of the scenario, what the tether says of itself, and how the writes fare, a line each.
//! Beside what it shows it keeps what the summary needs: when trouble was noticed first, and by what.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis_tether::{Event, Stats, Tether};
use redis_tether_testkit::scenario::{Observer, Operation, Scenario, Step};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};

use crate::arguments::Output;
use crate::screen::{Counts, Screen, Tone};

/// A write that took this long, and succeeded, is worth a line.
const LONG: Duration = Duration::from_millis(100);

/// What the tether noticed of the fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Which detector fired first.
    pub(crate) noticed: Option<String>,
    /// When the link was suspected first.
    pub(crate) suspected: Option<Instant>,
}

/// Watches a scenario and a tether at the same time.
pub(crate) struct Timeline {
    inner: Arc<Mutex<Inner>>,
    watching: JoinHandle<()>,
}

struct Inner {
    screen: Screen,
    tether: Tether,
    before: Stats,
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
    pub(crate) fn begin(scenario: Scenario, output: Output, tether: &Tether, writes: Arc<AtomicU64>) -> Self {
        let inner = Inner {
            screen: Screen::new(output),
            tether: tether.clone(),
            before: tether.stats(),
            began: Instant::now(),
            seen: Seen::default(),
            is_faulty: false,
            writes,
            done: 0,
            failed: 0,
            failed_dials: 0,
            last_failure: None,
        };
        inner.screen.head();
        let inner = Arc::new(Mutex::new(inner));
        let watching = tokio::spawn(watch(tether.clone(), tick(scenario), inner.clone()));
        Timeline { inner, watching }
    }

    /// The timeline is over: what it has seen, and what the tether had counted when it began.
    pub(crate) fn end(self) -> (Seen, Stats) {
        self.watching.abort();
        let mut inner = lock(&self.inner);
        inner.show_more_dials();
        (inner.seen.clone(), inner.before)
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

/// How often the state is shown although nothing has happened.
fn tick(scenario: Scenario) -> Duration {
    match scenario {
        Scenario::Outage => Duration::from_secs(2),
        _ => Duration::from_millis(500),
    }
}

async fn watch(tether: Tether, tick: Duration, inner: Arc<Mutex<Inner>>) {
    let mut events = tether.events();
    // Half a tick off the whole seconds, at which things happen.
    let mut ticks = interval_at(Instant::now() + tick / 2, tick);
    loop {
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Ok(event) => lock(&inner).happened(&event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
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

    fn happened(&mut self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::Dialling { .. } | Event::Restarted { .. } => return,
            Event::DialFailed { address, error, .. } => {
                self.failed_dials += 1;
                if self.failed_dials == 1 {
                    let error = error.strip_prefix(&format!("{address}: ")).unwrap_or(error);
                    self.show(now, Tone::Plain, "dial", format_args!("{address}: {error}"));
                }
                return;
            }
            _ => self.show_more_dials(),
        }
        match event {
            Event::Connected { epoch, address, role, down_for, .. } => {
                if down_for.is_zero() {
                    self.notice(&"dns");
                }
                let down_for = down_for.as_secs_f64();
                let line = format!("epoch {epoch} to {address} ({role}), after {down_for:.3} s without a link");
                self.show(now, Tone::Good, "link", line);
            }
            Event::Suspected { epoch, detector, silent_for, .. } => {
                self.notice(detector);
                self.seen.suspected.get_or_insert(now);
                let silent_for = silent_for.as_secs_f64();
                let line = format!("epoch {epoch}, by {detector}: mute for {silent_for:.3} s; new writes are held");
                self.show(now, Tone::Doubt, "suspect", line);
            }
            Event::Demoted { epoch, detector, .. } => {
                self.notice(detector);
                self.show(
                    now,
                    Tone::Doubt,
                    "demoted",
                    format_args!("epoch {epoch}, by {detector}; new writes are held"),
                );
            }
            Event::Lost { epoch, detector, cause, .. } => {
                self.notice(detector);
                let line = format!("epoch {epoch}, by {detector}: {cause}; new writes are held");
                self.show(now, Tone::Doubt, "lost", line);
            }
            Event::Resumed { epoch, held_for, .. } => {
                let line = format!("epoch {epoch} speaks again, after {:.3} s", held_for.as_secs_f64());
                self.show(now, Tone::Good, "resumed", line);
            }
            Event::Retired { epoch, drained, .. } => {
                let how = if *drained { "drained" } else { "aborted" };
                self.show(now, Tone::Plain, "retired", format_args!("epoch {epoch}, {how}"));
            }
            Event::AddressesChanged { addresses, .. } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                self.show(now, Tone::Plain, "dns", format_args!("the name means {}", addresses.join(", ")));
            }
            Event::ResolveFailed { error, .. } => self.show(now, Tone::Doubt, "dns", error),
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
        let status = self.tether.status().borrow().clone();
        let mut line = status.phase.to_string();
        if let (Some(epoch), Some(address)) = (status.epoch, &status.address) {
            line = format!("{line}, epoch {epoch} to {address}");
        }
        if status.attempt > 0 {
            line = format!("{line}, attempt {}", status.attempt);
        }
        self.show(Instant::now(), Tone::Plain, "", line);
    }

    fn show(&self, at: Instant, tone: Tone, what: &str, detail: impl Display) {
        let stats = self.tether.stats();
        let counts = Counts {
            writes: self.writes.load(Ordering::Relaxed),
            held: stats.held_now,
            refused: stats.refusals - self.before.refusals,
            done: self.done,
            failed: self.failed,
        };
        self.screen.line(at.saturating_duration_since(self.began), tone, what, counts, &detail.to_string());
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
