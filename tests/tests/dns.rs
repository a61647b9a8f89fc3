//! A tether that follows a DNS server over the network, services, or a list of addresses, against real servers. Its resolver alone
//! is tested where it is.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Event, HickoryResolver, Resolve, StaticResolver, Tether};
use redis_tether_testkit::server::allocate_addresses;
use redis_tether_testkit::{Deployment, DnsServer, FakeServer, Server, ServerKind, Srv};
use redis_tether_tests::servers::{server_binary, without_slow_lookups};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

const NAME: &str = "redis.test.";
const SERVICE: &str = "_redis._tcp.redis.test.";
const MINUTE: Duration = Duration::from_secs(60);

/// What is promised from the moment the new primary is known, and what a loaded machine may add to it in a debug build.
const RECOVERY: Duration = Duration::from_millis(150);
const ALLOWANCE: Duration = if cfg!(debug_assertions) { Duration::from_secs(2) } else { Duration::ZERO };

/// One at a time where time is measured.
static TURN: Mutex<()> = Mutex::const_new(());

async fn dns() -> DnsServer {
    DnsServer::start().await.expect("a free port")
}

/// Asks this server alone.
fn asking(dns: &DnsServer) -> HickoryResolver {
    HickoryResolver::new().files("/nonexistent/resolv.conf", "/nonexistent/hosts").name_servers([dns.addr()])
}

async fn serving(config: Config, resolver: impl Resolve) -> Tether {
    let tether = Tether::builder(config).resolver(resolver).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the primary is up");
    tether
}

