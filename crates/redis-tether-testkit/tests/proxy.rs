//! Every mode of the proxy, between a plain TCP client and a fake server.

use std::io::{self, ErrorKind};
use std::time::Duration;

use redis_tether_testkit::{FakeListener, FakeServer, Proxy, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Long enough for anything that is to happen on a loaded machine.
const LIMIT: Duration = Duration::from_secs(20);
/// Long enough to show that nothing happens, had it been about to.
const SILENCE: Duration = Duration::from_millis(50);

struct World {
    server: FakeServer,
    listener: FakeListener,
    proxy: Proxy,
}

async fn world() -> World {
    let server = FakeServer::new();
    let listener = server.listen(([127, 0, 0, 1], 0).into()).await.expect("listens");
    let proxy = Proxy::start(listener.addr()).await.expect("starts");
    World { server, listener, proxy }
}

impl World {
    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.proxy.addr())).await.expect("accepted")
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("within the limit of the test")
}

async fn reply(client: &mut TcpStream, length: usize) -> io::Result<String> {
    let mut reply = vec![0; length];
    within(client.read_exact(&mut reply)).await?;
    Ok(String::from_utf8(reply).expect("text"))
}

async fn ping(client: &mut TcpStream) -> io::Result<()> {
    client.write_all(b"PING\r\n").await?;
    let pong = reply(client, 7).await?;
    assert_eq!(pong, "+PONG\r\n");
    Ok(())
}

async fn is_silent(client: &mut TcpStream) -> bool {
    timeout(SILENCE, client.read_u8()).await.is_err()
}

#[tokio::test]
async fn it_passes_everything_on_and_counts() {
    let world = world().await;
    let mut client = world.connect().await;
    ping(&mut client).await.expect("passed on");
    let proxy = &world.proxy;
    assert_eq!((proxy.connections_accepted(), proxy.live_connections()), (1, 1));
    assert_eq!((proxy.bytes_to_server(), proxy.bytes_to_client()), (6, 7));
    drop(client);
    proxy.wait_until_idle().await.expect("the end is passed on");
    world.server.wait_for_open_connections_at_most(0).await.expect("to the server");
}

#[tokio::test]
async fn it_refuses_and_accepts_again_at_the_same_address() {
    let world = world().await;
    let mut old = world.connect().await;
    ping(&mut old).await.expect("passed on");
    world.proxy.refuse();
    world.proxy.wait_until_closed().await.expect("closes");
    let refused = TcpStream::connect(world.proxy.addr()).await.expect_err("closed");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    ping(&mut old).await.expect("old connections go on");
    world.proxy.pass();
    world.proxy.wait_until_open().await.expect("opens");
    ping(&mut world.connect().await).await.expect("passed on");
}

#[tokio::test]
async fn it_resets_what_exists() {
    let world = world().await;
    let mut client = world.connect().await;
    ping(&mut client).await.expect("passed on");
    world.proxy.reset();
    let error = within(client.read_u8()).await.expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    ping(&mut world.connect().await).await.expect("new connections are fine");
}

#[tokio::test]
async fn a_black_hole_holds_everything_back_and_lets_it_go() {
    let world = world().await;
    let mut old = world.connect().await;
    ping(&mut old).await.expect("passed on");
    world.proxy.black_hole();
    let mut new = world.connect().await;
    for client in [&mut old, &mut new] {
        client.write_all(b"INCR k\r\n").await.expect("the kernel takes it");
        assert!(is_silent(client).await);
    }
    assert_eq!((world.server.executions("INCR"), world.server.connections_accepted()), (0, 1));
    world.proxy.pass();
    for client in [&mut old, &mut new] {
        reply(client, 4).await.expect("late");
    }
    assert_eq!(world.server.executions("INCR"), 2);
}

#[tokio::test]
async fn replies_alone_can_be_held_back() {
    let world = world().await;
    let mut client = world.connect().await;
    world.proxy.black_hole_replies();
    client.write_all(b"INCR k\r\n").await.expect("open");
    world.server.wait_for_command("INCR", 1).await.expect("requests pass");
    assert!(is_silent(&mut client).await);
    world.proxy.pass();
    assert_eq!(reply(&mut client, 4).await.expect("late"), ":1\r\n");
}

#[tokio::test]
async fn a_delay_counts_in_each_direction_and_not_for_each_command() {
    let world = world().await;
    let mut client = world.connect().await;
    client.set_nodelay(true).expect("a socket");
    ping(&mut client).await.expect("passed on");
    world.proxy.delay(Duration::from_millis(100));
    let start = Instant::now();
    for _ in 0..30 {
        client.write_all(b"PING\r\n").await.expect("open");
        // The proxy reads them one by one, and not all at once: that is what this is about.
        sleep(Duration::from_millis(2)).await;
    }
    reply(&mut client, 30 * 7).await.expect("late");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took < Duration::from_millis(2500), "{took:?}: one delay each way, not thirty");
}

