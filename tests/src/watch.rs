//! Waiting for what a tether does. Every wait has a limit and says what it waited for; none of them polls, but for what no signal
//! tells of.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use redis_tether::{Event, Phase, Status, Tether};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything takes that these tests wait for without measuring it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How soon a server that has become well, or the primary, must be used: the longest wait of a young outage, and a dial, on a machine
/// that stands still for two seconds. A dial that is stuck takes 3 s.
pub const SOON: Duration = Duration::from_millis(2800);

/// Longer than anything takes that waits for nothing, on a machine that stands still twice as well, and shorter than anything that is
/// waited out: the hold window is the shortest of that, with 3 s.
pub const AT_ONCE: Duration = Duration::from_millis(2800);

/// Between two looks at what no signal tells of.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for `future`.
///
/// # Panics
/// When it takes longer than `limit`, with what was waited for.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match timeout(limit, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {limit:?} for {what}"),
    }
}

/// Waits until the tether is in this phase.
///
/// # Panics
/// When that takes longer than [`PATIENCE`], with the status as it is then.
pub async fn reach(tether: &Tether, phase: Phase) -> Status {
    let mut status = tether.status();
    let reached = timeout(PATIENCE, status.wait_for(|status| status.phase == phase)).await;
    match reached {
        Ok(Ok(status)) => status.clone(),
        _ => panic!("waited {PATIENCE:?} for the tether to be {phase}; it is {}", *tether.status().borrow()),
    }
}

/// Waits until whoever cannot get `ready` within the limit that it is given says so in these words; returns all that it says.
///
/// # Panics
/// When that takes longer than [`PATIENCE`], with what is said instead, or if it does get ready.
pub async fn reason<T, E: Display>(words: &str, ready: impl AsyncFn(Duration) -> Result<T, E>) -> String {
    let begun = Instant::now();
    loop {
        let Err(error) = ready(Duration::ZERO).await else { panic!("it is ready, and was to say {words:?}") };
        let said = error.to_string();
        if said.contains(words) {
            return said;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {words:?}; it says {said}");
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until what is counted has come to so many, of which no signal tells; says how many there are then.
///
/// # Panics
/// When that takes longer than [`PATIENCE`], with what was waited for.
pub async fn counted(what: &str, least: u64, count: impl AsyncFn() -> u64) -> u64 {
    within(PATIENCE, what, async {
        loop {
            let counted = count().await;
            if counted >= least {
                return counted;
            }
            sleep(LOOK_EVERY).await;
        }
    })
    .await
}

/// Everything that happened to a tether since this was made.
pub struct Diary {
    events: Receiver<Event>,
    pages: Vec<Event>,
}

impl Diary {
    /// Begins to write.
    pub fn of(tether: &Tether) -> Diary {
        Diary { events: tether.events(), pages: Vec::new() }
    }

    /// Waits for the first event from here on that `is_it`.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`], or the tether is gone, with what happened instead.
    pub async fn until(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let found = timeout(PATIENCE, async {
            loop {
                match self.events.recv().await {
                    Ok(event) => {
                        self.pages.push(event.clone());
                        if is_it(&event) {
                            return Some(event);
                        }
                    }
                    Err(RecvError::Closed) => return None,
                    Err(RecvError::Lagged(missed)) => panic!("missed {missed} events while waiting for {what}"),
                }
            }
        });
        match found.await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the tether is gone before {what}; it told {:#?}", self.pages),
            Err(_) => panic!("waited {PATIENCE:?} for {what}; the tether told {:#?}", self.pages),
        }
    }

    /// Everything so far.
    ///
    /// # Panics
    /// If there was more than the tether keeps for a slow reader.
    pub fn so_far(&mut self) -> &[Event] {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.pages.push(event),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return &self.pages,
                Err(TryRecvError::Lagged(missed)) => panic!("missed {missed} events"),
            }
        }
    }

    /// How many of the events so far are of this kind.
    pub fn count(&mut self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.so_far().iter().filter(|event| is_it(event)).count()
    }
}
