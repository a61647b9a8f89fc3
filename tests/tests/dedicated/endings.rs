//! What is in flight on a dedicated connection when something ends, in virtual time.

use std::pin::pin;

use redis_tether_testkit::FakeServer;
use redis_tether_tests::watch::reach;
use tokio::time::Instant;

use super::*;
use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_suspicion_is_no_loss() {
    let world = World::new();
    let tether = world.connected().await;
    let own = tether.dedicated().await.expect("the server is well");
    let pinging = tokio::spawn(ping(own.clone()));
    settle().await;
    world.servers[0].busy_for(ms(800));
    let mut handle = tether.handle();
    let set = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await });
    reach(&tether, Phase::Suspect).await;
    let behind = ping(own.clone()).await;
    assert!(!own.is_lost());
    behind.expect("it is slow, and that is all");
    within(2 * PATIENCE, "the reply", pinging).await.expect("no panic").expect("it is slow, and that is all");
    set.await.expect("no panic").expect("it is slow, and that is all");
}

/// `READONLY` is handed out as it came, and moves the tether: nobody sends anything over the shared link.
#[tokio::test(start_paused = true)]
async fn a_demotion_that_it_meets_moves_the_tether() {
    let world = World::new();
    let tether = world.connected().await;
    let (mut own, mut diary) = (tether.dedicated().await.expect("the server is well"), Diary::of(&tether));
    world.moves_to_the_second();
    let error = own.set::<_, _, ()>("key", "value").await.expect_err("it is a replica");
    assert_eq!((error.outcome(), error.code()), (Some(Outcome::Refused), Some("READONLY")));
    let is_known = |event: &Event| matches!(event, Event::Demoted { detector: Detector::Refusal, .. });
    diary.until("the demotion to be noticed", is_known).await;
    let lost = loss(&own).await;
    assert_eq!((lost.loss(), lost.epoch().get()), (Loss::Moved, 1));
    assert_eq!(
        tether.dedicated().await.expect("the new primary").address().to_string(),
        world.addresses[1].to_string()
    );
}

/// What is in flight may finish, within the limit.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_what_is_in_flight() {
    for (answers_after, expected) in [(ms(200), Ok(())), (ms(60_000), Err(Outcome::Ambiguous))] {
        let world = World::new();
        let mut config = settings();
        // The server may take as long as it likes.
        config.detection.dead_after = Duration::from_secs(600);
        config.commands.deadline = Duration::from_secs(120);
        let tether = world.connected_with(config).await;
        let own = tether.dedicated().await.expect("the server is well");
        world.servers[0].hang();
        let pinging = tokio::spawn(ping(own.clone()));
        settle().await;
        let (server, begun) = (world.servers[0].clone(), Instant::now());
        drop(tokio::spawn(async move {
            sleep(answers_after).await;
            server.resume();
        }));
        tether.shutdown().await;
        let took = begun.elapsed();
        assert!(took >= answers_after.min(ms(5_000)) && took <= ms(5_010), "{took:?}");
        let answer = within(2 * PATIENCE, "the reply", pinging).await.expect("no panic");
        assert_eq!(answer.map(drop).map_err(|error| error.outcome().expect("an outcome")), expected);
        assert_eq!(world.connections(), 0);
    }
}

/// A move, while a command is in flight on an own connection: it gets its reply, and then the connection is closed.
#[tokio::test(start_paused = true)]
async fn a_reconnect_waits_for_what_is_in_flight() {
    let world = World::new();
    let tether = world.connected().await;
    let own = tether.dedicated().await.expect("the server is well");
    world.net.latency(world.addresses[0], ms(100));
    let slow = tether.dedicated().await.expect("the server is well");
    assert_eq!(world.connections(), 3);
    world.net.latency(world.addresses[0], ms(0));
    let pinging = tokio::spawn(ping(slow.clone()));
    settle().await;
    tether.reconnect().expect("the first one");
    let lost = loss(&slow).await;
    assert_eq!((lost.loss(), own.is_lost()), (Loss::Moved, true));
    let error = ping(slow).await.expect_err("it takes no commands any more");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
    assert_eq!(
        error.command_error().expect("the tether's").to_string(),
        "not sent: dedicated connection is over: the tether moved to another link; endpoint redis.test:6379, epoch 1"
    );
    assert_eq!(within(2 * PATIENCE, "the reply", pinging).await.expect("no panic").expect("it may finish"), "PONG");
    sleep(ms(300)).await;
    assert_eq!(world.connections(), 1, "own connections of the epoch before are closed");
}

