//! What the server does: it computes, freezes, forks, keeps a connection waiting, answers late, gains and loses replicas.

use std::time::Duration;

use redis_tether::redis::{AsyncCommands, cmd};
use redis_tether::{Config, Event, Tether};
use redis_tether_testkit::{Dns, FakeServer, Proxy, ServerKind};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use redis_tether_tests::{on_each_server, rig};
use tokio::time::{Instant, sleep_until, timeout};

use super::{NAME, SIDE_DIALS, SOME, SOON, Stay, is_suspicion, server};

on_each_server! {
    a_script_of_three_seconds,
    a_freeze_of_two_seconds,
    a_fork_under_memory_pressure,
    a_blpop_of_ten_seconds,
    a_replica_that_comes_and_goes,
    a_probe_whose_answer_is_late,
}

async fn a_script_of_three_seconds(kind: ServerKind) {
    let server = server(kind).await;
    let mut stay = Stay::at(&server, &Dns::new()).await;
    let script = server.spawn_stall(Duration::from_secs(3)).await.expect("the server takes it");
    stay.suspected().await;
    script.finished().await.expect("the script ends");
    stay.resumed().await;
    let cost = stay.end().await;
    assert!(cost.met.longest >= Duration::from_millis(2900), "a script that nobody waited for: {:?}", cost.met);
    cost.was_suspicion(SIDE_DIALS);
}

async fn a_freeze_of_two_seconds(kind: ServerKind) {
    let server = server(kind).await;
    let mut stay = Stay::at(&server, &Dns::new()).await;
    let thaw_at = Instant::now() + Duration::from_secs(2);
    server.freeze().await.expect("it freezes");
    stay.suspected().await;
    sleep_until(thaw_at).await;
    server.thaw().expect("it thaws");
    stay.resumed().await;
    let cost = stay.end().await;
    assert!(cost.met.longest >= Duration::from_millis(1900), "a freeze that nobody noticed: {:?}", cost.met);
    cost.was_suspicion(SIDE_DIALS);
}

/// The page tables of a large dataset are copied at once, and its pages as they are written to meanwhile.
async fn a_fork_under_memory_pressure(kind: ServerKind) {
    let server = server(kind).await;
    for keys in [100_000, 200_000, 300_000, 400_000] {
        // Those that are there already are passed over: no command takes a loaded machine too long.
        server.command(&["DEBUG", "POPULATE", &keys.to_string(), "bulk", "512"]).await.expect("it is filled");
    }
    let stay = Stay::at(&server, &Dns::new()).await;
    server.command(&["BGSAVE"]).await.expect("it forks");
    // Written to while the child holds the old pages: each page that is met is copied.
    let mut handle = stay.tether.handle();
    for first in (0..20_000).step_by(200) {
        let mut pipe = redis_tether::redis::pipe();
        (first..first + 200).for_each(|number| {
            pipe.append(format!("bulk:{number}"), "more").ignore();
        });
        let written: Result<(), _> = pipe.query_async(&mut handle).await;
        written.expect("no command fails");
    }
    let saved = |info: &redis_tether_testkit::server::Info| info.field("rdb_bgsave_in_progress") == Some("0");
    server.wait_for("the end of the save", 2 * SOON, saved).await.expect("it ends");
    let fork = server.info("latest_fork_usec").await.expect("INFO").parse::<u64>().expect("a number");
    assert_eq!(server.info("rdb_last_bgsave_status").await.expect("INFO"), "ok");
    assert!(fork > 0, "there was no fork");
    let cost = stay.end().await;
    let most = SIDE_DIALS * cost.suspicions() as u64;
    assert!(cost.dials <= most, "{} dials for a fork of {fork} us: {:#?}", cost.dials, cost.events);
}

/// On the very link that the load uses: whatever is sent behind it waits as long. Its wait is no suspicion, and no
/// deadline of those behind it.
async fn a_blpop_of_ten_seconds(kind: ServerKind) {
    let server = server(kind).await;
    let mut stay = Stay::at(&server, &Dns::new()).await;
    let mut handle = stay.tether.handle();
    let (began, before) = (Instant::now(), stay.diary.count(is_suspicion));
    let popped = within(PATIENCE, "the end of BLPOP", handle.blpop("nothing", 10.0)).await;
    assert_eq!(popped, Ok(None::<(String, String)>));
    assert!(began.elapsed() >= Duration::from_secs(10), "it did not block: {:?}", began.elapsed());
    assert_eq!(stay.diary.count(is_suspicion), before, "{:#?}", stay.diary.so_far());
    let cost = stay.end().await;
    assert!(cost.met.longest >= Duration::from_millis(9900), "the load did not wait behind it: {:?}", cost.met);
    // Before and after, a loaded machine may give reason to suspect it.
    assert!(cost.dials <= SIDE_DIALS * cost.suspicions() as u64, "{:#?}", cost.events);
}

