//! The resolver against a DNS server on the loopback.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use redis_tether_testkit::{DnsServer, Srv};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{HickoryResolver, LOOKUP_LIMIT};
use crate::resolve::{Query, Resolve, ResolveError};

const NAME: &str = "redis.test.";
const LIMIT: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(ip(last), port)
}

/// Of its own files, which are not there.
fn asking(dns: &DnsServer) -> HickoryResolver {
    HickoryResolver::new().files("/nonexistent/resolv.conf", "/nonexistent/hosts").name_servers([dns.addr()])
}

async fn dns() -> DnsServer {
    DnsServer::start().await.expect("a free port")
}

async fn ask(resolver: &HickoryResolver, query: Query) -> Result<Vec<SocketAddr>, ResolveError> {
    timeout(LIMIT, resolver.resolve(query)).await.expect("an answer within the limit")
}

fn anew(host: &str) -> Query {
    Query::new(host, 6379)
}

fn settled() -> Query {
    anew(NAME).within_ttl()
}

/// Files that go with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("tether-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_ttl_is_respected_when_settled_and_bypassed_when_urgent() {
    let dns = dns().await;
    let resolver = asking(&dns);
    dns.set(NAME, MINUTE, vec![ip(2)]);
    assert_eq!(ask(&resolver, settled()).await, Ok(vec![at(2, 6379)]));
    dns.set(NAME, MINUTE, vec![ip(3)]);
    assert_eq!(ask(&resolver, settled()).await, Ok(vec![at(2, 6379)]), "its TTL has not run out");
    assert_eq!(dns.lookups(NAME), 1);
    assert_eq!(ask(&resolver, anew(NAME)).await, Ok(vec![at(3, 6379)]));
    let old_enough = anew(NAME).with_max_age(Duration::from_nanos(1));
    assert_eq!(ask(&resolver, old_enough).await, Ok(vec![at(3, 6379)]));
    assert_eq!((dns.lookups(NAME), resolver.lookups()), (3, 3));
    assert_eq!(ask(&resolver, settled()).await, Ok(vec![at(3, 6379)]), "the younger answer is the one that is kept");
    assert_eq!(dns.lookups(NAME), 3);
}

#[tokio::test]
async fn a_ttl_runs_out() {
    let dns = dns().await;
    let resolver = asking(&dns);
    dns.set(NAME, Duration::from_secs(2), vec![ip(2)]);
    assert_eq!(ask(&resolver, settled()).await, Ok(vec![at(2, 6379)]));
    dns.set(NAME, MINUTE, vec![ip(3)]);
    let asked = Instant::now();
    timeout(LIMIT, async { while ask(&resolver, settled()).await != Ok(vec![at(3, 6379)]) {} })
        .await
        .expect("a lookup");
    assert!(asked.elapsed() > Duration::from_secs(1), "after {:?}", asked.elapsed());
    assert_eq!(dns.lookups(NAME), 2);
}

#[tokio::test]
async fn an_answer_that_is_good_for_no_time_is_kept_for_a_second() {
    let dns = dns().await;
    let resolver = asking(&dns);
    dns.set(NAME, Duration::ZERO, vec![ip(2)]);
    assert_eq!(ask(&resolver, settled()).await, Ok(vec![at(2, 6379)]));
    let asked = Instant::now();
    timeout(LIMIT, async {
        while dns.lookups(NAME) < 2 {
            ask(&resolver, settled()).await.expect("an answer");
        }
    })
    .await
    .expect("another lookup");
    assert!(asked.elapsed() > Duration::from_millis(900), "after {:?}", asked.elapsed());
}

#[tokio::test]
async fn all_who_ask_at_once_share_a_lookup() {
    let dns = dns().await;
    let resolver = asking(&dns);
    dns.set(NAME, MINUTE, vec![ip(2)]);
    dns.delay(NAME, Duration::from_millis(200));
    let (one, two) = (resolver.resolve(anew(NAME)), resolver.clone().resolve(anew(NAME)));
    let (one, two) = timeout(LIMIT, async { tokio::join!(one, two) }).await.expect("answers");
    assert_eq!((one, two), (Ok(vec![at(2, 6379)]), Ok(vec![at(2, 6379)])));
    assert_eq!(dns.lookups(NAME), 1);
}

