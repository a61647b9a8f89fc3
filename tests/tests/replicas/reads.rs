//! What goes to replicas, and what does not: counted at the servers.

use std::time::Duration;

use redis_tether::redis::{AsyncCommands, RedisResult, Value, cmd, pipe};
use redis_tether::{Event, Fallback, Outcome, OutcomeExt, Phase, Protocol, Reason, Retry, Tether, Verify};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{Diary, PATIENCE, reason, within};

use crate::world::{KEY, World, serving};

on_each_server!(reads_go_to_replicas_in_turn, a_scan_goes_on_where_it_began);

const READS: u64 = 40;

async fn reads_go_to_replicas_in_turn(kind: ServerKind) {
    let world = World::new(kind).await;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let tether = world.tether(world.config(protocol)).await;
        let mut replicas = tether.replicas();
        serving(&replicas, &tether, 2).await;
        let before = world.gets().await;
        for _ in 0..READS {
            let value: String = replicas.get(KEY).await.expect("a replica answers");
            assert_eq!(value, "value");
        }
        let after = world.gets().await;
        let each: Vec<_> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        assert_eq!(each, [0, READS / 2, READS / 2], "{protocol:?}");
        assert_eq!(tether.stats().fallbacks, 0);

        let (first, second): (String, bool) =
            pipe().atomic().get(KEY).exists(KEY).query_async(&mut replicas).await.expect("a transaction of reads");
        assert_eq!((first.as_str(), second), ("value", true));
        writes_are_refused(&mut replicas).await;
        tether.shutdown().await;
        let over: RedisResult<String> = replicas.get(KEY).await;
        let error = over.expect_err("it has ended");
        assert_eq!(error.command_error().map(|error| error.reason()), Some(Reason::Stopped));
    }
}

/// Before they are sent, with what to do instead.
async fn writes_are_refused(replicas: &mut redis_tether::ReplicaHandle) {
    let set: RedisResult<()> = replicas.set("other", "secret").await;
    let piped: RedisResult<Value> = pipe().get(KEY).incr("n", 1).query_async(replicas).await;
    let script: RedisResult<Value> = cmd("EVAL").arg("return 1").arg(0).query_async(replicas).await;
    for (error, name) in [(set.err(), "SET"), (piped.err(), "INCRBY"), (script.err(), "EVAL")] {
        let error = error.expect("a write");
        let told = error.command_error().expect("an error of the tether's");
        assert_eq!(
            (told.outcome(), told.reason(), told.cause()),
            (Outcome::NotSent, Reason::NotForReplicas, Some(name))
        );
        let line = error.to_string();
        assert!(line.contains("use Tether::handle()") && line.contains(name) && !line.contains("secret"), "{line}");
    }
    let select: RedisResult<()> = cmd("SELECT").arg(1).query_async(replicas).await;
    let error = select.expect_err("it would change the link");
    assert!(matches!(error.command_error().map(|error| error.reason()), Some(Reason::NotOnSharedLink { .. })));
}

/// A cursor means something to the server alone that gave it.
async fn a_scan_goes_on_where_it_began(kind: ServerKind) {
    let world = World::new(kind).await;
    for number in 0..500 {
        world.primary.command(&["SET", &format!("k{number}"), "v"]).await.expect("a write");
    }
    for replica in &world.replicas {
        let all =
            |info: &redis_tether_testkit::server::Info| info.field("db0").is_some_and(|db| db.starts_with("keys=501,"));
        replica.wait_for("all keys", PATIENCE, all).await.expect("in sync");
    }
    let tether = world.tether(world.config(Protocol::Resp2)).await;
    let mut replicas = tether.replicas();
    serving(&replicas, &tether, 2).await;
    let mut other = replicas.clone();
    let mut keys = Vec::new();
    let mut scan = replicas.scan_match::<_, String>("k*").await.expect("a scan");
    while let Some(key) = within(PATIENCE, "a key", scan.next_item()).await {
        keys.push(key.expect("a key"));
        // Others read meanwhile.
        let _: String = other.get(KEY).await.expect("a read");
    }
    drop(scan);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 501, "every key, once at least");
    tether.shutdown().await;
}

