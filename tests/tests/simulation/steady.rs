//! What must leave a good link alone: everything that merely looks like a failure. Under a steady load of writes no command
//! fails, the link stays the same, and servers see no storm of dials.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use redis_tether::redis::{RedisResult, cmd};
use redis_tether::{Event, Handle, Tether};
use redis_tether_testkit::FakeServer;
use tokio::time::{Instant, advance, sleep, timeout};

use crate::world::*;

/// Between two writes of the load.
const PAUSE: Duration = Duration::from_millis(50);

/// Side links that a suspicion may dial until the server speaks again.
const SIDE_DIALS: u64 = 4;

/// What happened while a disturbance lasted, and for ten seconds after it.
struct Course {
    events: Vec<Event>,
    dials: u64,
}

impl Course {
    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }
}

/// Runs `disturbance` under load. Asserts that the link stays and no command fails.
async fn disturb(world: &World, tether: &Tether, disturbance: impl AsyncFnOnce()) -> Course {
    disturb_under(PAUSE, world, tether, disturbance).await
}

/// The same under a load that pauses for so long between two writes.
async fn disturb_under(pause: Duration, world: &World, tether: &Tether, disturbance: impl AsyncFnOnce()) -> Course {
    let before = (tether.status().borrow().epoch, world.dials());
    let mut events = tether.events();
    let mut handle = tether.handle();
    let load = tokio::spawn(async move {
        for number in 0.. {
            let id = format!("load {number}");
            if let Err(error) = set(&mut handle, &id).await {
                panic!("{id}: {error}");
            }
            sleep(pause).await;
        }
    });
    disturbance().await;
    sleep(ms(10_000)).await;
    assert!(!load.is_finished(), "a command failed: {:?}", load.await);
    load.abort();
    let status = tether.status().borrow().clone();
    assert_eq!(status.epoch, before.0, "{status}");
    assert!(status.phase == redis_tether::Phase::Connected, "{status}");
    let course = Course { events: drain(&mut events), dials: world.dials() - before.1 };
    let over =
        course.count(|event| matches!(event, Event::Lost { .. } | Event::Retired { .. } | Event::Connected { .. }));
    assert_eq!(over, 0, "{:?}", course.events);
    assert!(course.dials <= SIDE_DIALS, "{} dials: {:?}", course.dials, course.events);
    course
}

fn suspicions(course: &Course) -> usize {
    course.count(|event| matches!(event, Event::Suspected { .. }))
}

#[test]
fn a_script_of_three_seconds() {
    with_seeds(12, async |seed| {
        let world = World::new(2);
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        let course = disturb(&world, &tether, async || {
            world.nodes[0].busy_for(ms(3_000));
            sleep(ms(3_000)).await;
        })
        .await;
        assert_eq!(suspicions(&course), 1, "{:?}", course.events);
    });
}

#[test]
fn a_freeze_of_two_seconds() {
    with_seeds(12, async |seed| {
        let world = World::new(2);
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        disturb(&world, &tether, async || {
            world.nodes[0].freeze();
            sleep(ms(2_000)).await;
            world.nodes[0].thaw();
        })
        .await;
    });
}

#[test]
fn a_link_that_is_black_holed_for_four_seconds() {
    with_seeds(12, async |seed| {
        let world = World::new(2);
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        disturb(&world, &tether, async || {
            world.net.black_hole(address(0));
            sleep(ms(4_000)).await;
            world.net.heal(address(0));
        })
        .await;
    });
}

#[test]
fn our_own_runtime_stands_still() {
    with_seeds(12, async |seed| {
        let world = World::new(2);
        // So that something is in flight nearly always.
        world.net.latency(address(0), ms(15));
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        let course = disturb(&world, &tether, async || {
            for stall in 0..20 {
                sleep(ms(500 + (seed + stall) * 7)).await;
                advance(ms(2_000)).await;
            }
        })
        .await;
        assert_eq!((suspicions(&course), course.dials), (0, 0), "our stall is taken for theirs: {:?}", course.events);
    });
}

/// The server is slow, and while the link is suspect for that we stand still until long after it would have been dead. The
/// replies are on their way by then.
#[test]
fn our_own_runtime_stands_still_while_the_link_is_suspect() {
    with_seeds(12, async |seed| {
        let world = World::new(2);
        world.net.latency(address(0), ms(15));
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        let course = disturb(&world, &tether, async || {
            world.nodes[0].busy_for(ms(2_000));
            sleep(ms(600)).await;
            advance(ms(10_000)).await;
        })
        .await;
        assert_eq!(suspicions(&course), 1, "{:?}", course.events);
    });
}

#[test]
fn one_probe_is_lost() {
    with_seeds(12, async |seed| {
        let world = World::new(2);
        let tether = world.settled(seed, ms(seed * 311)).await;
        let before = tether.status().borrow().epoch;
        let mut events = tether.events();
        world.nodes[0].delay_next_ping(ms(600));
        sleep(ms(10_000)).await;
        assert_eq!(tether.status().borrow().epoch, before);
        let events = drain(&mut events);
        assert!(!events.iter().any(|event| matches!(event, Event::Lost { .. } | Event::Retired { .. })), "{events:?}");
        set(&mut tether.handle(), "after").await.expect("the link serves");
    });
}

async fn dns(seed: u64, trouble: impl Fn(&World)) {
    let world = World::new(3);
    let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
    let course = disturb(&world, &tether, async || {
        trouble(&world);
        sleep(ms(60_000)).await;
    })
    .await;
    assert_eq!((suspicions(&course), course.dials), (0, 0), "{:?}", course.events);
    assert!(world.dns.most_lookups_in_flight(NAME) <= 1, "lookups pile up");
}

