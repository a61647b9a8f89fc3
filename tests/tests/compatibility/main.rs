//! What is not a plain server of Redis or Valkey: real proxies before real servers (`twemproxy.rs`, `envoy.rs`, `in_common.rs`, `haproxy.rs`), and
//! what other products and services answer, scripted after their sources and documentation (`products.rs`, `services.rs`,
//! `permissions.rs`). `docs/compatibility.md` says for people what is held here.
//!
//! Here is what the tests share: a tether that serves through a proxy, with a door before it at which connections are counted.

mod envoy;
mod haproxy;
mod in_common;
mod permissions;
mod products;
mod services;
mod twemproxy;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use redis_tether::redis::{AsyncCommands, Cmd, RedisResult, Value};
use redis_tether::{Config, Event, Handle, PacingSettings, Tether};
use redis_tether_testkit::server::Info;
use redis_tether_testkit::{Deployment, Gateway, GatewayKind, Proxy, Reply, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::load::LIST;
use redis_tether_tests::pace::most_dials;
use redis_tether_tests::servers::{gateway_binary, patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, SOON, within};

/// A primary and its replica, a proxy before them, a door before that, and a tether that goes through all of it.
struct Front {
    nodes: Deployment,
    gateway: Gateway,
    door: Proxy,
    tether: Tether,
    handle: Handle,
    diary: Diary,
}

impl Front {
    /// A proxy that knows the primary alone.
    async fn before_the_primary(kind: GatewayKind) -> Front {
        let nodes = pair().await;
        let gateway = Gateway::builder(&gateway_binary(kind), &[nodes.primary.addr()]).start().await.expect("a proxy");
        Front::open(nodes, gateway, |_| {}).await
    }

    async fn open(nodes: Deployment, gateway: Gateway, change: impl FnOnce(&mut Config)) -> Front {
        let door = Proxy::start(gateway.addr()).await.expect("a free address");
        let mut config = unsuspecting(patient(config(door.addr())));
        change(&mut config);
        let tether = connected(config).await;
        let (handle, diary) = (tether.handle(), Diary::of(&tether));
        Front { nodes, gateway, door, tether, handle, diary }
    }

    async fn works(&mut self) {
        let value: String = within(PATIENCE, "a write and a read", async {
            self.handle.set::<_, _, ()>("key", "value").await?;
            self.handle.get("key").await
        })
        .await
        .expect("everybody is well");
        assert_eq!(value, "value");
    }

    /// Once it has all that the primary has, to which nobody writes now.
    async fn promote_the_replica(&self) {
        let offset = self.nodes.primary.info("master_repl_offset").await.expect("INFO");
        let wanted: i64 = offset.parse().expect("a number");
        let has_all = |info: &Info| info.number("slave_repl_offset").is_some_and(|offset| offset >= wanted);
        self.nodes.replica.wait_for("the replica to have all", PATIENCE, has_all).await.expect("it catches up");
        self.nodes.replica.promote().await.expect("promoted");
    }

    /// So many are allowed by the pace since then, each of one connection.
    fn most_dials_since(&self, begun: Instant) -> u64 {
        most_dials(&PacingSettings::default().unreachable, begun.elapsed())
    }

    async fn ask(&mut self, words: &[&str]) -> RedisResult<Value> {
        ask(&mut self.handle, words).await
    }
}

async fn pair() -> Deployment {
    pair_of(ServerKind::Redis).await
}

async fn pair_of(kind: ServerKind) -> Deployment {
    Deployment::start(&server_binary(kind)).await.expect("two servers")
}

async fn ask(handle: &mut Handle, words: &[&str]) -> RedisResult<Value> {
    let mut cmd = Cmd::new();
    cmd.arg(words);
    within(PATIENCE, "an answer", cmd.query_async(handle)).await
}

/// What the load has left on this server.
async fn held_by(server: &Server) -> Vec<String> {
    match server.command(&["LRANGE", LIST, "0", "-1"]).await.expect("the server is well") {
        Reply::Array(values) => values.iter().filter_map(Reply::text).collect(),
        other => panic!("{other:?}"),
    }
}

/// Sends over a dedicated connection until what comes back `is_it`.
async fn until_answered(addr: SocketAddr, words: &[&str], is_it: impl Fn(&Value) -> bool) {
    let url = format!("redis://{addr}");
    let client = redis_tether::redis::Client::open(url).expect("a URL");
    let mut cmd = Cmd::new();
    cmd.arg(words);
    within(PATIENCE, &format!("the answer to {words:?}"), async {
        loop {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && let Ok(answer) = cmd.query_async(&mut connection).await
                && is_it(&answer)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn is_connected(event: &Event) -> bool {
    matches!(event, Event::Connected { .. })
}

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::Lost { .. })
}

fn is_change(event: &Event) -> bool {
    matches!(event, Event::LineageChanged { .. })
}

fn is_off(event: &Event) -> bool {
    is_lost(event) || matches!(event, Event::Demoted { .. })
}
