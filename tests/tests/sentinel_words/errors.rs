//! What only people can mend: it is said which and what to do, asked about slowly, and over as soon as it is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use redis_tether::{Config, Event, Password, Tether, resolve_fn};
use redis_tether_testkit::{FakeSentinel, FakeServer};
use redis_tether_tests::pace::{fewest_dials, most_dials};
use redis_tether_tests::rig::InMemory;
use redis_tether_tests::watch::Diary;
use tokio::time::sleep;

use crate::world::{World, at, ms, sentinel, server};

const SECRET: &str = "s3ntinel-Passw0rd";

/// What the status says after a while.
async fn said(tether: &Tether) -> String {
    sleep(ms(500)).await;
    let status = tether.status().borrow().clone();
    status.last_error.expect("something is wrong").to_string()
}

fn with_password(mut config: Config) -> Config {
    if let redis_tether::Endpoint::Sentinel(sentinel) = &mut config.endpoint {
        sentinel.password = Some(Password::new(SECRET));
    }
    config
}

#[tokio::test(start_paused = true)]
async fn a_master_that_nobody_knows() {
    let world = World::new();
    world.sentinels.iter().for_each(FakeSentinel::forget);
    let tether = world.start(world.config()).await;
    let said = said(&tether).await;
    assert!(said.contains("knows no master called mymaster: give the name in its `sentinel monitor` line"), "{said}");
    sleep(ms(19_500)).await;
    let before = world.questions();
    sleep(ms(60_000)).await;
    let rounds = (world.questions() - before) / 3;
    assert!((12..=120).contains(&rounds), "{rounds} rounds in a minute, at 0.5 to 5 s");
    world.all_say(0, 1);
    tether.ready(ms(5_500)).await.expect("it is known now");
    tether.shutdown().await;
}

/// From the start the pace is that of refusals, whatever the recovery wants.
#[tokio::test(start_paused = true)]
async fn what_people_must_mend_is_asked_about_at_the_pace_of_refusals() {
    let world = World::new();
    world.sentinels.iter().for_each(FakeSentinel::forget);
    let lane = Config::default().pacing.rejected;
    let tether = world.start(world.config()).await;
    sleep(ms(5_000)).await;
    let rounds = world.questions() / 3;
    // Each subscription that begins asks as well, but no sooner.
    let right = fewest_dials(&lane, ms(5_000))..=most_dials(&lane, ms(5_000));
    assert!(right.contains(&rounds), "{rounds} rounds, {right:?}");
    tether.shutdown().await;
}

