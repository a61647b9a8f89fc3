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
    let fast_for = resolve.fast_for.as_secs();
    let mut samples = Vec::new();
    let mut before = 0;
    for second in 1..=fast_for + 4 {
        tokio::time::sleep_until(began + Duration::from_secs(second)).await;
        let lookups = resolver.lookups();
        samples.push(lookups - before);
        before = lookups;
    }
    say(&format!("lookups of {clients} clients in each second of an outage: {samples:?}"));
    // Up to a fifth earlier, at random.
    let rate = |interval: Duration| Duration::from_secs(1).div_duration_f64(interval.mul_f64(0.8)).ceil() as u64;
    let (fast, slow) = samples.split_at(usize::try_from(fast_for).expect("a few"));
    let budget = rate(resolve.fast_interval);
    // Give or take the one at the edge of a second.
    let is_kept = |lookups: &u64| (1..=budget + 1).contains(lookups);
    assert!(fast.iter().all(is_kept), "{budget} lookups a second are the budget: {fast:?}");
    // Those who started last slow down last, within this second.
    let slow = &slow[1..];
    let (asked, budget) = (slow.iter().sum::<u64>(), rate(resolve.outage_interval) * slow.len() as u64);
    assert!((1..=budget + 1).contains(&asked), "{budget} lookups are the budget of the rest: {slow:?}");
}
