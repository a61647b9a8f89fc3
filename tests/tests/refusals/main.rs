//! What servers say no with: every code that the tether treats specially and those that it hands out, each from a real
//! server where one can be made to say it. What a caller gets is held against what a plain connection of redis-rs gets
//! for the same command, and what the servers have executed is counted.
//!
//! Here is what the tests share: a tether beside a plain connection, and a tether that has two nodes to go to.

mod answers;
mod clusters;
mod nodes;
mod permissions;
mod pipelines;
mod proxies;
mod roles;
mod scripts;
mod transactions;

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::redis::aio::{ConnectionLike, MultiplexedConnection};
use redis_tether::redis::{
    self, AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Value,
};
use redis_tether::{Config, Detector, Epoch, Event, Handle, Outcome, OutcomeExt, Stats, Tether};
use redis_tether_testkit::server::Info;
use redis_tether_testkit::{Deployment, Dns, Reply, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::rig::resolver;
use redis_tether_tests::servers::{patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const NAME: &str = "redis.test";

/// How often a server is asked whether it has begun to refuse.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// The command of these words.
fn words(words: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    cmd.arg(words);
    cmd
}

/// What there is to say of an error, for two of them to be compared.
fn said(error: &RedisError) -> (ErrorKind, Option<&str>, Option<&str>) {
    (error.kind(), error.code(), error.detail())
}

async fn ask(connection: &mut impl ConnectionLike, cmd: &Cmd) -> RedisResult<Value> {
    within(PATIENCE, "an answer", cmd.query_async(connection)).await
}

async fn ask_all<T: FromRedisValue>(connection: &mut impl ConnectionLike, pipeline: &Pipeline) -> RedisResult<T> {
    within(PATIENCE, "the answers", pipeline.query_async(connection)).await
}

/// A connection of redis-rs's own, with no limits of its own: what is compared are the server's words.
async fn plain(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    within(PATIENCE, "a plain connection", connecting).await.expect("the server is well")
}

async fn started(kind: ServerKind, lines: &[&str]) -> Server {
    let builder = Server::builder(&server_binary(kind));
    let builder = lines.iter().fold(builder, |builder, line| builder.config_line(line));
    builder.start().await.expect("a server")
}

/// What the server answers on the kit's own connection.
async fn at(server: &Server, command: &[&str]) -> Reply {
    server.command(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// How often the server has run a command, refusals not counted.
async fn runs(server: &Server, command: &str) -> u64 {
    let stats = server.info(&format!("cmdstat_{command}")).await.expect("INFO");
    let calls = stats.split(',').find_map(|field| field.strip_prefix("calls="));
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

/// Often enough that a test sees a few. An answer that is late is no matter to who suspects nobody.
fn often_probed(config: &mut Config) {
    config.detection.probe_interval = Duration::from_millis(200);
}

/// Waits for two probes: the second begins after the first has told what it found.
async fn probed(server: &Server) {
    let probes = runs(server, "hello").await;
    within(PATIENCE, "two probes", async {
        while runs(server, "hello").await < probes + 2 {
            sleep(ASK_EVERY).await;
        }
    })
    .await;
}

/// A tether and a plain connection to the same server.
struct Beside {
    tether: Tether,
    handle: Handle,
    plain: MultiplexedConnection,
    diary: Diary,
    before: Stats,
    epoch: Option<Epoch>,
}

impl Beside {
    async fn at(addr: SocketAddr) -> Beside {
        Beside::with(config(addr), &format!("redis://{addr}")).await
    }

    /// Here it is all about words: silence is no reason for anything.
    async fn with(config: Config, url: &str) -> Beside {
        let tether = connected(unsuspecting(config)).await;
        let (handle, diary, before) = (tether.handle(), Diary::of(&tether), tether.stats());
        let epoch = tether.status().borrow().epoch;
        Beside { tether, handle, plain: plain(url).await, diary, before, epoch }
    }

    /// The caller is told what a plain connection is told, that nothing was executed, and the tether stays where it is.
    async fn hands_out(&mut self, code: &str, cmd: &Cmd) {
        self.hands_out_as(Outcome::Refused, code, cmd).await;
    }

    async fn hands_out_as(&mut self, outcome: Outcome, code: &str, cmd: &Cmd) {
        let ours = ask(&mut self.handle, cmd).await.expect_err(code);
        let theirs = ask(&mut self.plain, cmd).await.expect_err(code);
        assert_eq!(ours.code(), Some(code), "{ours}");
        assert_eq!(said(&ours), said(&theirs));
        assert_eq!(ours.outcome(), Some(outcome), "{ours}");
        assert!(ours.command_error().is_none(), "{ours}");
        self.stayed();
    }

    /// The same of a pipeline, which is told by its parts.
    async fn hands_out_all(&mut self, outcome: Outcome, pipeline: &Pipeline) -> RedisError {
        let ours = ask_all::<Value>(&mut self.handle, pipeline).await.expect_err("a part is refused");
        let theirs = ask_all::<Value>(&mut self.plain, pipeline).await.expect_err("a part is refused");
        assert_eq!(said(&ours), said(&theirs));
        assert_eq!(ours.clone().into_server_errors(), theirs.into_server_errors());
        assert_eq!(ours.outcome(), Some(outcome), "{ours}");
        self.stayed();
        ours
    }

    /// Nothing that happened was a reason to look for another primary, or to send anything again.
    fn stayed(&mut self) {
        assert_eq!(self.diary.count(is_move), 0, "{:#?}", self.diary.so_far());
        assert_eq!(self.tether.status().borrow().epoch, self.epoch);
        let (before, now) = (&self.before, self.tether.stats());
        let told = |stats: &Stats| {
            (stats.refusal_replies, stats.resent_unexecuted, stats.links, stats.held, stats.failed_ambiguous)
        };
        assert_eq!(told(&now), told(before));
    }
}

fn is_move(event: &Event) -> bool {
    matches!(event, Event::Demoted { .. } | Event::Lost { .. } | Event::Retired { .. } | Event::Dialling { .. })
}

fn is_refused(event: &Event) -> bool {
    matches!(event, Event::Demoted { detector: Detector::Refusal, .. })
}

/// A tether that serves from the primary of two nodes. The name means both of them all the time, so that DNS gives no hint.
struct Pair {
    nodes: Deployment,
    tether: Tether,
    handle: Handle,
    diary: Diary,
    before: Stats,
}

impl Pair {
    async fn of(kind: ServerKind) -> Pair {
        let nodes = Deployment::start(&server_binary(kind)).await.expect("two servers");
        let dns = Dns::new();
        dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
        let config = patient(Config::new(NAME, nodes.port()));
        let tether = Tether::builder(config).resolver(resolver(&dns)).start().await;
        let tether = tether.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the primary is well");
        let (handle, diary, before) = (tether.handle(), Diary::of(&tether), tether.stats());
        Pair { nodes, tether, handle, diary, before }
    }

    /// The primary steps down, of nobody's replica, so that it keeps its data. Nobody has stepped up yet.
    async fn demote(&self) {
        at(&self.nodes.primary, &["REPLICAOF", "127.0.0.1", "1"]).await;
    }

    async fn promote(&self) {
        self.nodes.replica.promote().await.expect("the new primary");
    }

    /// Sends it, in a task of its own, and waits until the tether has been told that the node is the wrong one.
    async fn is_refused<T: Send + 'static>(
        &mut self,
        sent: impl Future<Output = RedisResult<T>> + Send + 'static,
    ) -> JoinHandle<RedisResult<T>> {
        let sent = tokio::spawn(sent);
        self.diary.until("the refusal", is_refused).await;
        sent
    }

    /// The command is refused by the old primary, held, and answered by the new one.
    async fn moves_on(&mut self, cmd: Cmd) -> Value {
        self.demote().await;
        let mut handle = self.handle.clone();
        let sent = self.is_refused(async move { ask(&mut handle, &cmd).await }).await;
        self.answered(sent).await
    }

    /// What is held now is answered by the new primary.
    async fn answered<T>(&mut self, sent: JoinHandle<RedisResult<T>>) -> T {
        assert!(!sent.is_finished(), "it was not held");
        self.promote().await;
        let reply = within(PATIENCE, "the new primary's answer", sent).await.expect("no panic");
        let reply = reply.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.diary.count(is_refused), 1, "one refusal is news");
        let now = self.tether.stats();
        assert_eq!((now.resent_unexecuted - self.before.resent_unexecuted, now.links - self.before.links), (1, 1));
        reply
    }

    /// The tether has been told that it is at the wrong node, and serves from the new one in the end.
    async fn looks_elsewhere(&mut self) {
        if self.diary.count(is_refused) == 0 {
            self.diary.until("the refusal", is_refused).await;
        }
        self.promote().await;
        self.diary.until("the new primary", |event| matches!(event, Event::Connected { .. })).await;
        assert_eq!(self.tether.stats().resent_unexecuted, self.before.resent_unexecuted, "nothing was sent again");
    }
}

/// Whether a client is blocked.
fn is_waiting(info: &Info) -> bool {
    info.number("blocked_clients") == Some(1)
}

/// Waits until a command on a dedicated connection is answered with an error of this code.
async fn until_refused(connection: &mut MultiplexedConnection, cmd: &Cmd, code: &str) {
    within(PATIENCE, &format!("the server to say {code}"), async {
        while !matches!(cmd.query_async::<Value>(connection).await, Err(error) if error.code() == Some(code)) {
            sleep(ASK_EVERY).await;
        }
    })
    .await;
}
