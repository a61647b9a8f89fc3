//! How a cluster's tether ends and what it survives: nothing is left of it, an actor above it takes it along, and what panics in an
//! application's code costs no command. And many of them at one cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use redis_tether::redis::AsyncCommands;
use redis_tether::{ClusterTether, Config, Outcome, OutcomeExt, Readiness, Reason, Shard, resolve_fn};
use redis_tether_tests::rig::{self, InMemory};
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::world::{Entry, FIRST, FIRST_SLOT, SECOND, World, addr, ms};

fn links(world: &World) -> usize {
    (0..world.nodes.len()).map(|node| world.net.links(addr(node))).sum()
}

/// Waits until there is neither a connection nor a task that was not there before.
async fn until_nothing_is_left(world: &World, tasks: usize) {
    within(PATIENCE, "connections and tasks to end", async {
        while links(world) > 0 || Handle::current().metrics().num_alive_tasks() > tasks {
            sleep(ms(1)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_after_a_shutdown() {
    let world = World::new(3);
    let tasks = Handle::current().metrics().num_alive_tasks();
    for settled in [true, false] {
        let tether = world.start(world.config()).await;
        if settled {
            tether.ready(PATIENCE).await.expect("the nodes are well");
        }
        let mut handle = tether.handle();
        within(PATIENCE, "the shutdown", tether.shutdown()).await;
        assert_eq!(links(&world), 0, "settled: {settled}");
        let error = handle.get::<_, Option<u32>>(FIRST).await.expect_err("it has ended");
        assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
        until_nothing_is_left(&world, tasks).await;
    }
}

/// The last handle is the last of it.
#[tokio::test(start_paused = true)]
async fn nothing_is_left_after_everything_was_dropped() {
    let world = World::new(3);
    let tasks = Handle::current().metrics().num_alive_tasks();
    let tether = world.serving().await;
    let mut handle = tether.handle();
    handle.get::<_, Option<u32>>(FIRST).await.expect("it serves");
    drop(tether);
    sleep(ms(1_000)).await;
    handle.get::<_, Option<u32>>(SECOND).await.expect("a handle keeps it");
    drop(handle);
    until_nothing_is_left(&world, tasks).await;
}

/// For as long as a caller in flight takes, and until another one is there in its place.
#[tokio::test(start_paused = true)]
async fn a_shard_that_somebody_shuts_down_is_waited_for() {
    let world = World::new(3);
    let tether = world.serving().await;
    let mut handle = tether.handle();
    let in_flight = tokio::spawn(async move { handle.blpop::<_, Option<[String; 2]>>(FIRST, 0.5).await });
    sleep(ms(1)).await;
    let (before, begun) = (tether.stats().total, Instant::now());
    let has_it = |shard: &Shard| shard.slots.iter().any(|slots| slots.contains(&FIRST_SLOT));
    let ended = tether.shards().into_iter().find(has_it).expect("it has slots").tether;
    let shutting_down = tokio::spawn(async move { ended.shutdown().await });
    sleep(ms(1)).await;
    let mut handle = tether.handle();
    let mut impatient = handle.clone().with_policy(handle.policy().fail_fast());
    let held = tokio::spawn(async move { handle.set::<_, _, ()>(FIRST, 1).await });
    sleep(ms(1)).await;
    let asked = Instant::now();
    let error = impatient.set::<_, _, ()>(FIRST, 2).await.expect_err("it takes none");
    let told = error.command_error().expect("an error of the tether's");
    assert_eq!((told.outcome(), told.reason(), asked.elapsed()), (Outcome::NotSent, Reason::FailFast, ms(0)), "{told}");
    assert!(told.cause().is_some_and(|cause| cause.contains("started again")), "{told}");
    impatient.set::<_, _, ()>(SECOND, 2).await.expect("of no concern to others");
    while !held.is_finished() {
        assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
        let (now, is_whole) = (tether.stats().total, tether.status().readiness() == Readiness::Writable);
        assert!(now.dials == before.dials || begun.elapsed() > ms(550), "{now:?}: nobody has dialled yet");
        // Whoever asked again and again would fail each time.
        assert!(now.failed_not_sent <= before.failed_not_sent + 1 && (now.held_now == 1 || is_whole), "{now:?}");
        sleep(ms(1)).await;
    }
    held.await.expect("no panic").expect("another one has taken its place");
    assert!(begun.elapsed() >= ms(500), "the one in flight was waited for: {:?}", begun.elapsed());
    assert_eq!(in_flight.await.expect("no panic"), Ok(None));
    within(PATIENCE, "the shutdown", shutting_down).await.expect("no panic");
    assert_eq!(tether.stats().total.links, before.links + 1);
    tether.shutdown().await;
    assert_eq!(tether.stats().total.links, before.links + 1);
}

struct App;

impl Actor for App {
    type Msg = ();
    type State = ClusterTether;
    type Arguments = (Config, World, tokio::sync::mpsc::UnboundedSender<ClusterTether>);

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        args: Self::Arguments,
    ) -> Result<ClusterTether, ActorProcessingErr> {
        let (config, world, started) = args;
        let builder = ClusterTether::builder(config).resolver(rig::resolver(&world.dns));
        let builder = builder.transport(InMemory(world.net.clone())).supervisor(myself.get_cell());
        let tether = builder.start().await?;
        started.send(tether.clone())?;
        Ok(tether)
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_actor_above_it() {
    let world = World::new(2);
    let (started, mut tethers) = tokio::sync::mpsc::unbounded_channel();
    let (net, config) = (world.net.clone(), world.config());
    let (app, ended) = Actor::spawn(None, App, (config, world, started)).await.expect("an actor");
    let tether = tethers.recv().await.expect("it was started");
    tether.ready(PATIENCE).await.expect("the nodes are well");
    app.stop(None);
    within(PATIENCE, "the actor to end", ended).await.expect("no panic");
    let mut handle = tether.handle();
    within(PATIENCE, "the cluster to end", async {
        while handle.get::<_, Option<u32>>(FIRST).await.is_ok() || net.links(addr(0)) + net.links(addr(1)) > 0 {
            sleep(ms(10)).await;
        }
    })
    .await;
}

/// A resolver of the application's, which the surveys and the shards' watchers call.
#[tokio::test(start_paused = true)]
async fn a_panic_costs_no_command() {
    let world = World::new(3);
    let map = |primary, replica| [Entry(0, 8191, primary, Some(replica)), Entry(8192, 16383, 1, None)];
    world.all_say(&map(0, 2), 1);
    let (dns, panics, asked) = (world.dns.clone(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (does_panic, panicked) = (panics.clone(), asked.clone());
    let resolver = resolve_fn(move |host: String, port| {
        if does_panic.load(Ordering::Relaxed) {
            panicked.fetch_add(1, Ordering::Relaxed);
            panic!("a resolver that panics");
        }
        let dns = dns.clone();
        async move { dns.lookup(&host, port).await }
    });
    let builder = ClusterTether::builder(world.config()).resolver(resolver).seed(7);
    let tether = builder.transport(InMemory(world.net.clone())).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the nodes are well");
    panics.store(true, Ordering::Relaxed);
    // The slots are in doubt: the configuration endpoint is resolved anew.
    world.nodes[0].refuse("GET", Some("CLUSTERDOWN The cluster is down"));
    let mut handle = tether.handle();
    let held = tokio::spawn(async move { handle.get::<_, Option<u32>>(FIRST).await });
    for _ in 0..100 {
        tether.handle().get::<_, Option<u32>>(SECOND).await.expect("of no concern to others");
        sleep(ms(10)).await;
    }
    assert!(asked.load(Ordering::Relaxed) > 0, "nobody asked");
    panics.store(false, Ordering::Relaxed);
    world.nodes[0].refuse("GET", None);
    within(PATIENCE, "what was held", held).await.expect("no panic").expect("it was answered");
    let surveys = tether.stats().surveys;
    sleep(ms(10_000)).await;
    assert!(tether.stats().surveys > surveys, "nobody surveys any more");
    tether.shutdown().await;
}

/// A shard fails over under a fleet: each dials as it would alone, and none of them together.
#[tokio::test(start_paused = true)]
async fn a_fleet_at_one_cluster() {
    const FLEET: usize = 40;
    let world = World::new(3);
    let map = |primary, replica| [Entry(0, 8191, primary, Some(replica)), Entry(8192, 16383, 1, None)];
    world.all_say(&map(0, 2), 1);
    world.nodes[2].replicate_from(&world.nodes[0]);
    let mut fleet = Vec::new();
    for seed in 0..FLEET {
        let builder = ClusterTether::builder(world.config()).resolver(rig::resolver(&world.dns)).seed(seed as u64);
        let tether = builder.transport(InMemory(world.net.clone())).start().await.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the nodes are well");
        fleet.push(tether);
    }
    let dials = |fleet: &[ClusterTether]| fleet.iter().map(|tether| tether.stats().total.dials).sum::<u64>();
    let (before, surveyed) = (dials(&fleet), fleet.iter().map(|tether| tether.stats().surveys).sum::<u64>());
    world.nodes[0].crash();
    let waiting: Vec<_> = fleet
        .iter()
        .map(|tether| {
            let mut handle = tether.handle();
            tokio::spawn(async move { handle.set::<_, _, ()>(FIRST, 1).await })
        })
        .collect();
    sleep(ms(1_000)).await;
    world.nodes[2].promote();
    world.all_say(&map(2, 0), 2);
    let promoted = Instant::now();
    for write in waiting {
        within(PATIENCE, "a write", write).await.expect("no panic").expect("held until the successor was there");
    }
    assert!(promoted.elapsed() <= ms(300), "{:?} after the replica took over", promoted.elapsed());
    // In a second of an outage: 20, 40, 80, 100 ms apart and so on, with jitter, and once more where it succeeds.
    let made = dials(&fleet) - before;
    assert!((FLEET as u64..=FLEET as u64 * 40).contains(&made), "{made} dials of {FLEET}");
    let surveys = fleet.iter().map(|tether| tether.stats().surveys).sum::<u64>() - surveyed;
    assert!(surveys <= FLEET as u64 * 30, "{surveys} surveys of {FLEET}, every 50 ms at most");
    for tether in fleet {
        tether.shutdown().await;
    }
}
