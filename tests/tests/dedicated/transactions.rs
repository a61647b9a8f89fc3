//! Transactions over watched keys, on real servers: each is executed once or not at all, whoever interferes, and what callers
//! were told is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redis_tether::redis::RedisError;
use redis_tether::redis::aio::transaction_async;

use super::*;

on_each_server!(watched_keys, a_contended_key_under_a_failover, a_contended_key_under_a_move);

const CALLERS: usize = 6;

async fn watched_keys(kind: ServerKind) {
    let (_server, tether) = one_server(kind).await;
    let (mut own, mut handle) = (dedicated(&tether).await, tether.handle());
    for (is_touched, expected) in [(false, Some((1,))), (true, None)] {
        redis::cmd("WATCH").arg("key").exec_async(&mut own).await.expect("it is its own connection");
        if is_touched {
            handle.set::<_, _, ()>("key", 7).await.expect("the server is well");
        }
        let replies: Option<(u64,)> =
            redis::pipe().atomic().incr("key", 1).query_async(&mut own).await.expect("the server is well");
        assert_eq!(replies, expected);
    }
    tether.shutdown().await;
}

/// A failover by the server's own command, which loses no data.
async fn a_contended_key_under_a_failover(kind: ServerKind) {
    let (nodes, tether) = served(kind).await;
    let contention = Contention::start(&tether);
    contention.go_on_for(30).await;
    let (ip, port) = (nodes.replica_ip().to_string(), nodes.port().to_string());
    nodes.primary.command(&["FAILOVER", "TO", &ip, &port]).await.expect("the failover begins");
    let mut diary = Diary::of(&tether);
    let wanted = nodes.replica.addr().to_string();
    let is_there = |event: &Event| matches!(event, Event::Connected { address, .. } if address.to_string() == wanted);
    diary.until("the new primary", is_there).await;
    contention.go_on_for(30).await;
    contention.finish().await.check(&tether, 1).await;
    tether.shutdown().await;
}

/// The link is replaced again and again; each time all connections are over, and what they have in flight may finish.
async fn a_contended_key_under_a_move(kind: ServerKind) {
    let (_server, tether) = one_server(kind).await;
    let contention = Contention::start(&tether);
    let mut diary = Diary::of(&tether);
    for _ in 0..2 {
        contention.go_on_for(30).await;
        within(PATIENCE, "a reconnect to be allowed", async {
            while tether.reconnect().is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        diary.until("the new link", |event| matches!(event, Event::Connected { .. })).await;
    }
    contention.go_on_for(30).await;
    let told = contention.finish().await;
    let ambiguous: Vec<_> =
        told.failed.iter().filter(|(_, error)| error.outcome() == Some(Outcome::Ambiguous)).collect();
    assert!(ambiguous.is_empty(), "what is in flight may finish: {ambiguous:?}");
    told.check(&tether, 2).await;
    tether.shutdown().await;
}

/// Callers that increment one watched key and append to a list beside it, each over a dedicated connection.
struct Contention {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Told>>,
}

#[derive(Default)]
struct Told {
    done: Vec<String>,
    failed: Vec<(String, RedisError)>,
    /// How many times an attempt was undone by somebody else's.
    contended: u64,
    connections: usize,
}

impl Contention {
    fn start(tether: &Tether) -> Contention {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let start = |caller| tokio::spawn(call(caller, tether.clone(), stop.clone(), done.clone()));
        Contention { callers: (0..CALLERS).map(start).collect(), stop, done }
    }

    async fn go_on_for(&self, transactions: u64) {
        let goal = self.done.load(Ordering::Relaxed) + transactions;
        within(PATIENCE, "transactions to be done", async {
            while self.done.load(Ordering::Relaxed) < goal {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    async fn finish(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for caller in self.callers {
            let told = within(PATIENCE, "the callers to finish", caller).await.expect("no caller panics");
            all.done.extend(told.done);
            all.failed.extend(told.failed);
            all.contended += told.contended;
            all.connections += told.connections;
        }
        all
    }
}

async fn call(caller: usize, tether: Tether, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Told {
    let (mut told, mut number) = (Told::default(), 0u64);
    while !stop.load(Ordering::Relaxed) {
        let connection = dedicated(&tether).await;
        told.connections += 1;
        while !connection.is_lost() && !stop.load(Ordering::Relaxed) {
            number += 1;
            let id = format!("{caller}-{number}");
            let mut attempts = 0;
            match increment(connection.clone(), &id, &mut attempts).await {
                Ok(_) => {
                    told.done.push(id);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => told.failed.push((id, error)),
            }
            told.contended += u64::saturating_sub(attempts, 1);
        }
    }
    told
}

/// Not `INCR`: what was read is written back, and only the watch keeps it right.
async fn increment(connection: Dedicated, id: &str, attempts: &mut u64) -> RedisResult<(u64,)> {
    transaction_async(connection, &["count"], |mut connection, mut pipe| {
        *attempts += 1;
        async move {
            let count: Option<u64> = connection.get("count").await?;
            pipe.set("count", count.unwrap_or_default() + 1).ignore();
            pipe.rpush("ids", id).query_async(&mut connection).await
        }
    })
    .await
}

impl Told {
    async fn check(&self, tether: &Tether, links: usize) {
        let mut handle = tether.handle();
        let count: usize = handle.get("count").await.expect("the server is well");
        let held: Vec<String> = handle.lrange("ids", 0, -1).await.expect("the server is well");
        assert_eq!(count, held.len(), "each was executed as a whole, on what it had read");
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        held.iter().for_each(|id| *times.entry(id).or_default() += 1);
        assert!(times.values().all(|times| *times == 1), "executed twice: {times:?}");
        let lost: Vec<_> = self.done.iter().filter(|id| !times.contains_key(id.as_str())).collect();
        assert!(lost.is_empty(), "reported as done and not there: {lost:?}");
        for (id, error) in &self.failed {
            let outcome = error.outcome().unwrap_or_else(|| panic!("no outcome: {error}"));
            let is_there = times.contains_key(id.as_str());
            assert!(outcome == Outcome::Ambiguous || !is_there, "reported as {outcome} and there: {id}, {error}");
        }
        assert!(self.contended > 0, "nobody interfered");
        assert!(self.connections >= (links + 1) * CALLERS, "{} connections for {links} moves", self.connections);
    }
}