#[tokio::test]
async fn an_alias_is_followed_and_literals_answer_themselves() {
    let dns = dns().await;
    let resolver = asking(&dns);
    dns.alias("cache.test", MINUTE, NAME);
    dns.set(NAME, MINUTE, vec![ip(2), "::1".parse().expect("an address")]);
    let mut found = ask(&resolver, anew("cache.test.")).await.expect("an answer");
    found.sort();
    assert_eq!(found, [at(2, 6379), "[::1]:6379".parse().expect("an address")]);
    assert_eq!(ask(&resolver, anew("127.0.0.9")).await, Ok(vec![at(9, 6379)]));
}

#[tokio::test]
async fn what_does_not_fit_a_packet_is_asked_for_over_tcp() {
    let dns = dns().await;
    dns.set(NAME, MINUTE, vec![ip(2)]);
    dns.truncate(NAME);
    assert_eq!(ask(&asking(&dns), anew(NAME)).await, Ok(vec![at(2, 6379)]));
}

#[tokio::test]
async fn each_failure_has_its_name_and_none_is_kept() {
    let dns = dns().await;
    let resolver = asking(&dns);
    let host = NAME.to_owned();
    assert_eq!(ask(&resolver, settled()).await, Err(ResolveError::NotFound { host: host.clone() }));
    dns.set(NAME, MINUTE, vec![]);
    assert_eq!(ask(&resolver, settled()).await, Err(ResolveError::NoAddress { host: host.clone() }));
    dns.fail(NAME);
    let failed = ask(&resolver, settled()).await.expect_err("SERVFAIL").to_string();
    assert_eq!(failed, "resolving redis.test. failed: the name server says: Server Failure");
    dns.set(NAME, MINUTE, vec![ip(2)]);
    assert_eq!(ask(&resolver, settled()).await, Ok(vec![at(2, 6379)]));
}

#[tokio::test]
async fn silence_and_lies_end_within_the_limit() {
    let dns = dns().await;
    let resolver = asking(&dns);
    dns.set(NAME, MINUTE, vec![ip(2)]);
    for act in [DnsServer::mute, DnsServer::forge, DnsServer::garble] {
        act(&dns, NAME);
        let asked = Instant::now();
        let error = ask(&resolver, anew(NAME)).await.expect_err("nobody says anything that is true");
        assert!(asked.elapsed() < LOOKUP_LIMIT + Duration::from_secs(2), "{error} after {:?}", asked.elapsed());
    }
    dns.set(NAME, MINUTE, vec![ip(2)]);
    assert_eq!(ask(&resolver, anew(NAME)).await, Ok(vec![at(2, 6379)]));
}

