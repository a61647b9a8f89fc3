//! What a node of a cluster says to somebody who takes it for a server of its own. `CLUSTERDOWN` and `TRYAGAIN` are waited
//! out; `MOVED`, `ASK` and `CROSSSLOT` are the caller's, who asked a cluster without knowing it.

use std::time::Duration;

use redis_tether::redis::{self, RedisError, Value};
use redis_tether::{ClusterNode, Config, Outcome, OutcomeExt, Reason};
use redis_tether_testkit::{Reply, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected, connected_in_memory, fake};
use redis_tether_tests::on_each_server;
use redis_tether_tests::pace::most_dials;
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::time::{Instant, sleep};

use super::{ASK_EVERY, Beside, ask, ask_all, at, is_refused, plain, runs, started, until_refused, words};

on_each_server!(
    a_cluster_that_becomes_whole,
    a_cluster_that_stays_down,
    keys_on_two_nodes_for_a_moment,
    what_another_node_has,
);

/// Slots are assigned to nobody: nothing is served.
async fn a_cluster_that_becomes_whole(kind: ServerKind) {
    let server = started(kind, &["cluster-enabled yes"]).await;
    let tether = connected(config(server.addr())).await;
    let mut diary = Diary::of(&tether);
    let mut handle = tether.handle();
    let sent = tokio::spawn(async move { ask(&mut handle, &words(&["INCR", "n"])).await });
    diary.until("the refusal", is_refused).await;
    at(&server, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let answer = within(PATIENCE, "the answer", sent).await.expect("no panic");
    assert_eq!(answer, Ok(Value::Int(1)));
    assert_eq!(runs(&server, "incr").await, 1);
    tether.shutdown().await;
}

/// Its role is a primary's and it takes connections, so each new link is refused anew. That goes on at the pace of dials,
/// and the caller is told within the deadline.
async fn a_cluster_that_stays_down(kind: ServerKind) {
    const DEADLINE: Duration = Duration::from_secs(2);
    let server = started(kind, &["cluster-enabled yes"]).await;
    let config = config(server.addr());
    let lane = config.pacing.rejected.clone();
    let tether = connected(config).await;
    let (mut diary, before) = (Diary::of(&tether), tether.stats());
    let handle = tether.handle();
    let policy = handle.policy().deadline(DEADLINE);
    let mut handle = handle.with_policy(policy);
    let begun = Instant::now();
    let mut tries = 0;
    let error = loop {
        tries += 1;
        let error = ask(&mut handle, &words(&["INCR", "n"])).await.expect_err("it is down");
        // Its time may be over just while it is on its way once more, and then nobody knows what the server says to that.
        if tries == 5 || !was_on_its_way(&error) {
            break error;
        }
    };
    assert_eq!(error.outcome(), Some(Outcome::Refused), "{error}");
    assert!(error.to_string().contains("CLUSTERDOWN"), "{error}");
    let (dials, most) = (tether.stats().dials - before.dials, most_dials(&lane, begun.elapsed()) + 1);
    assert!(
        (2..=most).contains(&dials),
        "{dials} dials in {tries} x {DEADLINE:?}, of at most {most}: {:#?}",
        diary.so_far()
    );
    assert_eq!(runs(&server, "incr").await, 0);
    tether.shutdown().await;
}

fn was_on_its_way(error: &RedisError) -> bool {
    let told = error.command_error().map(|error| (error.outcome(), error.reason()));
    told == Some((Outcome::Ambiguous, Reason::DeadlinePassed))
}

/// A slot that is being moved has some of its keys here and some there.
async fn keys_on_two_nodes_for_a_moment(kind: ServerKind) {
    let (here, there) = cluster(kind).await;
    let mut beside = Beside::with(node(&here), &format!("redis://{}", here.addr())).await;
    at(&here, &["SET", "{b}1", "v"]).await;
    let Reply::Int(slot) = at(&here, &["CLUSTER", "KEYSLOT", "{b}"]).await else { panic!("CLUSTER KEYSLOT") };
    let slot = slot.to_string();
    at(&here, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(&there).await]).await;

    beside.hands_out("ASK", &words(&["GET", "{b}2"])).await;
    let both = words(&["MGET", "{b}1", "{b}2"]);
    until_refused(&mut beside.plain, &both, "TRYAGAIN").await;
    let mut handle = beside.handle.clone();
    let sent = tokio::spawn(async move { ask(&mut handle, &both).await });
    let mut transaction = redis::pipe();
    transaction.atomic().cmd("MGET").arg(&["{b}1", "{b}2"]);
    let mut handle = beside.handle.clone();
    let transaction = tokio::spawn(async move { ask_all::<Value>(&mut handle, &transaction).await });
    within(PATIENCE, "a few tries", async {
        while beside.tether.stats().refusal_replies < beside.before.refusal_replies + 6 {
            sleep(ASK_EVERY).await;
        }
    })
    .await;
    at(&here, &["CLUSTER", "SETSLOT", &slot, "STABLE"]).await;
    let values = Value::Array(vec![Value::BulkString(b"v".to_vec()), Value::Nil]);
    let answer = within(PATIENCE, "the answer", sent).await.expect("no panic");
    assert_eq!(answer, Ok(values.clone()));
    let answer = within(PATIENCE, "the transaction's answer", transaction).await.expect("no panic");
    assert_eq!(answer, Ok(Value::Array(vec![values])));
    assert_eq!(beside.diary.count(super::is_move), 0, "{:#?}", beside.diary.so_far());
    beside.tether.shutdown().await;
}

