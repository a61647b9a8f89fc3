//! One random schedule: a world, a tether, callers and a run of faults, all drawn from one seed; then all is well again, and
//! the tether has to be back within its bound. Then it ends, and nothing may be left. Run by `random.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis_tether::{Config, Event, Phase, Protocol, Retry, Tether};
use tokio::runtime::Builder;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::callers::{Caller, Calls};
use crate::faults::{Mischief, PASSWORD, heal};
use crate::judge::{EventJudge, Served, Verdict, judge_calls};
use crate::trace::Trace;
use crate::world::{self, PATIENCE, World, address, bounds, rounding, set, until_connected};

/// What a schedule that kept to all invariants has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Report {
    pub(crate) hash: u64,
    /// From the healing to the recovery.
    pub(crate) recovery: Duration,
    pub(crate) calls: usize,
    pub(crate) faults: usize,
}

/// What one that did not has shown.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) trace: String,
}

/// Runs the schedule of this seed, in a runtime and a virtual time of its own.
pub(crate) fn simulate(seed: u64) -> Result<Report, Failure> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let trace = {
        let _entered = runtime.enter();
        Trace::new()
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(seed, &trace))));
    let what = match outcome {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(what)) => what,
        Err(panic) => match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(_) => "a panic".to_owned(),
        },
    };
    Err(Failure { what, trace: trace.to_string() })
}

async fn run(seed: u64, trace: &Trace) -> Result<Report, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = World::new(rng.usize(2..=3));
    world.nodes.iter().for_each(|node| node.require_password(Some(PASSWORD)));
    let config = random_config(&mut rng);
    let tasks_before = alive_tasks();

    let tether = world.tether(config.clone(), rng.u64(..)).await;
    let watch = Watch::over(&tether, trace);
    let calls = Calls::default();
    let faults_for = random_length(&mut rng);
    let writers = spawn_callers(&tether, &mut rng, trace, &calls, &config, Instant::now() + faults_for);

    let mut mischief =
        Mischief { world: &world, tether: &tether, trace, rng: rng.fork(), stalls: Vec::new(), reconnects: Vec::new() };
    let end = Instant::now() + faults_for;
    let mut faults = 0;
    if rng.bool() {
        until_connected(&tether, 0).await;
    }
    while Instant::now() < end {
        mischief.strike().await;
        faults += 1;
        watch.note_reconnects(&mischief.reconnects);
        let pause = mischief.random(Duration::ZERO, Duration::from_millis(2_500));
        sleep(pause).await;
    }
    let stalls = mischief.stalls;

    let recovery = recover(&world, &tether, &mut rng, trace).await?;
    for writer in writers {
        let joined = timeout(PATIENCE, writer).await.map_err(|_| "a caller's last command did not end".to_owned())?;
        joined.map_err(|panic| format!("a caller panicked: {panic}"))?;
    }
    // Whatever a server still has in its buffers is executed now.
    sleep(Duration::from_secs(10)).await;
    watch.verdict()?;
    watch.judge_dials(&world)?;
    judge_calls(&world, &calls.all(), &watch.served(), &stalls)?;
    end_tether(&world, tether, &mut rng, trace, tasks_before, watch).await?;
    Ok(Report { hash: trace.hash(), recovery, calls: calls.all().len(), faults })
}

/// Most schedules are short, so that there can be many; some are long enough for late paces and budgets.
fn random_length(rng: &mut fastrand::Rng) -> Duration {
    let most = if rng.u8(..8) == 0 { 40_000 } else { 8_000 };
    Duration::from_millis(rng.u64(500..most))
}

fn random_config(rng: &mut fastrand::Rng) -> Config {
    let mut config = world::config().with_password(PASSWORD);
    if rng.bool() {
        config.protocol = Protocol::Resp3;
    }
    if rng.bool() {
        config = config.with_client_name("simulated");
    }
    config
}

fn spawn_callers(
    tether: &Tether,
    rng: &mut fastrand::Rng,
    trace: &Trace,
    calls: &Calls,
    config: &Config,
    until: Instant,
) -> Vec<JoinHandle<()>> {
    let spawn = |name| {
        let deadline = if rng.bool() { config.commands.deadline } else { Duration::from_millis(rng.u64(1..2_000)) };
        let policy = tether.handle().policy().deadline(deadline);
        let policy = if rng.u8(..4) == 0 { policy.fail_fast() } else { policy };
        let retries = rng.u32(1..=3);
        // What is sent again whatever it does may be executed as often. What the server calls harmless shows nowhere.
        let (retry, most) = match rng.u8(..8) {
            0 | 1 => (Retry::All, 1 + retries as usize),
            2 | 3 => (Retry::ReadOnly, 1),
            _ => (Retry::Never, 1),
        };
        let handle = tether.handle().with_policy(policy.retry(retry).max_retries(retries));
        let pause = Duration::from_millis(rng.u64(20..1_000));
        let (rng, trace, calls) = (rng.fork(), trace.clone(), calls.clone());
        tokio::spawn(Caller { name, handle, rng, trace, calls, pause, deadline, most }.run(until))
    };
    (0..3).map(spawn).collect()
}

