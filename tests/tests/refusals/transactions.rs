//! A transaction that is refused has not been executed, whether a command was refused while it was queued or `EXEC` in
//! the end: with a cause that another server would not give it is sent again, with any other it is handed out.
//!
//! For `EXEC` alone to be refused the server's mind must change between the two. A proxy keeps the end of the
//! transaction back meanwhile; it is long, so that there is an end to keep.

use redis_tether::redis::{self, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value};
use redis_tether::{Config, Outcome, OutcomeExt, Tether};
use redis_tether_testkit::server::allocate_addresses;
use redis_tether_testkit::{Dns, Proxy, Reply, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::on_each_server;
use redis_tether_tests::rig::resolver;
use redis_tether_tests::servers::{bind, server_binary};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::task::JoinHandle;

use super::{Beside, Pair, ask_all, at, is_refused, started};

on_each_server!(
    queueing_refused_by_a_replica,
    queueing_refused_for_another_reason,
    exec_refused_by_a_replica,
    exec_refused_for_another_reason,
    permission_withdrawn_before_exec,
    a_script_that_a_replica_begins,
);

async fn queueing_refused_by_a_replica(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    pair.demote().await;
    let mut handle = pair.handle.clone();
    let both =
        async move { ask_all::<(u64, u64)>(&mut handle, redis::pipe().atomic().incr("a", 1).incr("b", 2)).await };
    let sent = pair.is_refused(both).await;
    assert_eq!(pair.answered(sent).await, (1, 2));
    let both = at(&pair.nodes.replica, &["MGET", "a", "b"]).await;
    assert_eq!(both, Reply::Array(vec![Reply::bulk("1"), Reply::bulk("2")]), "executed once");
    pair.tether.shutdown().await;
}

async fn queueing_refused_for_another_reason(kind: ServerKind) {
    let server = started(kind, &["maxmemory 1"]).await;
    let mut beside = Beside::at(server.addr()).await;
    let mut pipeline = redis::pipe();
    pipeline.atomic().get("k").set("k", "v");
    let error = beside.hands_out_all(Outcome::Refused, &pipeline).await;
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ExecAbort), "{error}");
    let causes = error.into_server_errors().expect("it has causes");
    assert!(causes.iter().all(|(_, cause)| cause.code() == "OOM"), "{causes:?}");
    beside.tether.shutdown().await;
}

async fn exec_refused_by_a_replica(kind: ServerKind) {
    let addresses = allocate_addresses(3).expect("three loopback addresses");
    let binary = server_binary(kind);
    let start = |index: usize| Server::builder(&binary).on(addresses[index]).start();
    let old = start(0).await.expect("a server");
    let new = start(1).await.expect("a server");
    new.replicate(&old).await.expect("in sync");
    let proxy = bind(async || Proxy::start_on(addresses[2], old.addr()).await).await;
    let dns = Dns::new();
    dns.set("redis.test", vec![proxy.addr().ip(), new.addr().ip()]);
    let config = Config::new("redis.test", old.addr().port());
    let tether = Tether::builder(config).resolver(resolver(&dns)).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the primary is well");
    let mut diary = Diary::of(&tether);

    let held_up = HeldUp::begin(&tether, &old, &proxy).await;
    at(&old, &["REPLICAOF", "127.0.0.1", "1"]).await;
    proxy.pass();
    diary.until("the refusal", is_refused).await;
    new.promote().await.expect("the new primary");
    assert_eq!(held_up.finish().await, Ok(Value::Int(1)));
    assert_eq!(at(&new, &["GET", "n"]).await, Reply::bulk("1"), "executed once");
    assert_eq!(at(&old, &["GET", "n"]).await, Reply::Nil);
    tether.shutdown().await;
}

