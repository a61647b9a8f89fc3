//! How a tether ends: in order, at a token's word, with its runtime, or by being dropped. Nothing is left of it each time,
//! counted in tasks here and in connections at the server.

use std::time::{Duration, Instant};

use redis_tether::redis::{AsyncCommands, RedisResult};
use redis_tether::{Config, Event, Handle, Outcome, OutcomeExt, Phase, Readiness, Tether};
use redis_tether_testkit::{FakeServer, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::{patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{AT_ONCE, Diary, PATIENCE, reach, within};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A drain ends after 5 s by default.
const WELL_BEFORE_THE_DRAIN_ENDS: Duration = Duration::from_millis(4500);

/// Tasks of this runtime that are alive.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Waits until no more than `most` tasks are alive.
async fn wait_for_tasks_at_most(most: usize) {
    let begun = Instant::now();
    while tasks() > most {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {most} tasks; {} are alive", tasks());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A command that the server takes this long to answer, under way.
async fn in_flight(server: &FakeServer, handle: Handle, takes: Duration) -> JoinHandle<RedisResult<()>> {
    in_flight_while(server, handle, |server| server.slow(takes)).await
}

/// The same, of a server that has no answer until it [resumes](FakeServer::resume).
async fn in_flight_for_good(server: &FakeServer, handle: Handle) -> JoinHandle<RedisResult<()>> {
    in_flight_while(server, handle, FakeServer::hang).await
}

async fn in_flight_while(
    server: &FakeServer,
    mut handle: Handle,
    begin: impl FnOnce(&FakeServer),
) -> JoinHandle<RedisResult<()>> {
    // What the tether asks of each new server is answered before, or the command would wait for that as well.
    server.wait_for_command("INFO", 1).await.expect("it asks who the server is");
    handle.get::<_, Option<String>>("key").await.expect("the server is well");
    begin(server);
    let read = server.bytes_read();
    let command = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await });
    server.wait_for_bytes(read + 1).await.expect("it arrives");
    command
}

#[tokio::test]
async fn what_is_in_flight_is_drained_and_nothing_is_left() {
    let (server, listener) = fake().await;
    let before = tasks();
    let tether = connected(config(listener.addr())).await;
    let begun = Instant::now();
    let command = in_flight(&server, tether.handle(), Duration::from_millis(200)).await;
    within(PATIENCE, "the shutdown", tether.shutdown()).await;
    let took = begun.elapsed();
    assert!((Duration::from_millis(200)..WELL_BEFORE_THE_DRAIN_ENDS).contains(&took), "took {took:?}");
    within(AT_ONCE, "the command", command).await.expect("no panic").expect("it was drained");
    server.wait_for_open_connections_at_most(0).await.expect("the socket is closed");
    // The server's task for the connection ends in its own time; ours have ended.
    wait_for_tasks_at_most(before).await;
    assert_eq!(tether.status().borrow().phase, Phase::Stopped);
    let error = within(AT_ONCE, "a later command", tether.handle().get::<_, String>("key")).await.expect_err("stopped");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
}

/// It counts tasks at the moment at which the shutdown returns, with the server in another runtime.
#[test]
fn no_task_of_ours_is_alive_when_the_shutdown_returns() {
    let servers = runtime();
    let (_server, listener) = servers.block_on(fake());
    let ours = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    ours.block_on(async {
        for _ in 0..20 {
            let tether = connected(config(listener.addr())).await;
            let mut handle = tether.handle();
            handle.set::<_, _, ()>("key", "value").await.expect("the server is well");
            tether.shutdown().await;
            assert_eq!(tasks(), 0);
        }
        // While it is still dialling, too.
        let nobody = Config::new("127.0.0.1", 1);
        let tether = Tether::start(nobody).await.expect("a valid configuration");
        tether.shutdown().await;
        assert_eq!(tasks(), 0);
    });
}

/// Nobody is told that a tether is ready which takes no commands any more.
#[tokio::test]
async fn a_tether_that_is_being_drained_is_not_ready() {
    let (server, listener) = fake().await;
    let mut config = unsuspecting(config(listener.addr()));
    config.drain_timeout = 3 * PATIENCE;
    let tether = connected(config).await;
    let command = in_flight_for_good(&server, tether.handle()).await;
    let (stopping, mut status) = (tether.clone(), tether.status());
    let shutdown = tokio::spawn(async move { stopping.shutdown().await });
    let left = within(PATIENCE, "the status to change", status.changed()).await;
    left.expect("the tether lives");
    assert_eq!((status.borrow().phase, status.borrow().readiness()), (Phase::Stopping, Readiness::Down));
    let error = tether.ready(PATIENCE).await.expect_err("it is about to stop");
    assert_eq!(error.status.phase, Phase::Stopping, "at once, and not when it has stopped");
    let orders = [tether.reconnect().is_err(), tether.pin().is_err(), tether.unpin().is_err()];
    assert_eq!(orders, [true; 3], "what will not be done is not taken");
    assert!(!command.is_finished(), "it is being drained");
    server.resume();
    within(PATIENCE, "the shutdown", shutdown).await.expect("no panic");
    command.await.expect("no panic").expect("it was drained");
    assert_eq!(tether.status().borrow().phase, Phase::Stopped);
}

#[tokio::test]
async fn the_drain_has_a_limit() {
    let (server, listener) = fake().await;
    let mut config = config(listener.addr());
    config.drain_timeout = Duration::from_millis(300);
    let tether = Tether::start(config).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let command = in_flight(&server, tether.handle(), PATIENCE).await;
    let begun = Instant::now();
    within(PATIENCE, "the shutdown", tether.shutdown()).await;
    let took = begun.elapsed();
    assert!((Duration::from_millis(300)..WELL_BEFORE_THE_DRAIN_ENDS).contains(&took), "took {took:?}");
    let error = within(AT_ONCE, "the command", command).await.expect("no panic").expect_err("its link is gone");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
}

/// A link that was replaced is still being drained: what is in flight on it is in flight as well.
#[tokio::test]
async fn what_is_in_flight_on_a_link_that_was_replaced_is_drained_too() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let command = in_flight(&server, tether.handle(), Duration::from_millis(300)).await;
    server.slow(Duration::ZERO);
    let mut diary = Diary::of(&tether);
    tether.reconnect().expect("the first one");
    diary.until("the new link", |event| matches!(event, Event::Connected { .. })).await;
    within(PATIENCE, "the shutdown", tether.shutdown()).await;
    command.await.expect("no panic").expect("it was drained");
    server.wait_for_open_connections_at_most(0).await.expect("the sockets are closed");
}

/// The limit is one for all links together.
#[tokio::test]
async fn a_link_that_was_replaced_does_not_hold_a_shutdown_up() {
    let (server, listener) = fake().await;
    let mut config = config(listener.addr());
    config.drain_timeout = Duration::from_millis(300);
    let tether = Tether::start(config).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let mut handle = tether.handle();
    let blocked = tokio::spawn(async move { handle.blpop::<_, (String, String)>("queue", 0.0).await });
    server.wait_for_command("BLPOP", 1).await.expect("it arrives");
    let mut diary = Diary::of(&tether);
    tether.reconnect().expect("the first one");
    diary.until("the new link", |event| matches!(event, Event::Connected { .. })).await;
    within(WELL_BEFORE_THE_DRAIN_ENDS, "the shutdown", tether.shutdown()).await;
    let error = within(AT_ONCE, "the pop", blocked).await.expect("no panic").expect_err("its link is gone");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
}

#[tokio::test]
async fn a_second_shutdown_and_one_at_the_same_time_return_normally() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let command = in_flight(&server, tether.handle(), Duration::from_millis(100)).await;
    let (a, b, c) = (tether.clone(), tether.clone(), tether.clone());
    within(PATIENCE, "three shutdowns at the same time", async {
        tokio::join!(a.shutdown(), b.shutdown(), c.shutdown())
    })
    .await;
    command.await.expect("no panic").expect("it was drained");
    within(AT_ONCE, "a second shutdown", tether.shutdown()).await;
    server.wait_for_open_connections_at_most(0).await.expect("the socket is closed");
}

