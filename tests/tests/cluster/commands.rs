//! What each kind of command does where its keys are on several shards, or on none.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use redis_tether::redis::{self, AsyncCommands, ErrorKind, ServerErrorKind, Value};
use redis_tether::{ClusterHandle, Outcome, OutcomeExt, Protocol, Reason};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::on_each_server;

use super::world::{TURN, World, runs};

on_each_server!(commands_of_several_shards);

async fn commands_of_several_shards(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let tether = world.tether(protocol).await;
        let mut handle = tether.handle();
        keys_on_several(&mut handle).await;
        all_shards(&mut handle).await;
        pipelines(&mut handle).await;
        transactions(&world, &mut handle).await;
        refused(&mut handle).await;
        redis::cmd("FLUSHALL").exec_async(&mut handle).await.expect("all of them");
        assert_eq!(redis::cmd("DBSIZE").query_async::<u64>(&mut handle).await.expect("a sum"), 0);
        tether.shutdown().await;
    }
}

async fn keys_on_several(handle: &mut ClusterHandle) {
    let pairs: Vec<(String, u32)> = (0..100).map(|number| (format!("k{number}"), number)).collect();
    let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    handle.mset::<_, _, ()>(&pairs).await.expect("set");
    let values: Vec<Option<u32>> = handle.mget(&keys).await.expect("in order");
    assert_eq!(values, (0..100).map(Some).collect::<Vec<_>>());
    assert_eq!(handle.exists::<_, u32>(&keys[..50]).await.expect("a sum"), 50);
    assert_eq!(handle.del::<_, u32>(&keys[..50]).await.expect("a sum"), 50);
    assert_eq!(handle.unlink::<_, u32>(&keys[40..60]).await.expect("a sum"), 10);
    let values: Vec<Option<u32>> = handle.mget(&keys[59..62]).await.expect("in order");
    assert_eq!(values, [None, Some(60), Some(61)]);
}

async fn all_shards(handle: &mut ClusterHandle) {
    assert_eq!(redis::cmd("DBSIZE").query_async::<u64>(handle).await.expect("a sum"), 40);
    let keys: BTreeSet<String> = handle.keys("k*").await.expect("lists");
    assert_eq!(keys.len(), 40);
    let scanned: Vec<String> =
        handle.scan_match::<_, String>("k*").await.expect("a cursor").map(|key| key.expect("a key")).collect().await;
    assert_eq!(scanned.iter().cloned().collect::<BTreeSet<_>>(), keys);
    assert_eq!(redis::cmd("PING").query_async::<String>(handle).await.expect("from all"), "PONG");
    let script = redis::Script::new("return redis.call('GET', KEYS[1])");
    for key in ["k60", "k61", "k62", "k63"] {
        let value: u32 = script.key(key).invoke_async(handle).await.expect("the script is everywhere");
        assert_eq!(format!("k{value}"), key);
    }
    let hash = script.get_hash();
    let exists: Vec<bool> =
        redis::cmd("SCRIPT").arg("EXISTS").arg(hash).arg("0".repeat(40)).query_async(handle).await.expect("a list");
    assert_eq!(exists, [true, false]);
}

async fn pipelines(handle: &mut ClusterHandle) {
    let mut pipeline = redis::pipe();
    for number in 0..30 {
        pipeline.set(format!("p{number}"), number).ignore().get(format!("p{number}"));
    }
    pipeline.cmd("MGET").arg(&["p3", "p1", "p2"]).cmd("DBSIZE");
    let mut values: Vec<Value> = pipeline.query_async(handle).await.expect("in order");
    let (sum, three) = (values.pop().expect("DBSIZE"), values.pop().expect("MGET"));
    let numbers: Vec<u32> = redis::from_redis_value(Value::Array(values)).expect("numbers");
    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
    assert_eq!(redis::from_redis_value::<Vec<u32>>(three).expect("numbers"), [3, 1, 2]);
    // Those of one shard in their order, the shards side by side: how many there were is not told.
    assert!(matches!(sum, Value::Int(40..=70)), "{sum:?}");
}

async fn transactions(world: &World, handle: &mut ClusterHandle) {
    let (one, other) = (world.cluster.key_in(1, "one"), world.cluster.key_in(1, "other"));
    let mut transaction = redis::pipe();
    transaction.atomic().set(&one, 1).ignore().incr(&one, 5).set(&other, 2).ignore().get(&other);
    let values: (u32, u32) = transaction.query_async(handle).await.expect("one slot");
    assert_eq!(values, (6, 2));
    let before = runs(&world.cluster, "set").await;
    let mut transaction = redis::pipe();
    transaction.atomic().set(&one, 1).set(world.cluster.key_in(2, "far"), 2);
    let error = transaction.exec_async(handle).await.expect_err("two slots");
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::CrossSlot), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::Refused));
    assert_eq!(runs(&world.cluster, "set").await, before, "nothing of it was sent");
}

async fn refused(handle: &mut ClusterHandle) {
    let error = handle.sinter::<_, Vec<String>>(&["a", "b"]).await.expect_err("two slots");
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::CrossSlot), "{error}");
    let error = redis::cmd("WAIT").arg(0).arg(0).exec_async(handle).await.expect_err("of which node?");
    assert_eq!(error.command_error().map(|error| error.reason()), Some(Reason::OfOneNode), "{error}");
    let error = redis::cmd("WATCH").arg("a").exec_async(handle).await.expect_err("the links are shared");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
}
