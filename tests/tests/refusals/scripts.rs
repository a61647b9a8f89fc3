//! Scripts, which may have done something before they fail: what a refusal inside of one means, what it means when the
//! script catches it, and that errors which a script makes up are its answers.

use redis_tether::redis::{Cmd, Value};
use redis_tether::{Outcome, OutcomeExt, Reason};
use redis_tether_testkit::{Reply, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{PATIENCE, within};

use super::{Beside, Pair, ask, at, runs, said, started, words};

on_each_server!(
    refused_half_way,
    refused_half_way_and_caught,
    refused_half_way_and_caught_for_good,
    refused_before_it_begins,
    a_function_that_is_refused_before_it_begins,
    errors_that_a_script_makes_up,
    out_of_memory_half_way,
    killed,
);

fn eval(script: &str) -> Cmd {
    words(&["EVAL", script, "1", "n"])
}

async fn refused_half_way(kind: ServerKind) {
    half_way(kind, "redis.call('PUBLISH', 'news', 1) return redis.call('INCR', KEYS[1])").await;
}

/// `redis.pcall` gives the refusal to the script, which returns it: it reads like one of the whole.
async fn refused_half_way_and_caught(kind: ServerKind) {
    half_way(kind, "redis.call('PUBLISH', 'news', 1) return redis.pcall('INCR', KEYS[1])").await;
}

/// It is not sent again, since what came before has happened; the tether looks for the new primary all the same.
async fn half_way(kind: ServerKind, script: &str) {
    let mut pair = Pair::of(kind).await;
    pair.demote().await;
    let error = ask(&mut pair.handle, &eval(script)).await.expect_err("it is refused");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    let known = error.command_error().expect("the tether's own");
    assert_eq!(known.reason(), Reason::RefusedInScript, "{error}");
    assert!(error.to_string().contains("READONLY"), "{error}");
    pair.looks_elsewhere().await;
    assert_eq!(at(&pair.nodes.replica, &["GET", "n"]).await, Reply::Nil, "sent again");
    assert_eq!((runs(&pair.nodes.primary, "eval").await, runs(&pair.nodes.replica, "eval").await), (1, 0));
    pair.tether.shutdown().await;
}

/// What the script returns is its answer, and nobody else knows of the refusal.
async fn refused_half_way_and_caught_for_good(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    pair.demote().await;
    let script = "local reply = redis.pcall('INCR', KEYS[1]) return reply.err and 'caught'";
    assert_eq!(ask(&mut pair.handle, &eval(script)).await, Ok(Value::BulkString(b"caught".to_vec())));
    // Over the same link, which a refusal would have shut at once.
    assert_eq!(ask(&mut pair.handle, &words(&["GET", "n"])).await, Ok(Value::Nil));
    let now = pair.tether.stats();
    assert_eq!(
        (now.refusal_replies, now.links, now.held),
        (pair.before.refusal_replies, pair.before.links, pair.before.held)
    );
    pair.tether.shutdown().await;
}

/// A script that says what it does (from Redis 7 on) does nothing at all on a replica if it may write.
async fn refused_before_it_begins(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    assert_eq!(pair.moves_on(eval("#!lua\nreturn redis.pcall('INCR', KEYS[1])")).await, Value::Int(1));
    assert_eq!((runs(&pair.nodes.primary, "eval").await, runs(&pair.nodes.replica, "eval").await), (0, 1));
    pair.tether.shutdown().await;
}

async fn a_function_that_is_refused_before_it_begins(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    let library =
        "#!lua name=counting\nredis.register_function('count', function(keys) return redis.pcall('INCR', keys[1]) end)";
    at(&pair.nodes.primary, &["FUNCTION", "LOAD", library]).await;
    at(&pair.nodes.primary, &["WAIT", "1", "5000"]).await;
    assert_eq!(pair.moves_on(words(&["FCALL", "count", "1", "n"])).await, Value::Int(1));
    pair.tether.shutdown().await;
}

/// They are executed once and handed out as they are, whatever they are called.
async fn errors_that_a_script_makes_up(kind: ServerKind) {
    let server = started(kind, &[]).await;
    let mut beside = Beside::at(server.addr()).await;
    let mut done = 0;
    for code in ["TRYAGAIN", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOTENOUGH"] {
        let script = format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{code} says the script')");
        let error = ask(&mut beside.handle, &eval(&script)).await.expect_err("it says so");
        assert_eq!((error.code(), error.detail()), (Some(code), Some("says the script")), "{error}");
        assert!(error.command_error().is_none(), "{error}");
        done += 1;
        assert_eq!(at(&server, &["GET", "n"]).await, Reply::bulk(format!("{done}")), "executed more than once");
        beside.stayed();
    }
    beside.tether.shutdown().await;
}

/// What came before the refusal has happened, and no other server would do better.
async fn out_of_memory_half_way(kind: ServerKind) {
    let server = started(kind, &[]).await;
    let mut beside = Beside::at(server.addr()).await;
    at(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let script = "redis.call('PUBLISH', 'news', 1) return redis.call('INCR', KEYS[1])";
    beside.hands_out_as(Outcome::Ambiguous, "OOM", &eval(script)).await;
    // One that says what it does is refused before it begins.
    beside.hands_out("OOM", &eval("#!lua\nreturn redis.call('INCR', KEYS[1])")).await;
    assert_eq!(at(&server, &["GET", "n"]).await, Reply::Nil);
    beside.tether.shutdown().await;
}

async fn killed(kind: ServerKind) {
    let server = started(kind, &["lua-time-limit 50"]).await;
    let mut beside = Beside::at(server.addr()).await;
    let mut handle = beside.handle.clone();
    let endless = "while true do redis.call('GET', KEYS[1]) end";
    let script = tokio::spawn(async move { ask(&mut handle, &eval(endless)).await });
    super::until_refused(&mut beside.plain, &words(&["GET", "k"]), "BUSY").await;
    at(&server, &["SCRIPT", "KILL"]).await;
    let error = within(PATIENCE, "the script's end", script).await.expect("no panic").expect_err("it was killed");
    assert_eq!(said(&error).1, Some("ERR"), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    beside.tether.shutdown().await;
}