/// Writes until one is taken.
async fn writes(tether: &Tether) {
    let mut handle = tether.handle();
    within(PATIENCE, "a write", async {
        while handle.set::<_, _, ()>("key", "value").await.is_err() {
            // One that is turned away at once leaves no time for anything else.
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn recovers(tether: &Tether, known: Instant) {
    writes(tether).await;
    let took = known.elapsed();
    assert!(took <= RECOVERY + ALLOWANCE, "after {took:?}");
}

redis_tether_tests::on_each_server!(
    a_primary_that_moves_is_found_whatever_the_ttl,
    a_primary_that_is_demoted_is_left_whatever_the_ttl,
    a_service_fails_over,
    a_list_fails_over
);

async fn a_primary_that_moves_is_found_whatever_the_ttl(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let (dns, servers) = (dns().await, Deployment::start(&server_binary(kind)).await.expect("the servers start"));
    dns.set(NAME, MINUTE, vec![servers.primary_ip()]);
    let tether = serving(without_slow_lookups(Config::new(NAME, servers.port())), asking(&dns)).await;
    let mut diary = Diary::of(&tether);
    servers.primary.kill().await.expect("it dies");
    diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
    servers.replica.promote().await.expect("it obeys");
    dns.set(NAME, MINUTE, vec![servers.replica_ip()]);
    recovers(&tether, Instant::now()).await;
    tether.shutdown().await;
}

async fn a_primary_that_is_demoted_is_left_whatever_the_ttl(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let (dns, servers) = (dns().await, Deployment::start(&server_binary(kind)).await.expect("the servers start"));
    dns.set(NAME, MINUTE, vec![servers.primary_ip()]);
    let tether = serving(without_slow_lookups(Config::new(NAME, servers.port())), asking(&dns)).await;
    dns.set(NAME, MINUTE, vec![servers.replica_ip()]);
    servers.replica.promote().await.expect("it obeys");
    servers.primary.demote_to(&servers.replica).await.expect("it obeys");
    recovers(&tether, Instant::now()).await;
    tether.shutdown().await;
}

/// Both at their own ports, of which the endpoint knows neither.
async fn a_service_fails_over(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let (dns, (primary, replica)) = (dns().await, two_servers(kind).await);
    let place = |name: &str, server: &Server| {
        dns.set(name, MINUTE, vec![server.addr().ip()]);
        Srv::new(name, server.addr().port())
    };
    dns.set_srv(SERVICE, MINUTE, vec![place("a.test", &primary), place("b.test", &replica).with_priority(1)]);
    let tether = serving(without_slow_lookups(Config::new(SERVICE, 1)), asking(&dns)).await;
    primary.kill().await.expect("it dies");
    replica.promote().await.expect("it obeys");
    recovers(&tether, Instant::now()).await;

    // It comes back as the primary at another port, and the records say so.
    let third = Server::start(&server_binary(kind)).await.expect("it starts");
    replica.kill().await.expect("it dies");
    dns.set_srv(SERVICE, MINUTE, vec![place("c.test", &third)]);
    recovers(&tether, Instant::now()).await;
    tether.shutdown().await;
}

async fn a_list_fails_over(kind: ServerKind) {
    let _turn = TURN.lock().await;
    let (primary, replica) = two_servers(kind).await;
    let resolver = StaticResolver::new([replica.addr(), primary.addr()]);
    let tether = serving(without_slow_lookups(Config::new("redis", 1)), resolver).await;
    writes(&tether).await;
    replica.promote().await.expect("it obeys");
    primary.demote_to(&replica).await.expect("it obeys");
    recovers(&tether, Instant::now()).await;
    tether.shutdown().await;
}

async fn two_servers(kind: ServerKind) -> (Server, Server) {
    let start = async || Server::start(&server_binary(kind)).await.expect("it starts");
    let (primary, replica) = (start().await, start().await);
    replica.replicate(&primary).await.expect("they get in sync");
    (primary, replica)
}

/// A server that is a primary at two addresses, which the name has in turn.
#[tokio::test]
async fn rotating_answers_do_not_flap() {
    let (dns, addresses) = (dns().await, allocate_addresses(2).expect("two free addresses"));
    let server = FakeServer::new();
    let mut listeners = Vec::new();
    for address in &addresses {
        listeners.push(server.listen(*address).await.expect("it is free"));
    }
    let answers = addresses.iter().map(|address| vec![address.ip()]).collect();
    dns.rotate(NAME, Duration::ZERO, answers);
    let mut config = Config::new(NAME, addresses[0].port());
    config.resolve.interval = Duration::from_millis(400);
    let tether = serving(config, asking(&dns)).await;
    let before = tether.status().borrow().epoch;
    dns.looked_up(NAME, dns.lookups(NAME) + 8).await.expect("it asks");
    assert_eq!(tether.status().borrow().epoch, before, "the link is the same");
    tether.shutdown().await;
}

/// Nobody is there, something that is no primary is there, nothing is said, and what is said is no DNS.
#[tokio::test]
async fn a_name_server_that_is_mute_or_lies_costs_a_good_link_nothing() {
    let (dns, server) = (dns().await, FakeServer::new());
    let listener = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    dns.set(NAME, Duration::ZERO, vec![listener.addr().ip()]);
    let mut config = Config::new(NAME, listener.addr().port());
    config.resolve.interval = Duration::from_millis(50);
    let tether = serving(config, asking(&dns)).await;
    let before = tether.status().borrow().epoch;
    let nowhere = |dns: &DnsServer| dns.set(NAME, Duration::ZERO, vec![[127, 255, 255, 254].into()]);
    let acts: [&dyn Fn(&DnsServer); 6] = [
        &nowhere,
        &|dns| dns.remove(NAME),
        &|dns| dns.fail(NAME),
        &|dns| dns.garble(NAME),
        &|dns| dns.forge(NAME),
        &|dns| dns.mute(NAME),
    ];
    for act in acts {
        act(&dns);
        dns.looked_up(NAME, dns.lookups(NAME) + 2).await.expect("it asks");
        let mut handle = tether.handle();
        handle.set::<_, _, ()>("key", "value").await.expect("the link is good");
    }
    assert_eq!(tether.status().borrow().epoch, before, "the link is the same");
    tether.shutdown().await;
}
