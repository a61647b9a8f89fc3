//! Commands that wait for somebody to have their slot.

use redis_tether::redis::{self, AsyncCommands, RedisResult};
use redis_tether::{ClusterTether, Outcome, OutcomeExt, Reason};
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::world::{Entry, FIRST, HALVES, SECOND, World, ms};

#[tokio::test(start_paused = true)]
async fn a_command_that_comes_before_the_first_survey_is_answered_right_after_it() {
    let world = World::new(2);
    let tether = world.start(world.config()).await;
    let begun = Instant::now();
    tether.handle().set::<_, _, ()>(FIRST, 1).await.expect("it is held until the slots are known");
    assert!(begun.elapsed() < ms(100), "{:?}", begun.elapsed());
    let stats = tether.stats();
    assert_eq!((stats.total.held_now, stats.total.failed_not_sent), (0, 0), "{stats:?}");
    assert!(stats.total.held >= 1 && stats.surveys >= 1 && stats.total.links >= 1, "{stats:?}");
    tether.shutdown().await;
    let after = tether.stats();
    assert!(after.total.dials >= stats.total.dials, "{after:?} after {stats:?}");
}

/// Its slots are taken over by another shard, and it ends.
#[tokio::test(start_paused = true)]
async fn what_a_shard_held_that_is_gone_goes_to_its_heir() {
    let world = World::new(2);
    let tether = world.serving().await;
    world.nodes[0].crash();
    let (mut one, mut many) = (tether.handle(), tether.handle());
    let one = tokio::spawn(async move { one.set::<_, _, ()>(FIRST, 1).await });
    let many = tokio::spawn(async move { many.mset::<_, _, ()>(&[(FIRST, 1), (SECOND, 2)]).await });
    sleep(ms(200)).await;
    assert!(!one.is_finished() && !many.is_finished(), "they are held");
    world.all_say(&[Entry(0, 16383, 1, None)], 2);
    within(PATIENCE, "the command", one).await.expect("no panic").expect("the heir takes it");
    within(PATIENCE, "the pieces", many).await.expect("no panic").expect("the heir takes them");
    assert_eq!(tether.shards().len(), 1);
    tether.shutdown().await;
}

