//! Passwords at the sentinels that change, in a file as secrets are mounted: each connection to one of them goes by what is there. And
//! tokens that expire at the servers behind them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis_tether::{Endpoint, Event, FailureKind, Protocol};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::load::Load;
use redis_tether_tests::on_each_server;
use redis_tether_tests::tokens::{Issuer, LIFETIME, is_trouble};
use redis_tether_tests::watch::{Diary, PATIENCE};

use crate::world::{TURN, World};

on_each_server!(a_password_file_at_the_sentinels_is_read_anew, tokens_rotate_under_load);

/// A file of its own, removed in the end.
struct Secret(PathBuf);

impl Secret {
    fn new(kind: ServerKind, text: &str) -> Secret {
        let path = std::env::temp_dir().join(format!("redis-tether-sentinels-{kind:?}-{}", std::process::id()));
        fs::write(&path, text).expect("written");
        Secret(path)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The old password is withdrawn and everybody sent away who came in with it; then the sentinels have a failover to tell of.
async fn a_password_file_at_the_sentinels_is_read_anew(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::with_passwords(kind).await;
    let secret = Secret::new(kind, "few\n");
    let mut config = world.config(Protocol::Resp2);
    let Endpoint::Sentinel(sentinels) = &mut config.endpoint else { panic!("sentinels") };
    sentinels.password = None;
    sentinels.password_file = Some(secret.0.clone().into());
    let tether = world.tether(config).await;
    tether.ready(PATIENCE).await.expect("the first password is taken");
    let (mut diary, load) = (Diary::of(&tether), Load::start(&tether.handle(), 4));
    load.go_on_for(50).await;

    // Whichever of the two is read meanwhile, every sentinel takes it.
    for sentinel in &world.deployment.sentinels {
        sentinel.command(&["ACL", "SETUSER", "watch", ">others"]).await.expect("taken");
    }
    fs::write(&secret.0, "others\n").expect("written");
    for sentinel in &world.deployment.sentinels {
        sentinel.command(&["ACL", "SETUSER", "watch", "<few"]).await.expect("taken");
        sentinel.command(&["CLIENT", "KILL", "USER", "watch"]).await.expect("taken");
    }
    let mut announcements = world.deployment.announcements().await.expect("subscriptions");
    world.deployment.failover().await.expect("begun");
    let (_, to) = announcements.next().await.expect("announced");
    let is_there =
        |event: &Event| matches!(event, Event::Connected { address, .. } if address.to_string() == to.to_string());
    diary.until("the new primary", is_there).await;
    load.go_on_for(50).await;
    load.finish().await.assert_none_failed();
    let failed = |event: &Event| matches!(event, Event::ResolveFailed { .. } | Event::CredentialsFailed { .. });
    assert_eq!(diary.count(failed), 0, "{:?}", diary.so_far());
    tokio::time::timeout(Duration::from_secs(10), tether.shutdown()).await.expect("it ends");
}

/// The link is signed in anew and stays, and the one to the next primary is let in with what the source gives then.
async fn tokens_rotate_under_load(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = Arc::new(World::new(kind).await);
    let issuer = Issuer::new(&world, |world| world.deployment.nodes.iter().collect(), "holder");
    let config = world.config(Protocol::Resp2).with_client_name("holder");
    let tether = world.tether_with(config, issuer.source(LIFETIME)).await;
    tether.ready(PATIENCE).await.expect("it is let in");
    let at_first = issuer.signed_in().await;
    let (mut diary, load) = (Diary::of(&tether), Load::start(&tether.handle(), 4));
    let first = tether.status().borrow().epoch;
    let is_renewal = |event: &Event| matches!(event, Event::Reauthenticated { .. });
    let (mut renewals, mut removed) = (0, 0);
    while renewals < 3 || removed < 2 {
        diary.until("a renewal", is_renewal).await;
        renewals += 1;
        removed = issuer.remove_expired().await;
    }
    load.go_on_for(50).await;
    assert_eq!(tether.status().borrow().epoch, first, "the link is the same");
    assert_eq!(diary.count(is_trouble), 0, "{:?}", diary.so_far());
    let now = issuer.signed_in().await;
    assert!(!at_first.is_empty() && now.is_disjoint(&at_first), "signed in as {now:?}, at first as {at_first:?}");

    let mut announcements = world.deployment.announcements().await.expect("subscriptions");
    world.deployment.failover().await.expect("begun");
    announcements.next().await.expect("announced");
    diary.until("the new primary", |event| matches!(event, Event::Connected { .. })).await;
    load.go_on_for(50).await;
    load.finish().await.assert_none_failed();
    let is_refused = |event: &Event| {
        matches!(event, Event::DialFailed { kind: FailureKind::Auth, .. } | Event::CredentialsFailed { .. })
    };
    assert_eq!(diary.count(is_refused), 0, "{:?}", diary.so_far());
    tether.shutdown().await;
}