/// The link that was replaced is drained for as long as it may take; nothing new is sent beside it meanwhile.
#[tokio::test(start_paused = true)]
async fn it_is_over_before_the_link_is_drained() {
    let world = World::new();
    let tether = world.connected().await;
    let (own, mut handle) = (tether.dedicated().await.expect("the server is well"), tether.handle());
    let popping = tokio::spawn(async move { handle.blpop::<_, (String, String)>("empty", 0.0).await });
    settle().await;
    let begun = Instant::now();
    tether.reconnect().expect("the first one");
    assert_eq!(loss(&own).await.loss(), Loss::Moved);
    assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
    settle().await;
    assert_eq!(world.connections(), 2, "the link, and the one that is drained");
    assert!(!popping.is_finished());
}

/// A connection whose peer has forgotten it, while the tether's link is well: given up, once a command shows it.
#[tokio::test(start_paused = true)]
async fn one_that_only_is_mute_is_given_up() {
    let world = World::new();
    let tether = world.connected().await;
    // The next connection leads to a server that hangs after it was verified.
    let forgetful = FakeServer::new();
    world.net.bind(world.addresses[0], forgetful.clone());
    let own = tether.dedicated().await.expect("the server is well");
    forgetful.hang();
    let begun = Instant::now();
    let error = ping(own.clone()).await.expect_err("it is mute");
    let told = error.command_error().expect("the tether's");
    assert_eq!((told.outcome(), told.reason()), (Outcome::Ambiguous, Reason::DeadlinePassed));
    assert!(begun.elapsed() <= ms(5_001), "{:?}", begun.elapsed());
    let lost = loss(&own).await;
    assert_eq!((lost.loss(), lost.cause()), (Loss::Ended, Some("silent for too long")));
    assert_eq!(tether.status().borrow().phase, Phase::Connected);
}

/// A command whose caller went away, and one of a clone, are under way when the connection becomes one for subscriptions:
/// their replies must not be taken for anything else.
#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_answered_before_it_is_a_subscription() {
    let world = World::new();
    let tether = world.connected().await;
    let own = tether.dedicated().await.expect("the server is well");
    let clone = own.clone();
    world.servers[0].hang();
    let (gone, slow) = (tokio::spawn(ping(own.clone())), tokio::spawn(ping(own.clone())));
    settle().await;
    gone.abort();
    let becoming = tokio::spawn(own.into_pub_sub());
    sleep(ms(100)).await;
    assert!(!becoming.is_finished());
    assert_eq!(loss(&clone).await.loss(), Loss::Subscribed);
    world.servers[0].resume();
    let mut pub_sub = becoming.await.expect("no panic").expect("the server is well again");
    assert_eq!(slow.await.expect("no panic").expect("the server is well again"), "PONG");
    assert_eq!(pub_sub.ping_message::<String>("which").await.expect("the server is well again"), "which");
    assert_eq!(ping(clone).await.expect_err("it is a subscription").outcome(), Some(Outcome::NotSent));

    drop(pub_sub);
    settle().await;
    assert_eq!(world.connections(), 1);
}

/// Nobody waits for it any more, and it comes all the same: before any message does.
#[tokio::test(start_paused = true)]
async fn a_reply_to_nobody_is_awaited_before_it_is_a_subscription() {
    let world = World::new();
    let tether = world.connected().await;
    let own = tether.dedicated().await.expect("the server is well");
    world.servers[0].hang();
    let gone = tokio::spawn(ping(own.clone()));
    settle().await;
    gone.abort();
    let becoming = tokio::spawn(own.into_pub_sub());
    sleep(ms(100)).await;
    assert!(!becoming.is_finished());
    world.servers[0].resume();
    let mut pub_sub = becoming.await.expect("no panic").expect("the server is well again");
    assert_eq!(pub_sub.ping_message::<String>("which").await.expect("the server is well again"), "which");
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_becomes_no_subscription() {
    let world = World::new();
    let tether = world.connected().await;
    let mut own = tether.dedicated().await.expect("the server is well");
    {
        let mut popping = pin!(own.blpop::<_, (String, String)>("empty", 0.0));
        assert!(tokio::time::timeout(ms(100), popping.as_mut()).await.is_err(), "there is nothing");
    }
    let begun = Instant::now();
    let error = own.into_pub_sub().await.map(drop).expect_err("the server waits for an element");
    assert_eq!((error.outcome(), error.reason()), (Outcome::NotSent, Reason::DeadlinePassed));
    assert!(begun.elapsed() <= ms(5_001), "{:?}", begun.elapsed());
    settle().await;
    assert_eq!(world.connections(), 1);
}

/// The tether lives as long as one of its connections does.
#[tokio::test(start_paused = true)]
async fn it_holds_the_tether() {
    let world = World::new();
    let tether = world.connected().await;
    let own = tether.dedicated().await.expect("the server is well");
    drop(tether);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(ping(own.clone()).await.expect("the tether lives"), "PONG");
    let mut pub_sub = own.into_pub_sub().await.expect("the tether lives");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(pub_sub.ping_message::<String>("which").await.expect("the tether lives"), "which");
    drop(pub_sub);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.connections(), 0);
}
