//! What becomes of reads while replicas come, go and fail: in virtual time, over in-memory links. The tests themselves say who the
//! replicas are, and open and close their gates.

use std::time::Duration;

use redis::{AsyncCommands, Cmd, RedisError, RedisResult, Value};
use redis_tether_core::reply::Refusal;
use tokio::task::JoinSet;

use super::*;
use crate::config::{Fallback, Retry};
use crate::control::board::Board;
use crate::gate::ClosedCause;
use crate::handle::rig::{Peer, Rig, settle};
use crate::ledger::LinkEnd;
use crate::link::Link;
use crate::outcome::{Outcome, OutcomeExt, Reason};

const OK: &str = "+OK";

/// One key, and that there is more.
const MORE: &str = "*2\r\n$2\r\n17\r\n*1\r\n$1\r\nk";
const THROUGH: &str = "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk";

/// A primary whose replicas the test makes up.
struct World {
    set: Arc<ReplicaSet>,
    primary: Rig,
}

/// A replica, and what it hears.
struct Fake {
    rig: Rig,
    peer: Peer,
    link: Arc<Link>,
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config::new("redis", 6379);
        config.replicas.fallback = Fallback::None;
        change(&mut config);
        let primary = Rig::with(config.commands.clone());
        let set = Arc::new(ReplicaSet::new(Arc::new(config), primary.shared.clone()));
        World { set, primary }
    }

    fn handle(&self) -> ReplicaHandle {
        ReplicaHandle::new(self.set.clone(), self.primary.handle(), Arc::new(()))
    }

    /// One that serves.
    async fn replica(&self, peer: Peer) -> Fake {
        let rig = Rig::new();
        let link = rig.open(1, &peer).await;
        let (host, shared) = ("10.0.0.2".to_owned(), rig.shared.clone());
        let board = Arc::new(Board::new("replica".into()));
        let seat = Seat { place: Place { host, port: 6379 }, shared, board, is_shown: false };
        self.set.show(|roster| roster.seats.push(seat));
        Fake { rig, peer, link }
    }

    fn remove(&self, fake: &Fake) {
        self.set.show(|roster| roster.seats.retain(|seat| !Arc::ptr_eq(&seat.shared, &fake.rig.shared)));
    }
}

impl Fake {
    fn close(&self) {
        self.rig.gate().close(ClosedCause::Refused(Refusal::Loading));
    }

    async fn reopen(&self, number: u64) {
        self.rig.open(number, &self.peer).await;
    }
}

fn get() -> Cmd {
    let mut cmd = redis::cmd("GET");
    cmd.arg("key");
    cmd
}

async fn read(handle: &mut ReplicaHandle) -> RedisResult<Value> {
    get().query_async(handle).await
}

/// So many reads that are held, since nobody serves.
async fn waiting(world: &World, count: usize) -> JoinSet<RedisResult<Value>> {
    let mut reading = JoinSet::new();
    for _ in 0..count {
        let mut handle = world.handle();
        reading.spawn(async move { read(&mut handle).await });
    }
    settle().await;
    assert_eq!(world.set.held_now(), count as u64);
    reading
}

/// How many reads were held, and how many of those let go.
fn counted(world: &World) -> (u64, u64) {
    let counters = &world.primary.shared.counters;
    (counters.held.value(), counters.released.value())
}

fn fate<T: std::fmt::Debug>(reply: RedisResult<T>) -> (Outcome, Reason) {
    let error = reply.expect_err("it fails");
    let own = error.command_error().expect("an error of the tether's");
    (own.outcome(), own.reason())
}

