//! Making a dedicated connection while something else happens, in virtual time.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use redis_tether::HoldMode;
use redis_tether_testkit::{FakeServer, SimNet};
use redis_tether_tests::watch::reach;
use tokio::time::Instant;

use super::*;
use crate::world::*;

#[tokio::test(start_paused = true)]
async fn while_there_is_no_link_it_waits_as_commands_do() {
    let world = World::new();
    world.net.refuse(world.addresses[0]);
    let tether = world.tether(settings()).await;
    let waiting = spawn_dedicated(&tether);
    sleep(ms(500)).await;
    assert!(!waiting.is_finished());
    world.net.heal(world.addresses[0]);
    let own = within(PATIENCE, "the connection", waiting).await.expect("no panic").expect("there is a link now");
    assert_eq!(ping(own).await.expect("the server is well"), "PONG");
}

#[tokio::test(start_paused = true)]
async fn but_no_longer_than_they_do() {
    let world = World::new();
    world.net.refuse(world.addresses[0]);
    for (mode, reason, most) in
        [(HoldMode::Hold, Reason::HoldWindowPassed, ms(3_001)), (HoldMode::FailFast, Reason::FailFast, ms(0))]
    {
        let mut config = settings();
        config.commands.hold = mode;
        let tether = world.tether(config).await;
        let begun = Instant::now();
        let error = tether.dedicated().await.expect_err("there is no link");
        assert_eq!((error.outcome(), error.reason()), (Outcome::NotSent, reason));
        assert!(begun.elapsed() <= most, "{:?}", begun.elapsed());
    }
}

/// The dial takes long, and in the meantime the tether moves: what is handed out is on the new primary.
#[tokio::test(start_paused = true)]
async fn the_epoch_is_over_while_it_dials() {
    let world = World::new();
    let tether = world.connected().await;
    world.net.connect_delay(world.addresses[0], ms(900));
    let (dialling, begun) = (spawn_dedicated(&tether), Instant::now());
    settle().await;
    world.moves_to_the_second();
    tether.handle().set::<_, _, ()>("key", "value").await.expect("held until there is a primary");
    let own = within(PATIENCE, "the connection", dialling).await.expect("no panic").expect("there is a primary");
    assert_eq!(own.address().to_string(), world.addresses[1].to_string());
    assert_eq!(Some(own.epoch()), tether.status().borrow().epoch);
    assert!(!own.is_lost());
    assert!(begun.elapsed() < ms(900), "the dial in vain was waited for: {:?}", begun.elapsed());
    assert_eq!(world.connections(), 0, "nothing of the dial is left");
}

/// The gate is closed when the connection is there, and opens again for the same link: it serves, and nobody dials again.
#[tokio::test(start_paused = true)]
async fn the_link_is_suspect_when_it_has_dialled() {
    let world = World::new();
    let tether = world.connected().await;
    // Whoever connects from now on meets another server, which is well.
    world.net.bind(world.addresses[0], FakeServer::new());
    world.net.connect_delay(world.addresses[0], ms(400));
    let dialling = spawn_dedicated(&tether);
    world.servers[0].hang();
    let mut handle = tether.handle();
    let set = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await });
    reach(&tether, Phase::Suspect).await;
    sleep(ms(200)).await;
    assert_eq!((world.connections(), dialling.is_finished()), (2, false), "dialled, and held");
    world.servers[0].resume();
    let own = within(PATIENCE, "the connection", dialling).await.expect("no panic").expect("the link serves again");
    set.await.expect("no panic").expect("the link serves again");
    assert_eq!((own.epoch().get(), own.is_lost()), (1, false));
    assert_eq!(world.net.dials(world.addresses[0]), 3, "the link, this one, and the link's own look elsewhere");
}

