//! Nodes that send commands elsewhere: in circles, to nobody, to a successor, to one that is new.

use std::time::Duration;

use redis_tether::redis::{AsyncCommands, ErrorKind, ServerErrorKind, pipe};
use redis_tether::{ClusterTether, Event, Outcome, OutcomeExt, Readiness};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::time::{Instant, sleep};

use super::world::{Entry, FIRST, FIRST_SLOT, HALVES, SECOND, World, addr, ms};

fn moved(node: usize) -> String {
    format!("MOVED {FIRST_SLOT} {}", addr(node))
}

/// At once a few times, then at the pace of a cluster that is in the middle of something, until the deadline.
#[tokio::test(start_paused = true)]
async fn in_circles() {
    let world = World::new(2);
    let tether = world.serving().await;
    let deadline = ms(1_000);
    world.nodes[0].refuse("GET", Some(&moved(1)));
    world.nodes[1].refuse("GET", Some(&moved(0)));
    let mut handle = tether.handle();
    handle = handle.clone().with_policy(handle.policy().deadline(deadline));
    let begun = Instant::now();
    let error = handle.get::<_, Option<u32>>(FIRST).await.expect_err("nobody has it");
    assert!(begun.elapsed() <= deadline, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved), "{error}");
    assert_eq!(error.outcome(), Some(Outcome::Refused), "{error}");
    let asked = world.nodes[0].commands("GET") + world.nodes[1].commands("GET");
    assert!((10..=60).contains(&asked), "asked {asked} times in {deadline:?}");
    let sent = tokio::spawn(async move { handle.get::<_, Option<u32>>(FIRST).await });
    sleep(ms(100)).await;
    world.nodes[1].refuse("GET", None);
    let answer = within(PATIENCE, "the answer", sent).await.expect("no panic");
    assert_eq!(answer.expect("node 1 has it now"), None);
    tether.shutdown().await;
}

/// Its slots have gone there: whoever comes next goes there at once.
#[tokio::test(start_paused = true)]
async fn to_another_shard_for_good() {
    let world = World::new(2);
    let tether = world.serving().await;
    world.nodes[0].refuse("GET", Some(&moved(1)));
    world.all_say(&[Entry(0, FIRST_SLOT - 1, 0, None), Entry(FIRST_SLOT, 16383, 1, None)], 2);
    let mut handle = tether.handle();
    handle.get::<_, Option<u32>>(FIRST).await.expect("it is sent on");
    // A survey, and far less than from one that nobody has asked for to the next.
    sleep(ms(100)).await;
    handle.get::<_, Option<u32>>(FIRST).await.expect("it is known where");
    assert_eq!((world.nodes[0].commands("GET"), world.nodes[1].commands("GET")), (1, 2));
    tether.shutdown().await;
}

/// It is asked who has the slot, and the command comes back until somebody does.
#[tokio::test(start_paused = true)]
async fn to_nobody() {
    let world = World::new(2);
    let tether = world.serving().await;
    let before = tether.stats();
    world.nodes[0].refuse("GET", Some(&moved(9)));
    let mut handle = tether.handle();
    let sent = tokio::spawn(async move { handle.get::<_, Option<u32>>(FIRST).await });
    sleep(ms(500)).await;
    assert!(!sent.is_finished(), "it has not been answered");
    let surveys = tether.stats().surveys - before.surveys;
    assert!((2..=11).contains(&surveys), "{surveys} surveys in 500 ms, every 50 ms at most");
    world.nodes[0].refuse("GET", None);
    let answer = within(PATIENCE, "the answer", sent).await.expect("no panic");
    assert_eq!(answer.expect("node 0 has it again"), None);
    assert_eq!(tether.handle().get::<_, Option<u32>>(SECOND).await.expect("of no concern to others"), None);
    tether.shutdown().await;
}

/// The other commands of the shard learn it from this one: they are held, and do not ask in vain.
#[tokio::test(start_paused = true)]
async fn to_a_successor_that_the_nodes_do_not_know_of_yet() {
    let world = World::new(3);
    let map = |primary, replica| [Entry(0, 8191, primary, Some(replica)), Entry(8192, 16383, 1, None)];
    world.all_say(&map(0, 2), 1);
    world.nodes[2].replicate_from(&world.nodes[0]);
    let tether = world.serving().await;
    let shards = tether.shards();
    let shard = shards.iter().find(|shard| shard.slots.contains(&(0..=8191))).expect("it is there");
    let mut diary = Diary::of(&shard.tether);
    world.nodes[2].promote();
    world.nodes[0].replicate_from(&world.nodes[2]);
    for command in ["GET", "SET"] {
        world.nodes[0].refuse(command, Some(&moved(2)));
    }
    let mut handle = tether.handle();
    let mut others = handle.clone();
    let sent = tokio::spawn(async move { handle.get::<_, Option<u32>>(FIRST).await });
    diary.until("the word of the old primary", |event| matches!(event, Event::Demoted { .. })).await;
    let write = tokio::spawn(async move { others.set::<_, _, ()>(FIRST, 1).await });
    sleep(ms(200)).await;
    let asked = world.nodes[0].commands("GET") + world.nodes[0].commands("SET");
    assert!(asked <= 2, "asked {asked} times what it had sent elsewhere");
    world.all_say(&map(2, 0), 2);
    within(PATIENCE, "the write", write).await.expect("no panic").expect("the successor takes it");
    within(PATIENCE, "the read", sent).await.expect("no panic").expect("the successor has it");
    assert_eq!(world.nodes[2].executions("SET"), 1);
    tether.shutdown().await;
}