/// The same of one that was sent, refused, and held then.
#[tokio::test(start_paused = true)]
async fn what_was_refused_before_it_was_held_goes_to_the_heir_as_well() {
    let world = World::new(2);
    let tether = world.serving().await;
    world.nodes[0].refuse("SET", Some("CLUSTERDOWN The cluster is down"));
    let mut handle = tether.handle();
    let sent = tokio::spawn(async move { handle.set::<_, _, ()>(FIRST, 1).await });
    sleep(ms(20)).await;
    world.nodes[0].crash();
    sleep(ms(200)).await;
    assert!(!sent.is_finished() && world.nodes[0].commands("SET") > 0, "it was refused, and is held");
    world.all_say(&[Entry(0, 16383, 1, None)], 2);
    within(PATIENCE, "the command", sent).await.expect("no panic").expect("the heir takes it");
    assert_eq!(world.nodes[1].executions("SET"), 1);
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_nobody_has_is_waited_for_within_bounds() {
    let world = World::new(2);
    let second = || Entry(8192, 16383, 1, None);
    world.all_say(&[second()], 1);
    let mut config = world.config();
    config.commands.max_held_bytes = 1024;
    let tether = world.start(config).await;
    let mut handle = tether.handle();
    handle.get::<_, Option<u32>>(SECOND).await.expect("of no concern to others");
    let mut waiting = tether.handle();
    let first = tokio::spawn(async move { waiting.set::<_, _, ()>(FIRST, "x".repeat(600)).await });
    sleep(ms(10)).await;
    assert_eq!(tether.stats().total.held_now, 1);
    let error = handle.set::<_, _, ()>(FIRST, "x".repeat(600)).await.expect_err("too many bytes");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
    assert_eq!(error.command_error().map(|error| error.reason()), Some(Reason::HoldFull), "{error}");
    assert_eq!(tether.stats().total.failed_not_sent, 1);
    world.all_say(&HALVES, 2);
    within(PATIENCE, "the first", first).await.expect("no panic").expect("somebody has its slot now");
    assert_eq!(tether.stats().total.held_now, 0);
    handle.set::<_, _, ()>(FIRST, "x".repeat(600)).await.expect("there is room again");
    tether.shutdown().await;
}

/// Of 100 bytes each, which is how many commands have come to a node that executes none can be told from what it has read.
const VALUE: usize = 100;

/// So many writes to the first half of the slots, alone and in pipelines.
async fn write_all(tether: &ClusterTether, count: usize) -> JoinSet<RedisResult<()>> {
    let mut writing = JoinSet::new();
    for number in 0..count {
        let mut handle = tether.handle();
        writing.spawn(async move {
            let value = "x".repeat(VALUE);
            match number % 3 {
                0 => handle.set(FIRST, value).await,
                1 => redis::pipe().set(FIRST, value).exec_async(&mut handle).await,
                _ => redis::pipe().atomic().set(FIRST, value).exec_async(&mut handle).await,
            }
        });
    }
    sleep(ms(20)).await;
    assert_eq!(tether.stats().total.held_now, count as u64);
    writing
}

/// Node 1 has all slots from now on, and executes nothing: waits until it has read something, and then until no more comes, and says how
/// many commands of [`write_all`] that was.
async fn met_by(world: &World) -> u64 {
    world.all_say(&[Entry(0, 16383, 1, None)], 2);
    // Somebody else is to tell of it.
    world.nodes[1].hang();
    let (heir, before) = (&world.nodes[1], world.nodes[1].bytes_read());
    let commands = || (heir.bytes_read() - before) / VALUE as u64;
    within(PATIENCE, "the heir to hear of them", async {
        while commands() == 0 {
            sleep(ms(1)).await;
        }
    })
    .await;
    sleep(ms(20)).await;
    commands()
}

/// Its gate is open all the while, so that no queue of its own is in the way.
#[tokio::test(start_paused = true)]
async fn an_heir_is_not_met_by_all_at_once() {
    for (what, is_known) in [("nobody had the slot", false), ("its shard is gone", true)] {
        let world = World::new(3);
        if !is_known {
            world.all_say(&[Entry(8192, 16383, 1, None)], 1);
        }
        let tether = world.start(world.config()).await;
        tether.handle().get::<_, Option<u32>>(SECOND).await.expect("the heir is well");
        if is_known {
            tether.ready(ms(1_000)).await.expect("so is the other");
            world.nodes[0].crash();
            sleep(ms(10)).await;
        }
        let writing = write_all(&tether, 600).await;
        let met = met_by(&world).await;
        assert!((64..64 * 2).contains(&met), "{what}: {met} of 600 came before the first was answered");
        assert!(tether.stats().total.held_now >= 600 - 64, "{what}: those that wait for their turn are held");
        world.nodes[1].resume();
        let done = within(PATIENCE, "all of them", writing.join_all()).await;
        assert!(done.iter().all(Result::is_ok), "{what}: {:?}", done.iter().find(|done| done.is_err()));
        assert_eq!((world.nodes[1].executions("SET"), tether.stats().total.held_now), (600, 0), "{what}");
        let stats = tether.stats().total;
        let given_up = if is_known { 600 } else { 0 };
        assert_eq!(stats.held - stats.released, given_up, "{what}, {stats:?}: by the shard that is gone, if anybody");
        assert!(stats.released >= 600, "{what}: {stats:?}");
        tether.shutdown().await;
    }
}

/// Neither one that the heir gets at once, nor one that its shard refused until that was gone.
#[tokio::test(start_paused = true)]
async fn a_command_that_never_waits_does_not_wait_for_a_turn_either() {
    const LARGE: usize = 100 * VALUE;
    // Of a slot that nobody has at first.
    const THIRD: &str = "c";
    let world = World::new(3);
    let (without_third, last) = ([Entry(0, 4095, 0, None), Entry(8192, 16383, 1, None)], Entry(0, 16383, 1, None));
    world.all_say(&without_third, 1);
    let tether = world.start(world.config()).await;
    let mut impatient = tether.handle().with_policy(tether.handle().policy().fail_fast());
    for key in [FIRST, SECOND] {
        tether.handle().get::<_, Option<u32>>(key).await.expect("both are well");
    }
    let mut writing = JoinSet::new();
    for _ in 0..600 {
        let mut handle = tether.handle();
        writing.spawn(async move { handle.set::<_, _, ()>(THIRD, "x".repeat(VALUE)).await });
    }
    world.nodes[0].refuse("APPEND", Some("TRYAGAIN Multiple keys request during rehashing of slot"));
    let mut refused = impatient.clone();
    let refused = tokio::spawn(async move { refused.append::<_, _, u64>(FIRST, "x".repeat(LARGE)).await });
    sleep(ms(50)).await;
    assert!(tether.stats().total.held_now == 600 && world.nodes[0].commands("APPEND") > 0);
    let before = world.nodes[1].bytes_read();
    world.all_say(&[last], 2);
    world.nodes[1].hang();
    let read = async |bytes: usize, what: &str| {
        let is_read = async {
            while world.nodes[1].bytes_read() - before < (64 * VALUE + bytes) as u64 {
                sleep(ms(1)).await;
            }
        };
        within(PATIENCE, what, is_read).await;
        assert!(tether.stats().total.held_now >= 600 - 64, "{what}: the others wait for their turn");
    };
    read(0, "the first of those that were held").await;
    read(LARGE, "the one that was refused").await;
    let direct = tokio::spawn(async move { impatient.append::<_, _, u64>(SECOND, "x".repeat(LARGE)).await });
    read(2 * LARGE, "the one that goes to the heir at once").await;
    world.nodes[1].resume();
    for impatient in [refused, direct] {
        within(PATIENCE, "an answer", impatient).await.expect("no panic").expect("the heir has its slot");
    }
    let done = within(PATIENCE, "all of them", writing.join_all()).await;
    assert!(done.iter().all(Result::is_ok), "{:?}", done.iter().find(|done| done.is_err()));
    tether.shutdown().await;
}

/// Of the same deadline, what waits for the shards to be known and what waits at each of them.
#[tokio::test(start_paused = true)]
async fn a_command_for_all_shards_has_one_deadline() {
    let world = World::new(2);
    world.all_say(&[], 1);
    let mut config = world.config();
    config.commands.deadline = ms(300);
    let tether = world.start(config).await;
    let mut handle = tether.handle();
    let begun = Instant::now();
    let asked = tokio::spawn(async move { redis::cmd("DBSIZE").query_async::<u64>(&mut handle).await });
    sleep(ms(200)).await;
    world.nodes[0].refuse("DBSIZE", Some("LOADING Redis is loading the dataset in memory"));
    world.all_say(&HALVES, 2);
    let error = within(PATIENCE, "the command", asked).await.expect("no panic").expect_err("one does not answer");
    assert!(world.nodes[0].commands("DBSIZE") > 0, "it was asked: {error}");
    assert!(begun.elapsed() <= ms(301), "{:?}: {error}", begun.elapsed());
    tether.shutdown().await;
}
