//! A fleet that loses its one primary at once: how many dials a second the servers see, and when the last tether is back.

use std::time::{Duration, Instant as RealInstant};

use redis_tether::Tether;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use crate::world::*;

/// So many tethers where nobody asks for another number by `SIM_FLEET`.
const FLEET: usize = 300;

fn fleet() -> usize {
    match std::env::var("SIM_FLEET") {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("SIM_FLEET is no number: {number}")),
        Err(_) => FLEET,
    }
}

/// The dials to `node` that began within each `window` from `start` on.
fn dials_per_window(world: &World, node: usize, start: Instant, window: Duration) -> Vec<usize> {
    let mut counts = Vec::new();
    for at in world.net.dial_times(address(node)).into_iter().filter(|at| *at >= start) {
        let index = usize::try_from((at - start).as_millis() / window.as_millis()).expect("a short time");
        counts.resize(counts.len().max(index + 1), 0);
        counts[index] += 1;
    }
    counts
}

async fn start(world: &World, size: usize) -> Vec<Tether> {
    let mut tethers = Vec::with_capacity(size);
    for seed in 0..size {
        tethers.push(world.tether(config(), seed as u64).await);
        // A fleet is not started within one millisecond.
        sleep(ms(1)).await;
    }
    for tether in &tethers {
        until_connected(tether, 0).await;
    }
    sleep(ms(6_000)).await;
    tethers
}

/// When the last of them serves from `node`.
async fn all_connected(tethers: &[Tether], node: usize) -> Duration {
    let start = Instant::now();
    for tether in tethers {
        until_connected(tether, node).await;
    }
    start.elapsed()
}

fn run<T>(scenario: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime").block_on(scenario)
}

#[test]
fn the_primary_crashes_and_another_is_promoted() {
    let size = fleet();
    run(async {
        let (world, began) = (World::new(2), RealInstant::now());
        let tethers = start(&world, size).await;
        let lost = Instant::now();
        world.nodes[0].crash();
        world.nodes[1].promote();
        // Right after the lookups of those who noticed at once, so that theirs come as late as may be.
        sleep(ms(4_001)).await;
        world.name_means(&[1]);
        let took = all_connected(&tethers, 1).await;
        assert!(took <= bounds().moved_young + rounding(2), "the last took {took:?}");

        // The first second is the busiest. A pause is half the cap on average: 10, 20, 40, then 50 ms.
        let dials = dials_per_window(&world, 0, lost, ms(1_000));
        let most = dials.iter().max().copied().unwrap_or_default();
        assert!(most <= 26 * size, "{most} dials a second by {size} tethers: {dials:?}");
        assert!(dials[3] <= 22 * size, "{dials:?}");
        // One each and no more at the new one.
        assert_eq!(world.net.dials(address(1)), size as u64);
        println!(
            "{size} tethers, {:.1?}: dials a second at the crashed primary {dials:?}; the last was back after {took:?}",
            began.elapsed()
        );
    });
}

#[test]
fn the_primary_is_full_of_others() {
    let size = fleet();
    run(async {
        let (world, began) = (World::new(1), RealInstant::now());
        let tethers = start(&world, size).await;
        let lost = Instant::now();
        world.nodes[0].start_loading();
        world.nodes[0].kill_connections();
        sleep(ms(15_000)).await;
        world.nodes[0].finish_loading();
        let healed = lost + ms(15_000);
        let took = all_connected(&tethers, 0).await;
        assert!(took <= bounds().rejected_old + rounding(2), "the last took {took:?}");

        // Every attempt costs a server that loads its dataset: 37, 62, 112, then 138 ms on average.
        let dials = dials_per_window(&world, 0, lost, ms(1_000));
        let most = dials.iter().max().copied().unwrap_or_default();
        assert!(most <= 10 * size, "{most} dials a second by {size} tethers: {dials:?}");
        assert!(dials[13] <= size, "{dials:?}");
        // Nor is the recovered one met by a wall.
        let after = dials_per_window(&world, 0, healed, ms(100));
        let peak = after.iter().max().copied().unwrap_or_default();
        assert!(peak <= size / 4, "{peak} of {size} dials within 100 ms: {after:?}");
        println!(
            "{size} tethers, {:.1?}: dials a second at the loading primary {dials:?}; the last was back after {took:?}",
            began.elapsed()
        );
    });
}