#[test]
fn the_dns_fails_hangs_or_forgets_the_name() {
    with_seeds(4, async |seed| dns(seed, |world| world.dns.fail(NAME)).await);
    with_seeds(4, async |seed| dns(seed, |world| world.dns.hang(NAME)).await);
    with_seeds(4, async |seed| dns(seed, |world| world.dns.remove(NAME)).await);
}

#[test]
fn the_dns_rotates_its_answers() {
    with_seeds(4, async |seed| dns(seed, |world| world.dns.rotate(NAME, vec![vec![ip(0)], vec![ip(1)]])).await);
    with_seeds(10, async |seed| {
        dns(seed, |world| world.dns.rotate(NAME, vec![vec![ip(0), ip(1)], vec![ip(1), ip(0)]])).await
    });
}

#[test]
fn a_replica_is_added_and_removed() {
    with_seeds(10, async |seed| {
        let world = World::new(2);
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        let course = disturb(&world, &tether, async || {
            world.name_means(&[1, 0]);
            sleep(ms(20_000)).await;
            world.name_means(&[0]);
            world.nodes[1].crash();
        })
        .await;
        assert_eq!((suspicions(&course), course.dials), (0, 0), "{:?}", course.events);
    });
}

/// Whatever happens at an address that is not the link's is nobody's business, also if the name means both.
#[test]
fn the_other_node_crashes_and_comes_back() {
    with_seeds(10, async |seed| {
        let world = World::new(2);
        world.name_means(&[0, 1]);
        let tether = world.settled(seed, ms(3_000)).await;
        let course = disturb(&world, &tether, async || {
            for act in [FakeServer::crash, FakeServer::restart, FakeServer::freeze, FakeServer::thaw] {
                act(&world.nodes[1]);
                sleep(ms(5_000)).await;
            }
        })
        .await;
        assert_eq!((suspicions(&course), course.dials), (0, 0), "{:?}", course.events);
    });
}

/// A command that is begun, and looked at no more.
async fn begun(mut handle: Handle, id: String) -> Pin<Box<dyn Future<Output = RedisResult<()>>>> {
    let mut command = Box::pin(async move { set(&mut handle, &id).await });
    let at_once = poll_fn(|cx| Poll::Ready(command.as_mut().poll(cx))).await;
    assert!(at_once.is_pending(), "answered before it was sent");
    command
}

/// They begin commands and go away, or stay and never look: what they leave lying was answered all the same. The load leaves
/// gaps that would be silence if they did wait for anything.
#[test]
fn callers_who_look_once() {
    with_seeds(12, async |seed| {
        let world = World::new(2);
        world.net.latency(address(0), ms(15));
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        let mut kept = Vec::new();
        let course = disturb_under(ms(700), &world, &tether, async || {
            for number in 0..40 {
                kept.push(begun(tether.handle(), format!("kept {number}")).await);
                drop(begun(tether.handle(), format!("gone {number}")).await);
                sleep(ms(750)).await;
            }
        })
        .await;
        assert_eq!((suspicions(&course), course.dials), (0, 0), "{:?}", course.events);
        for command in kept {
            command.await.expect("its reply is there");
        }
    });
}

/// The same on a link on which nothing else happens, so that only a probe can show that all is well. One is enough.
#[test]
fn one_caller_who_looks_once() {
    with_seeds(12, async |seed| {
        let world = World::new(2);
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        let (mut events, pings) = (tether.events(), world.nodes[0].commands("PING"));
        let kept = begun(tether.handle(), "kept".to_owned()).await;
        sleep(ms(30_000)).await;
        let events = drain(&mut events);
        assert!(events.is_empty(), "{events:?}");
        // One every 2.7 to 3 s, and the one that was asked for.
        let probes = world.nodes[0].commands("PING") - pings;
        assert!((9..=13).contains(&probes), "{probes} probes in 30 s");
        kept.await.expect("its reply is there");
    });
}

/// Nothing else goes over the link: what waits behind a blocking command on the same connection has to wait, as the
/// server answers in order.
#[test]
fn a_blocking_pop_of_ten_seconds() {
    with_seeds(10, async |seed| {
        let world = World::new(1);
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        let mut events = tether.events();
        let popped: Option<(String, String)> =
            cmd("BLPOP").arg("nothing").arg(10).query_async(&mut tether.handle()).await.expect("its own timeout");
        assert_eq!(popped, None);
        sleep(ms(5_000)).await;
        let events = drain(&mut events);
        assert!(events.is_empty(), "{events:?}");
        assert_eq!(world.dials(), 1);
    });
}

/// The server knows nothing of a caller that gives up, and blocks the link to the end. Replies to others that were read
/// since the command was sent do not mean that it is over.
#[test]
fn a_blocking_pop_that_is_given_up_among_writes() {
    with_seeds(10, async |seed| {
        let world = World::new(1);
        let tether = world.settled(seed, ms(3_000 + seed * 311)).await;
        let course = disturb(&world, &tether, async || {
            let (mut first, mut handle) = (tether.handle(), tether.handle());
            let pop = async {
                let pop = cmd("BLPOP").arg("nothing").arg(10).take();
                timeout(ms(1_000), pop.query_async::<Option<(String, String)>>(&mut handle)).await
            };
            let (written, popped) = tokio::join!(biased; set(&mut first, "ahead of it"), pop);
            written.expect("it was sent first");
            assert!(popped.is_err(), "it did not block: {popped:?}");
            let mut waiting = tether.handle();
            let began = Instant::now();
            set(&mut waiting, "behind it").await.expect("its deadline begins after the blocking command's timeout");
            assert!(began.elapsed() >= ms(8_900), "it did not wait: {:?}", began.elapsed());
        })
        .await;
        assert_eq!((suspicions(&course), course.dials), (0, 0), "{:?}", course.events);
    });
}
