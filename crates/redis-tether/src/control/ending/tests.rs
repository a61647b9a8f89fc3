//! Ends that the application's own code gets in the way of.

use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use redis::AsyncCommands;
use redis_tether_testkit::FakeServer;
use tokio::time::sleep;

use super::*;
use crate::{Config, Phase, Tether};

const PATIENCE: Duration = Duration::from_secs(20);

/// A task of the application's that cannot be woken.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a test asked for it");
    }
}

fn panics() -> Waker {
    Arc::new(Panics).into()
}

async fn connected() -> (Tether, FakeServer) {
    let server = FakeServer::new();
    let listener = server.listen(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let config = Config::new(listener.addr().ip().to_string(), listener.addr().port());
    // The listener is not needed once the link is there.
    let tether = Tether::start(config).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    (tether, server)
}

/// It has stopped in every respect. Looked at, not waited for: the end may have skipped whom it could not wake.
async fn stops(tether: &Tether) {
    let stopped = timeout(PATIENCE, async {
        while !tether.control.stopped.is_cancelled() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    stopped.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for the end: {}", *tether.status().borrow()));
    assert!(tether.control.ended.is_cancelled() && tether.control.tasks.is_empty());
    assert_eq!(tether.status().borrow().phase, Phase::Stopped);
    assert!(tether.control.gate().link().is_none());
    let error = tether.handle().get::<_, String>("key").await.expect_err("it has stopped");
    assert!(error.to_string().contains("stopped"), "{error}");
}

/// By a kill as well as in order.
async fn ends_with(tether: &Tether, nth: usize) {
    let shutting_down = tether.clone();
    match nth {
        0 => tether.actor().kill(),
        _ => drop(tokio::spawn(async move { shutting_down.shutdown().await })),
    }
    stops(tether).await;
}

#[tokio::test]
async fn a_held_command_that_cannot_be_woken_does_not_keep_the_rest_from_ending() {
    for nth in 0..2 {
        let tether = Tether::start(Config::new("127.0.0.1", 1)).await.expect("a valid configuration");
        let mut handle = tether.handle();
        let mut held = pin!(handle.get::<_, String>("key"));
        let waker = panics();
        assert!(matches!(held.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending));
        // A second one: were the first panic let through, the other would come while it unwinds, and end the process.
        let mut behind = tether.handle();
        let mut behind = pin!(behind.get::<_, String>("key"));
        assert!(matches!(behind.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending));
        assert_eq!(tether.stats().held_now, 2);
        ends_with(&tether, nth).await;
        let error = behind.await.expect_err("it was not sent").to_string();
        assert!(error.contains("tether stopped"), "{error}");
    }
}

#[tokio::test]
async fn a_watcher_that_cannot_be_woken_does_not_keep_the_rest_from_ending() {
    for nth in 0..2 {
        let (tether, _server) = connected().await;
        let (mut status, waker) = (tether.status(), panics());
        status.mark_unchanged();
        let mut changed = pin!(status.changed());
        assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        ends_with(&tether, nth).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_cannot_be_woken_does_not_keep_the_rest_from_ending() {
    for nth in 0..2 {
        let (tether, _server) = connected().await;
        let (mut events, waker) = (tether.events(), panics());
        let mut next = pin!(events.recv());
        assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        ends_with(&tether, nth).await;
    }
}

/// A shutdown that waits for the end, like any other.
#[tokio::test]
async fn whoever_waits_for_the_end_and_cannot_be_woken_does_not_undo_it() {
    let (tether, _server) = connected().await;
    let waiting = tether.clone();
    let (mut shutdown, waker) = (pin!(waiting.shutdown()), panics());
    assert!(shutdown.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    stops(&tether).await;
}

/// Its runtime has polled none of its tasks: one that runs on the thread that started it polls none unless that waits.
#[test]
fn a_runtime_that_is_dropped_at_once_ends_it_too() {
    let home = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tether = home.block_on(Tether::start(Config::new("127.0.0.1", 1))).expect("a valid configuration");
    drop(home);
    let away = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    away.block_on(stops(&tether));
}