/// Some of them answer: that is enough.
#[tokio::test(start_paused = true)]
async fn one_that_knows_makes_up_for_others_that_do_not() {
    let world = World::new();
    world.sentinels[0].forget();
    world.sentinels[2].forget();
    let tether = world.serving().await;
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn servers_in_place_of_sentinels() {
    let world = World::new();
    for n in 0..3 {
        world.net.bind(sentinel(n), FakeServer::new());
    }
    let tether = world.start(world.config()).await;
    let said = said(&tether).await;
    assert!(said.contains("is no sentinel (it does not know the command): for a server, use redis://"), "{said}");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn passwords() {
    let world = World::new();
    world.sentinels.iter().for_each(|sentinel| sentinel.require_password("another"));
    let none = world.start(world.config()).await;
    let wrong = world.start(with_password(world.config())).await;
    let (none_said, wrong_said) = (said(&none).await, said(&wrong).await);
    assert!(none_said.contains("authentication failed: NOAUTH"), "{none_said}");
    assert!(wrong_said.contains("authentication failed: WRONGPASS") && !wrong_said.contains(SECRET), "{wrong_said}");
    world.sentinels.iter().for_each(|sentinel| sentinel.require_password(SECRET));
    wrong.ready(ms(5_500)).await.expect("it is right now");
    none.shutdown().await;
    wrong.shutdown().await;
}

/// As the settings of clients have it that know of one password for everything.
#[tokio::test(start_paused = true)]
async fn a_password_that_is_not_asked_for_does_no_harm() {
    let world = World::new();
    let tether = world.start(with_password(world.config())).await;
    tether.ready(ms(1_000)).await.expect("it is let in");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_there_and_then_somebody() {
    let world = World::new();
    for n in 0..3 {
        world.net.refuse(sentinel(n));
    }
    let tether = world.start(world.config()).await;
    let refused = said(&tether).await;
    assert!(refused.contains("none of 3 sentinels says where the primary is; sentinel 10.0.1."), "{refused}");
    assert!(refused.contains("connection refused"), "{refused}");
    for n in 0..3 {
        world.net.heal(sentinel(n));
    }
    tether.ready(ms(200)).await.expect("at the pace of an outage");
    assert_eq!(at(&tether), Some(server(0)));
    tether.shutdown().await;
}

/// The one that only people can mend does not make the others wait for them.
#[tokio::test(start_paused = true)]
async fn one_that_people_must_mend_does_not_slow_the_search_for_the_others() {
    let world = World::new();
    world.sentinels[0].forget();
    world.net.refuse(sentinel(1));
    world.net.refuse(sentinel(2));
    let tether = world.start(world.config()).await;
    sleep(ms(20_000)).await;
    let said = said(&tether).await;
    assert!(said.contains("knows no master called mymaster"), "{said}");
    world.net.heal(sentinel(1));
    world.net.heal(sentinel(2));
    tether.ready(ms(500)).await.expect("at the pace of an outage");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn names_that_mean_nothing() {
    let world = World::new();
    for name in ["one.test", "two.test", "three.test"] {
        world.dns.remove(name);
    }
    let tether = world.start(world.config()).await;
    let said = said(&tether).await;
    assert!(said.contains("sentinel: no such host: one.test"), "{said}");
    tether.shutdown().await;
}

/// A sentinel whose name leads nowhere is one of those that do not tell; and what they do not tell is not the primary.
#[tokio::test(start_paused = true)]
async fn replicas_that_nobody_tells_of() {
    let world = World::new();
    world.dns.remove("two.test");
    let tether = world.serving().await;
    let mut diary = Diary::of(&tether);
    let _replicas = tether.replicas();
    let event = diary.until("the failure", |event| matches!(event, Event::ReplicasUnknown { .. })).await.to_string();
    assert!(event.contains("none of 3 sentinels says which replicas there are; sentinel"), "{event}");
    tether.shutdown().await;
}

/// What announces names that only the servers' own network knows.
#[tokio::test(start_paused = true)]
async fn an_announced_name_that_means_nothing_here() {
    let world = World::new();
    world.sentinels.iter().for_each(|sentinel| sentinel.say("node-a.internal", 6379, 1));
    let tether = world.start(world.config()).await;
    let said = said(&tether).await;
    assert!(said.contains("what the sentinels announce for the primary: no such host: node-a.internal"), "{said}");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn garbage() {
    let world = World::new();
    for n in 0..3 {
        let other = FakeServer::new();
        other.garbage();
        world.net.bind(sentinel(n), other);
    }
    let tether = world.start(world.config()).await;
    let said = said(&tether).await;
    assert!(said.contains("not the redis protocol: what it says is not RESP"), "{said}");
    tether.shutdown().await;
}

/// The application's own, in the middle of asking and of listening.
#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_is_survived() {
    let world = World::new();
    let (asked, dns) = (Arc::new(AtomicU32::new(0)), world.dns.clone());
    let resolver = resolve_fn(move |host, port| {
        let (asked, dns) = (asked.clone(), dns.clone());
        async move {
            assert!(asked.fetch_add(1, Ordering::Relaxed) >= 20, "a resolver of the application's");
            dns.lookup(&host, port).await
        }
    });
    let builder = Tether::builder(world.config()).resolver(resolver).transport(InMemory(world.net.clone()));
    let tether = builder.start().await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    tether.ready(ms(10_000)).await.expect("it is well after a while");
    sleep(ms(5_000)).await;
    let is_told = |event: &Event| matches!(event, Event::ResolveFailed { error, .. } if error.contains("panicked"));
    assert!(diary.count(is_told) > 0, "nobody was told");
    assert!(world.listened_to().is_some(), "nobody is listened to");
    tether.shutdown().await;
}
