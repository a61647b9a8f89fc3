//! A fleet: many clients lose one primary at once, and it comes back. The dials keep to the pacing, nobody comes back late, the
//! server is met by no more than one connection a client, and DNS is asked no more often than by one of them. `release.rs`
//! has the pace at which held commands are let go, `names.rs` the lookups.
//!
//! A hundred in one process are enough to see a client that does not keep to its pace, and few enough for a debug build on two
//! cores to break it. `cargo test -- --ignored` runs a thousand; the figures are printed (`--nocapture`).

mod memory;
mod names;
mod release;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Handle, LaneSettings, Outcome, OutcomeExt, PacingSettings, Phase, Tether};
use redis_tether_core::pacing::LanePace;
use redis_tether_testkit::{Server, ServerKind};
use redis_tether_tests::servers::{patient, server_binary};
use redis_tether_tests::watch::{PATIENCE, reach, within};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long the primary is away.
const OUTAGE: Duration = Duration::from_secs(2);

/// A link that lived for so long starts the pacing anew when it is lost.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// How often the dials are counted.
const SAMPLE: Duration = Duration::from_millis(50);

/// Between two commands of one client.
const PAUSE: Duration = Duration::from_millis(500);

/// What a busy machine may add to the bound for each thousand of clients, in a debug build and on two cores that all of them
/// share with the server.
const ALLOWANCE: Duration = Duration::from_secs(2);

#[test]
fn a_hundred_lose_one_primary_at_once() {
    on_a_runtime(lose_one_primary(ServerKind::Redis, 100));
}

#[test]
fn a_hundred_lose_one_valkey_at_once() {
    on_a_runtime(lose_one_primary(ServerKind::Valkey, 100));
}

#[test]
#[ignore = "the full size, for a machine that has nothing else to do"]
fn a_thousand_lose_one_primary_at_once() {
    on_a_runtime(lose_one_primary(ServerKind::Redis, 1000));
}

/// One fleet at a time: two would share the processor, and neither would show what it does.
static ALONE: Mutex<()> = Mutex::new(());

fn on_a_runtime(test: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

async fn lose_one_primary(kind: ServerKind, clients: u64) {
    let server = Server::start(&server_binary(kind)).await.expect("the server starts");
    let before = memory::resident();
    let fleet = Fleet::start(server.addr(), clients).await;
    let each = memory::resident().saturating_sub(before) / clients;
    say(&format!("{clients} clients of {kind}, {} KiB of memory more for each idle one", each / 1024));

    // A link that is lost sooner counts as one more failure, as of a server that accepts everybody and keeps nobody.
    tokio::time::sleep(SETTLED_AFTER).await;
    let callers = fleet.call();
    server.kill().await.expect("it is killed");
    let samples = fleet.count_dials(OUTAGE).await;
    server.restart().await.expect("it comes back");
    let reachable = Instant::now();
    let addr = server.addr();
    let latencies = tokio::task::spawn_blocking(move || latencies_of(addr, Duration::from_secs(1)));
    let lateness = fleet.lateness(reachable).await;
    let latencies = latencies.await.expect("no panic");
    let met = callers.finish().await;
    let connections = server.full_info().await.expect("INFO").number("total_connections_received").expect("a number");

    judge_dials(&samples, clients);
    judge_lateness(&lateness, clients);
    say(&format!("PING in the first second after recovery: {}", spread(&latencies)));
    say(&format!("connections that the server accepted after it came back: {connections}"));
    // The kit's own and the one that measured. A client that gets no processor for a quarter of a second may dial a side
    // link, and drops it: a few do.
    let most = clients + clients / 20 + 2;
    assert!((clients..=most).contains(&connections.cast_unsigned()), "{connections} connections for {clients} clients");
    say(&format!("{met:?}"));
    assert_eq!((met.not_sent, met.refused, met.other), (0, 0, 0), "{met:?}");
    assert!(met.ambiguous <= clients, "more than were in flight: {met:?}");
    assert_eq!(met.went_on, clients, "not every client went on: {met:?}");
}

struct Fleet {
    tethers: Vec<Tether>,
}

impl Fleet {
    /// So many tethers, all connected.
    async fn start(server: SocketAddr, clients: u64) -> Fleet {
        let mut starting = JoinSet::new();
        for seed in 0..clients {
            let config = patient(Config::new(server.ip().to_string(), server.port()));
            starting.spawn(async move {
                let tether = Tether::builder(config).seed(seed).start().await.expect("the configuration is valid");
                tether.ready(Duration::from_secs(30)).await.expect("the server is well");
                tether
            });
        }
        Fleet { tethers: starting.join_all().await }
    }

    /// Lets each of them call now and then.
    fn call(&self) -> Callers {
        let ending = watch::Sender::new(false);
        let clients = u32::try_from(self.tethers.len()).expect("a few");
        let handles = self.tethers.iter().map(Tether::handle).zip(0u32..);
        let calling =
            handles.map(|(handle, number)| call(handle, number, PAUSE * number / clients, ending.subscribe()));
        Callers { calling: calling.collect(), ending }
    }

    /// The dials that have been made by the end of each sample.
    async fn count_dials(&self, time: Duration) -> Vec<u64> {
        let all = || self.tethers.iter().map(|tether| tether.stats().dials).sum::<u64>();
        let (before, began) = (all(), Instant::now());
        let mut samples = vec![0];
        let mut next = tokio::time::interval_at(began + SAMPLE, SAMPLE);
        while began.elapsed() < time {
            next.tick().await;
            samples.push(all() - before);
        }
        samples
    }

    /// How long after `reachable` each was connected, in order.
    async fn lateness(&self, reachable: Instant) -> Vec<Duration> {
        let mut lateness = Vec::with_capacity(self.tethers.len());
        for tether in &self.tethers {
            let status = reach(tether, Phase::Connected).await;
            lateness.push(status.since.saturating_duration_since(reachable));
        }
        lateness.sort();
        lateness
    }
}

/// The callers of a fleet, one for each client.
struct Callers {
    calling: JoinSet<Met>,
    ending: watch::Sender<bool>,
}

/// What callers met.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    answered: u64,
    /// Those whose last command was answered.
    went_on: u64,
    not_sent: u64,
    refused: u64,
    ambiguous: u64,
    other: u64,
}

