//! What becomes of a tether when its actors die: restarts that cost no command, and ends that are told at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ractor::ActorCell;
use redis_tether::redis::AsyncCommands;
use redis_tether::{
    Address, BoxedStream, Config, Event, Outcome, OutcomeExt, Phase, Query, ReconnectError, Resolve, ResolveError,
    Tether, Transport,
};
use redis_tether_testkit::{FakeListener, FakeServer};
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::load::Load;
use redis_tether_tests::servers::{patient, unsuspecting};
use redis_tether_tests::watch::{AT_ONCE, Diary, PATIENCE, reach, within};

/// The control actors below the supervisor, told apart by where they stand in the tree.
struct Tree {
    connection: ActorCell,
    probe: ActorCell,
    watcher: ActorCell,
}

impl Tree {
    fn of(tether: &Tether) -> Tree {
        let (mut above, mut below) = (Vec::new(), Vec::new());
        for child in tether.actor().get_children() {
            match child.get_children().pop() {
                Some(probe) => above.push((child, probe)),
                None => below.push(child),
            }
        }
        match (above.pop(), below.pop()) {
            (Some((connection, probe)), Some(watcher)) => Tree { connection, probe, watcher },
            _ => panic!("a connected tether has a connection with a probe, and a watcher"),
        }
    }

