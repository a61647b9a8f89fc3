//! One lookup within its limit, and the lookups of a tether whose link serves: those go on in one task, and an answer that
//! tells nothing new wakes nobody. A thousand tethers ask five hundred times a second, and are told the same each time.

use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::Address;
use tokio::time::{Instant, sleep_until, timeout};

use super::INTERVAL_JITTER;
use crate::control::beat::{self, Beat};
use crate::resolve::{Query, Resolve, ResolveError};

/// A lookup that takes longer is reported as failed, and the next one joins it if it is still under way.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

pub(crate) type Answer = Result<Vec<Address>, ResolveError>;

/// Asks once. It may panic, as the resolver may: while it is asked as well as while it answers.
pub(super) async fn ask(resolver: &dyn Resolve, query: Query) -> Answer {
    let host = || query.host.clone();
    match timeout(LOOKUP_LIMIT, resolver.resolve(query.clone())).await {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(ResolveError::NoAddress { host: host() }),
        Ok(answer) => Ok(answer?.into_iter().map(Address::Tcp).collect()),
        Err(_) => Err(ResolveError::TimedOut { host: host() }),
    }
}

/// When a settled tether asks.
pub(super) struct SettledPace {
    pub(super) interval: Duration,
    pub(super) beat: Beat,
    pub(super) rng: fastrand::Rng,
}

impl SettledPace {
    /// The moment for the next lookup.
    pub(super) fn next(&mut self) -> Instant {
        let earliest = 1.0 - INTERVAL_JITTER + beat::SHARE;
        let jitter = earliest + (1.0 + INTERVAL_JITTER - earliest) * self.rng.f64();
        self.beat.not_after(Instant::now() + self.interval.mul_f64(jitter), self.interval)
    }
}

/// Asks when it is `due`, and then at the settled pace, until an answer is one that is not expected, or there is none. Those that are wake nobody.
pub(super) async fn until_news(
    resolver: Arc<dyn Resolve>,
    query: Query,
    mut due: Instant,
    mut pace: SettledPace,
    is_expected: impl Fn(&[Address]) -> bool + Send,
) -> Answer {
    loop {
        sleep_until(due).await;
        let answer = ask(&*resolver, query.clone()).await;
        if !answer.as_ref().is_ok_and(|addresses| is_expected(addresses)) {
            return answer;
        }
        due = pace.next();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::resolve::resolve_fn;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(last: u8) -> Address {
        Address::Tcp(([10, 0, 0, last], 6379).into())
    }

    fn pace(interval: Duration) -> SettledPace {
        SettledPace { interval, beat: Beat::own(), rng: fastrand::Rng::with_seed(7) }
    }

    #[tokio::test(start_paused = true)]
    async fn only_news_ends_the_settled_lookups() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        let resolver = Arc::new(resolve_fn(move |_host, port| {
            let mut asked = noted.lock().expect("no panic");
            asked.push(Instant::now());
            let last = if asked.len() <= 20 { 1 } else { 2 };
            async move { Ok(vec![([10, 0, 0, last], port).into()]) }
        }));
        let (first, interval) = (Instant::now() + SECOND, SECOND * 2);
        let query = Query::new("redis.test", 6379);
        let news = until_news(resolver, query, first, pace(interval), |answer| answer == [address(1)]).await;
        assert_eq!(news, Ok(vec![address(2)]));
        let asked = asked.lock().expect("no panic");
        assert_eq!((asked.len(), asked[0]), (21, first));
        let between: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
        // Timers fire on whole milliseconds.
        let right = interval.mul_f64(1.0 - INTERVAL_JITTER)
            ..=interval.mul_f64(1.0 + INTERVAL_JITTER) + Duration::from_millis(1);
        assert!(between.iter().all(|interval| right.contains(interval)), "{between:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_fails_is_news() {
        let resolver = Arc::new(resolve_fn(|_host, _port| async { Err(std::io::ErrorKind::TimedOut.into()) }));
        let news = until_news(resolver, Query::new("redis.test", 6379), Instant::now(), pace(SECOND), |_| true).await;
        assert_eq!(news, Err(ResolveError::TimedOut { host: "redis.test".to_owned() }));
    }
}
