//! A shard whose primary fails or hands over: that shard is back as soon as its replica is, and the others do not notice.

use std::time::Duration;

use redis_tether::{ClusterHandle, ClusterTether, Event, Outcome, OutcomeExt, Protocol};
use redis_tether_testkit::scenario::{Client, Failed, Failure, OpenLoop, Operation};
use redis_tether_testkit::{ClusterDeployment, ServerKind};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::protocol_for;
use redis_tether_tests::watch::{Diary, PATIENCE, counted, within};
use redis_tether_tests::writer::Writer;
use tokio::time::Instant;

use super::world::{Load, Successes, TURN, Tally, World, allowance, assert_once, held};
use super::yardstick::Yardstick;

/// The shard that things happen to.
const STRUCK: usize = 0;

/// How soon after the replica took over its shard must serve.
const BOUND: Duration = Duration::from_millis(300);

/// How long no caller of another shard may wait for an answer, from the moment at which its command was due.
const GAP: Duration = Duration::from_millis(50);

/// Between two commands of a schedule, answered or not.
const PERIOD: Duration = Duration::from_millis(5);

on_each_server!(a_killed_primary, a_frozen_primary, a_planned_failover, a_planned_failover_that_takes_long);

/// A caller of one shard with a command due every so often.
#[derive(Clone)]
struct Caller {
    writer: Writer<ClusterHandle>,
    done: Successes,
}

impl Client for Caller {
    async fn set(&mut self, n: u64) -> Result<(), Failed> {
        self.writer.set(n).await.map(|()| self.done.one_more())
    }
}

/// Since a command is due every so often, whatever became of those before, no gap can hide, and there is always one to show that the
/// shard serves.
struct Schedule {
    done: Successes,
    writing: OpenLoop,
}

impl Schedule {
    fn start(world: &World, handle: ClusterHandle, shard: usize) -> Schedule {
        let done = Successes::none();
        let caller = Caller { writer: Writer::new(handle, world.cluster.key_in(shard, "due")), done: done.clone() };
        Schedule { done, writing: OpenLoop::start(caller, PERIOD) }
    }
}

/// The callers of one tether.
struct Witness {
    tether: ClusterTether,
    /// Where each value of the load's goes.
    log: String,
    /// One command of the failed shard at a time.
    load: Load,
    struck: Schedule,
    bystanders: Vec<Schedule>,
}

impl Witness {
    async fn start(world: &World, protocol: Protocol) -> Witness {
        let tether = world.tether(protocol).await;
        let log = world.cluster.key_in(STRUCK, &format!("log-{protocol:?}"));
        let load = Load::start(&tether.handle(), vec![log.clone()]);
        let schedule = |shard| Schedule::start(world, tether.handle(), shard);
        let bystanders = bystanders().map(schedule).collect();
        let struck = schedule(STRUCK);
        Witness { load, struck, bystanders, log, tether }
    }

    async fn go_on(&self) {
        self.load.go_on_for(20).await;
        for schedule in self.bystanders.iter().chain([&self.struck]) {
            schedule.done.go_on_for(20).await;
        }
    }

    async fn finish(self) -> Seen {
        let mut bystanders = Vec::new();
        for bystander in self.bystanders {
            bystanders.push(bystander.writing.finish().await);
        }
        let due = self.struck.writing.finish().await;
        let tally = within(PATIENCE, "the load to end", self.load.finish()).await.remove(0);
        assert_once(&held(&mut self.tether.handle(), &self.log).await, &tally);
        self.tether.shutdown().await;
        Seen { tally, due, bystanders }
    }
}

/// The shards that nothing happens to.
fn bystanders() -> impl Iterator<Item = usize> {
    (0..ClusterDeployment::SHARDS).filter(|shard| *shard != STRUCK)
}

/// What the callers of the failed shard met, and those of the others.
pub(crate) struct Seen {
    tally: Tally,
    due: Vec<Operation>,
    bystanders: Vec<Vec<Operation>>,
}

impl Seen {
    /// `waited` is what the machine made others wait meanwhile.
    fn assert_in_time(&self, taken_over: Instant, waited: Duration) {
        for operations in &self.bystanders {
            assert_unaffected(operations, waited);
        }
        assert_served_again(&self.due, taken_over, waited);
    }

    pub(crate) fn assert_none_failed(&self) {
        self.tally.assert_none_failed();
        assert_eq!(self.due.iter().find_map(|one| one.result.as_ref().err()), None);
    }
}

