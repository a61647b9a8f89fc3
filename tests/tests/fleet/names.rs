//! Lookups: a process asks for a name no more often than one of its tethers would, however many of them follow it, and
//! whatever they go through. Everybody asks the system's resolver, for a name that it knows without asking anybody; nobody
//! listens there, so that each tether tries, gives up and wants fresh answers all the time.

use std::time::Duration;

use redis_tether::{Config, SystemResolver, Tether};
use redis_tether_testkit::server::free_port;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{on_a_runtime, say};

#[test]
fn two_hundred_ask_no_more_often_than_one() {
    on_a_runtime(ask(200));
}

#[test]
#[ignore = "the full size, for a machine that has nothing else to do"]
fn a_thousand_ask_no_more_often_than_one() {
    on_a_runtime(ask(1000));
}

async fn ask(clients: u64) {
    let port = free_port([127, 0, 0, 1].into()).expect("a free port");
    let config = Config::new("localhost", port);
    let resolve = config.resolve.clone();
    let mut starting = JoinSet::new();
    let began = Instant::now();
    for seed in 0..clients {
        let tether = Tether::builder(config.clone()).seed(seed);
        starting.spawn(async move { tether.start().await.expect("the configuration is valid") });
    }
    let _tethers = starting.join_all().await;
    let resolver = SystemResolver::new();
    let (mut samples, mut before) = (Vec::new(), 0);
    // One second more than the fast ones and two slow ones.
    let seconds = resolve.fast_for.as_secs() + 3;
    for second in 1..=seconds {
        tokio::time::sleep_until(began + Duration::from_secs(second)).await;
        let lookups = resolver.lookups();
        samples.push(lookups - before);
        before = lookups;
    }
    say(&format!("lookups of {clients} clients in each second of an outage: {samples:?}"));
    let rate = |interval: Duration| Duration::from_secs(1).div_duration_f64(interval).ceil() as u64;
    let (fast, slow) = (rate(resolve.fast_interval), rate(resolve.outage_interval));
    for (second, lookups) in samples.iter().enumerate() {
        assert!(*lookups > 0 || second as u64 == seconds, "second {second}: nobody asks");
        assert!(*lookups <= fast + 1, "second {second}: {lookups} lookups, and {fast} are the budget");
    }
    let last = samples.last().expect("there are some");
    assert!(*last <= slow + 1, "the last second: {last} lookups, and {slow} are the budget");
}