impl Callers {
    /// Lets each make one more call, and adds up.
    async fn finish(self) -> Met {
        self.ending.send_replace(true);
        let all = within(PATIENCE, "the last calls", self.calling.join_all()).await;
        all.into_iter().fold(Met::default(), |sum, met| Met {
            answered: sum.answered + met.answered,
            went_on: sum.went_on + met.went_on,
            not_sent: sum.not_sent + met.not_sent,
            refused: sum.refused + met.refused,
            ambiguous: sum.ambiguous + met.ambiguous,
            other: sum.other + met.other,
        })
    }
}

async fn call(mut handle: Handle, number: u32, offset: Duration, mut ending: watch::Receiver<bool>) -> Met {
    let mut met = Met::default();
    let mut pause = offset;
    loop {
        // The caller who ends the load is never gone before the load.
        let is_last = tokio::time::timeout(pause, ending.wait_for(|ending| *ending)).await.is_ok();
        pause = PAUSE;
        let outcome = handle.incr::<_, _, u64>(number, 1).await;
        match &outcome {
            Ok(_) => met.answered += 1,
            Err(error) => match error.outcome() {
                Some(Outcome::NotSent) => met.not_sent += 1,
                Some(Outcome::Refused) => met.refused += 1,
                Some(Outcome::Ambiguous) => met.ambiguous += 1,
                _ => met.other += 1,
            },
        }
        if is_last {
            met.went_on = u64::from(outcome.is_ok());
            return met;
        }
    }
}

/// One client's waits are random; those of many come to their mean. Each dial takes its time as well, so there are fewer.
fn judge_dials(samples: &[u64], clients: u64) {
    let in_a_second = u32::try_from(Duration::from_secs(1).as_millis() / SAMPLE.as_millis()).expect("a few") as usize;
    let per_second = samples.windows(in_a_second + 1).map(|window| window[in_a_second] - window[0]).max();
    let per_sample: Vec<_> = samples.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let most = mean_dials(&PacingSettings::default().unreachable, Duration::from_secs(1)) * clients as f64;
    say(&format!("dials in the busiest second: {per_second:?}, of {most:.0} that the pacing promises"));
    say(&format!("dials in each {SAMPLE:?}: {per_sample:?}"));
    let per_second = per_second.expect("more than a second") as f64;
    assert!(per_second <= most * 1.1, "{per_second} dials in a second by {clients} clients, promised are {most:.0}");
    assert!(per_second >= most * 0.2, "{per_second} dials in a second by {clients} clients: is anybody trying?");
}

/// The dials that the pace comes to within `window` of an outage, where each wait is as long as it is on average.
fn mean_dials(lane: &LaneSettings, window: Duration) -> f64 {
    let pace =
        LanePace { first: lane.first, early_cap: lane.early_cap, early_for: lane.early, late_cap: lane.late_cap };
    let (mut age, mut dials) = (Duration::ZERO, 0.0);
    for step in 0.. {
        if age > window {
            break;
        }
        dials += 1.0;
        let longest = pace.cap(step, age);
        age += (pace.floor(longest) + longest) / 2;
    }
    dials
}

fn judge_lateness(lateness: &[Duration], clients: u64) {
    let bound = PacingSettings::default().unreachable.early_cap;
    let allowance = ALLOWANCE.mul_f64(clients as f64 / 1000.0).max(ALLOWANCE / 4);
    say(&format!("connected after it was reachable: {} (bound {bound:?}, allowance {allowance:?})", spread(lateness)));
    let latest = lateness.last().expect("there are clients");
    assert!(*latest <= bound + allowance, "the last of {clients} came {latest:?} after the server");
}

/// How long the server takes for one command after another on a dedicated connection.
fn latencies_of(server: SocketAddr, time: Duration) -> Vec<Duration> {
    let mut stream = TcpStream::connect(server).expect("it accepts");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let began = Instant::now();
    let mut latencies = Vec::new();
    while began.elapsed() < time {
        let asked = Instant::now();
        stream.write_all(b"PING\r\n").expect("it reads");
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).expect("it answers");
        assert_eq!(&pong, b"+PONG\r\n");
        latencies.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    latencies.sort();
    latencies
}

/// Of sorted durations.
fn spread(sorted: &[Duration]) -> String {
    let at = |share: f64| sorted.get(((sorted.len() - 1) as f64 * share) as usize).copied().unwrap_or_default();
    format!("median {:.1?}, 99 % {:.1?}, longest {:.1?} ({} times)", at(0.5), at(0.99), at(1.0), sorted.len())
}

#[expect(clippy::print_stdout, reason = "the figures are what the full run is for")]
fn say(line: &str) {
    println!("{line}");
}