/// Dropping the future does not undo what was begun.
#[tokio::test]
async fn a_shutdown_goes_on_when_its_future_is_dropped() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let command = in_flight_for_good(&server, tether.handle()).await;
    let cut_short = tokio::time::timeout(Duration::from_millis(20), tether.shutdown()).await;
    assert!(cut_short.is_err(), "a command is in flight");
    server.resume();
    reach(&tether, Phase::Stopped).await;
    command.await.expect("no panic").expect("it was drained");
}

/// Held commands fail at once; they do not use up the limit.
#[tokio::test]
async fn held_commands_do_not_hold_a_shutdown_up() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let mut diary = Diary::of(&tether);
    server.crash();
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    let mut handle = tether.handle();
    let held = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await });
    within(PATIENCE, "it to be held", async {
        while tether.stats().held_now == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(AT_ONCE, "the shutdown", tether.shutdown()).await;
    let error = within(AT_ONCE, "the command", held).await.expect("no panic").expect_err("stopped");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
}

#[tokio::test]
async fn a_token_shuts_it_down() {
    let (server, listener) = fake().await;
    let before = tasks();
    let token = CancellationToken::new();
    let tether = Tether::builder(config(listener.addr()))
        .cancelled_by(token.clone())
        .start()
        .await
        .expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let command = in_flight(&server, tether.handle(), Duration::from_millis(100)).await;
    token.cancel();
    command.await.expect("no panic").expect("it was drained");
    reach(&tether, Phase::Stopped).await;
    server.wait_for_open_connections_at_most(0).await.expect("the socket is closed");
    wait_for_tasks_at_most(before).await;
}

#[tokio::test]
async fn a_token_that_was_cancelled_before_shuts_it_down_as_well() {
    let (_server, listener) = fake().await;
    let token = CancellationToken::new();
    token.cancel();
    let tether =
        Tether::builder(config(listener.addr())).cancelled_by(token).start().await.expect("a valid configuration");
    reach(&tether, Phase::Stopped).await;
}

/// The end of one says nothing about the other's token.
#[tokio::test]
async fn a_shutdown_leaves_the_token_alone() {
    let (_server, listener) = fake().await;
    let token = CancellationToken::new();
    let builder = Tether::builder(config(listener.addr())).cancelled_by(token.clone());
    builder.start().await.expect("a valid configuration").shutdown().await;
    assert!(!token.is_cancelled());
}

#[tokio::test]
async fn dropping_everything_leaks_nothing() {
    let (server, listener) = fake().await;
    let before = tasks();
    for _ in 0..10 {
        let tether = connected(config(listener.addr())).await;
        let (clone, mut handle, status, events) = (tether.clone(), tether.handle(), tether.status(), tether.events());
        handle.set::<_, _, ()>("key", "value").await.expect("the server is well");
        drop((tether, clone));
        // A handle is enough to keep it.
        handle.set::<_, _, ()>("key", "value").await.expect("the tether lives");
        drop(handle);
        // Who only looks does not.
        let mut status = status;
        let stopped = status.wait_for(|status| status.phase == Phase::Stopped);
        let _ = within(PATIENCE, "the end", stopped).await;
        drop(events);
    }
    server.wait_for_open_connections_at_most(0).await.expect("the sockets are closed");
    wait_for_tasks_at_most(before).await;
}

/// In the middle of a dial: its timer, its socket and a lookup are under way.
#[tokio::test]
async fn dropping_everything_while_it_dials_leaks_nothing() {
    let before = tasks();
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let tether = Tether::start(config(mute.local_addr().expect("bound"))).await.expect("a valid configuration");
    let (mut socket, _) = within(PATIENCE, "a dial", mute.accept()).await.expect("a connection");
    let mut first = [0];
    within(PATIENCE, "its first byte", socket.read_exact(&mut first)).await.expect("it speaks first");
    drop(tether);
    let mut rest = Vec::new();
    within(AT_ONCE, "the socket to be closed", socket.read_to_end(&mut rest)).await.expect("closed in order");
    wait_for_tasks_at_most(before).await;
}

/// As real servers count: their own list of clients, in which the test has one place.
async fn no_client_is_left_at_a_real_server(kind: ServerKind) {
    let server = Server::start(&server_binary(kind)).await.expect("a server");
    let only_us = |info: &redis_tether_testkit::server::Info| info.number("connected_clients") == Some(1);
    let by_shutdown = connected(config(server.addr())).await;
    by_shutdown.shutdown().await;
    server.wait_for("no client", PATIENCE, only_us).await.expect("after a shutdown");
    let by_drop = connected(config(server.addr())).await;
    drop(by_drop);
    server.wait_for("no client", PATIENCE, only_us).await.expect("after a drop");
    // A move leaves no link behind, either.
    let moved = connected(config(server.addr())).await;
    let mut diary = Diary::of(&moved);
    moved.reconnect().expect("the first one");
    diary.until("the new link", |event| matches!(event, Event::Connected { .. })).await;
    let one_more = |info: &redis_tether_testkit::server::Info| info.number("connected_clients") == Some(2);
    server.wait_for("one link", PATIENCE, one_more).await.expect("after a move");
    moved.shutdown().await;
    server.wait_for("no client", PATIENCE, only_us).await.expect("after the last");
}

on_each_server!(no_client_is_left_at_a_real_server);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn a_handle_works_on_another_runtime_than_the_tethers() {
    let (home, away) = (runtime(), runtime());
    let (server, listener) = home.block_on(fake());
    let tether = home.block_on(connected(patient(config(listener.addr()))));
    let mut handle = tether.handle();
    away.block_on(async {
        handle.set::<_, _, ()>("key", "value").await.expect("the server is well");
        let value: String = handle.get("key").await.expect("the server is well");
        assert_eq!(value, "value");
        // Held there, let go from here.
        server.crash();
        reach(&tether, Phase::Recovering).await;
        let held = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await });
        server.restart();
        within(PATIENCE, "the held command", held).await.expect("no panic").expect("the server is back");
        tether.shutdown().await;
    });
}