/// The dial meets a replica before any probe does, and has the link asked.
#[tokio::test(start_paused = true)]
async fn a_demotion_that_its_dial_meets_moves_the_tether() {
    let world = World::new();
    let mut config = settings();
    config.detection.probe_interval = Duration::from_secs(60);
    let tether = world.connected_with(config).await;
    world.moves_to_the_second();
    let begun = Instant::now();
    let own = tether.dedicated().await.expect("the new primary");
    assert_eq!(own.address().to_string(), world.addresses[1].to_string());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_without_room_is_not_asked_again() {
    let world = World::new();
    let tether = world.connected().await;
    world.servers[0].max_clients(Some(1));
    let dials = world.net.dials(world.addresses[0]);
    let error = tether.dedicated().await.expect_err("there is no room");
    assert_eq!((error.outcome(), error.reason()), (Outcome::NotSent, Reason::NotDialled));
    assert!(error.cause().is_some_and(|cause| cause.contains("no room")), "{error}");
    assert_eq!(world.net.dials(world.addresses[0]), dials + 1);
    assert_eq!(tether.status().borrow().phase, Phase::Connected, "the link is well");
}

/// Where the present link is well and no other connection comes about, the deadline ends it.
#[tokio::test(start_paused = true)]
async fn a_dial_in_vain_ends_with_the_deadline() {
    let world = World::new();
    let tether = world.connected().await;
    for (cut_off, dials) in [(SimNet::refuse as fn(&SimNet, SocketAddr), 4..60), (SimNet::black_hole, 1..8)] {
        cut_off(&world.net, world.addresses[0]);
        let (before, begun) = (world.net.dials(world.addresses[0]), Instant::now());
        let error = tether.dedicated().await.expect_err("nobody lets it in");
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert!(error.cause().is_some(), "{error}");
        assert!(begun.elapsed() <= ms(5_001), "{:?}", begun.elapsed());
        let made = world.net.dials(world.addresses[0]) - before;
        assert!(dials.contains(&made), "{made} dials: {error}");
        world.net.heal(world.addresses[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_leaves_nothing() {
    let world = World::new();
    let tether = world.connected().await;
    for after in [ms(0), ms(5), ms(12), ms(25)] {
        world.net.latency(world.addresses[0], ms(5));
        let dialling = spawn_dedicated(&tether);
        sleep(after).await;
        dialling.abort();
        let _ = dialling.await;
        sleep(ms(50)).await;
        assert_eq!(world.connections(), 1, "dropped after {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_ends_its_dial() {
    let world = World::new();
    let tether = world.connected().await;
    world.servers[0].hang();
    let dialling = spawn_dedicated(&tether);
    settle().await;
    assert_eq!(world.connections(), 2);
    dialling.abort();
    settle().await;
    assert_eq!(world.connections(), 1, "the dial goes on");
}

/// Its caller began it and does not look any more: the dial goes on, and its connection is not waited for.
#[tokio::test(start_paused = true)]
async fn nobody_looks_when_the_tether_stops() {
    for after in [ms(0), ms(5), ms(500)] {
        let world = World::new();
        world.net.latency(world.addresses[0], ms(5));
        let tether = world.connected().await;
        let mut making = pin!(tether.dedicated());
        let mut idle = Context::from_waker(Waker::noop());
        assert!(matches!(making.as_mut().poll(&mut idle), Poll::Pending));
        sleep(after).await;
        let begun = Instant::now();
        tether.shutdown().await;
        assert!(begun.elapsed() <= ms(50), "{:?} after {after:?}", begun.elapsed());
        assert_eq!(world.connections(), 0);
        match making.await {
            Ok(own) => assert_eq!(loss(&own).await.loss(), Loss::Stopped),
            Err(error) => assert_eq!(error.reason(), Reason::Stopped),
        }
    }
}

/// It is dropped with the connection in it.
#[tokio::test(start_paused = true)]
async fn what_nobody_took_is_closed_with_its_future() {
    let world = World::new();
    let tether = world.connected().await;
    {
        let mut making = pin!(tether.dedicated());
        let mut idle = Context::from_waker(Waker::noop());
        assert!(making.as_mut().poll(&mut idle).is_pending());
        sleep(ms(500)).await;
        assert_eq!(world.connections(), 2);
    }
    settle().await;
    assert_eq!(world.connections(), 1);
}
