//! Whole systems in memory: that they take the same course at every run, and carry many clients.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether_testkit::{FakeServer, SimNet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const CLIENTS: u64 = 2_000;

fn addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 6379))
}

/// Writes its number until that is confirmed, dialling anew after each failure.
async fn write_until_confirmed(net: SimNet, number: u64) {
    loop {
        if try_write(&net, number).await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(7 + number % 50)).await;
    }
}

async fn try_write(net: &SimNet, number: u64) -> std::io::Result<()> {
    let mut stream = net.connect(addr()).await?;
    sleep(Duration::from_millis(number % 13)).await;
    stream.write_all(format!("RPUSH l {number}\r\n").as_bytes()).await?;
    stream.read_u8().await.map(drop)
}

/// Two thousand clients meet a server that hangs, crashes and comes back. Returns the order of the writes and the times
/// of the dials.
async fn outage() -> (Vec<Vec<u8>>, Vec<Duration>) {
    let (net, server, start) = (SimNet::new(), FakeServer::new(), Instant::now());
    net.bind(addr(), server.clone());
    net.latency(addr(), Duration::from_millis(3));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(write_until_confirmed(net.clone(), number));
    }
    sleep(Duration::from_millis(8)).await;
    server.hang();
    sleep(Duration::from_millis(500)).await;
    server.crash();
    sleep(Duration::from_millis(500)).await;
    server.restart();
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }
    let dials = net.dial_times(addr()).into_iter().map(|at| at - start).collect();
    (server.written_values(), dials)
}

#[test]
fn an_outage_of_many_clients_takes_the_same_course_at_every_run() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(outage())
    };
    let (written, dials) = run();
    assert!(written.len() as u64 >= CLIENTS && dials.len() as u64 > CLIENTS);
    assert_eq!(run(), (written, dials));
}
