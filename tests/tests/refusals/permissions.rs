//! What a server says to somebody who may not: `NOPERM` is the caller's, and a change of passwords or users is none of a
//! live connection's business until the user is gone. `NOAUTH`, which no server of today says to a connection that was let
//! in, is in `proxies.rs`.

use redis_tether::redis::{self, Value};
use redis_tether::{Config, Event, FailureKind, Outcome, OutcomeExt};
use redis_tether_testkit::{Reply, Server, ServerKind};
use redis_tether_tests::fakes::config;
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{PATIENCE, within};

use super::{Beside, ask, at, often_probed, probed, started, words};

on_each_server!(
    what_a_user_may_not,
    a_user_who_may_less_in_the_middle_of_it,
    a_password_that_changes_under_a_live_link,
    a_user_who_is_removed,
);

async fn as_user(server: &Server, rules: &[&str]) -> Beside {
    at(server, &[&["ACL", "SETUSER", "app", "on", ">secret", "resetkeys", "~ok*", "+@all"][..], rules].concat()).await;
    let mut config: Config = config(server.addr()).with_username("app").with_password("secret");
    often_probed(&mut config);
    Beside::with(config, &format!("redis://app:secret@{}", server.addr())).await
}

async fn what_a_user_may_not(kind: ServerKind) {
    let server = started(kind, &[]).await;
    let mut beside = as_user(&server, &["-del"]).await;
    beside.hands_out("NOPERM", &words(&["DEL", "ok"])).await;
    beside.hands_out("NOPERM", &words(&["SET", "not-ok", "v"])).await;
    beside.hands_out_all(Outcome::Ambiguous, redis::pipe().set("ok", 1).del("ok")).await;
    beside.hands_out_all(Outcome::Refused, redis::pipe().atomic().set("ok", 2).del("ok")).await;
    assert_eq!(at(&server, &["GET", "ok"]).await, Reply::bulk("1"), "the transaction was discarded");
    // The script ran up to there.
    let script = "redis.call('SET', KEYS[1], 3) return redis.call('DEL', KEYS[1])";
    beside.hands_out_as(Outcome::Ambiguous, "ERR", &words(&["EVAL", script, "1", "ok"])).await;
    assert_eq!(at(&server, &["GET", "ok"]).await, Reply::bulk("3"));
    beside.tether.shutdown().await;
}

/// It takes effect with the next command, on the connection that is there.
async fn a_user_who_may_less_in_the_middle_of_it(kind: ServerKind) {
    let server = started(kind, &[]).await;
    let mut beside = as_user(&server, &[]).await;
    assert_eq!(ask(&mut beside.handle, &words(&["INCR", "ok"])).await, Ok(Value::Int(1)));
    at(&server, &["ACL", "SETUSER", "app", "-incr"]).await;
    beside.hands_out("NOPERM", &words(&["INCR", "ok"])).await;
    at(&server, &["ACL", "SETUSER", "app", "+incr"]).await;
    assert_eq!(ask(&mut beside.handle, &words(&["INCR", "ok"])).await, Ok(Value::Int(2)));
    beside.tether.shutdown().await;
}

/// Who was let in stays in, under a new password and with the user switched off.
async fn a_password_that_changes_under_a_live_link(kind: ServerKind) {
    let server = started(kind, &[]).await;
    let mut beside = as_user(&server, &[]).await;
    for change in [&["ACL", "SETUSER", "app", "resetpass", ">other"][..], &["ACL", "SETUSER", "app", "off"]] {
        at(&server, change).await;
        probed(&server).await;
        assert!(ask(&mut beside.handle, &words(&["INCR", "ok"])).await.is_ok(), "after {change:?}");
    }
    server.set_password(Some("another")).await.expect("CONFIG SET");
    probed(&server).await;
    assert_eq!(ask(&mut beside.handle, &words(&["INCR", "ok"])).await, Ok(Value::Int(3)));
    beside.stayed();
    beside.tether.shutdown().await;
}

/// The server hangs up, and lets nobody in until there is such a user again. Commands are held meanwhile.
async fn a_user_who_is_removed(kind: ServerKind) {
    let server = started(kind, &[]).await;
    let mut beside = as_user(&server, &[]).await;
    at(&server, &["ACL", "DELUSER", "app"]).await;
    let rejected = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Auth, .. });
    beside.diary.until("the door to be shut", rejected).await;
    let mut impatient = beside.tether.handle();
    impatient = impatient.clone().with_policy(impatient.policy().fail_fast());
    let error = ask(&mut impatient, &words(&["INCR", "ok"])).await.expect_err("the door is shut");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
    assert!(error.to_string().contains("WRONGPASS"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    let mut handle = beside.handle.clone();
    let held = tokio::spawn(async move { ask(&mut handle, &words(&["INCR", "ok"])).await });
    at(&server, &["ACL", "SETUSER", "app", "on", ">secret", "~ok*", "+@all"]).await;
    let answer = within(PATIENCE, "the answer", held).await.expect("no panic");
    assert_eq!(answer, Ok(Value::Int(1)));
    beside.tether.shutdown().await;
}
