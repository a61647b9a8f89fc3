//! Nodes that let nobody in but with credentials that a source gives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{
    ClusterEvent, ClusterTether, Credentials, Epoch, Event, Outcome, OutcomeExt, Protocol, credentials_fn,
};
use redis_tether_testkit::{Reply, ServerKind};
use redis_tether_tests::tokens::{self, Issuer, LIFETIME};
use redis_tether_tests::watch::{PATIENCE, within};
use redis_tether_tests::{on_each_server, rig};
use tokio::time::sleep;

use super::world::{Load, TURN, Tally, World, assert_once, held};

/// Between two looks at a counter, of which no signal tells.
const PAUSE: Duration = Duration::from_millis(20);

on_each_server!(
    every_node_is_signed_in_at_with_what_the_source_gives,
    slots_that_move_from_under_a_user_who_may_do_little,
    tokens_rotate_under_load,
);

async fn every_node_is_signed_in_at_with_what_the_source_gives(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
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

/// Tokens that expire under load: the link of each shard is signed in anew and stays, and what the surveyor was let in with is of no
/// use for long either.
async fn tokens_rotate_under_load(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = Arc::new(World::new(kind).await);
    let (resp2, resp3) = (rotate(&world, Protocol::Resp2, "resp2"), rotate(&world, Protocol::Resp3, "resp3"));
    tokio::join!(resp2, resp3);
}

async fn rotate(world: &Arc<World>, protocol: Protocol, name: &'static str) {
    let issuer = Issuer::new(world, |world| world.cluster.nodes.iter().collect(), name);
    let config = world.config(protocol).with_client_name(name);
    let builder =
        ClusterTether::builder(config).resolver(rig::resolver(&world.dns)).credentials(issuer.source(LIFETIME));
    let tether = builder.start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the surveyor and every shard are let in");
    let at_first = issuer.signed_in().await;
    let (mut events, first) = (tether.events(), epochs(&tether));
    let keys = (0..3).map(|shard| world.cluster.key_in(shard, name)).collect();
    let load = Load::start(&tether.handle(), keys);

    let (mut renewals, mut removed) = (BTreeMap::new(), 0);
    while renewals.len() < 3 || renewals.values().any(|times| *times < 3) || removed < 4 {
        match within(PATIENCE, "a renewal", events.recv()).await.expect("it goes on") {
            ClusterEvent::Shard { shard, event: Event::Reauthenticated { .. }, .. } => {
                *renewals.entry(shard).or_insert(0) += 1;
            }
            other => assert!(!is_trouble(&other), "{other} ({renewals:?})"),
        }
        removed = issuer.remove_expired().await;
    }
    load.go_on_for(50).await;
    assert_eq!(epochs(&tether), first, "every link is the same");
    let now = issuer.signed_in().await;
    assert!(at_first.len() >= 3 && now.is_disjoint(&at_first), "signed in as {now:?}, at first as {at_first:?}");
    // What the surveyor was let in with at first is removed by now.
    let enough = tether.stats().surveys + 3;
    within(PATIENCE, "surveys", async {
        while tether.stats().surveys < enough {
            sleep(PAUSE).await;
        }
    })
    .await;
    while let Ok(event) = events.try_recv() {
        assert!(!is_trouble(&event), "{event}");
    }

    // Each new link is let in with what the source gives then.
    for shard in tether.shards() {
        shard.tether.reconnect().expect("allowed");
    }
    for _ in 0..3 {
        let is_link =
            |event: &ClusterEvent| matches!(event, ClusterEvent::Shard { event: Event::Connected { .. }, .. });
        within(PATIENCE, "new links", async { while !is_link(&events.recv().await.expect("it goes on")) {} }).await;
    }
    load.go_on_for(50).await;
    load.finish().await.iter().for_each(Tally::assert_none_failed);
    tether.shutdown().await;
}

/// A survey that was not answered in time is none: a machine that stands still may have that happen.
fn is_trouble(event: &ClusterEvent) -> bool {
    match event {
        ClusterEvent::Shard { event, .. } => tokens::is_trouble(event),
        ClusterEvent::SurveyFailed { error, .. } => error.contains("WRONGPASS") || error.contains("credentials"),
        _ => false,
    }
}

fn epochs(tether: &ClusterTether) -> Vec<Option<Epoch>> {
    tether.shards().iter().map(|shard| shard.tether.status().borrow().epoch).collect()
}
