//! Nodes that let nobody in but with credentials that a source gives.

use redis_tether::redis::AsyncCommands;
use redis_tether::{ClusterTether, Credentials, Outcome, OutcomeExt, Protocol, credentials_fn};
use redis_tether_testkit::{Reply, ServerKind};
use redis_tether_tests::watch::PATIENCE;
use redis_tether_tests::{on_each_server, rig};

use super::world::{Load, TURN, World, assert_once, held};

on_each_server!(
    every_node_is_signed_in_at_with_what_the_source_gives,
    slots_that_move_from_under_a_user_who_may_do_little,
);

async fn every_node_is_signed_in_at_with_what_the_source_gives(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::without_elections(kind).await;
    command(&world, &["ACL", "SETUSER", "app", "on", ">first", "~*", "+@all"]).await;
    command(&world, &["ACL", "SETUSER", "default", "resetpass", ">nobody's"]).await;
    let source = credentials_fn(|_| async { Ok(Credentials::new("first").with_username("app")) });
    let builder = ClusterTether::builder(world.config(Protocol::Resp3)).resolver(rig::resolver(&world.dns));
    let tether = builder.credentials(source).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the surveyor and every shard are let in");
    let mut handle = tether.handle();
    for shard in 0..3 {
        let key = world.cluster.key_in(shard, "key");
        handle.set::<_, _, ()>(&key, shard).await.expect("let in");
    }
    tether.shutdown().await;
}

/// `ASKING` is a command of its own. What is in its way is said; what the docs name is enough.
async fn slots_that_move_from_under_a_user_who_may_do_little(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let documented = ["-@all", "+get", "+rpush", "+lrange", "+cluster|slots"];
    command(&world, &[&["ACL", "SETUSER", "app", "on", ">first", "~*"][..], &documented].concat()).await;
    let source = credentials_fn(|_| async { Ok(Credentials::new("first").with_username("app")) });
    let builder = ClusterTether::builder(world.config(Protocol::Resp3)).resolver(rig::resolver(&world.dns));
    let tether = builder.credentials(source).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the surveyor and every shard are let in");
    let mut handle = tether.handle();
    let key = world.cluster.key_in(0, "key");
    let slot = begin_to_move(&world, &key).await;
    let error = handle.get::<_, Option<u32>>(&key).await.expect_err("where it has moved to, it may not ask");
    assert_eq!(error.outcome(), Some(Outcome::Refused), "{error}");
    assert!(error.to_string().contains("'asking'"), "it says which: {error}");
    command(&world, &["ACL", "SETUSER", "app", "+asking"]).await;
    assert_eq!(handle.get::<_, Option<u32>>(&key).await.expect("it may ask"), None);
    let keys: Vec<String> = (0..8).map(|number| format!("{{{key}}}{number}")).collect();
    let load = Load::start(&handle, keys.clone());
    load.go_on_for(50).await;
    world.cluster.reshard(slot..slot + 1, 0, 1).await.expect("moved");
    load.go_on_for(50).await;
    for (key, tally) in keys.iter().zip(load.finish().await) {
        tally.assert_none_failed();
        assert_once(&held(&mut handle, key).await, &tally);
    }
    tether.shutdown().await;
}

/// From the first shard to the second: keys that are not there are looked for where they may be already.
async fn begin_to_move(world: &World, key: &str) -> u16 {
    let (from, to) = (world.cluster.primary(0), world.cluster.primary(1));
    let Reply::Int(slot) = from.command(&["CLUSTER", "KEYSLOT", key]).await.expect("a number") else {
        panic!("no slot of {key}")
    };
    let slot_word = slot.to_string();
    for (node, what, other) in [(to, "IMPORTING", from), (from, "MIGRATING", to)] {
        let Reply::Bulk(id) = other.command(&["CLUSTER", "MYID"]).await.expect("an id") else { panic!("no id") };
        let id = String::from_utf8(id).expect("text");
        node.command(&["CLUSTER", "SETSLOT", &slot_word, what, &id]).await.expect("taken");
    }
    u16::try_from(slot).expect("a slot")
}

/// To every node, as long as it lets everybody in.
async fn command(world: &World, words: &[&str]) {
    for node in &world.cluster.nodes {
        node.command(words).await.expect("taken");
    }
}
