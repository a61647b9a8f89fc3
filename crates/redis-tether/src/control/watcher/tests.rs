//! When the watcher asks, on a clock that stands still in between.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::time::sleep;

use super::*;
use crate::resolve::{Query, Resolve, ResolveError};
use crate::transport::{BoxFuture, BoxedStream, Transport};
use crate::{Address, Tether};

/// A resolver that answers at once, and notes when it was asked what.
#[derive(Clone, Default)]
struct Noting(Arc<Mutex<Vec<(Instant, Query)>>>);

impl Noting {
    fn asked(&self) -> Vec<(Instant, Query)> {
        self.0.lock().expect("no panic").clone()
    }

    /// The times between the lookups so far, of which it forgets all but the last.
    fn take_intervals(&self) -> Vec<Duration> {
        let mut asked = self.0.lock().expect("no panic");
        let intervals = asked.windows(2).map(|two| two[1].0 - two[0].0).collect();
        let all_but_the_last = asked.len().saturating_sub(1);
        asked.drain(..all_but_the_last);
        intervals
    }
}

impl Resolve for Noting {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        let address = SocketAddr::from(([10, 0, 0, 1], query.port));
        self.0.lock().expect("no panic").push((Instant::now(), query));
        Box::pin(async move { Ok(vec![address]) })
    }
}

/// Leads nowhere.
struct BlackHole;

impl Transport for BlackHole {
    fn connect(&self, _address: &Address) -> BoxFuture<'static, io::Result<BoxedStream>> {
        Box::pin(std::future::pending())
    }
}

/// A tether whose watcher is asked for nothing by anybody but the test, and who notes what it does.
async fn watched() -> (Tether, Noting) {
    let noting = Noting::default();
    let mut config = Config::new("redis.test", 6379);
    config.failures_before_resolve = 1_000;
    let builder = Tether::builder(config).resolver(noting.clone()).transport(BlackHole).seed(7);
    (builder.start().await.expect("a valid configuration"), noting)
}

fn tell(tether: &Tether, message: impl Fn() -> WatcherMsg) {
    let told = tether.actor().get_children().iter().filter(|child| child.send_message(message()).is_ok()).count();
    assert_eq!(told, 1, "there is one watcher");
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(start_paused = true)]
async fn urgent_lookups_are_somewhat_early_and_never_late() {
    let (tether, noting) = watched().await;
    // The first one, and the one that a search without addresses asks for.
    sleep(ms(100)).await;
    for (lasts, interval) in [(ms(4_000), ms(50)), (ms(20_000), ms(1_000))] {
        noting.take_intervals();
        sleep(lasts).await;
        let intervals = noting.take_intervals();
        // Timers fire on whole milliseconds.
        let right = interval.mul_f64(1.0 - INTERVAL_JITTER)..=interval + ms(1);
        assert!(intervals.len() > 10 && intervals.iter().all(|interval| right.contains(interval)), "{intervals:?}");
        let (first, rest) = intervals.split_first().expect("there are some");
        assert!(rest.iter().any(|interval| interval != first), "all are {first:?}");
        // The hasty part ends after 5 s.
        sleep(ms(1_500)).await;
    }
    tether.shutdown().await;
}

/// Whoever wants an answer soon gets it, also where somebody wants one later.
#[tokio::test(start_paused = true)]
async fn of_two_wishes_the_earlier_counts() {
    let (tether, noting) = watched().await;
    sleep(ms(100)).await;
    for (first, second) in [(ms(50), ms(400)), (ms(400), ms(50))] {
        tell(&tether, || WatcherMsg::Pace(ResolvePace::Urgent));
        sleep(ms(10)).await;
        tell(&tether, || WatcherMsg::Pace(ResolvePace::Settled));
        sleep(ms(10)).await;
        let (before, wished) = (noting.asked().len(), Instant::now());
        tell(&tether, || WatcherMsg::After(first));
        tell(&tether, || WatcherMsg::After(second));
        sleep(ms(1_000)).await;
        let asked: Vec<_> = noting.asked().split_off(before);
        assert_eq!(asked.len(), 1, "one answer serves both: {asked:?}");
        let (at, query) = &asked[0];
        assert!((ms(50)..=ms(52)).contains(&(*at - wished)), "{:?}", *at - wished);
        assert_eq!(
            query.max_age,
            Config::default().resolve.fast_interval / URGENT_ANSWER_AGE,
            "as fresh as was wished"
        );
    }
    tether.shutdown().await;
}

/// What a tether did, in order.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<Step>>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    LookedUp,
    Dialled,
}

impl Order {
    fn note(&self, step: Step) {
        self.0.lock().expect("no panic").push(step);
    }

    fn take(&self) -> Vec<Step> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Resolve for Order {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        self.note(Step::LookedUp);
        let address = SocketAddr::from(([10, 0, 0, 1], query.port));
        Box::pin(async move { Ok(vec![address]) })
    }
}

impl Transport for Order {
    fn connect(&self, _address: &Address) -> BoxFuture<'static, io::Result<BoxedStream>> {
        self.note(Step::Dialled);
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// The pace of an outage is so slow that it has no part in this: each lookup is one that an incarnation gave cause for.
#[tokio::test(start_paused = true)]
async fn before_every_fresh_incarnation_dials_there_is_a_lookup() {
    const FAILURES: u32 = 4;
    let order = Order::default();
    let mut config = Config::new("redis.test", 6379);
    config.failures_before_resolve = FAILURES;
    config.resolve.fast_for = ms(1);
    config.resolve.outage_interval = Duration::from_secs(3_600);
    let builder = Tether::builder(config).resolver(order.clone()).transport(order.clone()).seed(7);
    let tether = builder.start().await.expect("a valid configuration");
    // The start has lookups of its own, and they are over by then.
    sleep(ms(5_000)).await;
    order.take();
    sleep(ms(30_000)).await;
    let steps = order.take();
    let rounds: Vec<_> = steps.split(|step| *step == Step::LookedUp).map(<[Step]>::len).collect();
    // The first and the last one were cut off.
    let whole = &rounds[1..rounds.len() - 1];
    assert!(whole.len() > 10 && whole.iter().all(|dials| *dials == FAILURES as usize), "{rounds:?}");
    tether.shutdown().await;
}

/// Names nobody, and calls that an answer.
struct Empty;

impl Resolve for Empty {
    fn resolve(&self, _query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_an_address_is_said_to_be_none() {
    let builder = Tether::builder(Config::new("redis.test", 6379)).resolver(Empty).transport(BlackHole);
    let tether = builder.start().await.expect("a valid configuration");
    let not_ready = tether.ready(Duration::from_secs(1)).await.expect_err("there is nobody");
    assert!(not_ready.to_string().contains("no address for host: redis.test"), "{not_ready}");
    tether.shutdown().await;
}
