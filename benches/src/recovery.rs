//! One scenario, one client: a fresh stage, a fresh runtime, a name of its own, and one writer. And what several such plays
//! come to.

use std::future::Future;
use std::io;
use std::time::Duration;

use redis_tether_testkit::Dns;
use redis_tether_testkit::scenario::{Client, Failed, Failure, Report, Scenario, Servers, Stage, Timings, key};
use tokio::runtime::Builder;

use crate::contenders::{self, Contender, Endpoint, Kind};
use crate::names::Name;
use crate::peers::{Error, Redis, Session};
use crate::statistics::quantile;

/// The workers of each play's runtime.
const WORKERS: usize = 2;
/// How long what a client leaves behind may take to end. Nobody waits for its results.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// What one play showed.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Figures {
    /// From the moment a primary was reachable under the name to the first write that succeeded on it; `None` where none
    /// did in time.
    pub recovered: Option<Duration>,
    /// Writes that failed.
    pub failed: f64,
    /// Writes that were reported as done, and that the new primary does not have.
    pub missing: f64,
    /// The longest that any write took.
    pub longest: Duration,
}

/// Plays a scenario for a client. Takes as long as the scenario does; what it started is gone when it returns.
///
/// # Errors
/// Where a server or the machine does not do its part, where the client does not connect at the start, and when Ctrl-C was
/// pressed: the servers end with the play, which they would not with the process where they are frozen.
pub fn play(
    contender: Contender,
    scenario: Scenario,
    servers: &Servers,
    timings: &Timings,
    name: &Name,
) -> Result<Figures, Error> {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let played = runtime.block_on(async {
        tokio::select! {
            biased;
            Ok(()) = tokio::signal::ctrl_c() => Err("interrupted".into()),
            played = play_here(contender, scenario, servers, timings, name) => played,
        }
    });
    runtime.shutdown_timeout(LEFTOVERS);
    played
        .map(|report| Figures::of(&report))
        .map_err(|error| format!("{scenario}, {}, {}: {error}", contender.client(), contender.settings()).into())
}

async fn play_here(
    contender: Contender,
    scenario: Scenario,
    servers: &Servers,
    timings: &Timings,
    name: &Name,
) -> Result<Report, Error> {
    let stage = Stage::set(servers, scenario).await?;
    name.point_at(stage.first_primary().addr().ip())?;
    let endpoint = Endpoint::new(name.as_str(), stage.port(), stage.password());
    let playing = connect_and_play(contender, &stage, &endpoint, timings);
    tokio::select! {
        biased;
        Err(error) = follow(stage.dns(), stage.name(), name) => Err(error.into()),
        played = playing => played,
    }
}

/// Keeps our name where the stage's is.
async fn follow(dns: &Dns, stages: &str, ours: &Name) -> io::Result<()> {
    loop {
        let changed = dns.changed();
        if let Some(address) = dns.lookup(stages, 0).await?.first() {
            ours.point_at(address.ip())?;
        }
        changed.await;
    }
}

async fn connect_and_play(
    contender: Contender,
    stage: &Stage,
    endpoint: &Endpoint,
    timings: &Timings,
) -> Result<Report, Error> {
    let settings = contender.settings;
    match contender.kind {
        Kind::Tether => {
            let tether = contenders::tether(endpoint).await?;
            let played = write(Redis(tether.handle()), stage, timings).await;
            tether.shutdown().await;
            played
        }
        Kind::Multiplexed => write(contenders::multiplexed(endpoint).await?, stage, timings).await,
        Kind::Manager => write(contenders::manager(endpoint, settings).await?, stage, timings).await,
        Kind::Bb8 => write(contenders::bb8(endpoint, settings).await?, stage, timings).await,
        Kind::Deadpool => write(contenders::deadpool(endpoint, settings)?, stage, timings).await,
        Kind::Fred => write(contenders::fred(endpoint, settings).await?, stage, timings).await,
    }
}

async fn write(session: impl Session, stage: &Stage, timings: &Timings) -> Result<Report, Error> {
    Ok(stage.play(timings, &mut Writer(session), &()).await?)
}

