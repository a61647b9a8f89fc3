//! Every scripted fault of the fake server, mostly under virtual time, and how it ends.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::{Session, assert_refused, connect, connect_as, connect_tcp};
use redis::{AsyncTypedCommands, ProtocolVersion, RedisResult, Value, cmd, pipe};
use redis_tether_testkit::{FakeServer, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(3600);

async fn ping(con: &mut Session) -> RedisResult<Value> {
    cmd("PING").query_async(con).await
}

/// A client without a library, for what a library would not let through.
fn raw(server: &FakeServer) -> DuplexStream {
    let (client, io) = tokio::io::duplex(64 * 1024);
    server.serve(io);
    client
}

/// Everything until the server closes.
async fn rest(client: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    timeout(LONG, client.read_to_end(&mut bytes)).await.expect("closes").expect("closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_hung_server_executes_what_its_buffers_held_also_for_clients_that_left() {
    let server = FakeServer::new();
    server.hang();
    let mut client = raw(&server);
    client.write_all(b"INCR k\r\nINCR k\r\n").await.expect("it reads");
    server.wait_for_bytes(16).await.expect("it reads");
    assert_eq!((server.commands("INCR"), server.executions("INCR")), (0, 0));
    let mut other = connect_hung(&server);
    assert!(timeout(LONG, &mut other).await.is_err(), "it answers nobody");
    drop(client);
    server.resume();
    other.await.expect("no panic").expect("answered now");
    assert_eq!(server.run(&["GET", "k"]), Reply::bulk("2"));
}

fn connect_hung(server: &FakeServer) -> tokio::task::JoinHandle<RedisResult<Value>> {
    let server = server.clone();
    tokio::spawn(async move { ping(&mut connect(&server).await).await })
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_does_not_even_read() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    ping(&mut con).await.expect("in good health");
    let read = server.bytes_read();
    server.freeze();
    let asking = tokio::spawn(async move { ping(&mut con).await });
    tokio::time::sleep(LONG).await;
    assert!(!asking.is_finished());
    assert_eq!(server.bytes_read(), read);
    server.thaw();
    timeout(LONG, asking).await.expect("thawed").expect("no panic").expect("answered");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_answers_everybody_when_it_is_done() {
    let server = FakeServer::new();
    let (mut a, mut b) = (connect(&server).await, connect(&server).await);
    let start = Instant::now();
    server.busy_for(Duration::from_secs(3));
    ping(&mut a).await.expect("late");
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    let sleeping = tokio::spawn(async move { cmd("DEBUG").arg(&["SLEEP", "2"]).exec_async(&mut a).await });
    server.wait_for_command("DEBUG", 1).await.expect("it sleeps");
    ping(&mut b).await.expect("late");
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    sleeping.await.expect("no panic").expect("answered after it");
    server.slow(Duration::from_millis(40));
    ping(&mut b).await.expect("slow");
    assert_eq!(start.elapsed(), Duration::from_millis(5040));
}

#[tokio::test(start_paused = true)]
async fn one_ping_is_late_and_the_next_is_not() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    server.delay_next_ping(Duration::from_secs(1));
    let start = Instant::now();
    con.get("k").await.expect("not a PING");
    assert_eq!(start.elapsed(), Duration::ZERO);
    for _ in 0..2 {
        ping(&mut con).await.expect("answered");
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_loading_server_tells_so_and_still_says_who_it_is() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    server.load_for(Duration::from_secs(3));
    for command in [cmd("PING"), cmd("GET").arg("k").to_owned(), cmd("SET").arg(&["k", "v"]).to_owned()] {
        assert_refused(command.query_async::<Value>(&mut con).await, "LOADING");
    }
    for command in [cmd("ROLE"), cmd("HELLO"), cmd("INFO"), cmd("CLIENT").arg("ID").to_owned()] {
        command.query_async::<Value>(&mut con).await.expect("allowed while loading");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    ping(&mut con).await.expect("loaded");
    server.start_loading();
    assert_refused(ping(&mut con).await, "LOADING");
    server.finish_loading();
    ping(&mut con).await.expect("loaded");
}

#[tokio::test(start_paused = true)]
async fn refusals_come_in_the_texts_that_were_scripted() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    server.fail_saves();
    assert_refused(con.set("k", "v").await, "MISCONF");
    assert_refused(ping(&mut con).await, "MISCONF");
    con.get("k").await.expect("reads are allowed");
    server.demote();
    assert_refused(con.set("k", "v").await, "READONLY");
    ping(&mut con).await.expect("a replica does not mind");
    server.readonly_text(Some("ERR READONLY You can't write against a read only slave."));
    assert_refused(con.set("k", "v").await, "ERR ResponseError: READONLY");
    server.promote();
    server.heal();
    server.refuse("get", Some("MASTERDOWN Link with MASTER is down"));
    assert_refused(con.get("k").await, "MASTERDOWN");
    server.refuse("GET", None);
    con.set("k", "v").await.expect("healed");
    con.get("k").await.expect("no longer refused");
    server.role_word(Some("active-replica"));
    let role: (String, Value, Value) = cmd("ROLE").query_async(&mut con).await.expect("answered");
    assert_eq!(role.0, "active-replica");
}

#[tokio::test(start_paused = true)]
async fn chosen_commands_are_denied_unknown_or_closed_upon() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    server.deny(&["client|setname", "ROLE"]);
    assert_refused(cmd("CLIENT").arg(&["SETNAME", "me"]).query_async::<()>(&mut con).await, "NOPERM");
    cmd("CLIENT").arg("ID").exec_async(&mut con).await.expect("another subcommand");
    assert_refused(cmd("ROLE").query_async::<Value>(&mut con).await, "NOPERM");
    server.deny(&[]);
    cmd("ROLE").query_async::<Value>(&mut con).await.expect("permitted");
    server.unknown(&["HELLO"]);
    assert_refused(cmd("HELLO").query_async::<Value>(&mut con).await, "unknown command 'HELLO'");
    server.close_on(&["HELLO"]);
    let mut client = raw(&server);
    client.write_all(b"PING\r\nHELLO\r\nPING\r\n").await.expect("open");
    assert_eq!(rest(&mut client).await, "+PONG\r\n");
    assert_eq!(server.commands("HELLO"), 2);
}

#[tokio::test(start_paused = true)]
async fn replies_are_cut_garbled_dripped() {
    let server = FakeServer::new();
    server.close_after_bytes(Some(10));
    let mut client = raw(&server);
    client.write_all(b"PING\r\nPING\r\nPING\r\n").await.expect("open");
    assert_eq!(rest(&mut client).await, "+PONG\r\n+PO");
    server.close_after_bytes(None);

    server.close_after_reply();
    let mut client = raw(&server);
    client.write_all(b"PING\r\nPING\r\n").await.expect("open");
    assert_eq!(rest(&mut client).await, "+PONG\r\n");
    server.heal();

    server.garbage();
    let garbled = connect_as(&server, ProtocolVersion::RESP3, None).await;
    assert!(garbled.is_err(), "redis-rs makes nothing of it");
    server.heal();

    server.drip(Some(Duration::from_secs(1)));
    let mut client = raw(&server);
    let start = Instant::now();
    client.write_all(b"PING\r\n").await.expect("open");
    client.read_exact(&mut [0; 7]).await.expect("in the end");
    assert_eq!(start.elapsed(), Duration::from_secs(6));
    client.write_all(b"PING\r\n").await.expect("open");
    client.read_u8().await.expect("the first byte");
    server.drip(None);
    let rest_came = Instant::now();
    client.read_exact(&mut [0; 6]).await.expect("the rest");
    assert_eq!(rest_came.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn too_many_clients_are_told_so() {
    let server = FakeServer::new();
    let mut first = connect(&server).await;
    ping(&mut first).await.expect("served");
    server.max_clients(Some(1));
    let mut second = raw(&server);
    assert_eq!(rest(&mut second).await, "-ERR max number of clients reached\r\n");
    ping(&mut first).await.expect("still served");
    assert_eq!((server.connections_accepted(), server.connections_rejected()), (1, 1));
    drop(first);
    server.wait_for_open_connections_at_most(0).await.expect("left");
    ping(&mut connect(&server).await).await.expect("there is room");
}

#[tokio::test(start_paused = true)]
async fn killed_connections_close_whatever_they_wait_for() {
    let server = FakeServer::new();
    let mut clients = [raw(&server), raw(&server), raw(&server)];
    clients[0].write_all(b"BLPOP l 0\r\n").await.expect("open");
    server.wait_for_command("BLPOP", 1).await.expect("it blocks");
    server.busy_for(LONG);
    clients[1].write_all(b"PING\r\n").await.expect("open");
    server.kill_connections();
    for client in &mut clients {
        assert_eq!(rest(client).await, "");
    }
    assert_eq!(server.open_connections(), 0);
}

#[tokio::test]
async fn a_crashed_server_resets_and_refuses_over_tcp_until_it_restarts() {
    let server = FakeServer::new();
    let listener = server.listen(([127, 0, 0, 1], 0).into()).await.expect("listens");
    let mut con = connect_tcp(listener.addr(), ProtocolVersion::RESP3).await.expect("connects");
    con.set("k", "v").await.expect("set");
    let mut client = TcpStream::connect(listener.addr()).await.expect("connects");
    server.wait_for_connections(2).await.expect("both are served");
    server.crash();
    let limit = Duration::from_secs(20);
    let ended = timeout(limit, client.read_u8()).await.expect("at once").expect_err("reset");
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    listener.wait_until_closed().await.expect("down");
    let refused = TcpStream::connect(listener.addr()).await.expect_err("down");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(!server.is_up());

    server.lose_data();
    server.hang();
    server.restart();
    listener.wait_until_open().await.expect("up");
    let mut con = connect_tcp(listener.addr(), ProtocolVersion::RESP3).await.expect("awake again");
    assert_eq!(con.get("k").await.expect("answers"), None);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_down_catches_up() {
    let (primary, replica) = (FakeServer::new(), FakeServer::new());
    replica.replicate_from(&primary);
    replica.crash();
    connect(&primary).await.set("k", "v").await.expect("a primary");
    assert_eq!(replica.run(&["GET", "k"]), Reply::Nil);
    replica.restart();
    assert_eq!(replica.run(&["GET", "k"]), Reply::bulk("v"));
}

#[tokio::test(start_paused = true)]
async fn the_log_of_writes_shows_what_was_executed_in_order_and_twice() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    con.lpush("l", &["1", "2"]).await.expect("pushed");
    pipe().atomic().set("k", "3").incr("n", 1).exec_async(&mut con).await.expect("set");
    con.lpush("l", "1").await.expect("pushed again");
    con.lpush("k", "4").await.expect_err("of the wrong type");
    assert_eq!(server.written_values(), ["1", "2", "3", "1"].map(|value| value.as_bytes().to_vec()));
    let commands: Vec<_> = server.writes().into_iter().map(|write| write.command).collect();
    assert_eq!(commands, ["LPUSH", "SET", "INCRBY", "LPUSH"]);
}

#[tokio::test(start_paused = true)]
async fn nonsense_from_a_client_ends_its_connection_only() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    for nonsense in [&b"*1\r\n:5\r\n"[..], b"*9999999999\r\n", b"*1\r\n$-7\r\n", &[b'x'; 70_000]] {
        let mut client = raw(&server);
        // The pipe may be full, or closed half-way, which is as good.
        let sending = async {
            client.write_all(nonsense).await.ok();
            rest(&mut client).await
        };
        let answer = timeout(LONG, sending).await.expect("closes");
        assert!(answer.starts_with("-ERR Protocol error"), "{answer}");
    }
    for strange in
        ["BLPOP l x", "SET k v EX", "SELECT x", "CLIENT NOSUCH", "CONFIG SET a b", "SLEEP -1", "HELLO 2 AUTH"]
    {
        let words: Vec<_> = strange.split(' ').collect();
        let refused = cmd(words[0]).arg(&words[1..]).query_async::<Value>(&mut con).await;
        assert_refused(refused, "ERR");
    }
    ping(&mut con).await.expect("others are served");
}
