//! Passwords at the sentinels that change, in a file as secrets are mounted: each connection to one of them goes by what is there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use redis_tether::{Endpoint, Event, Protocol};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::load::Load;
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{Diary, PATIENCE};

use crate::world::{TURN, World};

on_each_server!(a_password_file_at_the_sentinels_is_read_anew);

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

    fs::write(&secret.0, "others\n").expect("written");
    for sentinel in &world.deployment.sentinels {
        sentinel.command(&["ACL", "SETUSER", "watch", "resetpass", ">others"]).await.expect("taken");
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
