//! It moves: each way in which a primary fails, played against real servers, in plain and over TLS, held to what the tether
//! promises at its default settings, slow lookups aside where they are not what is promised. The `failover` example shows the same
//! scenarios to people.

use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Event, Handle, Outcome, OutcomeExt, Stats, Tether};
use redis_tether_testkit::ServerKind;
use redis_tether_testkit::scenario::{Client, Failed, Failure, Report, Scenario, Servers, Stage, Timings, key};
use redis_tether_tests::rig::resolver;
use redis_tether_tests::servers::{protocol_for, server_binary, without_slow_lookups};
use redis_tether_tests::tls::settings;
use redis_tether_tests::watch::PATIENCE;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What a loaded machine may add to a recovery: debug builds run beside other tests, on as little as two cores, which may stand
/// still for a second. A release build (`cargo test --release -p redis-tether-tests --test moves`) is held to the promises as
/// they are. The bounds themselves are exact in virtual time, in the simulation.
const ALLOWANCE: Duration = if cfg!(debug_assertions) { Duration::from_secs(2) } else { Duration::ZERO };

/// What shaking hands may add where the link is made over TLS: two round trips, and signatures on both sides.
const HANDSHAKE: Duration = Duration::from_millis(20);

/// How long the servers are away in the outage, which is 30 s where nobody waits for it many times a day.
const AWAY: Duration = if cfg!(debug_assertions) { Duration::from_secs(8) } else { Duration::from_secs(30) };

/// The share of the writes turned away that must be told so within a millisecond. Debug builds share their cores with others.
const AT_ONCE: f64 = if cfg!(debug_assertions) { 0.5 } else { 0.99 };

/// One scenario at a time: each measures time, and two of them would measure each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// What the scenario is played over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Tcp,
    Tls,
}

/// Makes the tests of `on_each_server!` twice: over TCP alone, and with TLS over it.
macro_rules! over_tcp_and_tls {
    ($($scenario:ident),+) => {
        mod over_tcp {
            use redis_tether_testkit::ServerKind;
            $(async fn $scenario(kind: ServerKind) {
                super::$scenario(kind, super::Over::Tcp).await;
            })+
            redis_tether_tests::on_each_server!($($scenario),+);
        }

        mod over_tls {
            use redis_tether_testkit::ServerKind;
            $(async fn $scenario(kind: ServerKind) {
                super::$scenario(kind, super::Over::Tls).await;
            })+
            redis_tether_tests::on_each_server!($($scenario),+);
        }
    };
}

struct Writer<'a> {
    tether: &'a Tether,
    handle: Handle,
}

impl Client for Writer<'_> {
    async fn set(&mut self, n: u64) -> Result<(), Failed> {
        self.handle.set::<_, _, ()>(key(n), n).await.map_err(|error| {
            let failure = match error.outcome() {
                Some(Outcome::NotSent) => Failure::NotSent,
                Some(Outcome::Refused) => Failure::Refused,
                Some(Outcome::Ambiguous) => Failure::Ambiguous,
                _ => Failure::Other,
            };
            Failed::new(failure, error)
        })
    }

    fn held(&self) -> u64 {
        self.tether.stats().held
    }
}

/// A scenario that was played, and what the tether did meanwhile.
struct Played {
    over: Over,
    stage: Stage,
    tether: Tether,
    report: Report,
    /// From the fault to the suspicion.
    suspected: Option<Duration>,
    before: Stats,
}

impl Played {
    fn recovered_within(&self, bound: Duration) {
        let took = self.report.recovered_after().expect("the tether recovers");
        let bound = if self.over == Over::Tls { bound + HANDSHAKE } else { bound };
        assert!(took <= bound + ALLOWANCE, "recovered after {took:?}, promised are {bound:?}");
    }

    fn failed_only(&self, failure: Failure, most: usize) {
        let others: Vec<_> = self.report.failures().filter(|(_, failed)| failed.failure != failure).collect();
        assert!(others.is_empty(), "failed otherwise than {failure}: {others:?}");
        assert!(self.report.failed() <= most, "{} failed, at most {most} were in flight", self.report.failed());
    }

    /// The old primary lives on, and nothing of ours leads there any more.
    async fn left_the_old_primary(&self) {
        let left = self.stage.first_primary().clients().await.expect("the old primary lives");
        assert_eq!(left, 0, "links to the old primary that were not closed");
    }

    fn dials(&self) -> u64 {
        self.tether.stats().dials - self.before.dials
    }
}

async fn play(kind: ServerKind, over: Over, scenario: Scenario, timings: &Timings) -> Played {
    let _turn = TURN.lock().await;
    let servers = Servers::Real(server_binary(kind));
    let stage = match over {
        Over::Tcp => Stage::set(&servers, scenario).await,
        Over::Tls => Stage::set_over_tls(&servers, scenario).await,
    };
    let stage = stage.expect("the servers start");
    let mut config = Config::new(stage.name(), stage.port());
    if scenario != Scenario::Move {
        config = without_slow_lookups(config);
    }
    if let Some(password) = stage.password() {
        config = config.with_password(password);
    }
    if let Some(files) = stage.tls() {
        config = config.with_tls(settings(files));
        // In plain it is played as it is by default.
        config.protocol = protocol_for(kind);
    }
    let tether = Tether::builder(config).resolver(resolver(stage.dns())).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the primary is up");

    let before = tether.stats();
    let mut events = tether.events();
    let watching = tokio::spawn(async move {
        loop {
            match events.recv().await {
                Ok(Event::Suspected { .. }) => return Instant::now(),
                Ok(_) => {}
                Err(_) => std::future::pending().await,
            }
        }
    });
    let mut writer = Writer { tether: &tether, handle: tether.handle() };
    let report = stage.play(timings, &mut writer, &()).await.expect("the servers do their part");
    let suspected = match watching.is_finished() {
        true => watching.await.ok().map(|at| report.since_start(at).saturating_sub(report.fault)),
        false => None,
    };
    Played { over, stage, tether, report, suspected, before }
}

