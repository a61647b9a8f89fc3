//! Random schedules, each from a seed that is printed when it fails: `SIM_SEED=17` replays that one alone,
//! `SIM_SEEDS=100000` runs so many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::schedule::{Failure, Report, simulate};

/// So many schedules where nobody asks for another number.
const SEEDS: u64 = 2_000;

/// A schedule that takes longer than this, in real time, spins.
const STUCK: Duration = Duration::from_secs(60);

#[test]
fn every_schedule_keeps_the_invariants() {
    if let Some(seed) = number("SIM_SEED") {
        check(seed, simulate(seed));
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(0);
    let start = Instant::now();
    let reports = run_all(first, seeds);
    let slowest = reports.iter().max_by_key(|(_, report)| report.recovery).expect("at least one");
    println!(
        "{seeds} schedules from seed {first} on, {} faults, {} calls, in {:.1?}; the slowest recovery took {:?}, with seed {}",
        reports.iter().map(|(_, report)| report.faults).sum::<usize>(),
        reports.iter().map(|(_, report)| report.calls).sum::<usize>(),
        start.elapsed(),
        slowest.1.recovery,
        slowest.0,
    );
}

#[test]
fn the_same_seed_takes_the_same_course() {
    for seed in 0..40 {
        let (once, again) = (check(seed, simulate(seed)), check(seed, simulate(seed)));
        assert_eq!(once, again, "seed {seed} did not replay");
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}

/// Runs them all, one thread a core; each schedule has one for itself.
fn run_all(first: u64, seeds: u64) -> Vec<(u64, Report)> {
    let next = Arc::new(AtomicU64::new(first));
    let (done, outcomes) = mpsc::channel();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..workers {
        let (next, done) = (next.clone(), done.clone());
        std::thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + seeds || done.send((seed, simulate(seed))).is_err() {
                    return;
                }
            }
        });
    }
    drop(done);
    let (mut reports, mut failures) = (Vec::new(), BTreeMap::new());
    for _ in 0..seeds {
        let (seed, outcome) = outcomes.recv_timeout(STUCK).unwrap_or_else(|_| {
            let below = next.load(Ordering::Relaxed);
            panic!("no schedule ended within {STUCK:?}; one of the {workers} seeds below {below} spins")
        });
        match outcome {
            Ok(report) => reports.push((seed, report)),
            Err(failure) => drop(failures.insert(seed, failure)),
        }
    }
    for (seed, failure) in failures.iter().skip(1) {
        println!("seed {seed}, too: {}", failure.what);
    }
    if let Some((seed, failure)) = failures.pop_first() {
        check(seed, Err(failure));
    }
    reports
}

fn check(seed: u64, outcome: Result<Report, Failure>) -> Report {
    match outcome {
        Ok(report) => report,
        Err(failure) => panic!("seed {seed}: {}\n{}\nseed {seed}: {}", failure.what, failure.trace, failure.what),
    }
}