/// `ASK` names a node that is in no answer: it has no slot yet.
#[tokio::test(start_paused = true)]
async fn for_this_once_to_a_node_without_slots() {
    let world = World::new(4);
    let tether = world.serving().await;
    world.nodes[3].run(&["SET", FIRST, "7"]);
    world.nodes[0].refuse("GET", Some(&format!("ASK {FIRST_SLOT} {}", addr(3))));
    let mut handle = tether.handle();
    for first in [true, false] {
        let begun = Instant::now();
        let value: u32 = within(PATIENCE, "the answer", handle.get(FIRST)).await.expect("it is there already");
        assert_eq!(value, 7);
        assert!(begun.elapsed() < ms(20), "{:?}, the first time: {first}", begun.elapsed());
    }
    assert_eq!(world.nodes[3].commands("ASKING"), 2);
    assert_eq!(tether.shards().iter().filter(|shard| shard.slots.is_empty()).count(), 1);
    // What goes to all shards does not go there.
    handle.set::<_, _, ()>(SECOND, 1).await.expect("set");
    assert_eq!(redis_tether::redis::cmd("DBSIZE").query_async::<u64>(&mut handle).await.expect("a sum"), 1);
    world.nodes[0].refuse("GET", None);
    sleep(ms(65_000)).await;
    assert_eq!(tether.shards().len(), 2, "nobody is sent there any more");
    tether.shutdown().await;
}

/// A slot of many keys takes longer to move than a guest stays whom nobody visits.
#[tokio::test(start_paused = true)]
async fn a_node_without_slots_that_is_visited_for_long() {
    let world = World::new(4);
    let tether = world.serving().await;
    world.nodes[0].refuse("GET", Some(&format!("ASK {FIRST_SLOT} {}", addr(3))));
    let mut handle = tether.handle();
    handle.get::<_, Option<u32>>(FIRST).await.expect("it answers");
    let dials = tether.stats().total.dials;
    for _ in 0..30 {
        sleep(ms(10_000)).await;
        handle.get::<_, Option<u32>>(FIRST).await.expect("it answers");
    }
    assert_eq!(tether.stats().total.dials, dials, "over the same link");
    tether.shutdown().await;
}

/// A node that has just joined is called so until the others know its name.
#[tokio::test(start_paused = true)]
async fn for_this_once_to_a_node_without_a_name() {
    let world = World::new(4);
    let tether = world.serving().await;
    world.nodes[0].refuse("GET", Some(&format!("ASK {FIRST_SLOT} ?:6379")));
    let mut handle = tether.handle();
    let asked = tokio::spawn(async move { handle.get::<_, Option<u32>>(FIRST).await });
    sleep(ms(500)).await;
    assert_eq!(tether.shards().len(), 2, "nobody can be found by that");
    world.nodes[0].refuse("GET", None);
    within(ms(500), "the slot", asked).await.expect("no panic").expect("it has moved");
    tether.shutdown().await;
}

/// It has the slot in the end: its tether is that of the shard that it becomes.
#[tokio::test(start_paused = true)]
async fn a_node_without_slots_that_gets_some() {
    let world = World::new(4);
    let tether = world.serving().await;
    world.nodes[0].refuse("GET", Some(&format!("ASK {FIRST_SLOT} {}", addr(3))));
    let mut handle = tether.handle();
    handle.get::<_, Option<u32>>(FIRST).await.expect("it answers");
    let dials = tether.stats().total.dials;
    world.nodes[0].refuse("GET", Some(&moved(3)));
    let slot = FIRST_SLOT;
    let rest = [Entry(0, slot - 1, 0, None), Entry(slot + 1, 8191, 0, None), Entry(8192, 16383, 1, None)];
    let map: Vec<Entry> = rest.into_iter().chain([Entry(slot, slot, 3, None)]).collect();
    world.all_say(&map, 2);
    handle.get::<_, Option<u32>>(FIRST).await.expect("it answers");
    sleep(ms(3_000)).await;
    let shards = tether.shards();
    assert!(shards.len() == 3 && shards.iter().any(|shard| shard.slots == [slot..=slot]), "{shards:?}");
    assert_eq!(tether.stats().total.dials, dials, "over the same link");
    tether.shutdown().await;
}

