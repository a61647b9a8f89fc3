//! Planned changes of the primary under callers that do not wait for each other: commands arrive when they are due, whatever
//! became of those before, as from users. None may fail, and where the servers lose nothing, each is executed once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis_tether::redis::{self, AsyncCommands, RedisError};
use redis_tether::{Config, Event, Handle, Tether};
use redis_tether_testkit::server::Info;
use redis_tether_testkit::{Deployment, Dns, Reply, Server, ServerKind};
use redis_tether_tests::rig::resolver;
use redis_tether_tests::servers::{patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::figures::{Spread, say};
use super::on_a_runtime;

const NAME: &str = "redis.test";

const CALLERS: u32 = 256;

/// Between two commands of one caller. A debug build has its share of the processor for a fifth of what a release build has.
const PERIOD: Duration = if cfg!(debug_assertions) { Duration::from_millis(100) } else { Duration::from_millis(20) };

/// The load before the change, and after it was seen.
const COMMANDS: u64 = if cfg!(debug_assertions) { 2_000 } else { 20_000 };

#[derive(Clone, Copy, Debug)]
enum Change {
    /// The server's own command: writes are paused until the replica has caught up, then the roles change.
    Failover,
    /// The replica is promoted, the old primary becomes its replica and lives on, and the name moves.
    DemotionInPlace,
    /// The replica is promoted and the name moves; the old primary goes on taking writes.
    Move,
}

#[test]
fn a_failover_by_command_fails_nobody() {
    on_a_runtime(change(ServerKind::Redis, Change::Failover));
}

#[test]
fn a_failover_by_command_of_valkey_fails_nobody() {
    on_a_runtime(change(ServerKind::Valkey, Change::Failover));
}

#[test]
fn a_demotion_in_place_fails_nobody() {
    on_a_runtime(change(ServerKind::Redis, Change::DemotionInPlace));
}

#[test]
fn a_demotion_of_valkey_in_place_fails_nobody() {
    on_a_runtime(change(ServerKind::Valkey, Change::DemotionInPlace));
}

#[test]
fn a_move_fails_nobody() {
    on_a_runtime(change(ServerKind::Redis, Change::Move));
}

#[test]
fn a_move_of_valkey_fails_nobody() {
    on_a_runtime(change(ServerKind::Valkey, Change::Move));
}

async fn change(kind: ServerKind, change: Change) {
    let nodes = Deployment::start(&server_binary(kind)).await.expect("two servers");
    let dns = Dns::new();
    dns.set(NAME, vec![nodes.primary_ip()]);
    // How many wait, and for how long a link may be late, is the machine's affair: callers do not wait for it either.
    let mut config = unsuspecting(patient(Config::new(NAME, nodes.port())));
    config.commands.max_held = 1_000_000;
    let tether = Tether::builder(config).resolver(resolver(&dns)).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the primary is well");
    let mut diary = Diary::of(&tether);
    let crowd = Crowd::start(&tether.handle());
    crowd.go_on_for(COMMANDS).await;

    change.begin(&nodes, &dns).await;
    let is_promoted = |info: &Info| info.field("role") == Some("master");
    nodes.replica.wait_for("the promotion", PATIENCE, is_promoted).await.expect("promoted");
    let promoted = Instant::now();
    diary.until("the new primary", |event| matches!(event, Event::Connected { .. })).await;
    let up = tether.status().borrow().since.saturating_duration_since(promoted);
    crowd.go_on_for(COMMANDS).await;
    let met = crowd.finish().await;

    say(&format!("{change:?} of {kind}, {CALLERS} callers, a command every {PERIOD:?} each: {}", met.latencies()));
    let gap = met.longest_gap();
    say(&format!(
        "  the longest time without an answer to anybody: {gap:.1?}; the link was up {up:.1?} after the promotion"
    ));
    say(&format!("  {:?}", tether.stats()));
    for event in diary.so_far() {
        say(&format!("  {event}"));
    }
    if let Some((what, error)) = met.failed.first() {
        panic!("{} of {} failed; {what:?}: {error}", met.failed.len(), met.failed.len() + met.answered.len());
    }
    met.check(&nodes.replica, change).await;
    tether.shutdown().await;
}

impl Change {
    async fn begin(self, nodes: &Deployment, dns: &Dns) {
        match self {
            Change::Failover => {
                // Of both, as behind a name for all nodes: nobody moves it.
                dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
                let (ip, port) = (nodes.replica_ip().to_string(), nodes.port().to_string());
                nodes.primary.command(&["FAILOVER", "TO", &ip, &port]).await.expect("the failover begins");
            }
            Change::DemotionInPlace => {
                nodes.replica.promote().await.expect("the new primary");
                nodes.primary.demote_to(&nodes.replica).await.expect("the old one steps down");
                dns.set(NAME, vec![nodes.replica_ip()]);
            }
            Change::Move => {
                nodes.replica.promote().await.expect("the new primary");
                dns.set(NAME, vec![nodes.replica_ip()]);
            }
        }
    }

    /// Whether the new primary has all that the old one confirmed.
    fn loses_nothing(self) -> bool {
        matches!(self, Change::Failover)
    }
}

/// Callers at work.
struct Crowd {
    ending: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    calling: JoinSet<Met>,
}

/// What they met.
#[derive(Default)]
struct Met {
    /// When each command that was answered was due, and when it was answered.
    answered: Vec<(Instant, Instant)>,
    failed: Vec<(Kind, RedisError)>,
    /// How often the counter was incremented.
    counted: u64,
    /// What was pushed.
    pushed: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Set,
    Get,
    Count,
    Pipeline,
    Transaction,
}

const KINDS: [Kind; 5] = [Kind::Set, Kind::Get, Kind::Count, Kind::Pipeline, Kind::Transaction];

impl Crowd {
    fn start(handle: &Handle) -> Crowd {
        let (ending, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let began = Instant::now();
        let call = |caller| {
            let first = began + PERIOD * caller / CALLERS;
            arrivals(handle.clone(), caller, first, Arc::clone(&ending), Arc::clone(&answered))
        };
        let calling = (0..CALLERS).map(call).collect();
        Crowd { ending, answered, calling }
    }

    /// Waits until so many commands more have been answered.
    async fn go_on_for(&self, commands: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + commands;
        within(PATIENCE, "the crowd to go on", async {
            while self.answered.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn finish(self) -> Met {
        self.ending.store(true, Ordering::Relaxed);
        let all = within(PATIENCE, "the last answers", self.calling.join_all()).await;
        all.into_iter().fold(Met::default(), Met::and)
    }
}

/// The commands of one caller, each in a task of its own.
async fn arrivals(
    handle: Handle,
    caller: u32,
    first: Instant,
    ending: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
) -> Met {
    let (mut met, mut commands, mut due) = (Met::default(), JoinSet::new(), first);
    for number in 0.. {
        sleep_until(due).await;
        if ending.load(Ordering::Relaxed) {
            break;
        }
        commands.spawn(command(handle.clone(), format!("{caller}-{number}"), KINDS[number % KINDS.len()], due));
        due += PERIOD;
        while let Some(done) = commands.try_join_next() {
            let done = done.expect("no panic");
            answered.fetch_add(done.answered.len() as u64, Ordering::Relaxed);
            met = met.and(done);
        }
    }
    commands.join_all().await.into_iter().fold(met, Met::and)
}

async fn command(mut handle: Handle, id: String, kind: Kind, due: Instant) -> Met {
    let mut met = Met::default();
    let result = match kind {
        Kind::Set => handle.set::<_, _, ()>(&id, &id).await,
        Kind::Get => handle.get::<_, Option<String>>(&id).await.map(drop),
        Kind::Count => handle.incr::<_, _, u64>("count", 1).await.map(|_| met.counted += 1),
        Kind::Pipeline => {
            let both = redis::pipe().rpush("list", &id).incr("count", 1).query_async::<(u64, u64)>(&mut handle).await;
            both.map(|_| met.noted(&id))
        }
        Kind::Transaction => {
            let mut pipeline = redis::pipe();
            pipeline.atomic().get("count").rpush("list", &id).incr("count", 1);
            let all = pipeline.query_async::<(Option<u64>, u64, u64)>(&mut handle).await;
            all.map(|_| met.noted(&id))
        }
    };
    match result {
        Ok(()) => met.answered.push((due, Instant::now())),
        Err(error) => met.failed.push((kind, error)),
    }
    met
}

impl Met {
    fn noted(&mut self, id: &str) {
        self.counted += 1;
        self.pushed.push(id.to_owned());
    }

    fn and(mut self, other: Met) -> Met {
        self.answered.extend(other.answered);
        self.failed.extend(other.failed);
        self.counted += other.counted;
        self.pushed.extend(other.pushed);
        self
    }

    /// From when each command was due.
    fn latencies(&self) -> Spread {
        Spread::of(self.answered.iter().map(|(due, at)| *at - *due).collect())
    }

    fn longest_gap(&self) -> Duration {
        let mut ends: Vec<_> = self.answered.iter().map(|(_, at)| *at).collect();
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Compares what callers were told with what the new primary has.
    async fn check(&self, primary: &Server, change: Change) {
        let Ok(Reply::Array(list)) = primary.command(&["LRANGE", "list", "0", "-1"]).await else { panic!("no list") };
        let there: BTreeSet<_> = list.iter().filter_map(Reply::text).collect();
        assert_eq!(there.len(), list.len(), "something was pushed twice");
        let told: BTreeSet<_> = self.pushed.iter().cloned().collect();
        assert!(there.is_subset(&told), "something is there that nobody was told of");
        let count = primary.command(&["GET", "count"]).await.expect("a count").text().expect("a text");
        let count: u64 = count.parse().expect("a number");
        assert!(count <= self.counted, "counted {count} times, of {} that were told", self.counted);
        if change.loses_nothing() {
            assert_eq!((there.len(), count), (told.len(), self.counted), "something was lost");
        }
    }
}
