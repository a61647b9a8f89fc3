//! How often a link is probed.

use super::*;

/// How often the server has been asked what it is, in so much time. The verification of the link is not in it.
async fn probes_in(world: &World, time: Duration) -> u64 {
    let before = world.server.commands("HELLO");
    sleep(time).await;
    world.server.commands("HELLO") - before
}

#[tokio::test(start_paused = true)]
async fn a_link_is_probed_at_its_interval_and_somewhat_earlier() {
    let world = World::connected().await;
    let interval = world.tether.control.config.detection.probe_interval;
    let probes = probes_in(&world, interval * 100).await;
    assert!((100..=111).contains(&probes), "{probes}");
    world.tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_while_a_probe_is_under_way_gets_its_answer() {
    let world = World::connected().await;
    let epoch = world.link().epoch();
    world.report(ConnectionMsg::Doubted { epoch });
    assert_eq!(probes_in(&world, ms(10)).await, 1, "it is probed at once");
    world.server.slow(ms(100));
    for _ in 0..3 {
        world.report(ConnectionMsg::Doubted { epoch });
        sleep(ms(10)).await;
    }
    world.server.slow(Duration::ZERO);
    assert_eq!(probes_in(&world, ms(1_000)).await, 1);
    world.tether.shutdown().await;
}