/// Nobody votes for a while. The primary keeps writes back meanwhile, and with them everything on their connection, and answers others;
/// and it is the last to learn that another has taken over, and then refuses what it kept.
async fn a_planned_failover_that_takes_long(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let tether = world.tether(protocol_for(kind)).await;
    let log = world.cluster.key_in(STRUCK, "log");
    let load = Load::start(&tether.handle(), vec![log.clone()]);
    load.go_on_for(20).await;
    let shards = tether.shards();
    let struck = shards.iter().find(|shard| *shard.slots[0].start() == 0).expect("it has slots");
    let mut diary = Diary::of(&struck.tether);
    for voter in bystanders() {
        world.cluster.primary(voter).freeze().await.expect("frozen");
    }
    world.cluster.failover(STRUCK).await.expect("begun");
    diary.until("a suspicion", |event| matches!(event, Event::Suspected { .. })).await;
    // What a dial asks last.
    counted("a connection beside the suspect one", 1, async || {
        let clients = world.cluster.primary(STRUCK).command(&["CLIENT", "LIST"]).await.expect("it answers others");
        let clients = clients.text().unwrap_or_default();
        clients.lines().filter(|client| client.contains(" cmd=ping ")).count() as u64
    })
    .await;
    world.cluster.primary(STRUCK).freeze().await.expect("frozen");
    for voter in bystanders() {
        world.cluster.primary(voter).thaw().expect("thawed");
    }
    diary.until("another link", |event| matches!(event, Event::Connected { .. })).await;
    world.cluster.primary(STRUCK).thaw().expect("thawed");
    load.go_on_for(20).await;
    let tally = within(PATIENCE, "the load to end", load.finish()).await.remove(0);
    assert_once(&held(&mut tether.handle(), &log).await, &tally);
    tally.assert_none_failed();
    tether.shutdown().await;
}

/// Has `fault` bring about a failover, and looks how two tethers come through it, one for each version of the protocol.
pub(crate) async fn fail_over(world: &World, fault: impl AsyncFnOnce(&ClusterDeployment)) -> Vec<Seen> {
    let witnesses = [Witness::start(world, Protocol::Resp2).await, Witness::start(world, Protocol::Resp3).await];
    let asked_directly = bystanders().map(|shard| (world.cluster.primary(shard), world.cluster.key_in(shard, "plain")));
    let yardstick = Yardstick::start(asked_directly, PERIOD).await;
    for witness in &witnesses {
        witness.go_on().await;
    }
    fault(&world.cluster).await;
    let taken_over = world.cluster.taken_over(world.cluster.replica(STRUCK)).await.expect("taken over");
    // That was the one election.
    for node in world.cluster.nodes.iter().filter(|node| node.addr() != world.cluster.primary(STRUCK).addr()) {
        ClusterDeployment::elect_nobody(node).await.expect("it obeys");
    }
    for witness in &witnesses {
        witness.go_on().await;
    }
    let mut seen = Vec::new();
    for witness in witnesses {
        seen.push(witness.finish().await);
    }
    let waited = yardstick.finish().await;
    seen.iter().for_each(|one| one.assert_in_time(taken_over, waited));
    seen
}

/// The primary, and its replica is elected.
pub(crate) async fn kill(all: &ClusterDeployment) {
    all.elect_after(ClusterDeployment::QUICKLY).await.expect("taken");
    all.primary(STRUCK).kill().await.expect("killed");
}

pub(crate) async fn freeze(all: &ClusterDeployment) {
    all.elect_after(ClusterDeployment::QUICKLY).await.expect("taken");
    all.primary(STRUCK).freeze().await.expect("frozen");
}

/// Errors are no sign of it: those whose commands were on their way to the primary that failed get one whoever serves.
fn assert_served_again(operations: &[Operation], taken_over: Instant, waited: Duration) {
    let of_after = operations.iter().filter(|one| one.result.is_ok() && one.ended > taken_over);
    let took = of_after.map(|one| one.ended - taken_over).min().expect("the shard serves again");
    let bound = BOUND + allowance(Duration::from_millis(350) + waited);
    assert!(took <= bound, "{took:?} after the replica took over, where others waited for {waited:?}");
    let otherwise = operations.iter().filter_map(|one| one.result.as_ref().err());
    let otherwise: Vec<_> = otherwise.filter(|failed| failed.failure != Failure::Ambiguous).collect();
    assert!(otherwise.is_empty(), "failed otherwise than in flight: {:?}", otherwise.first());
}

fn assert_unaffected(operations: &[Operation], waited: Duration) {
    let failed = operations.iter().find_map(|one| one.result.as_ref().err());
    assert_eq!(failed, None, "a command to another shard failed");
    let longest = operations.iter().map(Operation::took).max().unwrap_or_default();
    let bound = GAP + allowance(Duration::from_millis(200) + waited);
    assert!(longest <= bound, "a gap of {longest:?} at another shard, where others waited for {waited:?}");
}

/// Each caller of the load has one command in flight.
pub(crate) fn assert_only_in_flight_failed(seen: &[Seen]) {
    for Seen { tally, .. } in seen {
        assert!(tally.failed.len() <= 1, "{} failed: {:?}", tally.failed.len(), tally.failed);
        for (_, error) in &tally.failed {
            assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
        }
    }
}

async fn a_killed_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seen = fail_over(&world, kill).await;
    assert_only_in_flight_failed(&seen);
}

async fn a_frozen_primary(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seen = fail_over(&world, freeze).await;
    assert_only_in_flight_failed(&seen);
}

async fn a_planned_failover(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let world = World::new(kind).await;
    let seen = fail_over(&world, async |all| all.failover(0).await.expect("begun")).await;
    seen.iter().for_each(Seen::assert_none_failed);
}