/// Writes through any client. What kind of failure it was is not asked: most clients do not say.
struct Writer<S>(S);

impl<S: Session> Client for Writer<S> {
    fn set(&mut self, n: u64) -> impl Future<Output = Result<(), Failed>> + Send {
        let (key, value) = (key(n), n.to_string());
        async move { self.0.set(&key, value.as_bytes()).await.map_err(|error| Failed::new(Failure::Other, error)) }
    }
}

impl Figures {
    fn of(report: &Report) -> Figures {
        Figures {
            recovered: report.recovered_after(),
            failed: report.failed() as f64,
            missing: report.missing.unwrap_or_default() as f64,
            longest: report.max_took(),
        }
    }

    /// The median of each figure; one that did not recover took longer than any other.
    #[must_use]
    pub fn median(plays: &[Figures]) -> Figures {
        let median = |figure: &dyn Fn(&Figures) -> f64| quantile(plays.iter().map(figure).collect(), 0.5);
        let recovered = median(&|play| play.recovered.map_or(f64::INFINITY, |time| time.as_secs_f64()));
        Figures {
            // Neither infinite nor the figure of no play at all.
            recovered: Duration::try_from_secs_f64(recovered).ok(),
            failed: median(&|play| play.failed),
            missing: median(&|play| play.missing),
            longest: Duration::try_from_secs_f64(median(&|play| play.longest.as_secs_f64())).unwrap_or_default(),
        }
    }

    /// Whether this client came back sooner than the other and failed no more writes. What is within `noise` of each other
    /// is taken for the same.
    #[must_use]
    pub fn is_ahead_of(&self, other: &Figures, noise: Duration) -> bool {
        let sooner = match (self.recovered, other.recovered) {
            (Some(this), Some(other)) => this + noise < other,
            (this, other) => this.is_some() && other.is_none(),
        };
        sooner && self.failed <= other.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::tests::NamesInFile;

    #[tokio::test(flavor = "current_thread")]
    async fn where_the_stages_name_goes_ours_goes() {
        let file = NamesInFile::new();
        let name = file.names.name(3);
        let dns = Dns::new();
        dns.set("redis.test", vec!["127.1.1.1".parse().expect("an address")]);
        let moves = async {
            for last in [2, 3] {
                dns.set("redis.test", vec![[127, 1, 1, last].into()]);
                // The follower has its turn, and needs no other.
                tokio::task::yield_now().await;
                assert!(file.text().contains(&format!("127.1.1.{last}       {}", name.as_str())), "{}", file.text());
            }
        };
        tokio::select! {
            biased;
            failed = follow(&dns, "redis.test", &name) => panic!("{failed:?}"),
            () = moves => {}
        }
    }

    fn figures(recovered: Option<u64>, failed: f64) -> Figures {
        let longest = Duration::from_millis(recovered.unwrap_or(20_000));
        Figures { recovered: recovered.map(Duration::from_millis), failed, missing: 0.0, longest }
    }

    #[test]
    fn never_is_longer_than_any_time() {
        let (soon, late, never) = (figures(Some(10), 1.0), figures(Some(900), 7.0), figures(None, 3.0));
        let median = Figures::median(&[never, soon, late]);
        assert_eq!(median, Figures { longest: late.longest, ..figures(Some(900), 3.0) });
        assert_eq!(Figures::median(&[never, soon, never]).recovered, None);
    }

    #[test]
    fn ahead_is_who_is_back_sooner_and_fails_no_more() {
        let noise = Duration::from_millis(5);
        let ours = figures(Some(100), 1.0);
        for (other, is_ahead) in [
            (figures(Some(50), 1.0), true),
            (figures(Some(50), 0.0), true),
            (figures(Some(50), 2.0), false),
            (figures(Some(97), 0.0), false),
            (figures(Some(200), 0.0), false),
            (figures(None, 0.0), false),
        ] {
            assert_eq!(other.is_ahead_of(&ours, noise), is_ahead, "{other:?}");
        }
        assert!(ours.is_ahead_of(&figures(None, 1.0), noise));
    }
}