#[tokio::test]
async fn a_name_server_that_is_mute_costs_no_time_beside_one_that_is_not() {
    let (mute, dns) = (UdpSocket::bind("127.0.0.1:0").await.expect("a free port"), dns().await);
    dns.set(NAME, MINUTE, vec![ip(2)]);
    let servers = [mute.local_addr().expect("it is bound"), dns.addr()];
    let resolver = asking(&dns).name_servers(servers);
    for _ in 0..5 {
        let asked = Instant::now();
        assert_eq!(ask(&resolver, anew(NAME)).await, Ok(vec![at(2, 6379)]));
        assert!(asked.elapsed() < Duration::from_millis(900), "after {:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_service_is_where_its_records_say_in_their_order() {
    let dns = dns().await;
    let resolver = asking(&dns);
    let service = "_redis._tcp.redis.test.";
    let place =
        |target: &str, port, priority, weight| Srv::new(target, port).with_priority(priority).with_weight(weight);
    let places = vec![
        place("last.test", 7003, 20, 9),
        place("light.test", 7002, 10, 1),
        place("gone.test", 7004, 10, 5),
        place("heavy.test", 7001, 10, 10),
    ];
    dns.set_srv(service, MINUTE, places);
    dns.set("heavy.test", MINUTE, vec![ip(2), ip(3)]);
    dns.set("light.test", Duration::ZERO, vec![ip(2)]);
    dns.set("last.test", MINUTE, vec![ip(2)]);
    let found = ask(&resolver, anew(service)).await.expect("an answer");
    let mut heaviest = found[..2].to_vec();
    heaviest.sort();
    assert_eq!(heaviest, [at(2, 7001), at(3, 7001)]);
    assert_eq!(found[2..], [at(2, 7002), at(2, 7003)]);
    assert_eq!(dns.lookups("gone.test"), 1);
    dns.set_srv(service, MINUTE, vec![Srv::new("gone.test", 1)]);
    assert_eq!(ask(&resolver, anew(service)).await, Err(ResolveError::NotFound { host: service.to_owned() }));
    dns.set_srv(service, MINUTE, vec![Srv::new(".", 0)]);
    assert_eq!(ask(&resolver, anew(service)).await, Err(ResolveError::NoAddress { host: service.to_owned() }));
}

#[tokio::test]
async fn a_target_that_nobody_answers_for_does_not_hide_the_others() {
    let dns = dns().await;
    dns.set_srv("redis.service.consul", MINUTE, vec![Srv::new("mute.test", 1), Srv::new("node.test", 7001)]);
    dns.mute("mute.test");
    dns.set("node.test", MINUTE, vec![ip(2)]);
    let resolver = asking(&dns).services();
    assert_eq!(ask(&resolver, anew("redis.service.consul.")).await, Ok(vec![at(2, 7001)]));
}

#[tokio::test]
async fn names_are_searched_for_as_resolv_conf_says_and_hosts_go_first() {
    let (dns, directory) = (dns().await, Directory::new("resolv"));
    let resolv_conf = directory.write("resolv.conf", "search svc.test example.test\noptions ndots:2\n");
    let hosts = directory.write("hosts", "127.0.0.7 here.test\n");
    let resolver = HickoryResolver::new().files(&resolv_conf, &hosts).name_servers([dns.addr()]);
    dns.set("redis.example.test", MINUTE, vec![ip(2)]);
    dns.set("redis", MINUTE, vec![ip(3)]);
    dns.set("a.b.c", MINUTE, vec![ip(4)]);
    dns.set("here.test", MINUTE, vec![ip(5)]);
    assert_eq!(ask(&resolver, anew("redis")).await, Ok(vec![at(2, 6379)]), "by the second search domain");
    assert_eq!((dns.lookups("redis.svc.test"), dns.lookups("redis")), (1, 0));
    assert_eq!(ask(&resolver, anew("redis.")).await, Ok(vec![at(3, 6379)]), "a trailing dot is as it stands");
    assert_eq!(ask(&resolver, anew("a.b.c")).await, Ok(vec![at(4, 6379)]));
    assert_eq!(dns.lookups("a.b.c.svc.test"), 0, "two dots are enough");
    assert_eq!(ask(&resolver, anew("here.test.")).await, Ok(vec![at(7, 6379)]));
    directory.write("hosts", "127.0.0.77 here.test\n");
    assert_eq!(ask(&resolver, anew("here.test.")).await, Ok(vec![at(77, 6379)]), "the file has changed");
}

/// It would go on for some seconds, and ask eight times.
#[tokio::test]
async fn nothing_is_left_of_a_lookup_that_nobody_waits_for() {
    let dns = dns().await;
    dns.mute(NAME);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, resolver) = (tasks(), asking(&dns));
    let asking = resolver.resolve(anew(NAME));
    let asked = async {
        tokio::select! {
            biased;
            answer = asking => panic!("nobody answers, and it is said that {answer:?}"),
            asked = dns.looked_up(NAME, 1) => asked.expect("the question arrives"),
        }
    };
    timeout(LIMIT, asked).await.expect("the question arrives");
    let ended = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, ended).await.expect("its tasks to end");
    assert!(dns.lookups(NAME) <= 4, "it went on asking: {} times", dns.lookups(NAME));
}

/// The runtime of whoever asked first makes the lookup, and may stand still.
#[tokio::test]
async fn those_on_another_runtime_wait_for_a_lookup_no_longer_than_it_may_take() {
    let dns = dns().await;
    dns.set(NAME, MINUTE, vec![ip(2)]);
    let resolver = asking(&dns);
    let parked = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let first = std::thread::spawn({
        let resolver = resolver.clone();
        move || {
            let mut asking = resolver.resolve(anew(NAME));
            // Its task has not had a turn.
            let _home = parked.enter();
            let waker = std::task::Waker::noop();
            assert!(asking.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
            drop(_home);
            (parked, asking)
        }
    });
    let kept = first.join().expect("no panic");
    assert_eq!((resolver.lookups(), dns.lookups(NAME)), (1, 0));
    tokio::time::sleep(LOOKUP_LIMIT + Duration::from_millis(100)).await;
    assert_eq!(ask(&resolver, anew(NAME)).await, Ok(vec![at(2, 6379)]));
    std::thread::spawn(move || drop(kept)).join().expect("no panic");
}