#[tokio::test]
async fn a_reply_is_cut_where_it_was_told() {
    let world = world().await;
    world.server.run(&["SET", "k", "0123456789"]);
    let mut client = world.connect().await;
    ping(&mut client).await.expect("what came before does not count");
    world.proxy.cut_reply_after(8);
    client.write_all(b"GET k\r\n").await.expect("open");
    let mut read = String::new();
    within(client.read_to_string(&mut read)).await.expect("closed, not reset");
    assert_eq!(read, "$10\r\n012");
    let mut next = world.connect().await;
    ping(&mut next).await.expect("seven bytes are less than eight");
    next.write_all(b"PING\r\n").await.expect("open");
    assert_eq!(within(next.read_to_string(&mut read)).await.expect("closed"), 1);
    world.proxy.wait_until_idle().await.expect("both are closed");
}

#[tokio::test]
async fn a_connection_is_cut_after_the_request_and_before_the_reply() {
    let world = world().await;
    let mut client = world.connect().await;
    world.proxy.cut_before_reply();
    client.write_all(b"INCR k\r\n").await.expect("open");
    assert_eq!(within(client.read(&mut [0; 8])).await.expect("closed"), 0);
    assert_eq!(world.server.run(&["GET", "k"]), Reply::bulk("1"));
    world.server.wait_for_open_connections_at_most(0).await.expect("closed on both sides");
}

#[tokio::test]
async fn a_half_open_connection_takes_everything_and_says_nothing() {
    let world = world().await;
    let mut old = world.connect().await;
    ping(&mut old).await.expect("passed on");
    world.proxy.half_open();
    world.server.wait_for_open_connections_at_most(0).await.expect("the server's side is closed");
    let mut new = world.connect().await;
    for client in [&mut old, &mut new] {
        client.write_all(b"PING\r\n").await.expect("swallowed");
        assert!(is_silent(client).await);
    }
    assert_eq!((world.server.commands("PING"), world.proxy.live_connections()), (1, 2));
    world.proxy.pass();
    for client in [&mut old, &mut new] {
        client.write_all(b"PING\r\n").await.expect("not known yet");
        let error = within(client.read_u8()).await.expect_err("reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn replies_drip() {
    let world = world().await;
    let mut client = world.connect().await;
    world.proxy.drip(Duration::from_millis(20));
    let start = Instant::now();
    ping(&mut client).await.expect("in the end");
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}: six pauses between seven bytes", start.elapsed());
    world.proxy.drip(LIMIT * 10);
    client.write_all(b"PING\r\n").await.expect("open");
    assert_eq!(reply(&mut client, 1).await.expect("the first byte"), "+");
    world.proxy.pass();
    assert_eq!(reply(&mut client, 6).await.expect("the rest at once"), "PONG\r\n");
}

#[tokio::test]
async fn new_connections_go_to_the_new_target() {
    let world = world().await;
    let other = FakeServer::new();
    let elsewhere = other.listen(([127, 0, 0, 1], 0).into()).await.expect("listens");
    let mut old = world.connect().await;
    ping(&mut old).await.expect("passed on");
    world.proxy.retarget(elsewhere.addr());
    ping(&mut world.connect().await).await.expect("passed on");
    ping(&mut old).await.expect("stays where it is");
    assert_eq!((world.server.commands("PING"), other.commands("PING")), (2, 1));
}

#[tokio::test]
async fn a_crash_behind_it_is_passed_on() {
    let world = world().await;
    let mut client = world.connect().await;
    ping(&mut client).await.expect("passed on");
    world.server.crash();
    let error = within(client.read_u8()).await.expect_err("crashed");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    world.listener.wait_until_closed().await.expect("down");
    let mut new = world.connect().await;
    assert!(within(new.read_u8()).await.is_err());
    world.server.restart();
    world.listener.wait_until_open().await.expect("up");
    ping(&mut world.connect().await).await.expect("passed on");
}

#[tokio::test]
async fn dropping_it_ends_everything() {
    let world = world().await;
    let mut client = world.connect().await;
    ping(&mut client).await.expect("passed on");
    let addr = world.proxy.addr();
    drop(world.proxy);
    assert!(within(client.read_u8()).await.is_err());
    assert!(TcpStream::connect(addr).await.is_err());
    world.server.wait_for_open_connections_at_most(0).await.expect("the server's side, too");
}
