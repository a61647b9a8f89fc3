//! Nodes that say who has which slots, and should not be believed, or not in everything.

use redis_tether::redis::AsyncCommands;
use redis_tether::{ClusterTether, resolve_fn};
use redis_tether_testkit::Reply;
use redis_tether_tests::rig::InMemory;
use tokio::time::sleep;

use super::world::{Entry, FIRST, HALVES, SECOND, World, addr, announced, ms};

/// Which node is asked for a key.
async fn asked(world: &World, tether: &ClusterTether, key: &str) -> Vec<usize> {
    let before: Vec<u64> = world.nodes.iter().map(|node| node.commands("GET")).collect();
    tether.handle().get::<_, Option<u32>>(key).await.expect("an answer");
    (0..before.len()).filter(|node| world.nodes[*node].commands("GET") > before[*node]).collect()
}

fn entry(first: i64, last: i64, node: Reply) -> Reply {
    Reply::Array(vec![Reply::Int(first), Reply::Int(last), node])
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_told_is_that_of_whoever_was_asked() {
    let world = World::new(2);
    let other = announced(&addr(1).ip().to_string(), "id1");
    world.says_raw(0, vec![entry(0, 8191, announced("", "id0")), entry(8192, 16383, other)], "ok", 1);
    world.nodes[1].crash();
    world.name(&[0]);
    let tether = world.start(world.config()).await;
    assert_eq!(asked(&world, &tether, FIRST).await, [0]);
    world.nodes[1].restart();
    assert_eq!(asked(&world, &tether, SECOND).await, [1]);
    tether.shutdown().await;
}

/// It has just met the others and does not know yet what one of them is called: the others do, and they are more, whatever it is ahead
/// of them in.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_one_node_does_not_know() {
    let world = World::new(3);
    let known = announced(&addr(0).ip().to_string(), "id0");
    world.says_raw(2, vec![entry(0, 8191, known), entry(8192, 16383, announced("?", "id1"))], "ok", 9);
    let tether = world.serving().await;
    assert_eq!((asked(&world, &tether, FIRST).await, asked(&world, &tether, SECOND).await), (vec![0], vec![1]));
    tether.shutdown().await;
}

/// Nobody is called so: its slots are nobody's until they know better.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_most_nodes_do_not_know() {
    let world = World::new(3);
    for node in [0, 2] {
        let known = announced(&addr(0).ip().to_string(), "id0");
        world.says_raw(node, vec![entry(0, 8191, known), entry(8192, 16383, announced("?", "id1"))], "ok", 1);
    }
    let tether = world.start(world.config()).await;
    assert_eq!(asked(&world, &tether, FIRST).await, [0]);
    assert_eq!(tether.shards().len(), 1);
    world.all_say(&HALVES, 1);
    sleep(ms(3_000)).await;
    assert_eq!(asked(&world, &tether, SECOND).await, [1]);
    tether.shutdown().await;
}

/// No cluster has that for long; whoever is asked in vain sends on.
#[tokio::test(start_paused = true)]
async fn slots_that_two_have() {
    let world = World::new(2);
    world.all_say(&[Entry(0, 16383, 0, None), Entry(8192, 16383, 1, None), Entry(9000, 8000, 0, None)], 1);
    let tether = world.serving().await;
    assert_eq!(asked(&world, &tether, FIRST).await, [0]);
    assert_eq!(asked(&world, &tether, SECOND).await.len(), 1);
    tether.shutdown().await;
}

/// The others are frozen, and the one that answers has missed what happened: what is known stays.
#[tokio::test(start_paused = true)]
async fn a_map_that_is_older_than_what_is_known() {
    let world = World::new(4);
    let swapped = [Entry(0, 8191, 2, Some(0)), Entry(8192, 16383, 1, None)];
    world.all_say(&swapped, 5);
    let tether = world.serving().await;
    assert_eq!(asked(&world, &tether, FIRST).await, [2]);
    world.says(3, &HALVES, 4);
    for node in 0..3 {
        world.nodes[node].answer("CLUSTER|SLOTS", Some(Reply::error("ERR not now")));
    }
    let surveys = tether.stats().surveys;
    sleep(ms(10_000)).await;
    assert!(tether.stats().surveys > surveys + 2, "it went on asking");
    assert_eq!(asked(&world, &tether, FIRST).await, [2], "node 0 was before that");
    // What most say counts, whatever its number.
    world.all_say(&HALVES, 4);
    sleep(ms(10_000)).await;
    assert_eq!(asked(&world, &tether, FIRST).await, [0]);
    tether.shutdown().await;
}

/// Managed services announce names, and the one that has missed what happened is found sooner than the rest.
#[tokio::test(start_paused = true)]
async fn a_map_that_is_older_from_whom_is_found_first() {
    let world = World::new(4);
    let named =
        |first, last, node: usize| entry(first, last, announced(&format!("n{node}.test"), &format!("id{node}")));
    let map = |primary: usize| vec![named(0, 8191, primary), named(8192, 16383, 1)];
    (0..4).for_each(|node| world.says_raw(node, map(2), "ok", 5));
    let resolver = resolve_fn(|host: String, _port| async move {
        let node = host.strip_prefix('n').and_then(|rest| rest[..1].parse().ok());
        if node != Some(1) {
            sleep(ms(5)).await;
        }
        Ok(node.map_or_else(|| (0..4).map(addr).collect(), |node| vec![addr(node)]))
    });
    let builder = ClusterTether::builder(world.config()).resolver(resolver).seed(7);
    let tether = builder.transport(InMemory(world.net.clone())).start().await.expect("a valid configuration");
    tether.ready(ms(2_000)).await.expect("the nodes are well");
    assert_eq!(asked(&world, &tether, FIRST).await, [2]);
    world.says_raw(1, map(0), "ok", 4);
    let surveys = tether.stats().surveys;
    for _ in 0..20 {
        sleep(ms(1_000)).await;
        assert_eq!(asked(&world, &tether, FIRST).await, [2], "one that answers is not most of four");
    }
    assert!(tether.stats().surveys > surveys + 5, "they were asked again");
    tether.shutdown().await;
}

/// A resolver of the application's that takes its time, as one that asks a service does.
#[tokio::test(start_paused = true)]
async fn a_configuration_endpoint_that_is_slow_to_resolve() {
    let world = World::new(2);
    let dns = world.dns.clone();
    let resolver = resolve_fn(move |host: String, port| {
        let dns = dns.clone();
        async move {
            sleep(ms(900)).await;
            dns.lookup(&host, port).await
        }
    });
    let builder = ClusterTether::builder(world.config()).resolver(resolver).seed(7);
    let tether = builder.transport(InMemory(world.net.clone())).start().await.expect("a valid configuration");
    tether.ready(ms(2_000)).await.expect("the nodes are well");
    tether.shutdown().await;
}

/// A node that only people can mend, as long as the others are down: those may be back at any moment.
#[tokio::test(start_paused = true)]
async fn nobody_answers_but_one_that_has_nothing_to_say() {
    let world = World::new(3);
    let tether = world.serving().await;
    world.says_raw(2, Vec::new(), "ok", 0);
    (0..2).for_each(|node| world.nodes[node].crash());
    sleep(ms(30_000)).await;
    let (before, status) = (tether.stats().surveys, tether.status().to_string());
    assert!(status.contains("has assigned no slots"), "what people can do is said: {status}");
    sleep(ms(20_000)).await;
    let surveys = tether.stats().surveys - before;
    assert!(surveys >= 15, "{surveys} surveys in 20 s, of which one is due every second");
    tether.shutdown().await;
}
