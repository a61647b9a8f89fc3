//! Dedicated connections on real servers: watched keys under failovers, blocking commands, subscriptions, and what is left
//! of them. What happens between their steps is in `making.rs` and `endings.rs`, in virtual time.

mod endings;
mod making;
mod subscriptions;
mod transactions;
mod world;

use std::time::Duration;

use redis_tether::redis::{self, AsyncCommands, RedisResult};
use redis_tether::{Config, Dedicated, Detector, Event, Loss, Lost, Outcome, OutcomeExt, Phase, Reason, Tether};
use redis_tether_testkit::{Deployment, Dns, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::on_each_server;
use redis_tether_tests::rig;
use redis_tether_tests::servers::{patient, server_binary, unsuspecting};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::task::JoinHandle;
use tokio::time::sleep;

on_each_server!(
    what_it_changes_is_its_own,
    a_blocking_command_keeps_nobody_waiting,
    a_blocking_command_at_a_demotion,
    a_blocking_command_at_a_crash,
    a_blocking_command_on_a_server_that_freezes,
    a_blocking_command_at_a_shutdown,
    its_own_end_is_reported,
    nothing_is_left_of_it,
);

const NAME: &str = "redis.test";

/// A tether that serves from the primary of two nodes. The name means both of them all the time.
async fn served(kind: ServerKind) -> (Deployment, Tether) {
    served_with(kind, |_| {}).await
}

async fn served_with(kind: ServerKind, change: impl FnOnce(&mut Config)) -> (Deployment, Tether) {
    let nodes = Deployment::start(&server_binary(kind)).await.expect("two servers");
    let dns = Dns::new();
    dns.set(NAME, vec![nodes.primary_ip(), nodes.replica_ip()]);
    let mut config = patient(Config::new(NAME, nodes.port()));
    change(&mut config);
    let tether = Tether::builder(config).resolver(rig::resolver(&dns)).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the primary is well");
    (nodes, tether)
}

async fn one_server(kind: ServerKind) -> (Server, Tether) {
    let server = Server::start(&server_binary(kind)).await.expect("a server");
    let tether = connected(unsuspecting(config(server.addr()))).await;
    (server, tether)
}

async fn dedicated(tether: &Tether) -> Dedicated {
    within(PATIENCE, "a dedicated connection", tether.dedicated()).await.expect("there is a primary, or soon will be")
}

async fn loss(connection: &Dedicated) -> Lost {
    within(PATIENCE, "the loss", connection.lost()).await
}

/// The roles change places, at once.
async fn fail_over(nodes: &Deployment) {
    nodes.replica.promote().await.expect("the new primary");
    nodes.primary.demote_to(&nodes.replica).await.expect("the old one steps down");
}

/// Pops from an empty list, for ever, and has reached the server.
async fn blocked(connection: &Dedicated, server: &Server) -> JoinHandle<RedisResult<(String, String)>> {
    let mut connection = connection.clone();
    let popping = tokio::spawn(async move { connection.blpop("empty", 0.0).await });
    within(PATIENCE, "the server to block it", async {
        while server.info("blocked_clients").await.expect("the server is well") == "0" {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    popping
}

async fn outcome_of<T: std::fmt::Debug>(command: JoinHandle<RedisResult<T>>) -> Outcome {
    let error = within(PATIENCE, "the command to end", command).await.expect("no panic").expect_err("nothing to pop");
    error.outcome().expect("an outcome")
}

/// The database, the name and an open transaction are of one connection, and the handle's is another.
async fn what_it_changes_is_its_own(kind: ServerKind) {
    let (_server, tether) = one_server(kind).await;
    let (mut own, mut handle) = (dedicated(&tether).await, tether.handle());
    redis::cmd("SELECT").arg(5).exec_async(&mut own).await.expect("it is its own connection");
    redis::cmd("CLIENT").arg("SETNAME").arg("worker").exec_async(&mut own).await.expect("it is its own connection");
    own.set::<_, _, ()>("key", "of 5").await.expect("the server is well");
    handle.set::<_, _, ()>("key", "of 0").await.expect("the server is well");
    assert_eq!(own.get::<_, String>("key").await.expect("the server is well"), "of 5");
    let mut other = dedicated(&tether).await;
    assert_eq!(other.get::<_, String>("key").await.expect("the server is well"), "of 0");

    redis::cmd("MULTI").exec_async(&mut own).await.expect("it is its own connection");
    redis::cmd("INCR").arg("count").exec_async(&mut own).await.expect("queued");
    assert_eq!(handle.get::<_, Option<u64>>("count").await.expect("the server is well"), None);
    let replies: (u64,) = redis::cmd("EXEC").query_async(&mut own).await.expect("the transaction runs");
    assert_eq!(replies, (1,));

    let error = redis::cmd("SUBSCRIBE").arg("news").exec_async(&mut own).await.expect_err("it would shift replies");
    let reason = error.command_error().expect("the tether's").reason();
    assert!(matches!(reason, Reason::NotOnDedicated { command: "SUBSCRIBE", .. }), "{error}");
    tether.shutdown().await;
}

async fn a_blocking_command_keeps_nobody_waiting(kind: ServerKind) {
    let (server, tether) = one_server(kind).await;
    let own = dedicated(&tether).await;
    let popping = blocked(&own, &server).await;
    let mut handle = tether.handle();
    let pushed = within(PATIENCE, "the other link", handle.rpush::<_, _, u64>("empty", "at last")).await;
    assert_eq!(pushed.expect("the server is well"), 1);
    let popped = within(PATIENCE, "the element", popping).await.expect("no panic").expect("the server is well");
    assert_eq!(popped.1, "at last");
    tether.shutdown().await;
}

/// The server sends it away, and says so; the tether hears of it as it does of a handle's.
async fn a_blocking_command_at_a_demotion(kind: ServerKind) {
    let (nodes, tether) = served(kind).await;
    let mut diary = Diary::of(&tether);
    let own = dedicated(&tether).await;
    let popping = blocked(&own, &nodes.primary).await;
    fail_over(&nodes).await;
    assert_eq!(outcome_of(popping).await, Outcome::Refused);
    let is_known = |event: &Event| matches!(event, Event::Demoted { detector: Detector::Refusal, .. });
    diary.until("the demotion to be noticed", is_known).await;
    let lost = loss(&own).await;
    // The server hangs up on whom it sends away, and the tether moves: which comes first is chance.
    assert!(matches!(lost.loss(), Loss::Ended | Loss::Moved), "{lost}");
    assert_eq!(lost.epoch(), own.epoch());
    assert_eq!(dedicated(&tether).await.address().to_string(), nodes.replica.addr().to_string());
    tether.shutdown().await;
}

async fn a_blocking_command_at_a_crash(kind: ServerKind) {
    let (nodes, tether) = served(kind).await;
    let mut own = dedicated(&tether).await;
    let popping = blocked(&own, &nodes.primary).await;
    nodes.primary.kill().await.expect("it dies");
    assert_eq!(outcome_of(popping).await, Outcome::Ambiguous);
    let lost = loss(&own).await;
    // Which of the two sockets is looked at first is chance.
    assert!(matches!(lost.loss(), Loss::Ended | Loss::LinkLost), "{lost}");
    let error = own.get::<_, Option<String>>("key").await.expect_err("it is lost");
    let told = error.command_error().expect("the tether's");
    assert_eq!((told.outcome(), told.reason()), (Outcome::NotSent, Reason::ConnectionOver), "{error}");

    let (next, ()) = tokio::join!(tether.dedicated(), async {
        nodes.replica.promote().await.expect("the new primary");
    });
    assert_eq!(next.expect("held until there is a primary").address().to_string(), nodes.replica.addr().to_string());
    tether.shutdown().await;
}

/// It would wait for ever: nothing comes, and nothing ends. The tether's own link notices.
async fn a_blocking_command_on_a_server_that_freezes(kind: ServerKind) {
    let (nodes, tether) = served(kind).await;
    let own = dedicated(&tether).await;
    let popping = blocked(&own, &nodes.primary).await;
    nodes.primary.freeze().await.expect("it stops");
    nodes.replica.promote().await.expect("the new primary");
    assert_eq!(outcome_of(popping).await, Outcome::Ambiguous);
    let lost = loss(&own).await;
    assert!(matches!(lost.loss(), Loss::Moved | Loss::LinkLost), "{lost}");
    nodes.primary.thaw().expect("it goes on");
    tether.shutdown().await;
}

async fn a_blocking_command_at_a_shutdown(kind: ServerKind) {
    // Far longer than the test waits: nobody may wait for as long as that.
    let (nodes, tether) = served_with(kind, |config| config.drain_timeout = 3 * PATIENCE).await;
    let own = dedicated(&tether).await;
    let popping = blocked(&own, &nodes.primary).await;
    within(PATIENCE, "the shutdown", tether.shutdown()).await;
    assert_eq!(outcome_of(popping).await, Outcome::Ambiguous);
    assert_eq!(loss(&own).await.loss(), Loss::Stopped);
    let error = tether.dedicated().await.expect_err("it has stopped");
    assert_eq!((error.outcome(), error.reason()), (Outcome::NotSent, Reason::Stopped));
}

/// One connection of many is ended by the server: the tether's link is well, and stays.
async fn its_own_end_is_reported(kind: ServerKind) {
    let (server, tether) = one_server(kind).await;
    let mut own = dedicated(&tether).await;
    let id: u64 = redis::cmd("CLIENT").arg("ID").query_async(&mut own).await.expect("the server is well");
    server.command(&["CLIENT", "KILL", "ID", &id.to_string()]).await.expect("it is killed");
    let lost = loss(&own).await;
    assert_eq!((lost.loss(), lost.cause()), (Loss::Ended, Some("closed by the peer")));
    assert!(own.is_lost());
    assert_eq!(tether.status().borrow().phase, Phase::Connected);
    assert_eq!(dedicated(&tether).await.epoch(), own.epoch(), "the same link");

    let mut quits = dedicated(&tether).await;
    redis::cmd("QUIT").exec_async(&mut quits).await.expect("the server says goodbye");
    assert_eq!(loss(&quits).await.loss(), Loss::Ended);
    tether.shutdown().await;
}

async fn nothing_is_left_of_it(kind: ServerKind) {
    let (server, tether) = one_server(kind).await;
    let before = clients(&server).await;
    let own = dedicated(&tether).await;
    let clone = own.clone();
    let _popping = blocked(&clone, &server).await;
    let subscription = dedicated(&tether).await.into_pub_sub().await.expect("the server is well");
    let fresh = dedicated(&tether).await;
    assert_eq!(clients(&server).await, before + 3);
    drop((own, fresh, subscription));
    // The one that a task of the application's pops from.
    until_clients(&server, before + 1).await;
    _popping.abort();
    drop(clone);
    until_clients(&server, before).await;
    tether.shutdown().await;
}

async fn clients(server: &Server) -> u64 {
    server.info("connected_clients").await.expect("the server is well").parse().expect("a number")
}

async fn until_clients(server: &Server, wanted: u64) {
    within(PATIENCE, &format!("{wanted} clients"), async {
        while clients(server).await != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
