//! Sending again what may have been executed, for callers who have opted in: a network that loses replies, in front of
//! servers whose own word it is which commands change nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis_tether::redis::{AsyncCommands, Cmd, RedisResult, Value, cmd, pipe};
use redis_tether::{Config, Event, Handle, Outcome, OutcomeExt, Protocol, Retry, Tether};
use redis_tether_testkit::server::Info;
use redis_tether_testkit::{Proxy, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::time::sleep;

on_each_server! {
    reads_come_through,
    writes_are_ambiguous,
    all_comes_through_where_it_may,
    without_permission_to_ask_nothing_is_sent_again,
}

/// How many `INFO`s a fresh link is asked.
const QUESTIONS: u64 = 3;

/// A server behind a network that can be told to lose replies.
struct Lossy {
    server: Server,
    proxy: Proxy,
    tether: Tether,
    /// How often the server had been asked for `INFO` before there was a tether, and since then by the test.
    asked_by_others: AtomicU64,
}

impl Lossy {
    async fn start(kind: ServerKind, protocol: Protocol, configure: impl FnOnce(Config) -> Config) -> Lossy {
        let server = Server::builder(&server_binary(kind))
            .config_line("user reader on >secret ~* +@read")
            .start()
            .await
            .expect("a server");
        let proxy = Proxy::start(server.addr()).await.expect("a proxy");
        let mut config = configure(config(proxy.addr()));
        config.protocol = protocol;
        let before = asked(&server.full_info().await.expect("statistics"));
        let tether = connected(config).await;
        Lossy { server, proxy, tether, asked_by_others: AtomicU64::new(before + 1) }
    }

    async fn statistics(&self) -> Info {
        self.asked_by_others.fetch_add(1, Ordering::Relaxed);
        self.server.full_info().await.expect("statistics")
    }

    /// Waits until nothing is under way: a fresh link is asked which history its server holds, and the next reply would be
    /// one to that.
    async fn settled(&self) {
        let all_asked = async {
            loop {
                let others = self.asked_by_others.load(Ordering::Relaxed);
                if asked(&self.statistics().await) >= others + QUESTIONS * self.tether.stats().links {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        within(PATIENCE, "the fresh link to be asked", all_asked).await;
        // Replies come in order.
        let _: RedisResult<Value> = cmd("PING").query_async(&mut self.tether.handle()).await;
    }

    fn handle(&self, retry: Retry) -> Handle {
        let handle = self.tether.handle();
        let policy = handle.policy().retry(retry);
        handle.with_policy(policy)
    }

    /// Runs `send` while the reply to what it sends first is lost.
    async fn lose_reply<T>(&self, send: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        self.settled().await;
        let mut diary = Diary::of(&self.tether);
        self.proxy.cut_before_reply();
        let passes_again = async {
            diary.until("the reply to be lost", |event| matches!(event, Event::Lost { .. })).await;
            self.proxy.pass();
        };
        let (reply, ()) = within(PATIENCE, "an answer", async { tokio::join!(send, passes_again) }).await;
        reply
    }

    async fn executed(&self, command: &str) -> u64 {
        let stats = self.statistics().await;
        let line = stats.field(&format!("cmdstat_{command}")).unwrap_or("calls=0,").to_owned();
        let calls = line.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
        calls.and_then(|calls| calls.parse().ok()).expect("a number of calls")
    }
}

/// How often a server was asked for `INFO`, whether or not it answered.
fn asked(statistics: &Info) -> u64 {
    let line = statistics.field("cmdstat_info").unwrap_or_default();
    let counts = line.split(',').filter_map(|count| count.split_once('='));
    let asked = counts.filter(|(name, _)| matches!(*name, "calls" | "rejected_calls"));
    asked.filter_map(|(_, count)| count.parse::<u64>().ok()).sum()
}

fn words(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

/// Commands and subcommands, alone and together, whichever way the protocol spells their flags.
async fn reads_come_through(kind: ServerKind) {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let lossy = Lossy::start(kind, protocol, |config| config).await;
        let mut handle = lossy.handle(Retry::ReadOnly);
        let _: () = handle.set("key", "value").await.expect("all is well");
        let _: () = cmd("XADD").arg(&["stream", "*", "a", "b"]).query_async(&mut handle).await.expect("all is well");
        for (read, name) in [
            (words(&["GET", "key"]), "get"),
            (words(&["xinfo", "stream", "stream"]), "xinfo|stream"),
            (words(&["OBJECT", "ENCODING", "key"]), "object|encoding"),
            (words(&["EVAL_RO", "return redis.call('GET', 'key')", "0"]), "eval_ro"),
        ] {
            let before = lossy.executed(name).await;
            let reply: RedisResult<Value> = lossy.lose_reply(read.query_async(&mut handle)).await;
            let reply = reply.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!matches!(reply, Value::Nil | Value::ServerError(_)), "{name}: {reply:?}");
            assert_eq!(lossy.executed(name).await - before, 2, "{name}: once unheard, once heard");
        }
        let mut reads = pipe();
        reads.get("key").cmd("STRLEN").arg("key");
        let replies: RedisResult<(String, u64)> = lossy.lose_reply(reads.query_async(&mut handle)).await;
        assert_eq!(replies, Ok(("value".to_owned(), 5)));
        assert_eq!((lossy.tether.stats().resent_ambiguous, lossy.tether.stats().failed_ambiguous), (5, 0));
        lossy.tether.shutdown().await;
    }
}

/// A command that changes something is executed once, whatever company it is in.
async fn writes_are_ambiguous(kind: ServerKind) {
    let lossy = Lossy::start(kind, Protocol::Resp2, |config| config).await;
    let mut handle = lossy.handle(Retry::ReadOnly);
    for round in 1..=2 {
        let error = lossy.lose_reply(handle.incr::<_, _, u64>("count", 1)).await.expect_err("its reply is lost");
        assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
        let mut mixed = pipe();
        mixed.get("count").incr("count", 1);
        let error = lossy.lose_reply(mixed.query_async::<(u64, u64)>(&mut handle)).await.expect_err("likewise");
        assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
        let count: u64 = handle.get("count").await.expect("all is well");
        assert_eq!(count, 2 * round);
    }
    let error = lossy.lose_reply(words(&["NONSENSE"]).query_async::<Value>(&mut handle)).await;
    assert_eq!(error.expect_err("its reply is lost").outcome(), Some(Outcome::Ambiguous), "the server knows it not");
    assert_eq!(lossy.tether.stats().resent_ambiguous, 0);
    lossy.tether.shutdown().await;
}

/// Everything is sent again where the caller says so, and only then.
async fn all_comes_through_where_it_may(kind: ServerKind) {
    let lossy = Lossy::start(kind, Protocol::Resp2, |config| config).await;
    let (mut all, mut never) = (lossy.handle(Retry::All), lossy.tether.handle());
    let error = lossy.lose_reply(never.incr::<_, _, u64>("count", 1)).await.expect_err("its reply is lost");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    assert_eq!(lossy.lose_reply(all.incr::<_, _, u64>("count", 1)).await, Ok(3), "once for the other, twice for this");
    let mut transaction = pipe();
    transaction.atomic().set("key", "value").get("key");
    let reply = lossy.lose_reply(transaction.query_async::<(Value, String)>(&mut all)).await;
    assert_eq!(reply, Ok((Value::Okay, "value".to_owned())));
    assert_eq!(lossy.tether.stats().resent_ambiguous, 2);
    lossy.tether.shutdown().await;
}

/// The user may read, and may not ask what reading is.
async fn without_permission_to_ask_nothing_is_sent_again(kind: ServerKind) {
    let lossy =
        Lossy::start(kind, Protocol::Resp2, |config| config.with_username("reader").with_password("secret")).await;
    let mut handle = lossy.handle(Retry::ReadOnly);
    let read: RedisResult<Value> = lossy.lose_reply(handle.get("key")).await;
    let error = read.expect_err("its reply is lost");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    assert_eq!((lossy.tether.stats().resent_ambiguous, lossy.executed("get").await), (0, 1));
    lossy.tether.shutdown().await;
}
