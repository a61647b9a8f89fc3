//! What happens while a control actor is missing: orders that are given and links that end in that moment. An actor that
//! dies again within a second is started again after a pause, which is the moment that these tests use.

use redis_tether::{Event, Tether};
use tokio::time::sleep;

use crate::world::*;

/// Kills the supervisor's children, as a panic would. They are started again at once, and so killed once more: now there
/// are none for some milliseconds.
async fn without_children(tether: &Tether) {
    for _ in 0..2 {
        tether.actor().get_children().iter().for_each(|child| child.kill());
        sleep(ms(1)).await;
    }
    assert!(tether.actor().get_children().is_empty(), "they were started again at once");
}

#[tokio::test(start_paused = true)]
async fn the_link_is_adopted() {
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    let before = tether.status().borrow().epoch;
    without_children(&tether).await;
    set(&mut tether.handle(), "meanwhile").await.expect("the link serves without them");
    sleep(ms(10_000)).await;
    assert_eq!(tether.status().borrow().epoch, before);
    assert_eq!(world.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_given_meanwhile_is_carried_out() {
    let world = World::new(2);
    let tether = world.settled(1, ms(10_000)).await;
    tether.pin().expect("it runs");
    without_children(&tether).await;
    tether.unpin().expect("it runs");
    world.promote(1);
    world.name_means(&[1]);
    until_connected(&tether, 1).await;

    without_children(&tether).await;
    tether.pin().expect("it runs");
    sleep(ms(5_000)).await;
    world.nodes[0].promote();
    world.name_means(&[0]);
    sleep(ms(60_000)).await;
    assert_eq!(tether.status().borrow().address, Some(redis_tether::Address::Tcp(address(1))), "it was pinned");

    without_children(&tether).await;
    let before = tether.status().borrow().epoch;
    tether.reconnect().expect("the first time");
    until(&tether, "another link", |status| status.epoch != before && status.epoch.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ends_meanwhile_is_told_of() {
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    let before = tether.status().borrow().epoch.expect("connected");
    let mut events = tether.events();
    without_children(&tether).await;
    world.net.reset(address(0));
    sleep(ms(5_000)).await;
    let events = drain(&mut events);
    let lost = |event: &&Event| matches!(event, Event::Lost { epoch, .. } if *epoch == before);
    assert_eq!(events.iter().filter(lost).count(), 1, "{events:?}");
    assert_ne!(tether.status().borrow().epoch, Some(before));
    set(&mut tether.handle(), "after").await.expect("there is another link");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_dies_ends_the_tether() {
    let world = World::new(1);
    let tether = world.settled(1, ms(10_000)).await;
    world.nodes[0].crash();
    sleep(ms(1)).await;
    let mut handle = tether.handle();
    let held = tokio::spawn(async move { set(&mut handle, "held").await });
    sleep(ms(1)).await;
    let start = tokio::time::Instant::now();
    tether.actor().kill();
    let error = held.await.expect("no panic").expect_err("the tether ends");
    assert_eq!(start.elapsed(), ms(0), "{error}");
    assert_eq!(tether.status().borrow().phase, redis_tether::Phase::Stopped);
}