async fn exec_refused_for_another_reason(kind: ServerKind) {
    for (code, change) in [
        ("NOREPLICAS", &["CONFIG", "SET", "min-replicas-to-write", "1"][..]),
        ("NOPERM", &["ACL", "SETUSER", "default", "-exec"]),
    ] {
        let server = started(kind, &[]).await;
        let proxy = Proxy::start(server.addr()).await.expect("a free address");
        let tether = connected(config(proxy.addr())).await;
        let before = (tether.stats(), tether.status().borrow().epoch);
        let held_up = HeldUp::begin(&tether, &server, &proxy).await;
        at(&server, change).await;
        proxy.pass();
        let error = held_up.finish().await.expect_err("it is refused");
        // redis-rs alone says here that it did not expect such an answer, and not what it was.
        assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ExecAbort), "{error}");
        assert!(error.detail().is_some_and(|detail| detail.contains(code)), "{error}");
        assert_eq!(error.outcome(), Some(Outcome::Refused), "{error}");
        assert_eq!(at(&server, &["GET", "n"]).await, Reply::Nil, "it was executed");
        let after = (tether.stats(), tether.status().borrow().epoch);
        assert_eq!(
            (after.0.links, after.0.resent_unexecuted, after.1),
            (before.0.links, before.0.resent_unexecuted, before.1)
        );
        tether.shutdown().await;
    }
}

/// The transaction runs, with what is not allowed any more left out: it comes back with its replies, as redis-rs gives them.
async fn permission_withdrawn_before_exec(kind: ServerKind) {
    let server = started(kind, &[]).await;
    at(&server, &["ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all"]).await;
    let proxy = Proxy::start(server.addr()).await.expect("a free address");
    let tether = connected(config(proxy.addr()).with_username("app").with_password("secret")).await;
    let held_up = HeldUp::begin(&tether, &server, &proxy).await;
    at(&server, &["ACL", "SETUSER", "app", "-incrby"]).await;
    proxy.pass();
    let error = held_up.finish().await.expect_err("a part is refused");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "the others ran: {error}");
    let parts = error.into_server_errors().expect("it has parts");
    assert!(matches!(&parts[..], [(0, part)] if part.code() == "NOPERM"), "{parts:?}");
    tether.shutdown().await;
}

/// Scripts are queued and run on a replica, up to their first write: that shows the wrong node, and is not sent again.
async fn a_script_that_a_replica_begins(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    pair.demote().await;
    let mut pipeline = redis::pipe();
    let script = "redis.call('PUBLISH', 'news', 1) return redis.call('INCR', KEYS[1])";
    pipeline.atomic().cmd("EVAL").arg(&[script, "1", "n"]);
    let error = ask_all::<Value>(&mut pair.handle, &pipeline).await.expect_err("it is refused half-way");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    pair.looks_elsewhere().await;
    assert_eq!(at(&pair.nodes.replica, &["GET", "n"]).await, Reply::Nil, "sent again");
    pair.tether.shutdown().await;
}

/// What makes a transaction long: far more than a proxy passes on in one go.
const FILLER: usize = 6 << 20;

/// A transaction whose first command is queued, and whose `EXEC` is on its way.
struct HeldUp {
    sent: JoinHandle<RedisResult<Value>>,
}

impl HeldUp {
    async fn begin(tether: &Tether, server: &Server, proxy: &Proxy) -> HeldUp {
        let mut handle = tether.handle();
        let before = proxy.bytes_to_server();
        let sent = tokio::spawn(async move {
            let replies: Vec<Value> = ask_all(&mut handle, &long()).await?;
            Ok(replies.into_iter().next().unwrap_or_default())
        });
        proxy.wait_for_bytes_to_server(before + 16 * 1024).await.expect("it is on its way");
        proxy.black_hole();
        within(PATIENCE, "the first command to be queued", async {
            while !at(server, &["CLIENT", "LIST"]).await.text().is_some_and(|clients| clients.contains(" multi=1 ")) {
                tokio::time::sleep(super::ASK_EVERY).await;
            }
        })
        .await;
        let passed = proxy.bytes_to_server() - before;
        assert!(passed < FILLER as u64, "all of it went through: {passed} bytes");
        HeldUp { sent }
    }

    /// What its first command is answered.
    async fn finish(self) -> RedisResult<Value> {
        within(PATIENCE, "the transaction's answer", self.sent).await.expect("no panic")
    }
}

fn long() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.atomic().incr("n", 1).cmd("ECHO").arg(vec![b'x'; FILLER]);
    pipeline
}
