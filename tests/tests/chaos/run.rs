//! One run from its seed to its verdict: servers, tethers, callers; faults for as long as was asked for; then all is well
//! again, everybody finishes, and the judge is called.

use std::time::{Duration, SystemTime};

use redis_tether::{Config, Handle, Protocol, Retry, Tether};
use redis_tether_testkit::{Dns, ServerKind};
use redis_tether_tests::rig;
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::PATIENCE;
use tokio::time::Instant;

use crate::crowd::Crowd;
use crate::history;
use crate::judge::{History, judge};
use crate::network;
use crate::nodes::{NAME, Nodes, Sync};
use crate::servers::{Losses, Mischief};

/// How long faults strike where nobody asks for more, in seconds.
const SECONDS: u64 = 12;

/// So many callers share each handle, of which there are eight.
const CALLERS_EACH: u32 = 40;

/// The longest wait between two attempts to make a link.
const DIAL_EVERY: Duration = Duration::from_millis(40);

pub(crate) async fn run(kind: ServerKind, losses: Losses) {
    let seed = Seed::chosen(kind);
    let mut rng = fastrand::Rng::with_seed(seed.number);
    let time = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(SECONDS));
    let sync = match losses {
        Losses::None => Sync::Always,
        Losses::AtFailovers => Sync::No,
    };

    let dns = Dns::new();
    let mut nodes = Nodes::start(&server_binary(kind), sync, dns.clone()).await;
    let tethers = [tether(&dns, &nodes, Protocol::Resp2).await, tether(&dns, &nodes, Protocol::Resp3).await];
    let handles: Vec<Handle> = tethers.iter().flat_map(handles).collect();
    let crowd = Crowd::start(&handles, CALLERS_EACH, &mut rng);

    let end = Instant::now() + time;
    let on_network = network::strike_until(end, nodes.proxies.clone(), rng.fork());
    let (on_network, (on_servers, branches)) = {
        let servers = Mischief::new(&mut nodes, rng.fork());
        tokio::join!(on_network, servers.strike_until(end, losses))
    };

    let calls = crowd.finish().await;
    drop(handles);
    for tether in tethers {
        tether.shutdown().await;
    }
    nodes.drain().await;
    let trunk = history::since(nodes.primary(), history::Mark::default()).await;
    let history = History { trunk, branches };
    match judge(&calls, &history) {
        Ok(counts) => println!("{seed}: {counts}; {on_servers:?}, {on_network:?}"),
        Err(violations) => panic!("{violations}"),
    }
}

/// What is mute is given up sooner than by default, and what keeps failing is tried more often: a short run has time for many
/// faults then, and for much work between them.
async fn tether(dns: &Dns, nodes: &Nodes, protocol: Protocol) -> Tether {
    let mut config = Config::new(NAME, nodes.port());
    config.protocol = protocol;
    config.detection.dead_after = Duration::from_millis(1_200);
    config.dial.connect_timeout = Duration::from_millis(500);
    config.dial.timeout = Duration::from_millis(500);
    for lane in [&mut config.pacing.unreachable, &mut config.pacing.rejected] {
        (lane.first, lane.early_cap, lane.late_cap) = (DIAL_EVERY / 2, DIAL_EVERY, DIAL_EVERY);
    }
    let tether = Tether::builder(config).resolver(rig::resolver(dns)).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the primary is well");
    tether
}

/// One that waits, one that does not wait for long, one that does not wait at all, and one that sends again what the server
/// says is harmless, which writes are not.
fn handles(tether: &Tether) -> [Handle; 4] {
    let handle = tether.handle();
    let policy = handle.policy();
    let policies =
        [policy, policy.deadline(Duration::from_millis(300)), policy.fail_fast(), policy.retry(Retry::ReadOnly)];
    policies.map(|policy| handle.clone().with_policy(policy))
}

/// The seed of a run, which is printed when it begins and when it fails.
struct Seed {
    number: u64,
    kind: ServerKind,
}

impl Seed {
    fn chosen(kind: ServerKind) -> Seed {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = number("CHAOS_SEED").unwrap_or(u64::from(now.subsec_nanos()));
        let seed = Seed { number, kind };
        println!("{seed}");
        seed
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CHAOS_SEED={} on {:?}", self.number, self.kind)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {self}");
        }
    }
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}