/// First DNS names it, before and after it is in sync; later it is killed while DNS names it still.
async fn a_replica_that_comes_and_goes(kind: ServerKind) {
    let (server, dns) = (server(kind).await, Dns::new());
    let stay = Stay::trusting(&server, &dns).await;
    let replica = super::server(kind).await;
    let (primary_ip, replica_ip) = (server.addr().ip(), replica.addr().ip());
    let answers = || async {
        let lookups = dns.lookups(NAME);
        dns.looked_up(NAME, lookups + 2).await.expect("the watcher asks");
    };
    dns.set(NAME, vec![replica_ip, primary_ip]);
    replica.replicate(&server).await.expect("it becomes a replica");
    answers().await;
    stay.load.goes_on(SOME, SOON).await;
    replica.kill().await.expect("it is killed");
    answers().await;
    dns.set(NAME, vec![primary_ip]);
    answers().await;
    let cost = stay.end().await;
    assert_eq!((cost.suspicions(), cost.dials), (0, 0), "{:#?}", cost.events);
}

/// On a link that is idle otherwise, where the probe is all there is. The network holds its answer back for half a second.
async fn a_probe_whose_answer_is_late(kind: ServerKind) {
    let server = server(kind).await;
    let proxy = Proxy::start(server.addr()).await.expect("a proxy");
    let config = Config::new(proxy.addr().ip().to_string(), proxy.addr().port());
    let tether = Tether::start(config).await.expect("the configuration is valid");
    let status = tether.ready(SOON).await.expect("the server is well");
    let mut diary = Diary::of(&tether);
    proxy.black_hole_replies();
    proxy.wait_for_bytes_to_server(proxy.bytes_to_server() + 1).await.expect("a probe");
    let pass_at = Instant::now() + Duration::from_millis(500);
    diary.until("the suspicion", |event| matches!(event, Event::Suspected { .. })).await;
    let mut handle = tether.handle();
    let held = tokio::spawn(async move { handle.incr::<_, _, u64>("count", 1).await });
    sleep_until(pass_at).await;
    proxy.pass();
    diary.until("the end of the suspicion", |event| matches!(event, Event::Resumed { .. })).await;
    assert_eq!(held.await.expect("no panic"), Ok(1));
    assert_eq!(tether.status().borrow().epoch, status.epoch);
    let stats = tether.stats();
    assert!(stats.dials <= 1 + SIDE_DIALS && stats.links == 1, "{stats:?}");
    tether.shutdown().await;
}

/// Under load, and the side link is answered at once: there is a link at hand that would do, and the old one is kept.
#[tokio::test]
async fn one_lost_probe_under_load() {
    let server = FakeServer::new();
    let listener = server.listen(([127, 0, 0, 1], 0).into()).await.expect("a port");
    let config = Config::new(listener.addr().ip().to_string(), listener.addr().port());
    let mut stay = Stay::begin(Tether::builder(config)).await;
    within(PATIENCE, "the suspicion", async {
        loop {
            server.delay_next_ping(Duration::from_millis(500));
            if timeout(Duration::from_secs(4), stay.suspected()).await.is_ok() {
                return;
            }
            // Our own process stood still meanwhile, and the verdict was void: there is another probe every 3 s.
        }
    })
    .await;
    server.wait_for_connections(2).await.expect("a side link");
    stay.resumed().await;
    let cost = stay.end().await;
    cost.was_suspicion(1);
}

/// A blocking command that nobody waits for any more is no excuse for ever, and one whose end is known is one until then.
#[tokio::test(start_paused = true)]
async fn commands_behind_a_blocking_one_do_not_wait_without_a_bound() {
    let server = FakeServer::new();
    let listener = redis_tether_testkit::SimNet::new();
    let address = ([127, 0, 0, 1], 6379).into();
    listener.bind(address, server.clone());
    let tether = Tether::builder(Config::new("127.0.0.1", 6379)).transport(rig::InMemory(listener));
    let tether = tether.start().await.expect("the configuration is valid");
    tether.ready(SOON).await.expect("the server is well");
    let mut blocking = tether.handle();
    let blocked = tokio::spawn(async move {
        let popped: redis_tether::redis::RedisResult<Option<(String, String)>> =
            cmd("BLPOP").arg("nothing").arg(0).query_async(&mut blocking).await;
        popped
    });
    server.wait_for_command("BLPOP", 1).await.expect("it blocks");
    let began = Instant::now();
    let behind: Result<u64, _> = tether.handle().incr("count", 1).await;
    let error = behind.expect_err("nothing is answered behind it");
    assert_eq!(began.elapsed(), Duration::from_secs(5), "{error}");
    blocked.abort();
    tether.shutdown().await;
}
