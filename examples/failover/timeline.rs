//! The live timeline: the steps of the scenario, what the tether says of itself, and how the writes fare, a line each.
//! Beside what it prints it keeps what the summary needs: when trouble was noticed first, and by what.

use std::io::{IsTerminal, stdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis_tether::{Event, Tether};
use redis_tether_testkit::scenario::{Observer, Operation, Scenario, Step};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::arguments::Output;

/// What the tether noticed of the fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// When the first detector fired, and which.
    pub(crate) noticed: Option<(Instant, String)>,
    /// When the link was suspected for its silence, first.
    pub(crate) suspected: Option<Instant>,
}

pub(crate) struct Timeline {
    inner: Arc<Mutex<Inner>>,
    events: JoinHandle<()>,
}

struct Inner {
    begun: Instant,
    output: Output,
    colour: bool,
    seen: Seen,
    is_faulty: bool,
    done: u64,
    failed: u64,
    failed_dials: u64,
    last_failure: Option<String>,
}

impl Timeline {
    pub(crate) fn begin(scenario: Scenario, output: Output, tether: &Tether) -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            begun: Instant::now(),
            output,
            colour: stdout().is_terminal(),
            seen: Seen::default(),
            is_faulty: false,
            done: 0,
            failed: 0,
            failed_dials: 0,
            last_failure: None,
        }));
        if output == Output::Timeline {
            println!("\n{scenario}: {}", scenario.summary());
        }
        let mut events = tether.events();
        let told = inner.clone();
        let events = tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => lock(&told).happened(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Timeline { inner, events }
    }

    pub(crate) fn end(self) -> Seen {
        self.events.abort();
        let mut inner = lock(&self.inner);
        inner.dials_so_far();
        inner.seen.clone()
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

/// The colours of the kinds of lines, where there is a terminal.
#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Fault,
    Doubt,
    Good,
}

impl Inner {
    fn stepped(&mut self, at: Instant, step: &Step) {
        match step {
            Step::Started { primary, .. } => {
                self.begun = at;
                self.print(at, Tone::Plain, "start", &format!("a SET every 5 ms to {primary}"));
            }
            Step::Fault { what, node, .. } => {
                self.is_faulty = true;
                self.print(at, Tone::Fault, "FAULT", &format!("{node} {what}"));
            }
            Step::Reachable { what, primary, .. } => {
                self.print(at, Tone::Fault, "REACHABLE", &format!("{primary} {what}"));
            }
            Step::Recovered { n, .. } => self.print(at, Tone::Good, "RECOVERED", &format!("write {n} succeeded there")),
            Step::NotRecovered => self.print(at, Tone::Fault, "LOST", "no write has succeeded in time"),
            Step::Ended => self.print(at, Tone::Plain, "end", ""),
            _ => {}
        }
    }

    fn wrote(&mut self, operation: &Operation) {
        let Err(failed) = &operation.result else {
            self.done += 1;
            if operation.took() > Duration::from_millis(100) {
                let line = format!("write {} took {:.3} s, and succeeded", operation.n, operation.took().as_secs_f64());
                self.print(operation.ended, Tone::Good, "held", &line);
            }
            self.last_failure = None;
            return;
        };
        self.failed += 1;
        // The first of its kind is news, its successors are counted.
        let kind = failed.failure.to_string();
        if self.last_failure.as_ref() != Some(&kind) {
            let line = format!("write {}: {}", operation.n, failed.message);
            self.print(operation.ended, Tone::Doubt, "failed", &line);
            self.last_failure = Some(kind);
        }
    }

    fn happened(&mut self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::DialFailed { address, error, .. } => {
                self.failed_dials += 1;
                if self.failed_dials == 1 {
                    let tail = error.strip_prefix(&format!("{address}: ")).unwrap_or(error);
                    self.print(now, Tone::Plain, "dial", &format!("{address}: {tail}"));
                }
                return;
            }
            Event::Dialling { .. } | Event::Restarted { .. } => return,
            _ => self.dials_so_far(),
        }
        match event {
            Event::Connected { epoch, address, role, down_for, .. } => {
                if down_for.is_zero() {
                    self.notice(now, "dns");
                }
                let line = format!("epoch {epoch} to {address} ({role}), after {:.3} s", down_for.as_secs_f64());
                self.print(now, Tone::Good, "link", &line);
            }
            Event::Suspected { epoch, detector, silent_for, .. } => {
                self.notice(now, &detector.to_string());
                self.seen.suspected.get_or_insert(now);
                let line = format!(
                    "epoch {epoch} is mute for {:.3} s ({detector}): new writes are held",
                    silent_for.as_secs_f64()
                );
                self.print(now, Tone::Doubt, "suspect", &line);
            }
            Event::Demoted { epoch, detector, .. } => {
                self.notice(now, &detector.to_string());
                self.print(now, Tone::Doubt, "demoted", &format!("epoch {epoch} ({detector}): new writes are held"));
            }
            Event::Lost { epoch, detector, cause, .. } => {
                self.notice(now, &detector.to_string());
                self.print(
                    now,
                    Tone::Doubt,
                    "lost",
                    &format!("epoch {epoch} ({detector}): {cause}; new writes are held"),
                );
            }
            Event::Resumed { epoch, held_for, .. } => {
                let line = format!("epoch {epoch} speaks again, after {:.3} s", held_for.as_secs_f64());
                self.print(now, Tone::Good, "resumed", &line);
            }
            Event::Retired { epoch, drained, .. } => {
                let how = if *drained { "drained" } else { "aborted" };
                self.print(now, Tone::Plain, "retired", &format!("epoch {epoch}, {how}"));
            }
            Event::AddressesChanged { addresses, .. } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                self.print(now, Tone::Plain, "dns", &format!("the name means {}", addresses.join(", ")));
            }
            Event::ResolveFailed { error, .. } => self.print(now, Tone::Doubt, "dns", error),
            _ => {}
        }
    }

    fn notice(&mut self, at: Instant, detector: &str) {
        if self.is_faulty && self.seen.noticed.is_none() {
            self.seen.noticed = Some((at, detector.to_owned()));
        }
    }

    /// The failed dials after the first, in one line.
    fn dials_so_far(&mut self) {
        let more = std::mem::take(&mut self.failed_dials).saturating_sub(1);
        if more > 0 {
            self.print(Instant::now(), Tone::Plain, "dial", &format!("and {more} more that failed"));
        }
    }

    fn print(&self, at: Instant, tone: Tone, what: &str, detail: &str) {
        if self.output != Output::Timeline {
            return;
        }
        let (on, off) = match (self.colour, tone) {
            (false, _) | (_, Tone::Plain) => ("", ""),
            (true, Tone::Fault) => ("\u{1b}[31m", "\u{1b}[0m"),
            (true, Tone::Doubt) => ("\u{1b}[33m", "\u{1b}[0m"),
            (true, Tone::Good) => ("\u{1b}[32m", "\u{1b}[0m"),
        };
        let seconds = at.saturating_duration_since(self.begun).as_secs_f64();
        let (done, failed) = (self.done, self.failed);
        println!("{seconds:>8.3}  {on}{what:<9}{off}  {done:>5} done {failed:>5} failed  {detail}");
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
