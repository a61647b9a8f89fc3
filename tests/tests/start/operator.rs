//! What an operator can ask of a tether: a new link by hand, and to stay where it is.

use std::time::Duration;

use redis_tether::{Config, Event, ReconnectError, Tether};
use redis_tether_testkit::server::allocate_addresses;
use redis_tether_testkit::{Dns, FakeServer};
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::load::Load;
use redis_tether_tests::rig;
use redis_tether_tests::servers::{bind, patient, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::time::sleep;

use super::{NAME, start, works};

#[tokio::test]
async fn reconnecting_by_hand_is_limited_and_loses_nothing() {
    let (server, listener) = fake().await;
    let tether = connected(unsuspecting(patient(config(listener.addr())))).await;
    let mut diary = Diary::of(&tether);
    let load = Load::start(&tether.handle(), 8);
    load.go_on_for(50).await;
    tether.reconnect().expect("the first one");
    let Err(ReconnectError::TooSoon { wait }) = tether.reconnect() else { panic!("within a second of the first") };
    assert!(wait <= Duration::from_secs(1));
    // Shared by all clones.
    assert!(tether.clone().reconnect().is_err());
    diary.until("the new link", |event| matches!(event, Event::Connected { down_for, .. } if down_for.is_zero())).await;
    diary.until("the end of the old one", |event| matches!(event, Event::Retired { drained: true, .. })).await;
    load.go_on_for(50).await;
    sleep(wait).await;
    tether.reconnect().expect("a second later");
    diary.until("the new link", |event| matches!(event, Event::Connected { .. })).await;
    load.go_on_for(50).await;
    load.finish().await.assert_none_failed();
    server.wait_for_open_connections_at_most(1).await.expect("the old links are closed");
    assert_eq!(tether.stats().dials, 3);
    tether.shutdown().await;
}

/// In an outage it skips the wait for the next attempt.
#[tokio::test]
async fn reconnecting_by_hand_tries_at_once() {
    let (server, listener) = fake().await;
    server.start_loading();
    let mut config = config(listener.addr());
    config.pacing.rejected.first = Duration::from_secs(600);
    config.pacing.rejected.early_cap = Duration::from_secs(600);
    config.pacing.rejected.late_cap = Duration::from_secs(600);
    let tether = start(config).await;
    let mut diary = Diary::of(&tether);
    diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
    server.finish_loading();
    tether.reconnect().expect("the first one");
    tether.ready(PATIENCE).await.expect("the server is well");
    tether.shutdown().await;
}

#[tokio::test]
async fn a_pinned_tether_does_not_move() {
    let addresses = allocate_addresses(2).expect("two loopback addresses");
    let (old, new) = (FakeServer::new(), FakeServer::new());
    let _old_listener = bind(async || old.listen(addresses[0]).await).await;
    let _new_listener = bind(async || new.listen(addresses[1]).await).await;
    let dns = Dns::new();
    dns.set(NAME, vec![addresses[0].ip()]);
    let mut config = Config::new(NAME, addresses[0].port());
    config.resolve.interval = Duration::from_millis(100);
    let tether = Tether::builder(config).resolver(rig::resolver(&dns)).start().await.expect("a valid configuration");
    let pinned = tether.ready(PATIENCE).await.expect("the server is well");
    tether.pin().expect("it lives");
    let mut status = tether.status();
    let is_pinned = status.wait_for(|status| status.pinned);
    let _ = within(PATIENCE, "the pin", is_pinned).await;

    // Neither on DNS evidence,
    let mut diary = Diary::of(&tether);
    dns.set(NAME, vec![addresses[1].ip()]);
    let asked = dns.lookups(NAME);
    dns.looked_up(NAME, asked + 10).await.expect("lookups go on");
    works(&tether).await;
    assert_eq!(tether.status().borrow().epoch, pinned.epoch);
    assert_eq!(new.connections_accepted(), 0);
    // nor when its server is gone: it is waited for.
    old.crash();
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(new.connections_accepted(), 0);
    old.restart();
    works(&tether).await;
    assert_eq!(tether.status().borrow().address, pinned.address);

    tether.unpin().expect("it lives");
    diary
        .until(
            "the move",
            |event| matches!(event, Event::Connected { address, .. } if Some(address) != pinned.address.as_ref()),
        )
        .await;
    works(&tether).await;
    assert_eq!(new.executions("SET"), 1);
    tether.shutdown().await;
}

/// At any moment: also while one incarnation has given up and the next has not begun.
#[tokio::test]
async fn a_wish_between_two_incarnations_is_not_lost() {
    let (server, listener) = fake().await;
    let dns = Dns::new();
    dns.set(NAME, vec![listener.addr().ip()]);
    let config = Config::new(NAME, listener.addr().port());
    let tether = Tether::builder(config).resolver(rig::resolver(&dns)).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    // A resolver that hangs makes the gap between two incarnations 250 ms long.
    dns.hang(NAME);
    server.start_loading();
    server.kill_connections();
    for (number, wish) in [Tether::pin as fn(&Tether) -> _, Tether::unpin].into_iter().enumerate() {
        within(PATIENCE, "the gap", async {
            while tether.actor().get_children().len() > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        wish(&tether).expect("it lives");
        let mut status = tether.status();
        let granted = status.wait_for(|status| status.pinned == (number == 0));
        let _ = within(Duration::from_secs(2), "the wish to be granted", granted).await;
    }
    tether.shutdown().await;
}
