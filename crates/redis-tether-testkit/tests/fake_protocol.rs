//! The fake server as redis-rs sees it: protocols, commands, credentials, transactions, blocking, replication.

mod common;

use std::time::Duration;

use common::{Session, assert_refused, connect, connect_as, connect_tcp, error_text};
use redis::{AsyncTypedCommands, ProtocolVersion, RedisResult, Value, cmd, pipe};
use redis_tether_testkit::{FakeServer, Reply};
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(3600);

async fn every_data_command(con: &mut Session) -> RedisResult<()> {
    con.set("k", "1").await?;
    assert_eq!(con.get("k").await?.as_deref(), Some("1"));
    assert_eq!(con.incr("k", 4).await?, 5);
    assert_eq!(con.append("k", "x").await?, 2);
    assert!(con.exists("k").await?);
    assert_eq!(con.del("k").await?, 1);
    assert_eq!(con.get("k").await?, None);
    con.rpush("l", &["b", "c"]).await?;
    con.lpush("l", "a").await?;
    assert_eq!(con.lrange("l", 0, -1).await?, ["a", "b", "c"]);
    assert_eq!(con.llen("l").await?, 3);
    assert_eq!(con.blpop("l", 0.0).await?, Some(["l".to_owned(), "a".to_owned()]));
    con.mset(&[("a", "1"), ("b", "2")]).await?;
    assert_eq!(con.mget(&["a", "none"]).await?, [Some("1".to_owned()), None]);
    let (value, size): (String, u64) = pipe().atomic().get("b").cmd("DBSIZE").query_async(con).await?;
    assert_eq!((value.as_str(), size), ("2", 3));
    let role: (String, u64, Vec<Value>) = cmd("ROLE").query_async(con).await?;
    assert_eq!((role.0.as_str(), role.2.len()), ("master", 0));
    let info: String = cmd("INFO").arg("replication").query_async(con).await?;
    assert!(info.contains("role:master\r\n"), "{info}");
    con.flushall().await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn redis_rs_speaks_with_it_over_a_stream_in_either_protocol() {
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        let server = FakeServer::new();
        let mut con = connect_as(&server, protocol, None).await.expect("connects");
        every_data_command(&mut con).await.expect("all commands work");
        assert_eq!(server.executions("RPUSH"), 1);
        assert_eq!(server.executions("LPOP"), 1);
        assert_eq!(server.executions("GET"), 0);
    }
}

#[tokio::test]
async fn redis_rs_speaks_with_it_over_tcp_in_either_protocol() {
    let server = FakeServer::new();
    let listener = server.listen(([127, 0, 0, 1], 0).into()).await.expect("listens");
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        let mut con = connect_tcp(listener.addr(), protocol).await.expect("connects");
        every_data_command(&mut con).await.expect("all commands work");
    }
    assert_eq!(server.connections_accepted(), 2);
    server.wait_for_open_connections_at_most(0).await.expect("both have left");
}

#[tokio::test(start_paused = true)]
async fn command_info_says_what_reads_and_what_writes() {
    let mut con = connect(&FakeServer::new()).await;
    let about = |name: &str, arity, flag: Option<&str>| {
        let flags = flag.into_iter().map(|flag| Value::SimpleString(flag.to_owned())).collect();
        Value::Array(vec![Value::BulkString(name.into()), Value::Int(arity), Value::Array(flags)])
    };
    let known = vec![about("get", 2, Some("readonly")), about("set", -3, Some("write")), about("ping", -1, None)];
    let asked = cmd("COMMAND").arg("INFO").arg(&["GET", "set", "ping", "none"]).query_async(&mut con).await;
    assert_eq!(asked, Ok(Value::Array([known, vec![Value::Nil]].concat())));
    assert_eq!(cmd("COMMAND").arg("DOCS").query_async(&mut con).await, Ok(Value::Array(Vec::new())));
}

#[tokio::test(start_paused = true)]
async fn hello_names_role_and_protocol_and_takes_credentials() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    let hello: redis::InfoDict = info_of_hello(&mut con, &[]).await;
    assert_eq!((hello.get::<String>("role").as_deref(), hello.get("proto")), (Some("master"), Some(2)));
    server.demote();
    let hello = info_of_hello(&mut con, &["3", "SETNAME", "me"]).await;
    assert_eq!((hello.get::<String>("role").as_deref(), hello.get("proto")), (Some("replica"), Some(3)));
    assert_eq!(con.client_getname().await.expect("a name").as_deref(), Some("me"));
    server.require_password(Some("secret"));
    server.kill_connections();
    let mut con = connect(&server).await;
    let mut hello = async |args: &[&str]| error_text(cmd("HELLO").arg(args).query_async::<Value>(&mut con).await);
    assert!(hello(&[]).await.contains("NOAUTH"));
    assert!(hello(&["9"]).await.contains("NOPROTO"));
    assert!(hello(&["2", "AUTH", "default", "wrong"]).await.contains("WRONGPASS"));
    assert!(hello(&["2", "AUTH", "default"]).await.contains("Syntax error in HELLO option"));
    assert_eq!(hello(&["2", "AUTH", "default", "secret"]).await, "no error");
}

async fn info_of_hello(con: &mut Session, args: &[&str]) -> redis::InfoDict {
    let value: Value = cmd("HELLO").arg(args).query_async(con).await.expect("HELLO is answered");
    let pairs: Vec<(Value, Value)> = match value {
        Value::Map(pairs) => pairs,
        Value::Array(items) => items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
        other => panic!("not a map: {other:?}"),
    };
    let line = |(key, value): (Value, Value)| {
        let text = |value| redis::from_redis_value::<String>(value).unwrap_or_default();
        format!("{}:{}\r\n", text(key), text(value))
    };
    redis::InfoDict::new(&pairs.into_iter().map(line).collect::<String>())
}

