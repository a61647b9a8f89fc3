//! Writes on a schedule, whatever became of those before: what other callers of a client go through meanwhile. Each counts from
//! the moment at which it was due, so that a client that stalls cannot hide it by being asked less often.

use std::panic::resume_unwind;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::client::Client;
use super::report::Operation;
use super::writer::write_once;

/// A client that is asked for a write every so often. Ends when it is dropped.
#[derive(Debug)]
pub struct OpenLoop {
    stop: watch::Sender<bool>,
    writing: JoinHandle<Vec<Operation>>,
}

impl OpenLoop {
    /// Asks a clone of `client` for write number 0 now, and for the next one every `period`, answered or not.
    pub fn start(client: impl Client + Clone + 'static, period: Duration) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, writing: tokio::spawn(write(client, period, stopped)) }
    }

    /// Ends the schedule, and returns every write in the order in which they were due. Each counts as `started` when it was
    /// due. One that takes a second longer than the schedule has failed.
    ///
    /// # Panics
    /// If the client did.
    pub async fn finish(mut self) -> Vec<Operation> {
        // The other end goes with the task, which then has an answer.
        let _ = self.stop.send(true);
        returned((&mut self.writing).await)
    }
}

impl Drop for OpenLoop {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

async fn write(
    client: impl Client + Clone + 'static,
    period: Duration,
    mut stop: watch::Receiver<bool>,
) -> Vec<Operation> {
    let (mut writes, mut operations) = (JoinSet::new(), Vec::new());
    let (mut due, mut n) = (Instant::now(), 0);
    let stopped = stop.clone();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(written) = writes.join_next() => operations.push(returned(written)),
            () = sleep_until(due) => {
                writes.spawn(write_when_due(client.clone(), n, due, stopped.clone()));
                (due, n) = (due + period, n + 1);
            }
        }
    }
    while let Some(written) = writes.join_next().await {
        operations.push(returned(written));
    }
    operations.sort_unstable_by_key(|operation| operation.n);
    operations
}

async fn write_when_due(mut client: impl Client, n: u64, due: Instant, mut stop: watch::Receiver<bool>) -> Operation {
    Operation { started: due, ..write_once(&mut client, n, &mut stop).await }
}

fn returned<T>(task: Result<T, JoinError>) -> T {
    match task {
        Ok(output) => output,
        // Nobody aborts a task whose end is waited for.
        Err(error) => resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Failed, Failure};

    /// Is away for a while: whoever asks meanwhile is answered when it is back.
    #[derive(Clone)]
    struct Stalls {
        from: Instant,
        until: Instant,
    }

    impl Client for Stalls {
        async fn set(&mut self, n: u64) -> Result<(), Failed> {
            if (self.from..self.until).contains(&Instant::now()) {
                sleep_until(self.until).await;
            }
            if n == 1 { Err(Failed::new(Failure::Refused, "no")) } else { Ok(()) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_fall_due_during_a_stall_count_from_when_they_were_due() {
        let (ms, now) = (Duration::from_millis, Instant::now());
        let client = Stalls { from: now + ms(20), until: now + ms(100) };
        let schedule = OpenLoop::start(client, ms(10));
        sleep_until(now + ms(195)).await;
        let operations = schedule.finish().await;
        assert_eq!(operations.len(), 20, "one for every 10 ms, the stall notwithstanding");
        let took: Vec<Duration> = operations[..11].iter().map(Operation::took).collect();
        assert_eq!(took, [0, 0, 80, 70, 60, 50, 40, 30, 20, 10, 0].map(ms));
        let failed: Vec<u64> = operations.iter().filter(|one| one.result.is_err()).map(|one| one.n).collect();
        assert_eq!(failed, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_does_not_return_has_failed() {
        let never = Stalls { from: Instant::now(), until: Instant::now() + Duration::from_secs(3600) };
        let schedule = OpenLoop::start(never, Duration::from_secs(60));
        tokio::task::yield_now().await;
        let operations = schedule.finish().await;
        assert_eq!(operations.len(), 1);
        let failed = operations[0].result.as_ref().expect_err("nobody answered");
        assert!(failed.message.contains("had not returned"), "{failed}");
    }
}