/// All is well again: how long until the tether is, too, and whether it stays so.
async fn recover(world: &World, tether: &Tether, rng: &mut fastrand::Rng, trace: &Trace) -> Result<Duration, String> {
    let primary = rng.usize(..world.nodes.len());
    let _ = tether.unpin();
    heal(world, primary);
    trace.note(format!("all is well, and node {primary} is the primary"));
    let healed = Instant::now();
    let recovered = async {
        if rng.bool() {
            until_connected(tether, primary).await;
        }
        until_written(tether, trace).await;
        until_connected(tether, primary).await;
    };
    let bound = bound();
    match timeout(PATIENCE, recovered).await {
        Ok(()) if healed.elapsed() <= bound => Ok(healed.elapsed()),
        Ok(()) => Err(format!("recovered after {:?}, the bound is {bound:?}", healed.elapsed())),
        Err(_) => Err(format!("did not recover: {}", tether.status().borrow().clone())),
    }
}

/// The most that any of these recoveries may take. The link that is there may be idle and no good, which shows at the next
/// probe; and if it had not settled, or the address is no news, the pace of the lane for rejections rules after that.
fn bound() -> Duration {
    let bounds = bounds();
    bounds.demoted_reading.max(bounds.suspected_idle) + bounds.rejected_old + rounding(10)
}

/// Writes until a write succeeds, as an application that must would.
async fn until_written(tether: &Tether, trace: &Trace) {
    let mut handle = tether.handle();
    loop {
        match set(&mut handle, "recovered").await {
            Ok(()) => return,
            Err(error) => trace.note(format!("a write fails: {error}")),
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Ends the tether in one of the ways there are; nothing may be left of it.
async fn end_tether(
    world: &World,
    tether: Tether,
    rng: &mut fastrand::Rng,
    trace: &Trace,
    tasks_before: usize,
    watch: Watch,
) -> Verdict {
    match rng.u8(..3) {
        0 => {
            trace.note("shut down");
            timeout(PATIENCE, tether.shutdown()).await.map_err(|_| "the shutdown did not end".to_owned())?;
            if tether.status().borrow().phase != Phase::Stopped {
                return Err(format!("shut down, but {}", tether.status().borrow().clone()));
            }
        }
        1 => {
            trace.note("dropped");
            drop(tether);
        }
        _ => {
            trace.note("killed");
            tether.actor().kill();
        }
    }
    // Not for the tether, but for the servers to see that their clients are gone, and for the event watch.
    sleep(Duration::from_millis(1)).await;
    watch.ended()?;
    let left = alive_tasks() - tasks_before;
    let links: usize = (0..world.nodes.len()).map(|node| world.net.links(address(node))).sum();
    if left > 0 || links > 0 {
        return Err(format!("{left} tasks and {links} connections are left"));
    }
    Ok(())
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Watches over the events of a tether, in a task of its own.
struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    judge: EventJudge,
    verdict: Option<String>,
    reconnects: Vec<Duration>,
}

impl Watch {
    fn over(tether: &Tether, trace: &Trace) -> Watch {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(watch(tether.events(), trace.clone(), seen.clone()));
        Watch { seen, task }
    }

    fn note_reconnects(&self, reconnects: &[Duration]) {
        lock(&self.seen).reconnects = reconnects.to_vec();
    }

    fn judge_dials(&self, world: &World) -> Verdict {
        lock(&self.seen).judge.judge_dials(world)
    }

    fn served(&self) -> Vec<Served> {
        lock(&self.seen).judge.served()
    }

    fn verdict(&self) -> Verdict {
        lock(&self.seen).verdict.take().map_or(Ok(()), Err)
    }

    fn ended(&self) -> Verdict {
        self.verdict()?;
        if !lock(&self.seen).judge.stopped || !self.task.is_finished() {
            return Err("the tether has ended, and its events have not".to_owned());
        }
        Ok(())
    }
}

async fn watch(mut events: Receiver<Event>, trace: Trace, seen: Arc<Mutex<Seen>>) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Closed) => return,
            Err(RecvError::Lagged(missed)) => {
                lock(&seen).verdict.get_or_insert(format!("{missed} events in one breath: it spins"));
                continue;
            }
        };
        trace.note(format!("{event:?}"));
        let mut seen = lock(&seen);
        let reconnects = seen.reconnects.clone();
        if let Err(wrong) = seen.judge.see(trace.now(), &event, &reconnects) {
            trace.note(format!("WRONG: {wrong}"));
            seen.verdict.get_or_insert(wrong);
        }
        if event == Event::Stopped && events.is_empty() {
            return;
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    // A panic of the judge is reported as such.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
