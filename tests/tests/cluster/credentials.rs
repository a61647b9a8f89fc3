//! Nodes that let nobody in but with credentials that a source gives.

use redis_tether::redis::AsyncCommands;
use redis_tether::{ClusterTether, Credentials, Protocol, credentials_fn};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::watch::PATIENCE;
use redis_tether_tests::{on_each_server, rig};

use super::world::{TURN, World};

on_each_server!(every_node_is_signed_in_at_with_what_the_source_gives);

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

/// To every node, as long as it lets everybody in.
async fn command(world: &World, words: &[&str]) {
    for node in &world.cluster.nodes {
        node.command(words).await.expect("taken");
    }
}