#[tokio::test(start_paused = true)]
async fn a_password_is_asked_of_new_connections_only() {
    let server = FakeServer::new();
    let mut old = connect(&server).await;
    server.require_password(Some("secret"));
    server.add_user("app", "other");
    assert_eq!(old.get("k").await.expect("was let in before"), None);
    let refused = connect_as(&server, ProtocolVersion::RESP2, Some(("default", "wrong"))).await;
    assert_refused(refused, "AuthenticationFailed");
    for (user, password) in [("default", "secret"), ("app", "other")] {
        for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
            let con = connect_as(&server, protocol, Some((user, password))).await;
            con.expect("the right password").get("k").await.expect("let in");
        }
    }
    let mut stranger = connect(&server).await;
    assert_refused(stranger.get("k").await, "NOAUTH");
    let auth = cmd("AUTH").arg("nope").query_async::<()>(&mut stranger).await;
    assert_refused(auth, "WRONGPASS");
    cmd("CONFIG").arg(&["SET", "requirepass", ""]).exec_async(&mut old).await.expect("allowed");
    assert_eq!(stranger.get("k").await.expect("no password any more"), None);
}

#[tokio::test(start_paused = true)]
async fn databases_are_apart_and_sixteen() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    con.set("k", "zero").await.expect("set");
    cmd("SELECT").arg(1).exec_async(&mut con).await.expect("in range");
    assert_eq!(con.get("k").await.expect("empty"), None);
    let out_of_range = cmd("SELECT").arg(16).query_async::<()>(&mut con).await;
    assert_refused(out_of_range, "DB index is out of range");
    assert_eq!(server.run(&["GET", "k"]), Reply::bulk("zero"));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_refused_upon_queueing_executes_nothing() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    let broken = pipe().atomic().set("k", "v").cmd("NOSUCH").set("k", "w").query_async::<Value>(&mut con).await;
    assert_refused(broken, "EXECABORT");
    let [multi, set] = [cmd("MULTI"), cmd("SET").arg(&["k", "v"]).clone()];
    multi.exec_async(&mut con).await.expect("opened");
    set.exec_async(&mut con).await.expect("queued");
    server.demote();
    let exec = error_text(cmd("EXEC").query_async::<Value>(&mut con).await);
    assert!(exec.contains("EXECABORT") && exec.contains("READONLY"), "{exec}");
    assert_refused(cmd("EXEC").query_async::<Value>(&mut con).await, "EXEC without MULTI");
    assert_eq!(server.executions("SET"), 0);
    assert_eq!(server.run(&["GET", "k"]), Reply::Nil);
}

#[tokio::test(start_paused = true)]
async fn a_blocking_pop_waits_for_a_push_or_its_timeout_and_blocks_nobody_else() {
    let server = FakeServer::new();
    let (mut waiting, mut other) = (connect(&server).await, connect(&server).await);
    let start = Instant::now();
    assert_eq!(waiting.blpop("l", 2.5).await.expect("in time"), None);
    assert_eq!(start.elapsed(), Duration::from_millis(2500));
    let popping = tokio::spawn(async move { waiting.blpop("l", 0.0).await });
    server.wait_for_command("BLPOP", 2).await.expect("the second pop");
    other.rpush("l", "x").await.expect("not blocked");
    let popped = timeout(LONG, popping).await.expect("pushed").expect("no panic").expect("popped");
    assert_eq!(popped, Some(["l".to_owned(), "x".to_owned()]));
    assert_eq!(server.executions("LPOP"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_pop_is_sent_away_when_the_server_becomes_a_replica() {
    let server = FakeServer::new();
    let mut con = connect(&server).await;
    let popping = tokio::spawn(async move { con.blpop("l", 0.0).await });
    server.wait_for_command("BLPOP", 1).await.expect("the pop");
    server.demote();
    let popped = timeout(LONG, popping).await.expect("unblocked").expect("no panic");
    assert_refused(popped, "UNBLOCKED");
    server.wait_for_open_connections_at_most(0).await.expect("closed after it");
}

#[tokio::test(start_paused = true)]
async fn a_replica_has_its_primarys_data_and_refuses_writes() {
    let (a, b) = (FakeServer::new(), FakeServer::new());
    a.run(&["SET", "old", "1"]);
    b.replicate_from(&a);
    let mut con = connect(&a).await;
    con.set("new", "2").await.expect("a primary");
    let mut on_b = connect(&b).await;
    assert_eq!(on_b.mget(&["old", "new"]).await.expect("reads"), [Some("1".to_owned()), Some("2".to_owned())]);
    assert_refused(on_b.set("k", "v").await, "READONLY");
    assert_eq!(cmd("WAIT").arg(&[1, 0]).query_async::<u32>(&mut con).await.expect("counted"), 1);
    b.partition();
    con.set("missed", "3").await.expect("a primary");
    assert_eq!(b.run(&["GET", "missed"]), Reply::Nil);
    b.rejoin();
    assert_eq!(b.run(&["GET", "missed"]), Reply::bulk("3"));

    b.promote();
    a.replicate_from(&b);
    on_b.set("after", "4").await.expect("promoted");
    assert_eq!(con.get("after").await.expect("reads").as_deref(), Some("4"));
    assert_refused(con.set("k", "v").await, "READONLY");
    assert_eq!((a.executions("SET"), b.executions("SET")), (2, 1));
    let role: (String, String, u16, String, u64) = cmd("ROLE").query_async(&mut con).await.expect("a role");
    assert_eq!((role.0.as_str(), role.3.as_str()), ("slave", "connected"));
}
