//! A steady load that checks itself: a few callers that count, each its own key, one command after the other. The replies
//! show that each command was executed exactly once. Tests for which no command may fail put it on a tether, and ask at
//! the end what it met. It goes by tokio's clock and judges nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_tether::Handle;
use redis_tether::redis::AsyncCommands;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Between the answer to a caller's command and its next one.
const PAUSE: Duration = Duration::from_millis(5);

/// Callers at work. Dropping it ends them.
#[derive(Debug)]
pub struct Steady {
    callers: JoinSet<Met>,
    ending: Arc<AtomicBool>,
    answered: watch::Sender<u64>,
}

/// What the callers met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Commands that were answered.
    pub answered: u64,
    /// What went wrong, one line each: commands that failed, and replies that show that one was lost or executed twice.
    pub failures: Vec<String>,
    /// The longest that any command took.
    pub longest: Duration,
}

impl Steady {
    /// Starts so many callers on the present runtime, each with a clone of `handle`. Their keys begin with `name` and
    /// should not exist yet.
    #[must_use]
    pub fn start(handle: &Handle, name: &str, callers: usize) -> Steady {
        let ending = Arc::new(AtomicBool::new(false));
        let (answered, _) = watch::channel(0);
        let callers = (0..callers)
            .map(|number| call(handle.clone(), format!("{name}:{number}"), ending.clone(), answered.clone()))
            .collect();
        Steady { callers, ending, answered }
    }

    /// Waits until so many more commands have been answered.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub async fn goes_on(&self, more: u64, limit: Duration) {
        let mut answered = self.answered.subscribe();
        let goal = *answered.borrow() + more;
        let reached = timeout(limit, answered.wait_for(|answered| *answered >= goal)).await.is_ok();
        assert!(reached, "waited {limit:?} for {goal} answers, and got {}", *self.answered.borrow());
    }

    /// Lets the callers finish what they are at, and adds up what they met.
    ///
    /// # Panics
    /// When a caller does not finish within half a minute, or has panicked.
    pub async fn finish(mut self) -> Met {
        self.ending.store(true, Ordering::Relaxed);
        let limit = Duration::from_secs(30);
        let all = async {
            let mut sum = Met::default();
            while let Some(met) = self.callers.join_next().await {
                let met = met.expect("a caller does not panic");
                sum.answered += met.answered;
                sum.failures.extend(met.failures);
                sum.longest = sum.longest.max(met.longest);
            }
            sum
        };
        timeout(limit, all).await.unwrap_or_else(|_| panic!("waited {limit:?} for the callers to finish"))
    }
}

async fn call(mut handle: Handle, key: String, ending: Arc<AtomicBool>, answered: watch::Sender<u64>) -> Met {
    let mut met = Met::default();
    let mut expected = Some(1);
    while !ending.load(Ordering::Relaxed) {
        let began = Instant::now();
        match handle.incr::<_, _, u64>(&key, 1).await {
            Ok(count) => {
                met.answered += 1;
                answered.send_modify(|answered| *answered += 1);
                if let Some(expected) = expected.filter(|expected| *expected != count) {
                    met.failures.push(format!("{key}: the count is {count}, and {expected} was expected"));
                }
                expected = Some(count + 1);
            }
            Err(error) => {
                met.failures.push(format!("{key}: {error}"));
                expected = None;
            }
        }
        met.longest = met.longest.max(began.elapsed());
        sleep(PAUSE).await;
    }
    met
}
