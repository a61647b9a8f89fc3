//! A fleet: many clients lose one primary at once, and it comes back. The dials keep to the pacing, nobody comes back late, the
//! server is met by no more than one connection a client, and DNS is asked no more often than by one of them. `release.rs`
//! has the pace at which held commands are let go, `names.rs` the lookups.
//!
//! A few hundred in one process are enough to see a client that does not keep to its pace. `cargo test -- --ignored` runs a
//! thousand; the figures are printed (`--nocapture`).

mod memory;
mod names;
mod release;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, LaneSettings, Outcome, OutcomeExt, PacingSettings, Phase, Tether};
use redis_tether_testkit::{Server, ServerKind};
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::within;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long the primary is away: less than the hold window, so that no command needs to fail.
const OUTAGE: Duration = Duration::from_secs(2);

/// How often the dials are counted.
const SAMPLE: Duration = Duration::from_millis(50);

/// Between two commands of one client.
const PAUSE: Duration = Duration::from_millis(500);

/// What a busy machine with a debug build may add to the bound, for each thousand of clients: all of them share two cores with
/// the server.
const ALLOWANCE: Duration = Duration::from_secs(2);

#[test]
fn two_hundred_lose_one_primary_at_once() {
    on_a_runtime(lose_one_primary(ServerKind::Redis, 200));
}

#[test]
fn two_hundred_lose_one_valkey_at_once() {
    on_a_runtime(lose_one_primary(ServerKind::Valkey, 200));
}

#[test]
#[ignore = "the full size, for a machine that has nothing else to do"]
fn a_thousand_lose_one_primary_at_once() {
    on_a_runtime(lose_one_primary(ServerKind::Redis, 1000));
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

async fn lose_one_primary(kind: ServerKind, clients: u64) {
    let server = Server::start(&server_binary(kind)).await.expect("the server starts");
    let before = memory::resident();
    let fleet = Fleet::start(server.addr(), clients).await;
    let each = memory::resident().saturating_sub(before) / clients;
    say(&format!("{clients} clients of {kind}: {} KiB of memory for each idle tether", each / 1024));

    fleet.keep_calling().await;
    server.kill().await.expect("it is killed");
    let samples = fleet.count_dials(OUTAGE).await;
    server.restart().await.expect("it comes back");
    let reachable = Instant::now();
    let (addr, latencies) = (server.addr(), Duration::from_secs(1));
    let latencies = tokio::task::spawn_blocking(move || latencies_of(addr, latencies));
    let lateness = fleet.lateness(reachable).await;
    let latencies = latencies.await.expect("no panic");
    let met = fleet.finish().await;

    judge_dials(&samples, clients);
    judge_lateness(&lateness, clients);
    say(&format!("the server answers a PING within (first second after recovery): {}", spread(&latencies)));
    let connections = server.full_info().await.expect("INFO").number("total_connections_received").expect("a number");
    say(&format!("connections that the server accepted since it came back: {connections}"));
    // The kit's own and the one that measured.
    assert!(connections.cast_unsigned() <= clients + 2, "{connections} connections for {clients} clients");
    say(&format!("commands: {met:?}"));
    assert_eq!((met.not_sent, met.refused, met.other), (0, 0, 0), "{met:?}");
    assert!(met.ambiguous <= clients, "more than were in flight: {met:?}");
    assert!(met.answered_after >= clients, "not every client went on: {met:?}");
}

/// Tethers, each with one caller.
struct Fleet {
    tethers: Vec<Tether>,
    callers: JoinSet<Met>,
    ending: watch::Sender<bool>,
    answered: watch::Sender<u64>,
}

/// What the callers met.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    answered: u64,
    answered_after: u64,
    not_sent: u64,
    refused: u64,
    ambiguous: u64,
    other: u64,
}

impl Fleet {
    async fn start(server: SocketAddr, clients: u64) -> Fleet {
        let mut starting = JoinSet::new();
        for seed in 0..clients {
            let config = Config::new(server.ip().to_string(), server.port());
            starting.spawn(async move {
                let tether = Tether::builder(config).seed(seed).start().await.expect("the configuration is valid");
                tether.ready(Duration::from_secs(30)).await.expect("the server is well");
                tether
            });
        }
        let tethers = starting.join_all().await;
        Fleet { tethers, callers: JoinSet::new(), ending: watch::Sender::new(false), answered: watch::Sender::new(0) }
    }

    /// Lets everybody call, and waits until all have been answered and their links count as settled.
    async fn keep_calling(&self) {}

    /// Dials made by the end of each sample, from now on.
    async fn count_dials(&self, time: Duration) -> Vec<u64> {
        let all = || self.tethers.iter().map(|tether| tether.stats().dials).sum::<u64>();
        let (before, began) = (all(), tokio::time::Instant::now());
        let mut samples = vec![0];
        let mut next = tokio::time::interval_at(began + SAMPLE, SAMPLE);
        while began.elapsed() < time {
            next.tick().await;
            samples.push(all() - before);
        }
        samples
    }
}
