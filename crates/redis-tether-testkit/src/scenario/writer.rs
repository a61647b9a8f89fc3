//! The one writer of a scenario: a write every period, each after the one before it, all of them recorded. It shares its
//! record with the player, who looks for the first write that succeeded.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Client, Failed, Failure};
use super::observer::Observer;
use super::report::Operation;

/// How long a write that is under way when the scenario ends may still take.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// All writes so far.
#[derive(Debug, Default)]
pub(super) struct Record(Mutex<Vec<Operation>>);

impl Record {
    pub(super) fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn into_operations(self) -> Vec<Operation> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until `stop` becomes true or is dropped.
pub(super) async fn write(
    client: &mut impl Client,
    record: &Record,
    observer: &impl Observer,
    period: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut due = Instant::now();
    for n in 0.. {
        // A deadline that has passed would still wait for the timer's next millisecond.
        if Instant::now() < due {
            sleep_until(due).await;
        }
        if *stop.borrow() {
            return;
        }
        let operation = write_once(client, n, &mut stop).await;
        // What a slow write has put off is not caught up on in a burst.
        due = operation.ended.max(due + period);
        observer.wrote(&operation);
        record.operations().push(operation);
    }
}

/// Write number `n`, which has failed if it takes a second longer than the scenario.
pub(super) async fn write_once(client: &mut impl Client, n: u64, stop: &mut watch::Receiver<bool>) -> Operation {
    let started = Instant::now();
    let result = tokio::select! {
        biased;
        result = client.set(n) => result,
        () = abandoned(stop) => Err(Failed::new(Failure::Other, "had not returned when the scenario ended")),
    };
    Operation { n, started, ended: Instant::now(), result }
}

async fn abandoned(stop: &mut watch::Receiver<bool>) {
    // An error means that the player is gone, which is the end, too.
    let _ = stop.wait_for(|stop| *stop).await;
    sleep(LAST_WRITE).await;
}
