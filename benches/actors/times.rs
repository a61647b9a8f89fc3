//! Times of one tether: its start, and the death of its connection actor. Criterion decides how often each is done and
//! compares them with those of the run before; the report has the spread of all that was done.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use ractor::ActorCell;
use redis_tether::redis::aio::ConnectionLike;
use redis_tether::redis::{self, Client};
use redis_tether::{Config, Event, Tether};
use redis_tether_benches::peers::Error;
use redis_tether_benches::section::Section;
use redis_tether_benches::statistics::quantile;
use redis_tether_testkit::server::{Server, ServerBinary};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Longer than anything here takes on a machine that is not stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Each repetition leaves a port in use for a minute (`TIME_WAIT`), and there are some 28,000 for all of them.
const MEASUREMENT: Duration = Duration::from_secs(1);

pub(crate) fn measure(section: &mut Section, runtime: &Runtime, binary: &ServerBinary) -> Result<(), Error> {
    let server = runtime.block_on(Server::start(binary))?;
    let at = server.addr().to_string();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("actors");
    // As often in each sample as in the next, however long it takes to have the next tether ready.
    group.sampling_mode(SamplingMode::Flat).measurement_time(MEASUREMENT).warm_up_time(MEASUREMENT / 3);
    let mut times = Times { group, runtime, at, rows: Vec::new() };
    times.of("connect: a MultiplexedConnection until its first command is answered", connect);
    times.of("start: a tether until `start` returns", start);
    times.of("start: a tether until its first command is answered", start_and_call);
    times.of("kill: a command, while nobody is killed", call);
    times.of("kill: a command right after the connection actor was killed", kill_and_call);
    times.of("kill: until a fresh connection actor is at work, with the same link", kill_and_wait);
    if !times.rows.is_empty() {
        section.heading("Start, and the death of the connection actor");
        section.table("", &["median µs", "p99 µs", "longest µs", "times"], &times.rows);
    }
    Ok(())
}

struct Times<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    runtime: &'a Runtime,
    /// The server's address.
    at: String,
    rows: Vec<(String, Vec<String>)>,
}

impl Times<'_> {
    /// Has `once` done as often as criterion wants, unless its name was not asked for.
    fn of<F>(&mut self, name: &str, once: impl Fn(String) -> F + Copy)
    where
        F: Future<Output = Result<Duration, Error>> + Send + 'static,
    {
        let taken = Arc::new(Mutex::new(Vec::new()));
        self.group.bench_function(name, |bencher| {
            bencher.to_async(self.runtime).iter_custom(|times| {
                let (at, taken) = (self.at.clone(), taken.clone());
                async move {
                    let mut sum = Duration::ZERO;
                    for _ in 0..times {
                        // On a worker, where callers are: the thread that waits here is none.
                        let done = tokio::spawn(once(at.clone())).await.expect("it does not panic");
                        let time = done.unwrap_or_else(|error| panic!("the server is well, and yet: {error}"));
                        taken.lock().unwrap_or_else(PoisonError::into_inner).push(time.as_secs_f64() * 1e6);
                        sum += time;
                    }
                    sum
                }
            });
        });
        let taken = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
        if !taken.is_empty() {
            let at = |share| format!("{:.0}", quantile(taken.clone(), share));
            self.rows.push((name.to_owned(), vec![at(0.5), at(0.99), at(1.0), taken.len().to_string()]));
        }
    }
}

async fn connect(at: String) -> Result<Duration, Error> {
    let client = Client::open(format!("redis://{at}"))?;
    let began = Instant::now();
    let mut connection = client.get_multiplexed_async_connection().await?;
    ping(&mut connection).await?;
    Ok(began.elapsed())
}

async fn start(at: String) -> Result<Duration, Error> {
    let config = Config::from_url(&format!("redis://{at}"))?;
    let began = Instant::now();
    let tether = Tether::start(config).await?;
    let time = began.elapsed();
    tether.ready(PATIENCE).await?;
    tether.shutdown().await;
    Ok(time)
}

async fn start_and_call(at: String) -> Result<Duration, Error> {
    let config = Config::from_url(&format!("redis://{at}"))?;
    let began = Instant::now();
    let tether = Tether::start(config).await?;
    ping(&mut tether.handle()).await?;
    let time = began.elapsed();
    tether.shutdown().await;
    Ok(time)
}

async fn call(at: String) -> Result<Duration, Error> {
    let served = Served::begin(&at).await?;
    served.end(Victim::None, async |tether| ping(&mut tether.handle()).await).await
}

async fn kill_and_call(at: String) -> Result<Duration, Error> {
    let served = Served::begin(&at).await?;
    served.end(Victim::Connection, async |tether| ping(&mut tether.handle()).await).await
}

async fn kill_and_wait(at: String) -> Result<Duration, Error> {
    let served = Served::begin(&at).await?;
    let mut events = served.tether.events();
    let before = served.connection.get_id();
    let restarted = async move |tether: &Tether| {
        while !matches!(events.recv().await?, Event::Restarted { .. }) {}
        // Its last act before it waits for messages is to start the probe of the link that it has taken over.
        while connection_of(tether).is_none_or(|connection| connection.get_id() == before) {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    served.end(Victim::Connection, restarted).await
}

async fn ping(connection: &mut (impl ConnectionLike + Send)) -> Result<(), Error> {
    Ok(redis::cmd("PING").exec_async(connection).await?)
}

/// A tether whose link serves. A fresh one for each time: an actor that dies twice within a second waits before it is
/// started again.
struct Served {
    tether: Tether,
    connection: ActorCell,
}

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    None,
    Connection,
}

impl Served {
    async fn begin(at: &str) -> Result<Served, Error> {
        let tether = Tether::start(Config::from_url(&format!("redis://{at}"))?).await?;
        tether.ready(PATIENCE).await?;
        ping(&mut tether.handle()).await?;
        let connection = loop {
            match connection_of(&tether) {
                Some(connection) => break connection,
                None => tokio::task::yield_now().await,
            }
        };
        Ok(Served { tether, connection })
    }

    /// The time from the kill until this is done. The link must be the same afterwards.
    async fn end(
        self,
        victim: Victim,
        done: impl AsyncFnOnce(&Tether) -> Result<(), Error>,
    ) -> Result<Duration, Error> {
        let before = self.tether.status().borrow().epoch;
        let began = Instant::now();
        if victim == Victim::Connection {
            self.connection.kill();
        }
        timeout(PATIENCE, done(&self.tether)).await.map_err(|_| format!("not done within {PATIENCE:?}"))??;
        let time = began.elapsed();
        let (after, links) = (self.tether.status().borrow().epoch, self.tether.stats().links);
        self.tether.shutdown().await;
        if (after, links) != (before, 1) {
            return Err(format!("the link was lost: {before:?} became {after:?}, there were {links}").into());
        }
        Ok(time)
    }
}

/// The connection actor, told by the probe below it, which only it has.
fn connection_of(tether: &Tether) -> Option<ActorCell> {
    tether.actor().get_children().into_iter().find(|child| !child.get_children().is_empty())
}