#[tokio::test(start_paused = true)]
async fn a_later_scan_of_redis_rs_begins_at_whoever_serves_then() {
    let world = World::new(|_| ());
    let mut handle = world.handle();
    let before = world.replica(Peer::saying(THROUGH)).await;
    let mut scan = handle.scan::<String>().await.expect("a scan");
    assert_eq!(scan.next_item().await.expect("a key").expect("a key"), "k");
    drop(scan);
    world.remove(&before);
    let after = world.replica(Peer::saying(THROUGH)).await;
    drop(handle.scan::<String>().await.expect("another scan"));
    assert_eq!((before.peer.received().len(), after.peer.received()), (1, vec!["SCAN 0".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_scan_never_goes_on_at_another_replica() {
    let world = World::new(|_| ());
    let mut handle = world.handle();
    let first = world.replica(Peer::saying(MORE)).await;
    let mut scan = async |words: &[&str]| -> RedisResult<Value> {
        let mut cmd = Cmd::new();
        cmd.arg(words).query_async(&mut handle).await
    };
    assert_eq!(fate(scan(&["SCAN", "17"]).await), (Outcome::NotSent, Reason::ScanLost), "it began nowhere");
    scan(&["SCAN", "0"]).await.expect("it begins");
    first.close();
    let second = world.replica(Peer::saying(MORE)).await;
    scan(&["HSCAN", "key", "0"]).await.expect("it begins elsewhere");
    assert_eq!(fate(scan(&["SCAN", "17"]).await), (Outcome::NotSent, Reason::ScanLost));
    first.reopen(2).await;
    scan(&["SCAN", "17"]).await.expect("it goes on");
    scan(&["HSCAN", "key", "17"]).await.expect("so does this");
    assert_eq!(first.peer.received(), ["SCAN 0", "SCAN 17"]);
    assert_eq!(second.peer.received(), ["HSCAN key 0", "HSCAN key 17"]);
}

/// A borrowed roster that is asked for again waits for whoever waits to write, who waits for the first.
#[test]
fn waiting_for_a_tether_that_has_ended_does_not_hang() {
    let world = World::new(|_| ());
    let (handle, set) = (world.handle(), world.set.clone());
    set.stop();
    let (done, waited) = std::sync::mpsc::channel();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    // One of two waits for the other most of the time. Whoever borrows must still meet with them in a moment's time: so they are
    // several, and try for long.
    let writers = [(); 2].map(|()| {
        let (set, is_over) = (set.clone(), is_over.clone());
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                set.show(|_| ());
            }
        })
    });
    for _ in 0..4 {
        let (handle, done) = (handle.clone(), done.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            for _ in 0..40_000 {
                assert!(runtime.block_on(handle.ready(Duration::from_secs(1))).is_err());
            }
            let _ = done.send(());
        });
    }
    let due = std::time::Instant::now() + Duration::from_secs(120);
    let wait = || waited.recv_timeout(due.saturating_duration_since(std::time::Instant::now()));
    let have_ended = (0..4).all(|_| wait().is_ok());
    is_over.store(true, Ordering::Relaxed);
    assert!(have_ended, "waited two minutes for every wait to end");
    writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_woken_only_by_what_is_news_to_them() {
    let world = World::new(|_| ());
    let replica = world.replica(Peer::saying(OK)).await;
    replica.close();
    world.set.look();
    let mut rosters = world.set.rosters.subscribe();
    for _ in 0..10 {
        world.set.look();
    }
    assert!(!rosters.has_changed().expect("shown"), "it serves no more than before");
    replica.reopen(2).await;
    world.set.look();
    assert!(rosters.borrow_and_update().none_since.is_none());
    world.set.show(|roster| roster.error = Some("no".into()));
    assert!(rosters.has_changed().expect("shown"), "why nobody knows them");
    rosters.mark_unchanged();
    world.set.show(|roster| roster.error = Some("not here either".into()));
    assert!(!rosters.has_changed().expect("shown"), "one does not know them either");
    assert_eq!(world.set.rosters.borrow().error.as_deref(), Some("not here either"));
}

/// The replica is away for so short a time that nobody is told, but for the read that met with it.
#[tokio::test(start_paused = true)]
async fn a_read_that_sees_more_than_was_shown_is_woken_all_the_same() {
    let world = World::new(|_| ());
    let replica = world.replica(Peer::saying(OK)).await;
    replica.close();
    let mut handle = world.handle();
    let reading = tokio::spawn(async move { read(&mut handle).await });
    settle().await;
    assert_eq!(world.set.held_now(), 1);
    replica.reopen(2).await;
    world.set.look();
    let begun = Instant::now();
    reading.await.expect("no panic").expect("an answer");
    assert!(begun.elapsed() < Duration::from_secs(1), "not at the end of the hold window");
    assert_eq!((world.set.held_now(), counted(&world)), (0, (1, 1)));
}

/// As those that a gate held, though its gate is open to them all.
#[tokio::test(start_paused = true)]
async fn a_replica_that_comes_back_is_not_met_by_all_at_once() {
    let world = World::new(|_| ());
    let reading = waiting(&world, 600).await;
    let replica = world.replica(Peer::mute()).await;
    for sent in [64, 192, 448, 600] {
        settle().await;
        assert_eq!((replica.peer.received().len(), world.set.held_now()), (sent, 600 - sent as u64));
        assert_eq!(counted(&world), (600, sent as u64), "each is let go when it has its turn");
        replica.peer.pay(OK);
    }
    assert!(reading.join_all().await.iter().all(Result::is_ok));
}

/// And says what it waited for, and how many others do.
#[tokio::test(start_paused = true)]
async fn a_read_that_waits_for_its_turn_ends_when_it_is_due() {
    let world = World::new(|config| config.commands.deadline = Duration::from_millis(200));
    let reading = waiting(&world, 66).await;
    let (begun, replica) = (Instant::now(), world.replica(Peer::mute()).await);
    let failed: Vec<_> =
        reading.join_all().await.into_iter().map(|reply| reply.expect_err("nothing answers")).collect();
    let told = failed.iter().filter_map(RedisError::command_error);
    let (mut waited, sent): (Vec<_>, Vec<_>) = told.partition(|error| error.outcome() == Outcome::NotSent);
    assert!(sent.iter().all(|error| error.outcome() == Outcome::Ambiguous) && sent.len() == 64, "{sent:?}");
    waited.sort_by_key(|error| error.held());
    assert_eq!(waited.iter().map(|error| error.held()).collect::<Vec<_>>(), [0, 1]);
    for error in waited.into_iter().chain(sent) {
        assert_eq!(error.reason(), Reason::DeadlinePassed, "{error}");
        let is_told = error.cause().is_some_and(|cause| cause.contains("batch by batch"));
        assert_eq!(is_told, error.outcome() == Outcome::NotSent, "{error}");
    }
    assert!(begun.elapsed() <= Duration::from_millis(200) && replica.peer.received().len() == 64);
    assert_eq!((world.set.held_now(), counted(&world)), (0, (66, 64)), "two had no turn");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_never_waits_does_not_wait_for_a_turn_either() {
    let world = World::new(|_| ());
    let mut reading = waiting(&world, 65).await;
    let replica = world.replica(Peer::mute()).await;
    settle().await;
    assert_eq!((replica.peer.received().len(), world.set.held_now()), (64, 1), "one waits for its turn");
    let mut handle = world.handle().with_policy(world.handle().policy().fail_fast());
    let impatient =
        tokio::spawn(async move { redis::cmd("EXISTS").arg("key").query_async::<Value>(&mut handle).await });
    settle().await;
    assert_eq!(
        replica.peer.received().last().map(String::as_str),
        Some("EXISTS key"),
        "the replica serves, so it goes"
    );
    assert_eq!(world.set.held_now(), 1, "before the one who waits");
    replica.peer.pay(OK);
    impatient.await.expect("no panic").expect("an answer");
    reading.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_are_bounded_in_bytes() {
    let world = World::new(|config| config.commands.max_held_bytes = 50);
    let (mut first, mut second) = (world.handle(), world.handle());
    let reading = tokio::spawn(async move { read(&mut first).await });
    settle().await;
    assert_eq!(fate(read(&mut second).await), (Outcome::NotSent, Reason::HoldFull));
    let replica = world.replica(Peer::saying(OK)).await;
    reading.await.expect("no panic").expect("an answer");
    assert_eq!(replica.peer.received(), ["GET key"]);
    assert_eq!(world.set.room.bytes_now(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_before_is_told_whatever_comes_of_it_at_last() {
    for (fallback, last) in [(Fallback::None, Reason::HoldWindowPassed), (Fallback::Primary, Reason::HoldWindowPassed)]
    {
        let world = World::new(|config| {
            config.replicas.fallback = fallback;
            config.commands.retry = Retry::ReadOnly;
        });
        let replica = world.replica(Peer::mute()).await;
        let mut handle = world.handle();
        let reading = tokio::spawn(async move { read(&mut handle).await });
        settle().await;
        replica.link.abort(LinkEnd::Closed);
        world.set.look();
        assert_eq!(fate(reading.await.expect("no panic")), (Outcome::Ambiguous, last), "{fallback:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_was_refused_at_last_is_refused() {
    let world = World::new(|_| ());
    let replica = world.replica(Peer::saying("-LOADING Redis is loading the dataset in memory")).await;
    assert_eq!(fate(read(&mut world.handle()).await), (Outcome::Refused, Reason::HoldWindowPassed));
    assert_eq!(replica.peer.received().len(), 1);
    assert_eq!(world.primary.shared.counters.failed_refused.value(), 1);
    let told = world.handle().members()[0].stats;
    assert_eq!(
        (told.refusal_replies, world.primary.shared.counters.refusal_replies.value()),
        (1, 0),
        "each counts its own"
    );
}

/// Of a replica that has its primary, else of the primary, else of whoever has something.
#[tokio::test(start_paused = true)]
async fn the_freshest_answer_is_given_that_is_to_be_had() {
    for fallback in [Fallback::Primary, Fallback::None] {
        let world = World::new(|config| config.replicas.fallback = fallback);
        world.primary.open(1, &Peer::saying(OK)).await;
        let (fresh, stale) = (world.replica(Peer::saying(OK)).await, world.replica(Peer::saying(OK)).await);
        stale.rig.shared.is_stale.store(true, Ordering::Relaxed);
        let mut handle = world.handle();
        let mut asked = async || {
            let before = (fresh.peer.received().len(), stale.peer.received().len());
            let fallbacks = world.primary.shared.counters.fallbacks.value();
            for _ in 0..4 {
                read(&mut handle).await.expect("an answer");
            }
            let now = (fresh.peer.received().len(), stale.peer.received().len());
            (now.0 - before.0, now.1 - before.1, world.primary.shared.counters.fallbacks.value() - fallbacks)
        };
        assert_eq!(asked().await, (4, 0, 0), "{fallback:?}");
        fresh.close();
        let at_primary = if fallback == Fallback::Primary { (0, 0, 4) } else { (0, 4, 0) };
        assert_eq!(asked().await, at_primary, "{fallback:?}");
        world.primary.gate().close(ClosedCause::Refused(Refusal::Loading));
        assert_eq!(asked().await, (0, 4, 0), "{fallback:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_is_sent_again_as_often_as_its_policy_says() {
    let world = World::new(|config| {
        (config.commands.retry, config.commands.max_retries) = (Retry::ReadOnly, 1);
    });
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(world.replica(Peer::mute()).await);
    }
    let mut handle = world.handle();
    let reading = tokio::spawn(async move { read(&mut handle).await });
    for _ in 0..2 {
        settle().await;
        let waiting = replicas.iter().position(|replica| !replica.peer.received().is_empty()).expect("it was sent");
        replicas.remove(waiting).link.abort(LinkEnd::Closed);
    }
    assert_eq!(fate(reading.await.expect("no panic")), (Outcome::Ambiguous, Reason::LinkLost));
    assert!(replicas[0].peer.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_share_of_one_that_is_out_is_everybodys() {
    let world = World::new(|_| ());
    let mut replicas = Vec::new();
    for _ in 0..4 {
        replicas.push(world.replica(Peer::saying(OK)).await);
    }
    replicas[1].close();
    let mut handle = world.handle();
    for _ in 0..30 {
        read(&mut handle).await.expect("an answer");
    }
    let shares: Vec<usize> = replicas.iter().map(|replica| replica.peer.received().len()).collect();
    assert_eq!(shares, [10, 0, 10, 10]);
}

/// Nor the primary's, of which it was not asked.
#[tokio::test(start_paused = true)]
async fn who_has_moved_is_who_was_asked_last() {
    let world = World::new(|_| ());
    world.primary.open(1, &Peer::saying(OK)).await;
    let (asked, other) = (world.replica(Peer::saying(OK)).await, world.replica(Peer::saying(OK)).await);
    let mut handle = world.handle();
    // By turns, so that both are known to the handle, and the first was asked last.
    for _ in 0..3 {
        read(&mut handle).await.expect("an answer");
    }
    assert_eq!((asked.peer.received().len(), other.peer.received().len()), (2, 1));
    handle.report_moved();
    assert!(!asked.rig.gate().is_open() && other.rig.gate().is_open());
    // It has left before that was said, and another one has its place.
    world.remove(&asked);
    handle.refresh();
    handle.report_moved();
    assert!(other.rig.gate().is_open() && world.primary.gate().is_open());
    assert_eq!(world.primary.handle().run(crate::handle::request::One(&get())).await, Ok(Value::Okay));
    let _ = handle.at_primary().run(crate::handle::request::One(&get())).await;
    handle.report_moved();
    assert!(other.rig.gate().is_open() && !world.primary.gate().is_open(), "it was asked last");
}
