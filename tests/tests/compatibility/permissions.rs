//! Real servers whose user may do hardly anything: it is served all the same, the role is known, and no probe or question costs it a
//! link.

use std::time::Duration;

use redis_tether::{Handle, Protocol, Role, Tether};
use redis_tether_testkit::{Proxy, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::{server_binary, unsuspecting};
use redis_tether_tests::watch::Diary;
use tokio::time::sleep;

use super::{ask, is_connected, is_off};

on_each_server!(users_who_may_do_little);

const RULES: [&str; 6] = [
    "-@all +get +set",
    "-@all +get +set +ping",
    // `HELLO` and `AUTH` are anybody's all the same: who may not sign in could not be told who.
    "-@all +get +set -hello -auth",
    "+@all -client",
    "+@all -client|setname -info -role",
    "+@all -@dangerous -@admin -@connection",
];

const PROBED_EVERY: Duration = Duration::from_millis(400);

/// A user's tether, with a door before the server at which connections are counted.
struct User {
    rules: &'static str,
    door: Proxy,
    tether: Tether,
    handle: Handle,
    diary: Diary,
}

impl User {
    async fn of(server: &Server, rules: &'static str, protocol: Protocol) -> User {
        let name = format!("app-{protocol:?}");
        let words = ["ACL", "SETUSER", &name, "reset", "on", ">app-password", "~*"];
        let words: Vec<&str> = words.into_iter().chain(rules.split(' ')).collect();
        server.command(&words).await.expect(rules);
        let door = Proxy::start(server.addr()).await.expect("a free address");
        let mut config = config(door.addr()).with_username(&name).with_password("app-password").with_client_name("app");
        config.protocol = protocol;
        config.detection.probe_interval = PROBED_EVERY;
        let tether = connected(unsuspecting(config)).await;
        let (handle, diary) = (tether.handle(), Diary::of(&tether));
        User { rules, door, tether, handle, diary }
    }

    fn is_served_over(&mut self, connections: u64) {
        assert_eq!(self.tether.status().borrow().role, Some(Role::Primary), "{}", self.rules);
        assert_eq!(self.door.connections_accepted(), connections, "{}: {:#?}", self.rules, self.diary.so_far());
    }
}

async fn users_who_may_do_little(kind: ServerKind) {
    let server = Server::start(&server_binary(kind)).await.expect("a server");
    for rules in RULES {
        server.command(&["REPLICAOF", "NO", "ONE"]).await.expect("a primary");
        let mut users =
            [User::of(&server, rules, Protocol::Resp2).await, User::of(&server, rules, Protocol::Resp3).await];
        sleep(PROBED_EVERY * 5 / 4).await;
        for user in &mut users {
            ask(&mut user.handle, &["SET", "key", "value"]).await.expect(rules);
            user.is_served_over(1);
            user.door.reset();
            user.diary.until("another link", is_connected).await;
            ask(&mut user.handle, &["GET", "key"]).await.expect(rules);
            // Nothing was learned to its disadvantage.
            user.is_served_over(2);
        }
        // A replica is told from a primary all the same.
        server.command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("a replica");
        for mut user in users {
            user.diary.until("the probe to notice", is_off).await;
            user.tether.shutdown().await;
        }
    }
}
