//! What a SIGKILL costs 256 callers who never pause: of the commands that were in flight, how many provably never left, so
//! that they were sent again, and how many are ambiguous. And of those, how many had in fact been executed: the server
//! keeps a file of what it executes, and reads it when it comes back.
//!
//! `CHAOS_KILLS=31` kills so often. What is asserted are the promises; the figures are printed.

use std::collections::BTreeSet;
use std::time::Duration;

use redis_tether::Outcome;
use redis_tether_testkit::{Reply, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::load::{LIST, Load};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::server_binary;
use tokio::time::sleep;

use crate::run::number;

const CALLERS: usize = 256;

/// So many kills where nobody asks for more.
const KILLS: u64 = 3;

on_each_server!(on several threads: a_kill_under_256_callers);

/// What one kill cost.
#[derive(Clone, Copy)]
struct Cost {
    resent: usize,
    not_sent: usize,
    ambiguous: usize,
    executed: usize,
}

async fn a_kill_under_256_callers(kind: ServerKind) {
    let mut costs = Vec::new();
    for seed in 0..number("CHAOS_KILLS").unwrap_or(KILLS) {
        costs.push(kill(kind, fastrand::Rng::with_seed(seed)).await);
    }
    let median = |figure: fn(&Cost) -> usize| {
        let mut figures: Vec<usize> = costs.iter().map(figure).collect();
        figures.sort_unstable();
        format!("{} ({}-{})", figures[figures.len() / 2], figures[0], figures[figures.len() - 1])
    };
    let sum = |figure: fn(&Cost) -> usize| costs.iter().map(figure).sum::<usize>();
    println!(
        "{kind:?}, {} kills, {} commands in flight, of which {} had not left; medians: in flight {}; never left and sent again \
         {}, not sent {}; ambiguous {}, of which executed {}",
        costs.len(),
        sum(|cost| cost.resent + cost.not_sent + cost.ambiguous),
        sum(|cost| cost.resent + cost.not_sent),
        median(|cost| cost.resent + cost.not_sent + cost.ambiguous),
        median(|cost| cost.resent),
        median(|cost| cost.not_sent),
        median(|cost| cost.ambiguous),
        median(|cost| cost.executed),
    );
}

async fn kill(kind: ServerKind, mut rng: fastrand::Rng) -> Cost {
    let builder = Server::builder(&server_binary(kind)).config_line("appendonly yes").config_line("appendfsync no");
    let server = builder.start().await.expect("a server");
    let tether = connected(config(server.addr())).await;
    let load = Load::without_pause(&tether.handle(), CALLERS);
    load.go_on_for(5_000).await;
    // The callers have just been answered. Anywhere between that and their next answers is as good.
    sleep(Duration::from_micros(rng.u64(..20_000))).await;
    server.kill().await.expect("killed");
    server.restart().await.expect("the server comes back");
    load.go_on_for(CALLERS as u64).await;
    let tally = load.finish().await;

    let held = values(&server).await;
    tally.assert_true_of(&held);
    let held: BTreeSet<&str> = held.iter().map(String::as_str).collect();
    let (ambiguous, not_sent) = (tally.with(Outcome::Ambiguous), tally.with(Outcome::NotSent));
    assert_eq!(ambiguous.len() + not_sent.len(), tally.failed.len(), "{:?}", tally.failed.first());
    let stats = tether.stats();
    tether.shutdown().await;
    Cost {
        // A loading server is not published, so that nothing was refused and sent again for that.
        resent: usize::try_from(stats.resent_unexecuted - stats.refusal_replies).expect("a few"),
        not_sent: not_sent.len(),
        executed: ambiguous.iter().filter(|value| held.contains(*value)).count(),
        ambiguous: ambiguous.len(),
    }
}

/// The list, as the server tells it to the kit.
async fn values(server: &Server) -> Vec<String> {
    match server.command(&["LRANGE", LIST, "0", "-1"]).await {
        Ok(Reply::Array(values)) => values.iter().filter_map(Reply::text).collect(),
        other => panic!("no list: {other:?}"),
    }
}