#[test]
fn it_says_stopped_when_its_runtime_was_dropped() {
    let (servers, home, away) = (runtime(), runtime(), runtime());
    let (server, listener) = servers.block_on(fake());
    let tether = home.block_on(connected(config(listener.addr())));
    let mut handle = tether.handle();
    let blocked = away.spawn({
        let mut handle = handle.clone();
        async move { handle.blpop::<_, (String, String)>("queue", 0.0).await }
    });
    servers.block_on(server.wait_for_command("BLPOP", 1)).expect("it arrives");
    let begun = Instant::now();
    drop(home);
    assert!(begun.elapsed() < AT_ONCE, "dropping the runtime took {:?}", begun.elapsed());
    away.block_on(async {
        let error =
            within(AT_ONCE, "what was in flight", blocked).await.expect("no panic").expect_err("its link is gone");
        assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
        let error = within(AT_ONCE, "a command", handle.get::<_, String>("key")).await.expect_err("stopped");
        assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
        assert!(error.to_string().contains("stopped"), "{error}");
        assert_eq!(reach(&tether, Phase::Stopped).await.address, None);
        within(Duration::from_secs(3), "a shutdown of what is over", tether.shutdown()).await;
    });
    servers.block_on(server.wait_for_open_connections_at_most(0)).expect("the socket is closed");
}

#[test]
fn held_commands_fail_at_once_when_the_tethers_runtime_is_dropped() {
    let (home, away) = (runtime(), runtime());
    let tether = home.block_on(async { Tether::start(Config::new("127.0.0.1", 1)).await.expect("valid") });
    let mut handle = tether.handle();
    let held = away.spawn(async move { handle.get::<_, String>("key").await });
    away.block_on(within(PATIENCE, "it to be held", async {
        while tether.stats().held_now == 0 {
            tokio::task::yield_now().await;
        }
    }));
    drop(home);
    let error = away.block_on(within(AT_ONCE, "the held command", held)).expect("no panic").expect_err("stopped");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
    assert!(error.to_string().contains("stopped"), "{error}");
}
