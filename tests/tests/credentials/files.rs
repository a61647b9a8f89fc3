//! A secret that is mounted as Kubernetes does it, and swapped under load.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use redis_tether::{Config, Event, Tether};
use redis_tether_testkit::{Server, ServerKind};
use redis_tether_tests::load::Load;
use redis_tether_tests::on_each_server;
use redis_tether_tests::tokens::{Issuer, Token};
use redis_tether_tests::watch::{Diary, PATIENCE};

use super::{config_for, issuer, who_am_i};

on_each_server!(a_mounted_secret_is_rotated_under_load, a_secret_that_comes_late_is_waited_for);

/// A mount of its own, removed in the end.
struct Mount(PathBuf);

impl Mount {
    fn new(name: &str, kind: ServerKind) -> Mount {
        let path = std::env::temp_dir().join(format!("redis-tether-{name}-{kind:?}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Mount(path)
    }

    /// All files at once: they are links into a directory whose name is a link.
    fn swap(&self, Token { user, password }: &Token) {
        let version = format!("..{password}");
        fs::create_dir(self.0.join(&version)).expect("a directory");
        for (name, text) in [("username", user), ("password", password)] {
            fs::write(self.0.join(&version).join(name), text).expect("written");
            let _ = symlink(format!("..data/{name}"), self.0.join(name));
        }
        symlink(&version, self.0.join("..fresh")).expect("linked");
        fs::rename(self.0.join("..fresh"), self.0.join("..data")).expect("swapped");
    }

    fn config(&self, issuer: &Issuer<Server>) -> Config {
        config_for(issuer).with_username_file(self.0.join("username")).with_password_file(self.0.join("password"))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn a_mounted_secret_is_rotated_under_load(kind: ServerKind) {
    let (issuer, mount) = (issuer(kind).await, Mount::new("rotated", kind));
    let mut token = issuer.issue().await;
    mount.swap(&token);
    let tether = Tether::start(mount.config(&issuer)).await.expect("a valid configuration");
    let first = tether.ready(PATIENCE).await.expect("it is let in").epoch;
    let (mut diary, load) = (Diary::of(&tether), Load::start(&tether.handle(), 8));

    issuer.order(&["ACL", "SETUSER", &token.user, ">second"]).await;
    token.password = "second".to_owned();
    mount.swap(&token);
    diary.until("the new password", |event| matches!(event, Event::Reauthenticated { .. })).await;
    issuer.order(&["ACL", "SETUSER", &token.user, "resetpass", ">second"]).await;
    // Another user altogether.
    token = issuer.issue().await;
    mount.swap(&token);
    diary.until("the new user", |event| matches!(event, Event::Reauthenticated { .. })).await;
    assert_eq!(who_am_i(&mut tether.handle()).await.as_deref(), Ok(&*token.user));
    assert_eq!(tether.status().borrow().epoch, first, "the link is the same");

    // What the files hold at the time is what a dial goes by, whether or not anybody has looked since.
    issuer.order(&["ACL", "SETUSER", &token.user, "resetpass", ">third"]).await;
    token.password = "third".to_owned();
    mount.swap(&token);
    tether.reconnect().expect("allowed");
    diary.until("a new link", |event| matches!(event, Event::Connected { .. })).await;
    load.go_on_for(50).await;
    load.finish().await.assert_none_failed();
    assert_eq!(diary.count(|event| matches!(event, Event::DialFailed { .. })), 0, "{:?}", diary.so_far());
    tether.shutdown().await;
}

/// An agent writes it when it has started, and that may be after us.
async fn a_secret_that_comes_late_is_waited_for(kind: ServerKind) {
    let (issuer, mount) = (issuer(kind).await, Mount::new("late", kind));
    let tether = Tether::start(mount.config(&issuer)).await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    let failed = diary.until("a dial without a secret", |event| matches!(event, Event::DialFailed { .. })).await;
    let line = failed.to_string();
    assert!(line.contains("no credentials to sign in with: password_file /"), "{line}");
    mount.swap(&issuer.issue().await);
    diary.until("a link", |event| matches!(event, Event::Connected { .. })).await;
    tether.shutdown().await;
}
