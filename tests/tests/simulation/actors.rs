//! What happens while a control actor is missing: orders that are given, answers that come and links that end in that
//! moment. And what comes when it is no news any more. An actor that dies again within a second is started again after a
//! pause, which is the moment that these tests use.

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

/// An answer that the incarnation before has taken in is not told to the next one as if it were another.
#[tokio::test(start_paused = true)]
async fn an_answer_counts_once() {
    let world = World::new(2);
    let tether = world.settled(1, ms(20_000)).await;
    // Another primary, and the one that is served goes on: the name alone is evidence.
    world.nodes[1].promote();
    let answers = Answers { world: &world, tether: &tether };
    answers.one(&[1]).await;
    without_children(&tether).await;
    sleep(ms(500)).await;
    assert!(!tether.actor().get_children().is_empty(), "they were started again");
    answers.one(&[1]).await;
    sleep(ms(100)).await;
    assert_eq!(world.dials(), 1, "the address is absent once, as far as this incarnation knows");
    answers.one(&[1]).await;
    until_connected(&tether, 1).await;
}

/// And one that found no incarnation is told to the next.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_meanwhile_counts_too() {
    let world = World::new(2);
    let mut config = config();
    config.resolve.interval = ms(100);
    let tether = world.tether(config, 1).await;
    until_connected(&tether, 0).await;
    sleep(ms(20_000)).await;
    world.nodes[1].promote();
    let answers = Answers { world: &world, tether: &tether };
    world.dns.hang(NAME);
    // Each time it is started again a little later: at last after more than half a second.
    for pause in [0, 10, 20, 40, 80, 160, 320, 640] {
        let connection = tether.actor().get_children().into_iter().find(|child| !child.get_children().is_empty());
        connection.expect("it is there").kill();
        if pause < 640 {
            sleep(ms(pause + 5)).await;
        }
    }
    answers.one(&[1]).await;
    assert!(tether.actor().get_children().iter().all(|child| child.get_children().is_empty()), "it was there again");
    sleep(ms(700)).await;
    assert_eq!(world.dials(), 1, "the address is absent once");
    answers.one(&[1]).await;
    until_connected(&tether, 1).await;
}

/// Answers of the resolver, one at a time: whoever asks in between waits.
struct Answers<'a> {
    world: &'a World,
    tether: &'a Tether,
}

impl Answers<'_> {
    async fn one(&self, nodes: &[usize]) {
        self.world.dns.hang(NAME);
        while self.world.dns.lookups_in_flight(NAME) == 0 {
            sleep(ms(1)).await;
        }
        let before = self.tether.stats().lookups;
        self.world.name_means(nodes);
        // No time passes meanwhile, so that the next one does not come in between.
        while self.tether.stats().lookups == before {
            tokio::task::yield_now().await;
        }
        self.world.dns.hang(NAME);
        assert_eq!(self.tether.stats().lookups, before + 1);
    }
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

/// A spare link that ends together with the one it was to replace serves nobody, and nobody is told that it does.
#[tokio::test(start_paused = true)]
async fn a_spare_link_that_ended_as_well_is_not_shown() {
    let world = World::new(1);
    let forget = world.forgetful(0);
    let tether = world.settled(1, ms(10_000)).await;
    let mut events = tether.events();
    forget.notify_waiters();
    let mut handle = tether.handle();
    let lost = tokio::spawn(async move { set(&mut handle, "lost").await });
    // Suspect after a quarter of a second; then the spare stands by for another three quarters.
    sleep(ms(800)).await;
    assert_eq!((tether.status().borrow().phase, world.dials()), (redis_tether::Phase::Suspect, 2));
    world.net.reset(address(0));
    until_connected(&tether, 0).await;
    lost.await.expect("no panic").expect_err("its link ended");
    let events = drain(&mut events);
    let told: Vec<_> = events.iter().filter(|event| matches!(event, Event::Connected { .. })).collect();
    assert_eq!((told.len(), tether.stats().links), (1, 2), "{events:?}");
    tether.shutdown().await;
}
