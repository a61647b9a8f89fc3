//! Servers that fall silent where it is hard to notice: half-way through what they were asked, or where they may be asked
//! nothing. That a silence is none which is the callers' own, `steady.rs` shows.

use redis_tether::{Event, Phase, Verify};
use tokio::time::{Instant, sleep};

use crate::world::*;

const SEEDS: u64 = 24;

/// The server answers one of two commands that it has been sent, and hangs. By the bytes nothing is owed, and nobody sends
/// anything more: so a probe is asked for, and it is the one that is not answered.
#[test]
fn half_way_through_what_it_was_asked() {
    let took = with_seeds(SEEDS, async |seed| {
        let world = World::new(1);
        let tether = world.settled(seed, ms(6_000 + seed * 229)).await;
        world.nodes[0].slow(ms(100));
        let callers = ["answered", "lost"].map(|id| {
            let mut handle = tether.handle();
            tokio::spawn(async move { set(&mut handle, id).await.is_ok() })
        });
        sleep(ms(150)).await;
        world.nodes[0].hang();
        let took = until(&tether, "the suspicion", |status| status.phase == Phase::Suspect).await;
        let mut answered = Vec::new();
        for caller in callers {
            answered.push(caller.await.expect("no panic"));
        }
        assert_eq!(answered, [true, false]);
        took
    });
    let bound = 2 * bounds().suspected_under_load + rounding(2);
    assert!(took.iter().all(|took| *took <= bound), "{took:?}");
}

/// There is no probe, so nothing may pass for the answer to one: the link is given up when its time is over.
#[test]
fn where_it_is_asked_nothing() {
    let took = with_seeds(SEEDS, async |seed| {
        let world = World::new(1);
        let mut config = config();
        config.verify = Verify::None;
        let tether = world.tether(config, seed).await;
        until_connected(&tether, 0).await;
        set(&mut tether.handle(), "before").await.expect("the server is well");
        sleep(ms(6_000 + seed * 229)).await;
        let mut events = tether.events();
        world.nodes[0].hang();
        let mut handle = tether.handle();
        let start = Instant::now();
        let lost = tokio::spawn(async move { set(&mut handle, "lost").await });
        until(&tether, "the suspicion", |status| status.phase == Phase::Suspect).await;
        let took = start.elapsed();
        lost.await.expect("no panic").expect_err("it hangs");
        sleep(ms(10_000)).await;
        let events = drain(&mut events);
        let cleared = events.iter().any(|event| matches!(event, Event::Resumed { .. }));
        assert!(!cleared, "it has not said a word: {events:?}");
        assert_eq!(world.nodes[0].commands("PING") + world.nodes[0].commands("HELLO"), 0);
        took
    });
    assert!(took.iter().all(|took| *took <= bounds().suspected_under_load + rounding(1)), "{took:?}");
}
