//! Nothing of a tether is left when its shutdown returns, whatever it was at, on a runtime with several threads: there, what
//! was aborted goes on ending on other threads. Streams, dials and lookups count themselves, and take their time to be
//! dropped, so that one that is not waited for is caught.

mod counting;
mod replicas;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use redis_tether::redis::AsyncCommands;
use redis_tether::{BoxFuture, Config, Event, HickoryResolver, Query, Resolve, ResolveError, SentinelNode, Tether};
use redis_tether_testkit::{DnsServer, FakeSentinel, FakeServer};
use redis_tether_tests::fakes::{config, fake};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};

use self::counting::{Connects, Count, Counting};

/// So often each case is tried.
const ROUNDS: usize = 25;

/// Never answers.
struct Mute(Count);

impl Resolve for Mute {
    fn resolve(&self, _query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        let lookup = self.0.one_more();
        Box::pin(async move {
            let _lookup = lookup;
            std::future::pending().await
        })
    }
}

/// Where the tethers live. Nothing else does: the servers have a runtime of their own.
fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

async fn start(config: Config, count: &Count, connects: Connects) -> Tether {
    let transport = Counting { count: count.clone(), connects };
    Tether::builder(config).transport(transport).start().await.expect("a valid configuration")
}

/// Shuts the tether down, and looks.
async fn leaves_nothing(tether: &Tether, count: &Count) {
    within(PATIENCE, "the shutdown", tether.shutdown()).await;
    assert_eq!(count.now(), 0, "something was left");
    // A task that is over is off the runtime's books some instructions later.
    within(PATIENCE, "the tasks to be off the books", async {
        while Handle::current().metrics().num_alive_tasks() > 0 {
            thread::yield_now();
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Runs the same round again and again, on a runtime where nothing but a tether lives.
fn rounds(round: impl AsyncFn(&Count) -> Tether) {
    let ours = two_threads();
    ours.block_on(async {
        for _ in 0..ROUNDS {
            let count = Count::default();
            let tether = round(&count).await;
            leaves_nothing(&tether, &count).await;
        }
    });
}

/// The same, beside a server that is the same in all rounds.
fn rounds_with_a_server(round: impl AsyncFn(&FakeServer, SocketAddr, &Count) -> Tether) {
    let servers = two_threads();
    let (server, listener) = servers.block_on(fake());
    rounds(async |count| round(&server, listener.addr(), count).await);
}

#[test]
fn after_it_served() {
    rounds_with_a_server(async |_server, addr, count| {
        let tether = start(config(addr), count, Connects::Really).await;
        tether.ready(PATIENCE).await.expect("the server is well");
        let mut handle = tether.handle();
        handle.set::<_, _, ()>("key", "value").await.expect("the server is well");
        tether
    });
}

#[test]
fn while_it_dials() {
    rounds(async |count| {
        let tether = start(Config::new("127.0.0.1", 1), count, Connects::Never).await;
        while count.now() == 0 {
            tokio::task::yield_now().await;
        }
        tether
    });
}

#[test]
fn while_a_server_keeps_it_waiting() {
    let servers = two_threads();
    let (server, listener) = servers.block_on(fake());
    server.hang();
    rounds(async |count| {
        let read = server.bytes_read();
        let tether = start(config(listener.addr()), count, Connects::Really).await;
        server.wait_for_bytes(read + 1).await.expect("it is asked something");
        tether
    });
}

#[test]
fn during_an_outage() {
    let servers = two_threads();
    let (server, listener) = servers.block_on(fake());
    rounds(async |count| {
        server.restart();
        listener.wait_until_open().await.expect("it comes up");
        let tether = start(config(listener.addr()), count, Connects::Really).await;
        tether.ready(PATIENCE).await.expect("the server is well");
        let mut diary = Diary::of(&tether);
        server.crash();
        diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
        tether
    });
}

#[test]
fn while_the_resolver_hangs() {
    rounds(async |count| {
        let builder = Tether::builder(Config::new("redis.test", 6379)).resolver(Mute(count.clone()));
        let tether = builder.start().await.expect("a valid configuration");
        while count.now() == 0 {
            tokio::task::yield_now().await;
        }
        tether
    });
}

#[test]
fn while_a_name_server_is_mute() {
    let servers = two_threads();
    let dns = servers.block_on(DnsServer::start()).expect("a free port");
    dns.mute("redis.test");
    rounds(async |_| {
        let resolver = HickoryResolver::new().files("/nonexistent", "/nonexistent").name_servers([dns.addr()]);
        let asked = dns.lookups("redis.test");
        let builder = Tether::builder(Config::new("redis.test.", 6379)).resolver(resolver);
        let tether = builder.start().await.expect("a valid configuration");
        dns.looked_up("redis.test", asked + 1).await.expect("it asks");
        tether
    });
}

/// Serves over a second link, with a command in flight on the first, which is drained for at most so long.
async fn draining(server: &FakeServer, addr: SocketAddr, count: &Count, limit: Duration) -> Tether {
    let mut config = config(addr);
    config.drain_timeout = limit;
    let tether = start(config, count, Connects::Really).await;
    tether.ready(PATIENCE).await.expect("the server is well");
    let (blocked, mut handle) = (server.commands("BLPOP"), tether.handle());
    // It is the application's task, and counts for nobody: it ends with the link.
    drop(tokio::spawn(async move { handle.blpop::<_, (String, String)>("queue", 0.0).await }));
    server.wait_for_command("BLPOP", blocked + 1).await.expect("it arrives");
    let mut diary = Diary::of(&tether);
    tether.reconnect().expect("the first one");
    diary.until("the new link", |event| matches!(event, Event::Connected { .. })).await;
    tether
}

#[test]
fn while_a_link_is_drained() {
    rounds_with_a_server(async |server, addr, count| draining(server, addr, count, Duration::from_millis(20)).await);
}

/// No actor owns the link that is drained, and nobody waits for as long as it may take.
#[test]
fn after_it_was_killed_while_a_link_is_drained() {
    rounds_with_a_server(async |server, addr, count| {
        let tether = draining(server, addr, count, 3 * PATIENCE).await;
        tether.actor().kill();
        tether
    });
}

/// Connections of their own, of which one waits for the server, one for messages, and one for nothing but its end. The tasks are
/// the application's, and end with them.
async fn with_connections_of_their_own(server: &FakeServer, addr: SocketAddr, count: &Count) -> Tether {
    let mut config = config(addr);
    config.drain_timeout = 3 * PATIENCE;
    let tether = start(config, count, Connects::Really).await;
    tether.ready(PATIENCE).await.expect("the server is well");
    let own = async || tether.dedicated().await.expect("the server is well");
    let (mut pops, subscribed, idle) = (own().await, own().await.into_pub_sub().await, own().await);
    let mut subscribed = subscribed.expect("the server is well");
    let blocked = server.commands("BLPOP");
    drop(tokio::spawn(async move { pops.blpop::<_, (String, String)>("queue", 0.0).await }));
    drop(tokio::spawn(async move { subscribed.on_message().next().await.map(drop) }));
    drop(tokio::spawn(async move { idle.lost().await }));
    server.wait_for_command("BLPOP", blocked + 1).await.expect("it arrives");
    tether
}

#[test]
fn after_it_had_connections_of_their_own() {
    rounds_with_a_server(async |server, addr, count| with_connections_of_their_own(server, addr, count).await);
}

#[test]
fn after_it_was_killed_and_had_connections_of_their_own() {
    rounds_with_a_server(async |server, addr, count| {
        let tether = with_connections_of_their_own(server, addr, count).await;
        tether.actor().kill();
        tether
    });
}

/// Whoever asked for it is not looked after by anybody: a task of the application's.
#[test]
fn while_a_connection_of_its_own_is_made() {
    rounds_with_a_server(async |server, addr, count| {
        server.resume();
        let tether = start(config(addr), count, Connects::Really).await;
        tether.ready(PATIENCE).await.expect("the server is well");
        server.hang();
        let (read, asking) = (server.bytes_read(), tether.clone());
        drop(tokio::spawn(async move { asking.dedicated().await.map(drop) }));
        server.wait_for_bytes(read + 1).await.expect("it is asked something");
        tether
    });
}

/// By ractor's own means; the shutdown only waits for what is left to go.
#[test]
fn after_it_was_killed() {
    rounds_with_a_server(async |_server, addr, count| {
        let tether = start(config(addr), count, Connects::Really).await;
        tether.ready(PATIENCE).await.expect("the server is well");
        tether.actor().kill();
        tether
    });
}

/// A sentinel on a port of its own, who says that the primary is at `server`.
async fn sentinel(server: SocketAddr) -> (FakeSentinel, SentinelNode) {
    let sentinel = FakeSentinel::new("mymaster");
    sentinel.say(&server.ip().to_string(), server.port(), 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let node = SentinelNode::new("127.0.0.1", listener.local_addr().expect("it listens").port());
    let serving = sentinel.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serving.serve(stream);
        }
    });
    (sentinel, node)
}

/// The same rounds, each with a tether that is told by a sentinel where the server is.
fn rounds_with_a_sentinel(prepare: impl Fn(&FakeSentinel), each: impl AsyncFn(&Tether, &FakeSentinel, &Count)) {
    let servers = two_threads();
    let (_server, listener) = servers.block_on(fake());
    let (sentinel, node) = servers.block_on(sentinel(listener.addr()));
    prepare(&sentinel);
    rounds(async |count| {
        let tether = start(Config::sentinel([node.clone()], "mymaster"), count, Connects::Really).await;
        each(&tether, &sentinel, count).await;
        tether
    });
}

#[test]
fn while_it_listens_to_a_sentinel() {
    let is_well = |_: &FakeSentinel| ();
    rounds_with_a_sentinel(is_well, async |tether, sentinel, _| {
        tether.ready(PATIENCE).await.expect("the server is well");
        sentinel.wait_for_subscribers(1).await.expect("it listens");
    });
}

#[test]
fn after_it_was_killed_and_listened_to_a_sentinel() {
    let is_well = |_: &FakeSentinel| ();
    rounds_with_a_sentinel(is_well, async |tether, sentinel, _| {
        sentinel.wait_for_subscribers(1).await.expect("it listens");
        tether.actor().kill();
    });
}

#[test]
fn while_a_sentinel_keeps_it_waiting() {
    rounds_with_a_sentinel(FakeSentinel::hang, async |_, _, count| {
        while count.now() == 0 {
            tokio::task::yield_now().await;
        }
    });
}