    /// Waits until each of them has been replaced that is not in `same`.
    async fn after(tether: &Tether, is_new: impl Fn(&Tree) -> bool) -> Tree {
        within(PATIENCE, "the actor to be replaced", async {
            loop {
                let complete = tether.actor().get_children().iter().any(|child| !child.get_children().is_empty());
                if complete && tether.actor().get_children().len() == 2 {
                    let tree = Tree::of(tether);
                    if is_new(&tree) {
                        return tree;
                    }
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// Kills one of the actors again and again under load, and checks that nobody noticed.
async fn killing(which: fn(&Tree) -> &ActorCell) -> (Tether, FakeServer, FakeListener) {
    let (server, listener) = fake().await;
    let tether = connected(unsuspecting(patient(config(listener.addr())))).await;
    let (epoch, mut diary) = (tether.status().borrow().epoch, Diary::of(&tether));
    let load = Load::start(&tether.handle(), 16);
    load.go_on_for(100).await;
    for _ in 0..3 {
        let victim = which(&Tree::of(&tether)).clone();
        victim.kill();
        Tree::after(&tether, |tree| which(tree).get_id() != victim.get_id()).await;
        load.go_on_for(200).await;
    }
    let tally = load.finish().await;
    tally.assert_none_failed();
    let held: Vec<String> =
        server.written_values().into_iter().map(|value| String::from_utf8(value).expect("text")).collect();
    tally.assert_true_of(&held);
    let status = tether.status().borrow().clone();
    assert_eq!((status.phase, status.epoch), (Phase::Connected, epoch), "the link was adopted");
    assert_eq!((tether.stats().dials, tether.stats().links), (1, 1), "{:#?}", diary.so_far());
    assert_eq!(diary.count(|event| matches!(event, Event::Resumed { .. })), 0, "nothing was held");
    (tether, server, listener)
}

#[tokio::test]
async fn a_killed_connection_is_restarted_and_adopts_the_link() {
    let (tether, server, _listener) = killing(|tree| &tree.connection).await;
    assert_eq!(tether.stats().restarts, 3);
    // And it still does its work.
    let mut diary = Diary::of(&tether);
    server.kill_connections();
    diary.until("a new link", |event| matches!(event, Event::Connected { .. })).await;
    tether.shutdown().await;
}

#[tokio::test]
async fn a_killed_probe_is_restarted() {
    let (tether, server, _listener) = killing(|tree| &tree.probe).await;
    assert_eq!(tether.stats().restarts, 0);
    // And it still does its work: nobody sends anything.
    let mut diary = Diary::of(&tether);
    server.demote();
    diary.until("the demotion", |event| matches!(event, Event::Demoted { .. })).await;
    tether.shutdown().await;
}

#[tokio::test]
async fn a_killed_watcher_is_restarted() {
    let (tether, _server, _listener) = killing(|tree| &tree.watcher).await;
    // And it still does its work.
    let before = tether.stats().lookups;
    within(PATIENCE, "another lookup", async {
        while tether.stats().lookups == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    tether.shutdown().await;
}

/// Its link ends while there is nobody who could hear of it.
#[tokio::test]
async fn a_link_that_ends_together_with_its_connection_actor_is_replaced() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let mut diary = Diary::of(&tether);
    Tree::of(&tether).connection.kill();
    server.kill_connections();
    diary.until("a new link", |event| matches!(event, Event::Connected { .. })).await;
    let mut handle = tether.handle();
    handle.set::<_, _, ()>("key", "value").await.expect("the server is well");
    tether.shutdown().await;
}

/// One that dies over and over is restarted at a pace, and the link serves all the while.
#[tokio::test]
async fn a_connection_that_keeps_dying_does_not_make_the_supervisor_spin() {
    let (_server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let epoch = tether.status().borrow().epoch;
    let load = Load::start(&tether.handle(), 4);
    let begun = Instant::now();
    // On a machine that stands still there may be one in all that time.
    while begun.elapsed() < Duration::from_secs(1) || tether.stats().restarts < 3 {
        assert!(begun.elapsed() < PATIENCE, "{} restarts in {PATIENCE:?}", tether.stats().restarts);
        for child in tether.actor().get_children().into_iter().filter(|child| !child.get_children().is_empty()) {
            child.kill();
        }
        tokio::task::yield_now().await;
    }
    // 0, 10, 20, 40, ... 640 ms between them: some eight in a second.
    let restarts = tether.stats().restarts;
    assert!(restarts <= 12, "{restarts} restarts in {:?}", begun.elapsed());
    load.go_on_for(20).await;
    load.finish().await.assert_none_failed();
    assert_eq!(tether.status().borrow().epoch, epoch);
    tether.shutdown().await;
}

/// What an application brings along, and what panics.
struct Faulty {
    is_faulty: Arc<AtomicBool>,
    addr: SocketAddr,
}

impl Faulty {
    fn panic_if_faulty(&self) {
        assert!(!self.is_faulty.load(Ordering::Relaxed), "a test asked for it");
    }
}

impl Resolve for Faulty {
    fn resolve(
        &self,
        _query: Query,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, ResolveError>> + Send>> {
        // Before there is a future that could.
        self.panic_if_faulty();
        let addr = self.addr;
        Box::pin(async move { Ok(vec![addr]) })
    }
}

impl Transport for Faulty {
    fn connect(&self, _address: &Address) -> std::pin::Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send>> {
        self.panic_if_faulty();
        let addr = self.addr;
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(addr).await?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }
}

#[tokio::test]
async fn a_resolver_that_panics_is_a_lookup_that_failed() {
    let (_server, listener) = fake().await;
    let is_faulty = Arc::new(AtomicBool::new(false));
    let resolver = Faulty { is_faulty: is_faulty.clone(), addr: listener.addr() };
    let mut config = Config::new("redis.test", listener.addr().port());
    config.resolve.interval = Duration::from_millis(50);
    let tether = Tether::builder(config).resolver(resolver).start().await.expect("a valid configuration");
    let before = tether.ready(PATIENCE).await.expect("the server is well");
    let (load, watcher, mut diary) = (Load::start(&tether.handle(), 8), Tree::of(&tether).watcher, Diary::of(&tether));
    is_faulty.store(true, Ordering::Relaxed);
    let failed = diary.until("a failed lookup", |event| matches!(event, Event::ResolveFailed { .. })).await;
    assert!(matches!(&failed, Event::ResolveFailed { error, .. } if error.contains("panicked")), "{failed:?}");
    load.go_on_for(200).await;
    is_faulty.store(false, Ordering::Relaxed);
    let lookups = tether.stats().lookups;
    within(PATIENCE, "two lookups, of which the second is answered", async {
        while tether.stats().lookups < lookups + 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    load.finish().await.assert_none_failed();
    assert_eq!(tether.status().borrow().epoch, before.epoch);
    assert_eq!(Tree::of(&tether).watcher.get_id(), watcher.get_id(), "it took the watcher along");
    tether.shutdown().await;
}

#[tokio::test]
async fn a_transport_that_panics_is_a_dial_that_failed() {
    let (_server, listener) = fake().await;
    let is_faulty = Arc::new(AtomicBool::new(true));
    let transport = Faulty { is_faulty: is_faulty.clone(), addr: listener.addr() };
    let tether = Tether::builder(config(listener.addr())).transport(transport).start().await.expect("valid");
    let mut diary = Diary::of(&tether);
    diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
    is_faulty.store(false, Ordering::Relaxed);
    tether.ready(PATIENCE).await.expect("the server is well");
    tether.shutdown().await;
}

#[tokio::test]
async fn a_supervisor_that_dies_alone_fails_held_commands_at_once() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let mut diary = Diary::of(&tether);
    server.crash();
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    let held: Vec<_> = (0..8)
        .map(|_| {
            let mut handle = tether.handle();
            tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await })
        })
        .collect();
    within(PATIENCE, "the commands to be held", async {
        while tether.stats().held_now < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    tether.actor().kill();
    let killed = Instant::now();
    for command in held {
        let error = within(AT_ONCE, "a held command", command).await.expect("no panic").expect_err("stopped");
        assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
        assert!(error.to_string().contains("stopped"), "{error}");
    }
    assert!(killed.elapsed() < AT_ONCE);
    assert_eq!(reach(&tether, Phase::Stopped).await.epoch, None);
    assert!(matches!(tether.reconnect(), Err(ReconnectError::Stopped(_))));
    assert!(tether.pin().is_err() && tether.unpin().is_err());
    // And no later one waits, either.
    let error = within(AT_ONCE, "a later command", tether.handle().get::<_, String>("key")).await.expect_err("stopped");
    assert!(error.to_string().contains("stopped"), "{error}");
    within(AT_ONCE, "a shutdown of what is over", tether.shutdown()).await;
}

/// With a link that serves: what is in flight ends, too, and the socket is closed.
#[tokio::test]
async fn a_supervisor_that_dies_alone_takes_its_link_along() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let mut handle = tether.handle();
    let blocked = tokio::spawn(async move { handle.blpop::<_, (String, String)>("queue", 0.0).await });
    server.wait_for_command("BLPOP", 1).await.expect("it arrives");
    tether.actor().kill();
    let error = within(AT_ONCE, "the pop", blocked).await.expect("no panic").expect_err("its link is gone");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    server.wait_for_open_connections_at_most(0).await.expect("the socket is closed");
    reach(&tether, Phase::Stopped).await;
}