/// A node that serves nothing for a while has its commands held, and is dialled at the pace of refusals.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_down_for_a_while() {
    let world = World::new(2);
    let tether = world.serving().await;
    let before = tether.stats().total.dials;
    world.nodes[0].refuse("GET", Some("CLUSTERDOWN The cluster is down"));
    let mut handle = tether.handle();
    let sent = tokio::spawn(async move { handle.get::<_, Option<u32>>(FIRST).await });
    sleep(ms(1_000)).await;
    assert!(!sent.is_finished(), "it is held");
    assert_eq!(tether.handle().get::<_, Option<u32>>(SECOND).await.expect("of no concern to others"), None);
    world.nodes[0].refuse("GET", None);
    within(PATIENCE, "the answer", sent).await.expect("no panic").expect("it is up again");
    let dials = tether.stats().total.dials - before;
    assert!((2..=20).contains(&dials), "{dials} dials in a second");
    tether.shutdown().await;
}

/// Two hundred commands wait together for what each of them would wait for.
#[tokio::test(start_paused = true)]
async fn of_a_pipeline_are_followed_together() {
    let pipeline = || {
        let mut pipeline = pipe();
        for _ in 0..200 {
            pipeline.get(FIRST);
        }
        pipeline
    };
    let answered = async |world: &World, tether: &ClusterTether, heal_after: Duration| {
        let (begun, mut handle) = (Instant::now(), tether.handle());
        let sent = tokio::spawn(async move { pipeline().query_async::<Vec<Option<u32>>>(&mut handle).await });
        sleep(heal_after).await;
        (0..2).for_each(|node| world.nodes[node].refuse("GET", None));
        let answers = within(PATIENCE, "the answers", sent).await.expect("no panic").expect("all have been sent on");
        assert_eq!(answers.len(), 200);
        begun.elapsed()
    };
    let world = World::new(4);
    let tether = world.serving().await;
    for (case, said) in [
        ("in circles", [moved(1), moved(0)]),
        ("to nobody", [moved(9), moved(9)]),
        ("in a moment", ["TRYAGAIN Multiple keys request during rehashing of slot".to_owned(), moved(0)]),
    ] {
        (0..2).for_each(|node| world.nodes[node].refuse("GET", Some(&said[node])));
        let took = answered(&world, &tether, ms(150)).await;
        assert!(took < ms(450), "{case}: {took:?}");
    }
    tether.shutdown().await;
}

/// A node without slots that is not up yet is of no concern to anybody but those that are sent there.
#[tokio::test(start_paused = true)]
async fn to_a_node_without_slots_that_is_not_up() {
    let world = World::new(4);
    let tether = world.serving().await;
    world.net.bind_with(addr(3), drop);
    world.nodes[0].refuse("GET", Some(&format!("ASK {FIRST_SLOT} {}", addr(3))));
    let mut handle = tether.handle();
    let sent = tokio::spawn(async move { handle.get::<_, Option<u32>>(FIRST).await });
    within(PATIENCE, "the node to be dialled", async {
        while tether.shards().len() < 3 {
            sleep(ms(10)).await;
        }
    })
    .await;
    let status = tether.ready(ms(100)).await.expect("all slots are served");
    assert_eq!((status.readiness(), status.shards.len()), (Readiness::Writable, 2), "{status}");
    world.net.bind(addr(3), world.nodes[3].clone());
    within(PATIENCE, "the answer", sent).await.expect("no panic").expect("it is up");
    tether.shutdown().await;
}

/// It was one when the slots were looked into last.
#[tokio::test(start_paused = true)]
async fn for_this_once_to_one_that_was_a_replica() {
    let world = World::new(3);
    world.all_say(&[Entry(0, 8191, 0, None), Entry(8192, 16383, 1, Some(2))], 1);
    let tether = world.serving().await;
    world.all_say(&HALVES, 2);
    world.nodes[0].refuse("GET", Some(&format!("ASK {FIRST_SLOT} {}", addr(2))));
    let mut handle = tether.handle();
    let begun = Instant::now();
    within(PATIENCE, "the answer", handle.get::<_, Option<u32>>(FIRST)).await.expect("it takes in the slot");
    assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
    tether.shutdown().await;
}

/// A command of which it is not known where its keys stand comes to the wrong shard each time. That is no news of the slots.
#[tokio::test(start_paused = true)]
async fn to_where_the_slot_is_known_to_be() {
    let world = World::new(2);
    let tether = world.serving().await;
    world.nodes[1].refuse("GET", Some(&moved(0)));
    let mut handle = tether.handle();
    sleep(ms(5_000)).await;
    let before = tether.stats();
    for _ in 0..80 {
        handle.get::<_, Option<u32>>(SECOND).await.expect("node 0 takes it");
        sleep(ms(50)).await;
    }
    let stats = tether.stats();
    assert_eq!(stats.redirections - before.redirections, 80);
    let surveys = stats.surveys - before.surveys;
    assert!(surveys <= 4, "{surveys} surveys in 4 s, of which one is due every 2 s");
    tether.shutdown().await;
}
