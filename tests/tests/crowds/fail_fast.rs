//! Callers who do not want to wait, while there is no link: each call fails by itself, without waiting for anything, so that
//! what it takes does not depend on how many call.

use std::task::Poll;
use std::time::{Duration, Instant};

use redis_tether::redis::{RedisResult, Value};
use redis_tether::{Config, Handle, Outcome, OutcomeExt, Phase, Reason, Tether};
use redis_tether_testkit::server::free_port;
use redis_tether_testkit::{Server, ServerKind};
use redis_tether_tests::fakes::{config, connected};
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::{PATIENCE, reach, within};
use tokio::task::JoinSet;

use super::figures::{Spread, say};
use super::{Call, arrives, in_virtual_time, on_a_runtime, words};

/// What one call may take at most, of a hundred.
const AT_ONCE: Duration = Duration::from_micros(100);

/// Calls to measure, of all callers together.
const CALLS: usize = 200_000;

/// The call is over when it was first looked at, and virtual time stands still: there is nothing that it could wait for.
#[test]
fn nobody_is_held_and_nobody_waits() {
    in_virtual_time(all_are_told());
}

async fn all_are_told() {
    let port = free_port([127, 0, 0, 1].into()).expect("a free port");
    let tether = Tether::start(Config::new("127.0.0.1", port)).await.expect("a valid configuration");
    let began = tokio::time::Instant::now();
    let mut calls: Vec<Call> = (0..10_000).map(|number| call(fail_fast(&tether), number)).collect();
    for call in &mut calls {
        let Poll::Ready(reply) = arrives(call).await else { panic!("it waits") };
        told(&reply);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    let stats = tether.stats();
    assert_eq!((stats.held, stats.held_now, stats.failed_not_sent), (0, 0, 10_000));
    tether.shutdown().await;
}

#[test]
#[ignore = "a measurement, for a machine that has nothing else to do"]
fn one_caller_is_told_at_once() {
    on_a_runtime(measure(1));
}

#[test]
#[ignore = "a measurement, for a machine that has nothing else to do"]
fn sixty_four_callers_are_told_at_once() {
    on_a_runtime(measure(64));
}

#[test]
#[ignore = "a measurement, for a machine that has nothing else to do"]
fn ten_thousand_callers_are_told_at_once() {
    on_a_runtime(measure(10_000));
}

/// From the call to its error, in the caller's task, which does not leave its thread meanwhile. All callers are there at once
/// and take turns after every call; what they wait for a thread is not in it. The tether has lost its server and dials all
/// the time.
async fn measure(callers: usize) {
    let server = Server::start(&server_binary(ServerKind::Redis)).await.expect("a server");
    let tether = connected(config(server.addr())).await;
    server.kill().await.expect("it is killed");
    reach(&tether, Phase::Recovering).await;
    let mut calling = JoinSet::new();
    for number in 0..callers {
        let mut handle = fail_fast(&tether);
        let set = words(&["SET", &number.to_string(), "value"]);
        calling.spawn(async move {
            let mut times = Vec::with_capacity(CALLS / callers);
            for _ in 0..CALLS / callers {
                let asked = Instant::now();
                let reply: RedisResult<Value> = set.query_async(&mut handle).await;
                times.push(asked.elapsed());
                told(&reply);
                tokio::task::yield_now().await;
            }
            times
        });
    }
    let times = within(PATIENCE, "the callers", calling.join_all()).await.concat();
    let spread = Spread::of(times);
    say(&format!("a call that fails fast, {callers} callers: {spread}"));
    if !cfg!(debug_assertions) {
        assert!(spread.at(0.99) < AT_ONCE, "{spread}");
    }
    tether.shutdown().await;
}

fn fail_fast(tether: &Tether) -> Handle {
    let handle = tether.handle();
    let policy = handle.policy().fail_fast();
    handle.with_policy(policy)
}

fn call(mut handle: Handle, number: usize) -> Call {
    Box::pin(async move { words(&["SET", &number.to_string(), "value"]).query_async(&mut handle).await })
}

fn told(reply: &RedisResult<Value>) {
    let error = reply.as_ref().expect_err("there is no link");
    assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
    assert_eq!(error.command_error().map(|error| error.reason()), Some(Reason::FailFast), "{error}");
}
