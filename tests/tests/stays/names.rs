//! What DNS does while the link is well: it fails, hangs, or rotates its answers. In memory and in virtual time, so that each
//! may take its minute; one with real servers shows that rotation is the same there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use redis_tether::{Config, Tether};
use redis_tether_testkit::{Deployment, Dns, FakeServer, ServerKind, SimNet};
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::AT_ONCE;
use redis_tether_tests::{on_each_server, rig};
use tokio::time::Instant;

use super::{NAME, Stay};

const MINUTE: Duration = Duration::from_secs(60);
const PORT: u16 = 6379;

/// A primary and two replicas in memory, all well.
struct InMemory {
    net: SimNet,
    dns: Dns,
    primary: IpAddr,
    replicas: [IpAddr; 2],
}

impl InMemory {
    fn new() -> InMemory {
        let (net, dns) = (SimNet::new(), Dns::new());
        let [primary, first, second] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let server = FakeServer::new();
        net.bind(SocketAddr::new(primary, PORT), server.clone());
        for replica in [first, second] {
            let fake = FakeServer::new();
            fake.replicate_from(&server);
            net.bind(SocketAddr::new(replica, PORT), fake);
        }
        dns.set(NAME, vec![primary]);
        InMemory { net, dns, primary, replicas: [first, second] }
    }

    async fn stay(&self) -> Stay {
        let tether = Tether::builder(Config::new(NAME, PORT)).seed(7);
        Stay::begin(tether.resolver(rig::resolver(&self.dns)).transport(rig::InMemory(self.net.clone()))).await
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_cannot_be_resolved_for_a_minute() {
    let world = InMemory::new();
    let stay = world.stay().await;
    for answer in [Dns::fail, Dns::remove] {
        answer(&world.dns, NAME);
        tokio::time::sleep(MINUTE).await;
    }
    let lookups = world.dns.lookups(NAME);
    assert!((40..=90).contains(&lookups), "{lookups} lookups in two minutes, at one every 2 s");
    let cost = stay.end().await;
    assert_eq!((cost.suspicions(), cost.dials), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn names_that_hang_for_a_minute() {
    let world = InMemory::new();
    let stay = world.stay().await;
    world.dns.hang(NAME);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.dns.most_lookups_in_flight(NAME), 1, "one at a time");
    let cost = stay.end().await;
    assert_eq!((cost.suspicions(), cost.dials), (0, 0));
}

/// In any order, and each alone. An answer that names the link's address leaves nothing to look for; only where it is
/// missing twice in a row is the other one asked, which is a replica.
#[tokio::test(start_paused = true)]
async fn names_that_rotate_for_a_minute() {
    let InMemory { primary, replicas: [first, second], .. } = InMemory::new();
    let all_in_turn = vec![vec![primary, first, second], vec![first, second, primary], vec![second, primary, first]];
    for (answers, most_dials) in [
        (all_in_turn, 0),
        (vec![vec![primary], vec![first]], 0),
        // Two of four seconds long the name points to a replica alone, which is asked at the pace of those who say no.
        (vec![vec![primary], vec![first], vec![second]], 180),
    ] {
        let world = InMemory::new();
        let mut stay = world.stay().await;
        world.dns.rotate(NAME, answers.clone());
        for _ in 0..60 {
            tokio::time::sleep(MINUTE / 60).await;
            // Read in time, for only so many are kept.
            stay.diary.so_far();
        }
        world.dns.set(NAME, vec![primary]);
        let cost = stay.end().await;
        assert_eq!(cost.suspicions(), 0, "{answers:?}");
        assert!(cost.dials <= most_dials, "{} dials in a minute of {answers:?}", cost.dials);
    }
}

on_each_server! {
    names_that_rotate_over_real_servers,
}

async fn names_that_rotate_over_real_servers(kind: ServerKind) {
    let servers = Deployment::start(&server_binary(kind)).await.expect("the servers start");
    let dns = Dns::new();
    let stay = Stay::trusting(&servers.primary, &dns).await;
    dns.rotate(NAME, vec![vec![servers.primary_ip()], vec![servers.replica_ip()], vec![servers.replica_ip()]]);
    dns.looked_up(NAME, dns.lookups(NAME) + 8).await.expect("the watcher asks");
    let cost = stay.end().await;
    assert!(cost.dials > 0, "the replica was never asked");
    assert_eq!(cost.suspicions(), 0);
}

/// A lookup that never returns belongs to nobody's runtime: fifty tethers that wait for one do not hold up its drop.
#[test]
fn a_runtime_is_dropped_promptly_while_names_hang() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let dns = Dns::new();
    dns.hang(NAME);
    let handles: Vec<_> = runtime.block_on(async {
        let mut handles = Vec::new();
        for _ in 0..50 {
            let tether = Tether::builder(Config::new(NAME, PORT)).resolver(rig::resolver(&dns));
            handles.push(tether.start().await.expect("the configuration is valid").handle());
        }
        dns.looked_up(NAME, 50).await.expect("the watchers ask");
        handles
    });
    let began = Instant::now();
    drop(runtime);
    assert!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
    assert_eq!(dns.lookups_in_flight(NAME), 0);
    drop(handles);
}