over_tcp_and_tls!(crash, demote, hang, moved, restart, outage, auth, slow);

async fn crash(kind: ServerKind, over: Over) {
    let played = play(kind, over, Scenario::Crash, &Timings::default()).await;
    played.recovered_within(Duration::from_millis(150));
    played.failed_only(Failure::Ambiguous, 1);
    played.tether.shutdown().await;
}

async fn demote(kind: ServerKind, over: Over) {
    let played = play(kind, over, Scenario::Demote, &Timings::default()).await;
    played.recovered_within(Duration::from_millis(100));
    played.failed_only(Failure::Ambiguous, 0);
    played.left_the_old_primary().await;
    played.tether.shutdown().await;
}

async fn hang(kind: ServerKind, over: Over) {
    let played = play(kind, over, Scenario::Hang, &Timings::default()).await;
    played.recovered_within(Duration::from_millis(150));
    played.failed_only(Failure::Ambiguous, 1);
    let suspected = played.suspected.expect("the silence is noticed");
    assert!(suspected <= Duration::from_millis(500) + ALLOWANCE, "suspected after {suspected:?}");
    played.tether.shutdown().await;
}

/// The old primary still takes writes: only DNS tells. The old link drains and closes.
async fn moved(kind: ServerKind, over: Over) {
    let played = play(kind, over, Scenario::Move, &Timings::default()).await;
    played.recovered_within(Duration::from_secs(3));
    played.failed_only(Failure::Ambiguous, 0);
    played.left_the_old_primary().await;
    played.tether.shutdown().await;
}

async fn restart(kind: ServerKind, over: Over) {
    let played = play(kind, over, Scenario::Restart, &Timings::default()).await;
    played.recovered_within(Duration::from_millis(150));
    played.failed_only(Failure::Ambiguous, 1);
    played.tether.shutdown().await;
}

/// Held within the hold window, then not sent, at once; dialled at the pace.
async fn outage(kind: ServerKind, over: Over) {
    let played = play(kind, over, Scenario::Outage, &Timings::default().with_outage(AWAY)).await;
    played.recovered_within(Duration::from_millis(600));

    let (window, deadline) = (Duration::from_secs(3), Duration::from_secs(5));
    assert!(played.report.max_took() >= window.mul_f64(0.9), "{:?} is less than the window", played.report.max_took());
    assert!(played.report.max_took() <= deadline + ALLOWANCE, "{:?} is past the deadline", played.report.max_took());
    assert!(played.report.failed_as(Failure::Ambiguous) <= 1, "only what was in flight is ambiguous");
    let down = played.report.fault + window;
    let mut at_once: Vec<Duration> = Vec::new();
    for (operation, failed) in played.report.failures().filter(|(_, failed)| failed.failure != Failure::Ambiguous) {
        assert_eq!(failed.failure, Failure::NotSent, "{}", failed.message);
        assert!(failed.message.contains("refused"), "the line says why: {}", failed.message);
        if played.report.since_start(operation.started) > down {
            at_once.push(operation.took());
        }
    }
    at_once.sort_unstable();
    assert!(at_once.len() > 100, "{} writes met the closed gate", at_once.len());
    let slowest = at_once[(at_once.len() as f64 * AT_ONCE) as usize];
    assert!(slowest < Duration::from_millis(1), "after the window it takes {slowest:?} to be told so");

    // The floors of the pace: 10 ms for the first 5 s, then 20 ms; and what a fresh incarnation may add.
    let most = 5_000 / 10 + (AWAY.as_millis() as u64 - 5_000) / 20 + 5;
    assert!(played.dials() <= most, "{} dials, the pace allows {most}", played.dials());
    played.tether.shutdown().await;
}

async fn auth(kind: ServerKind, over: Over) {
    let played = play(kind, over, Scenario::Auth, &Timings::default()).await;
    played.recovered_within(Duration::from_millis(600));
    let mut told = 0;
    for (_, failed) in played.report.failures().filter(|(_, failed)| failed.failure != Failure::Ambiguous) {
        assert_eq!(failed.failure, Failure::NotSent, "{}", failed.message);
        assert!(failed.message.contains("authentication failed"), "{}", failed.message);
        assert!(!failed.message.contains("first-password"), "a secret is told: {}", failed.message);
        told += 1;
    }
    assert!(told > 0, "errors in between say so");
    assert!(played.report.failed_as(Failure::Ambiguous) <= 1, "only what was in flight is ambiguous");
    played.tether.shutdown().await;
}

async fn slow(kind: ServerKind, over: Over) {
    let played = play(kind, over, Scenario::Slow, &Timings::default()).await;
    played.failed_only(Failure::Ambiguous, 0);
    assert_eq!(played.tether.stats().links, played.before.links, "the link was kept");
    assert!(played.dials() <= 2, "{} dials for one suspicion", played.dials());
    played.tether.shutdown().await;
}