/// It is asked again until the deadline, and then the server's words are handed out.
#[tokio::test(start_paused = true)]
async fn keys_that_stay_on_two_nodes() {
    let (server, listener) = fake().await;
    let mut plain = plain(&format!("redis://{}", listener.addr())).await;
    let tether = connected_in_memory(&server, |_| {}).await;
    server.refuse("MGET", Some("TRYAGAIN Multiple keys request during rehashing of slot"));
    let handle = tether.handle();
    let policy = handle.policy().deadline(Duration::from_millis(200));
    let begun = Instant::now();
    let both = words(&["MGET", "a", "b"]);
    let ours = ask(&mut handle.with_policy(policy), &both).await.expect_err("it says so");
    let asked = server.commands("MGET");
    let theirs = ask(&mut plain, &both).await.expect_err("it says so");
    assert_eq!(super::said(&ours), super::said(&theirs));
    assert_eq!(ours.outcome(), Some(Outcome::Refused), "{ours}");
    assert!(begun.elapsed() <= Duration::from_millis(200), "{:?}", begun.elapsed());
    assert!((8..=10).contains(&asked), "asked {asked} times in 200 ms, every 20 ms");
    tether.shutdown().await;
}

async fn what_another_node_has(kind: ServerKind) {
    let (here, _there) = cluster(kind).await;
    let mut beside = Beside::with(node(&here), &format!("redis://{}", here.addr())).await;
    // The slots of these two are 15495 and 3300.
    beside.hands_out("MOVED", &words(&["GET", "a"])).await;
    beside.hands_out("CROSSSLOT", &words(&["MGET", "a", "b"])).await;
    let mut transaction = redis::pipe();
    transaction.atomic().set("b", 1).set("a", 1);
    beside.hands_out_all(Outcome::Refused, &transaction).await;
    assert_eq!(at(&here, &["GET", "b"]).await, Reply::Nil);
    beside.tether.shutdown().await;
}

/// It is known to be one of several.
fn node(server: &Server) -> Config {
    let mut config = config(server.addr());
    config.cluster_node = ClusterNode::Accept;
    config
}

/// Two nodes, the first of which has the first half of the slots.
pub(super) async fn cluster(kind: ServerKind) -> (Server, Server) {
    let lines = ["cluster-enabled yes"];
    let (here, there) = (started(kind, &lines).await, started(kind, &lines).await);
    at(&here, &["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]).await;
    at(&there, &["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]).await;
    let (ip, port) = (there.addr().ip().to_string(), there.addr().port().to_string());
    at(&here, &["CLUSTER", "MEET", &ip, &port]).await;
    within(PATIENCE, "the cluster to be whole", async {
        while !at(&here, &["CLUSTER", "INFO"]).await.text().is_some_and(|info| info.contains("cluster_state:ok")) {
            sleep(ASK_EVERY).await;
        }
    })
    .await;
    (here, there)
}

pub(super) async fn id(node: &Server) -> String {
    at(node, &["CLUSTER", "MYID"]).await.text().expect("an id")
}
