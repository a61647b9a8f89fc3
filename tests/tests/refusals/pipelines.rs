//! A pipeline that a replica refuses: as a whole, and it is held and answered by the next primary; or in parts, and it is
//! handed out as redis-rs gives it, since what was not refused has happened.

use redis_tether::redis::{self, RedisResult, ServerErrorKind, Value};
use redis_tether::{Outcome, OutcomeExt};
use redis_tether_testkit::{Reply, ServerKind};
use redis_tether_tests::on_each_server;

use super::{Pair, ask_all, at, plain, said};

on_each_server!(refused_as_a_whole, refused_in_parts, refused_in_parts_and_asked_for_each);

async fn refused_as_a_whole(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    pair.demote().await;
    let mut handle = pair.handle.clone();
    let both = async move { ask_all::<(u64, u64)>(&mut handle, redis::pipe().incr("a", 1).incr("b", 2)).await };
    let sent = pair.is_refused(both).await;
    assert_eq!(pair.answered(sent).await, (1, 2));
    let both = at(&pair.nodes.replica, &["MGET", "a", "b"]).await;
    assert_eq!(both, Reply::Array(vec![Reply::bulk("1"), Reply::bulk("2")]), "executed once");
    pair.tether.shutdown().await;
}

async fn refused_in_parts(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    let mut plain = plain(&format!("redis://{}", pair.nodes.primary.addr())).await;
    pair.demote().await;
    let mut pipeline = redis::pipe();
    pipeline.publish("news", "1").incr("n", 1);
    let ours = ask_all::<Value>(&mut pair.handle, &pipeline).await.expect_err("a part is refused");
    let theirs = ask_all::<Value>(&mut plain, &pipeline).await.expect_err("a part is refused");
    assert_eq!(said(&ours), said(&theirs));
    assert_eq!(ours.outcome(), Some(Outcome::Ambiguous), "the message was published: {ours}");
    let parts = ours.into_server_errors().expect("it has parts");
    assert_eq!(Some(&parts), theirs.into_server_errors().as_ref());
    assert!(matches!(&parts[..], [(1, error)] if error.kind() == Some(ServerErrorKind::ReadOnly)), "{parts:?}");
    pair.looks_elsewhere().await;
    assert_eq!(at(&pair.nodes.replica, &["GET", "n"]).await, Reply::Nil, "sent again");
    pair.tether.shutdown().await;
}

async fn refused_in_parts_and_asked_for_each(kind: ServerKind) {
    let mut pair = Pair::of(kind).await;
    pair.demote().await;
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors().cmd("ECHO").arg("x").incr("n", 1);
    let each: Vec<RedisResult<Value>> = ask_all(&mut pair.handle, &pipeline).await.expect("an answer to each");
    assert_eq!(each[0], Ok(Value::BulkString(b"x".to_vec())));
    let refused = each[1].as_ref().expect_err("a replica");
    assert_eq!((refused.code(), refused.outcome()), (Some("READONLY"), Some(Outcome::Refused)), "{refused}");
    pair.looks_elsewhere().await;
    pair.tether.shutdown().await;
}
