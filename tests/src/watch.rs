//! Waiting for what a tether does. Every wait has a limit and says what it waited for; none of them polls.

use std::future::Future;
use std::time::Duration;

use redis_tether::{Event, Phase, Status, Tether};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::timeout;

/// Longer than anything takes that these tests wait for without measuring it.
pub const PATIENCE: Duration = Duration::from_secs(20);

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
