//! The pace at which held commands are let go: 64 first, and twice as many each time the batch before has been answered. In
//! memory and in virtual time, with a server so far away that one batch can be told from the next.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Event, Tether};
use redis_tether_testkit::{FakeServer, SimNet};
use redis_tether_tests::rig::InMemory;
use redis_tether_tests::watch::Diary;
use tokio::task::JoinSet;

const HELD: usize = 1000;
const ONE_WAY: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn held_commands_are_let_go_at_a_growing_pace() {
    let (net, server) = (SimNet::new(), FakeServer::new());
    let address = SocketAddr::from(([10, 0, 0, 1], 6379));
    net.bind(address, server.clone());
    net.latency(address, ONE_WAY);
    let tether = Tether::builder(Config::new("10.0.0.1", 6379)).seed(1).transport(InMemory(net.clone()));
    let tether = tether.start().await.expect("the configuration is valid");
    tether.ready(Duration::from_secs(5)).await.expect("the server is well");
    let mut diary = Diary::of(&tether);

    server.crash();
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    let mut calling = JoinSet::new();
    for number in 0..HELD {
        let mut handle = tether.handle();
        calling.spawn(async move { handle.set::<_, _, ()>("last", number).await });
    }
    while tether.stats().held_now < HELD as u64 {
        tokio::task::yield_now().await;
    }
    server.restart();
    diary.until("the new link", |event| matches!(event, Event::Connected { .. })).await;

    // A batch has been executed after one way, and its answers are here after another.
    let mut executed = Vec::new();
    while executed.last().is_none_or(|last| *last < HELD as u64) && executed.len() < 10 {
        tokio::time::sleep(ONE_WAY + ONE_WAY / 2).await;
        executed.push(server.executions("SET"));
        tokio::time::sleep(ONE_WAY / 2).await;
    }
    assert_eq!(executed, [64, 192, 448, 960, 1000]);
    for outcome in calling.join_all().await {
        assert_eq!(outcome, Ok(()));
    }
    let written: Vec<_> = (0..HELD).map(|number| number.to_string().into_bytes()).collect();
    assert_eq!(server.written_values(), written, "first come, first served");
    tether.shutdown().await;
}
