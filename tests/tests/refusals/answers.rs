//! Refusals that are the caller's business: handed out at once, untouched, and no reason to look for another primary. Each
//! is said to the handle and to a plain connection in turn, by a real server.

use std::time::Duration;

use redis_tether::Outcome;
use redis_tether_testkit::server::Info;
use redis_tether_testkit::{Reply, Server, ServerKind};
use redis_tether_tests::fakes::config;
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::PATIENCE;

use super::{Beside, at, often_probed, probed, runs, started, until_refused, words};

on_each_server!(
    what_the_data_refuses,
    out_of_memory,
    too_few_replicas,
    a_dump_that_failed,
    a_script_that_takes_too_long,
    a_script_that_cannot_be_killed,
);

async fn what_the_data_refuses(kind: ServerKind) {
    let server = started(kind, &[]).await;
    let mut beside = Beside::at(server.addr()).await;
    at(&server, &["SET", "text", "x"]).await;
    at(&server, &["XGROUP", "CREATE", "stream", "group", "$", "MKSTREAM"]).await;
    let dump = ["RESTORE", "text", "0", "no dump"];
    let nowhere = ["MIGRATE", "127.0.0.1", "1", "text", "0", "200"];
    let unknown_group = ["XREADGROUP", "GROUP", "other", "me", "STREAMS", "stream", ">"];
    for (code, command) in [
        ("WRONGTYPE", &["LPUSH", "text", "x"][..]),
        ("NOSCRIPT", &["EVALSHA", "0000000000000000000000000000000000000000", "0"]),
        ("BUSYGROUP", &["XGROUP", "CREATE", "stream", "group", "$"]),
        ("NOGROUP", &unknown_group),
        ("BUSYKEY", &dump),
        ("NOTBUSY", &["SCRIPT", "KILL"]),
        ("ERR", &["INCR", "text"]),
        ("ERR", &["GET"]),
        // It looks like a proxy's, and is not.
        ("ERR", &["NO_SUCH_COMMAND", "READONLY", "-LOADING"]),
    ] {
        beside.hands_out(code, &words(command)).await;
    }
    // The key may be on both sides.
    beside.hands_out_as(Outcome::Ambiguous, "IOERR", &words(&nowhere)).await;
    assert_eq!(at(&server, &["GET", "text"]).await, Reply::bulk("x"));
    beside.tether.shutdown().await;
}

async fn out_of_memory(kind: ServerKind) {
    let server = started(kind, &["maxmemory 1"]).await;
    let mut beside = Beside::at(server.addr()).await;
    beside.hands_out("OOM", &words(&["SET", "k", "v"])).await;
    nothing_was_set(&server).await;
    beside.tether.shutdown().await;
}

async fn too_few_replicas(kind: ServerKind) {
    let server = started(kind, &["min-replicas-to-write 1"]).await;
    let mut beside = Beside::at(server.addr()).await;
    beside.hands_out("NOREPLICAS", &words(&["SET", "k", "v"])).await;
    nothing_was_set(&server).await;
    beside.tether.shutdown().await;
}

/// The probe's `PING` is refused as well, and that is no reason to leave either: no other server is the primary.
async fn a_dump_that_failed(kind: ServerKind) {
    let server = started(kind, &["save 3600 1"]).await;
    let mut config = config(server.addr());
    often_probed(&mut config);
    let mut beside = Beside::with(config, &format!("redis://{}", server.addr())).await;
    let Reply::Array(dir) = at(&server, &["CONFIG", "GET", "dir"]).await else { panic!("CONFIG GET dir") };
    let dir = dir[1].text().expect("a path");
    assert!(dir.contains("redis-testkit"), "{dir} is not the kit's to remove");
    std::fs::remove_dir_all(dir).expect("the kit's directory");
    at(&server, &["BGSAVE"]).await;
    let has_failed = |info: &Info| info.field("rdb_last_bgsave_status") == Some("err");
    server.wait_for("the dump to fail", PATIENCE, has_failed).await.expect("it fails");

    beside.hands_out("MISCONF", &words(&["SET", "k", "v"])).await;
    probed(&server).await;
    beside.hands_out("MISCONF", &words(&["SET", "k", "v"])).await;
    nothing_was_set(&server).await;
    beside.tether.shutdown().await;
}

/// It answers everybody else with `BUSY`: somebody must end the script, and no other server is the primary.
async fn a_script_that_takes_too_long(kind: ServerKind) {
    let server = started(kind, &["lua-time-limit 50"]).await;
    let mut beside = Beside::at(server.addr()).await;
    let script = server.spawn_script(Duration::from_secs(30)).await.expect("it begins");
    until_refused(&mut beside.plain, &words(&["GET", "k"]), "BUSY").await;
    beside.hands_out("BUSY", &words(&["GET", "k"])).await;
    beside.hands_out("BUSY", &words(&["INCR", "n"])).await;
    at(&server, &["SCRIPT", "KILL"]).await;
    script.finished().await.expect_err("it was killed");
    beside.hands_out("NOTBUSY", &words(&["SCRIPT", "KILL"])).await;
    assert_eq!(runs(&server, "incr").await, 0);
    beside.tether.shutdown().await;
}

async fn a_script_that_cannot_be_killed(kind: ServerKind) {
    let server = started(kind, &["lua-time-limit 50"]).await;
    let mut beside = Beside::at(server.addr()).await;
    let endless = "redis.call('SET', KEYS[1], 1) while true do redis.call('GET', KEYS[1]) end";
    let mut other = super::plain(&format!("redis://{}", server.addr())).await;
    let script = tokio::spawn(async move { words(&["EVAL", endless, "1", "k"]).query_async::<()>(&mut other).await });
    until_refused(&mut beside.plain, &words(&["GET", "k"]), "BUSY").await;
    beside.hands_out_as(Outcome::Refused, "UNKILLABLE", &words(&["SCRIPT", "KILL"])).await;
    beside.tether.shutdown().await;
    server.kill().await.expect("it is killed");
    script.await.expect("no panic").expect_err("its server is gone");
}

async fn nothing_was_set(server: &Server) {
    assert_eq!(at(server, &["DBSIZE"]).await, Reply::Int(0));
}