/// Nobody follows it, and it says so.
#[tokio::test]
async fn where_there_is_no_replica_the_primary_answers_or_nobody() {
    let (_server, listener) = fake().await;
    let mut config = config(listener.addr());
    let tether = connected(config.clone()).await;
    let mut replicas = tether.replicas();
    let missing: Option<String> = replicas.get(KEY).await.expect("the primary answers");
    assert_eq!((missing, tether.stats().fallbacks), (None, 1));
    let none = replicas.ready(Duration::from_millis(100)).await.expect_err("there is none");
    assert!(none.to_string().contains("no replica of"), "{none}");
    tether.shutdown().await;

    config.replicas.fallback = Fallback::None;
    config.commands.hold_window = Duration::from_millis(100);
    let tether = connected(config).await;
    let mut replicas = tether.replicas();
    for _ in 0..2 {
        let read: RedisResult<Option<String>> = replicas.get(KEY).await;
        let error = read.expect_err("there is none");
        let told = error.command_error().expect("an error of the tether's");
        assert_eq!((told.outcome(), told.reason()), (Outcome::NotSent, Reason::HoldWindowPassed));
        assert!(told.down_for() >= Some(Duration::from_millis(100)), "{error}");
    }
    let mut hasty = replicas.with_policy(tether.handle().policy().fail_fast().retry(Retry::ReadOnly));
    let read: RedisResult<Option<String>> = hasty.get(KEY).await;
    let reason = read.expect_err("there is none").command_error().map(|error| error.reason());
    assert_eq!(reason, Some(Reason::FailFast));
    assert_eq!(tether.stats().fallbacks, 0);
    assert_eq!(tether.status().borrow().phase, Phase::Connected, "the primary is well");
    tether.shutdown().await;
}

/// And says nothing of whom it has.
#[tokio::test]
async fn a_user_who_may_not_ask_is_told_what_to_allow() {
    let (server, listener) = fake().await;
    server.deny(&["ROLE", "INFO"]);
    let tether = connected(config(listener.addr())).await;
    let replicas = tether.replicas();
    reason("allow ROLE or INFO, or set replicas.host", async |limit| replicas.ready(limit).await).await;
    tether.shutdown().await;
}

/// It would delay the answer, and hold up whoever comes behind.
#[tokio::test]
async fn the_primary_is_not_asked_behind_a_blocking_command() {
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let mut handle = tether.handle();
    let waiting = tokio::spawn(async move { handle.blpop::<_, Option<(String, String)>>("list", 0.0).await });
    server.wait_for_command("BLPOP", 1).await.expect("it arrives");
    let error = unknown(&tether).await;
    assert!(error.contains("a blocking command is in the way"), "{error}");
    assert_eq!(server.commands("ROLE"), 0);
    waiting.abort();
    tether.shutdown().await;
}

/// It may hang up on what it does not know, on everybody.
#[tokio::test]
async fn a_proxy_that_stands_few_questions_is_not_asked() {
    let (server, listener) = fake().await;
    let mut config = config(listener.addr());
    config.verify = Verify::Ping;
    let tether = connected(config).await;
    let error = unknown(&tether).await;
    assert!(error.contains("set replicas.host"), "{error}");
    assert_eq!((server.commands("ROLE"), server.commands("INFO")), (0, 0));
    tether.shutdown().await;
}

/// Why nobody could say who the replicas are, once somebody wants to know.
async fn unknown(tether: &Tether) -> String {
    let mut diary = Diary::of(tether);
    let _replicas = tether.replicas();
    let event = diary.until("the failure", |event| matches!(event, Event::ReplicasUnknown { .. })).await;
    event.to_string()
}
