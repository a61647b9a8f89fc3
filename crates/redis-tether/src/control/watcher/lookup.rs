//! One lookup within its limit, and the lookups of a tether whose link serves: those go on in one task, and an answer that
//! tells nothing new wakes nobody. A thousand tethers ask five hundred times a second, and are told the same each time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::INTERVAL_JITTER;
use crate::control::beat::{self, Beat};
use crate::control::source::{Answer, Asking, Source, SourceError};
use crate::resolve::Lifetime;

/// A lookup that takes longer is reported as failed, and the next one joins it if it is still under way.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// Asks once. It may panic, as the resolver may: while it is asked as well as while it answers.
pub(super) async fn ask(source: &Source, asking: Asking) -> Result<Answer, SourceError> {
    timeout(LOOKUP_LIMIT, source.ask(asking)).await.unwrap_or_else(|_| Err(source.timed_out()))
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
    source: Source,
    mut asking: Asking,
    mut due: Instant,
    mut pace: SettledPace,
    is_expected: impl Fn(&Answer) -> bool + Send,
) -> Result<Answer, SourceError> {
    loop {
        sleep_until(due).await;
        let answer = ask(&source, asking).await;
        if !answer.as_ref().is_ok_and(&is_expected) {
            return answer;
        }
        // Only now: an answer that was reported already is evidence once, and must not come out of a cache as if it were another.
        asking.lifetime = Lifetime::Kept;
        due = pace.next();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use redis_tether_core::Address;
    use redis_tether_core::recovery::ResolvePace;

    use super::*;
    use crate::control::source::Evidence;
    use crate::resolve::{Query, Resolve, ResolveError, resolve_fn};
    use crate::transport::BoxFuture;

    const SECOND: Duration = Duration::from_secs(1);

    const ASKING: Asking = Asking {
        pace: ResolvePace::Settled,
        max_age: Duration::ZERO,
        spacing: Duration::ZERO,
        lifetime: Lifetime::Ignored,
        news: None,
    };

    fn named(resolver: impl Resolve) -> Source {
        Source::Name { host: "redis.test".to_owned(), port: 6379, resolver: Arc::new(resolver), announced_to: None }
    }

    fn answer(last: u8) -> Answer {
        Answer { addresses: vec![Address::Tcp(([10, 0, 0, last], 6379).into())], evidence: Evidence::Named }
    }

    fn pace(interval: Duration) -> SettledPace {
        SettledPace { interval, beat: Beat::own(), rng: fastrand::Rng::with_seed(7) }
    }

    #[tokio::test(start_paused = true)]
    async fn only_news_ends_the_settled_lookups() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        let source = named(resolve_fn(move |_host, port| {
            let mut asked = noted.lock().expect("no panic");
            asked.push(Instant::now());
            let last = if asked.len() <= 20 { 1 } else { 2 };
            async move { Ok(vec![([10, 0, 0, last], port).into()]) }
        }));
        let (first, interval) = (Instant::now() + SECOND, SECOND * 2);
        let news = until_news(source, ASKING, first, pace(interval), |told| *told == answer(1)).await;
        assert_eq!(news, Ok(answer(2)));
        let asked = asked.lock().expect("no panic");
        assert_eq!((asked.len(), asked[0]), (21, first));
        let between: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
        // Timers fire on whole milliseconds.
        let right = interval.mul_f64(1.0 - INTERVAL_JITTER)
            ..=interval.mul_f64(1.0 + INTERVAL_JITTER) + Duration::from_millis(1);
        assert!(between.iter().all(|interval| right.contains(interval)), "{between:?}");
    }

    /// Notes whether it might have answered within the TTL, and says something else after a while.
    #[derive(Clone, Default)]
    struct Noting(Arc<Mutex<Vec<bool>>>);

    impl Resolve for Noting {
        fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
            let mut within_ttl = self.0.lock().expect("no panic");
            within_ttl.push(query.within_ttl);
            let last = if within_ttl.len() < 4 { 1 } else { 2 };
            Box::pin(async move { Ok(vec![([10, 0, 0, last], query.port).into()]) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ttl_counts_after_an_answer_that_was_expected_and_not_after_news() {
        let noting = Noting::default();
        let source = named(noting.clone());
        for asked in [vec![false, true, true, true], vec![false, true, true, true, false]] {
            until_news(source.clone(), ASKING, Instant::now(), pace(SECOND), |told| *told == answer(1)).await.ok();
            assert_eq!(*noting.0.lock().expect("no panic"), asked);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_fails_is_news() {
        let source = named(resolve_fn(|_host, _port| async { Err(std::io::ErrorKind::TimedOut.into()) }));
        let news = until_news(source, ASKING, Instant::now(), pace(SECOND), |_| true).await;
        assert_eq!(news, Err(ResolveError::TimedOut { host: "redis.test".to_owned() }.into()));
    }
}
