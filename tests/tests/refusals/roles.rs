//! Refusals that another server, or this one a little later, would not give: the command is held, and answered by
//! the next good link, once. `READONLY`, `LOADING`, `MASTERDOWN`, and `UNBLOCKED` where a demotion has said it.

use redis_tether::redis::Value;
use redis_tether::{Event, FailureKind, Outcome, OutcomeExt};
use redis_tether_testkit::{Reply, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::{patient, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, within};

use super::{Beside, Pair, ask, at, is_refused, is_waiting, plain, runs, said, started, until_refused, words};

on_each_server!(
    readonly,
    masterdown,
    loading,
    unblocked_by_a_demotion,
    unblocked_by_somebody,
    a_wait_that_a_demotion_ends,
);

async fn readonly(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    assert_eq!(pair.moves_on(words(&["INCR", "n"])).await, Value::Int(1));
    assert_eq!(at(&pair.nodes.replica, &["GET", "n"]).await, Reply::bulk("1"));
    assert_eq!(at(&pair.nodes.primary, &["GET", "n"]).await, Reply::Nil, "it was refused there");
    pair.tether.shutdown().await;
}

/// Reads are refused as well by a replica that has lost its primary and may not serve what it has.
async fn masterdown(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    at(&pair.nodes.primary, &["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
    at(&pair.nodes.primary, &["SET", "k", "v"]).await;
    at(&pair.nodes.primary, &["WAIT", "1", "5000"]).await;
    assert_eq!(pair.moves_on(words(&["GET", "k"])).await, Value::BulkString(b"v".to_vec()));
    pair.tether.shutdown().await;
}

/// The server reads its dataset anew and keeps its connections, as a replica does at a full synchronisation.
async fn loading(kind: ServerKind) {
    let lines = ["key-load-delay 1000", "loading-process-events-interval-bytes 1024"];
    let server = started(kind, &lines).await;
    at(&server, &["DEBUG", "POPULATE", "1500"]).await;
    at(&server, &["SAVE"]).await;
    let mut plain = plain(&format!("redis://{}", server.addr())).await;
    let mut config = unsuspecting(patient(config(server.addr())));
    // It is the command that is to be refused first.
    config.detection.probe_interval = 3 * PATIENCE;
    let tether = connected(config).await;
    let (mut diary, before) = (Diary::of(&tether), tether.stats());

    let reload = async { at(&server, &["DEBUG", "RELOAD", "NOSAVE"]).await };
    let (_, answer) = tokio::join!(reload, async {
        until_refused(&mut plain, &words(&["GET", "k"]), "LOADING").await;
        ask(&mut tether.handle(), &words(&["INCR", "n"])).await
    });
    assert_eq!(answer, Ok(Value::Int(1)));
    assert_eq!(diary.count(is_refused), 1);
    let is_loading = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Loading, .. });
    assert!(diary.count(is_loading) > 0, "nobody met it while it loaded: {:#?}", diary.so_far());
    assert_eq!((tether.stats().resent_unexecuted - before.resent_unexecuted, runs(&server, "incr").await), (1, 1));
    tether.shutdown().await;
}

/// It waits on while the roles change, and pops from the new primary what is pushed there. The server hangs up as well, on
/// everybody who shares the link.
async fn unblocked_by_a_demotion(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    let mut handle = pair.handle.clone();
    let pop = async move { ask(&mut handle, &words(&["BLPOP", "queue", "20"])).await };
    let pop = tokio::spawn(pop);
    pair.nodes.primary.wait_for("the pop to wait", PATIENCE, is_waiting).await.expect("it waits");
    pair.demote().await;
    pair.diary.until("the loss", is_lost).await;
    pair.promote().await;
    pair.nodes.replica.wait_for("the pop to wait again", PATIENCE, is_waiting).await.expect("it waits");
    at(&pair.nodes.replica, &["RPUSH", "queue", "first", "second"]).await;
    let popped = within(PATIENCE, "the pop", pop).await.expect("no panic").expect("there is something to pop");
    let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    assert_eq!(popped, Value::Array(vec![bulk("queue"), bulk("first")]));
    let left = at(&pair.nodes.replica, &["LRANGE", "queue", "0", "-1"]).await;
    assert_eq!(left, Reply::Array(vec![Reply::bulk("second")]), "popped twice");
    let now = pair.tether.stats();
    assert_eq!(
        (now.refusal_replies - pair.before.refusal_replies, now.resent_unexecuted - pair.before.resent_unexecuted),
        (1, 1)
    );
    pair.tether.shutdown().await;
}

/// `CLIENT UNBLOCK` is somebody's wish, and so an answer.
async fn unblocked_by_somebody(kind: ServerKind) {
    let server = started(kind, &[]).await;
    let mut beside = Beside::at(server.addr()).await;
    let mut handle = beside.handle.clone();
    let pop = tokio::spawn(async move { ask(&mut handle, &words(&["BLPOP", "queue", "20"])).await });
    server.wait_for("the pop to wait", PATIENCE, is_waiting).await.expect("waits");
    let clients = at(&server, &["CLIENT", "LIST"]).await.text().expect("a text");
    let waiting = clients.lines().find(|line| line.contains("cmd=blpop")).expect("it is listed");
    let id = waiting.strip_prefix("id=").and_then(|rest| rest.split(' ').next()).expect("it has an id");
    at(&server, &["CLIENT", "UNBLOCK", id, "ERROR"]).await;
    let error = within(PATIENCE, "the answer", pop).await.expect("no panic").expect_err("it was sent away");
    assert_eq!(error.code(), Some("UNBLOCKED"), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::Refused), "{error}");
    beside.stayed();
    beside.tether.shutdown().await;
}

/// What it asks of is the writes over the link that is no longer the one: the new primary has nothing to say to that.
async fn a_wait_that_a_demotion_ends(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    ask(&mut pair.handle, &words(&["SET", "k", "v"])).await.expect("the primary is well");
    let mut handle = pair.handle.clone();
    let wait = tokio::spawn(async move { ask(&mut handle, &words(&["WAIT", "7", "20000"])).await });
    pair.nodes.primary.wait_for("the wait", PATIENCE, is_waiting).await.expect("it waits");
    pair.demote().await;
    let error = within(PATIENCE, "the answer", wait).await.expect("no panic").expect_err("it was sent away");
    assert_eq!(said(&error).1, Some("UNBLOCKED"), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::Refused), "{error}");
    pair.diary.until("the loss", is_lost).await;
    pair.promote().await;
    pair.diary.until("the new primary", |event| matches!(event, Event::Connected { .. })).await;
    assert_eq!(pair.tether.stats().resent_unexecuted, pair.before.resent_unexecuted, "it was sent again");
    pair.tether.shutdown().await;
}

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::Lost { .. })
}
