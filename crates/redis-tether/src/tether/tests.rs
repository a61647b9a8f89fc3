//! What only the crate itself can do to its connection actor: make it and its probe panic, and send it reports that are out
//! of date.

use std::net::SocketAddr;
use std::time::Duration;

use ractor::{ActorCell, ActorStatus};
use redis::AsyncCommands;
use redis_tether_core::Epoch;
use redis_tether_core::recovery::Sight;
use redis_tether_testkit::{FakeListener, FakeServer};
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::control::connection::ConnectionMsg;
use crate::control::probe::ProbeMsg;
use crate::ledger::LinkEnd;
use crate::{Config, Detector, Event, Handle, Phase, Status, Tether};

const PATIENCE: Duration = Duration::from_secs(20);

async fn connected() -> (Tether, FakeServer, FakeListener) {
    let server = FakeServer::new();
    let listener = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let addr = listener.addr();
    let tether = Tether::start(Config::new(addr.ip().to_string(), addr.port())).await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    (tether, server, listener)
}

async fn until(events: &mut Receiver<Event>, what: &str, is_it: impl Fn(&Event) -> bool) {
    let found = timeout(PATIENCE, async { while !is_it(&events.recv().await.expect("the tether lives")) {} });
    found.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"));
}

/// Increments all the while, and says how often; panics if one fails.
fn load(mut handle: Handle, increments: u64) -> JoinHandle<()> {
    tokio::spawn(async move {
        for _ in 0..increments {
            let _: u64 = handle.incr("count", 1).await.expect("no command fails");
        }
    })
}

/// Past the tether, as a link or a handle would.
fn report(tether: &Tether, message: ConnectionMsg) {
    tether.control.reports.send(message);
}

#[tokio::test]
async fn a_connection_that_panics_is_restarted_and_adopts_the_link() {
    let (tether, server, _listener) = connected().await;
    let (before, mut events) = (tether.status().borrow().clone(), tether.events());
    let loads: Vec<_> = (0..8).map(|_| load(tether.handle(), 500)).collect();
    for _ in 0..3 {
        report(&tether, ConnectionMsg::Panic);
        until(&mut events, "the restart", |event| matches!(event, Event::Restarted { .. })).await;
    }
    for load in loads {
        timeout(PATIENCE, load).await.expect("the load goes on").expect("no command fails");
    }
    assert_eq!(server.executions("INCRBY"), 8 * 500, "no command was lost, and none executed twice");
    let now = tether.status().borrow().clone();
    assert_eq!((now.phase, now.epoch), (Phase::Connected, before.epoch));
    assert_eq!(tether.stats().dials, 1);
    // And it still does its work.
    server.kill_connections();
    until(&mut events, "a new link", |event| matches!(event, Event::Connected { .. })).await;
    tether.shutdown().await;
}

/// Each restart says what the incarnation before ended of.
#[tokio::test]
async fn a_restart_says_why() {
    let (tether, server, _listener) = connected().await;
    let mut events = tether.events();
    report(&tether, ConnectionMsg::Panic);
    assert!(restart(&mut events).await.contains("a test asked for it"));
    for child in tether.actor().get_children().iter().filter(|child| !child.get_children().is_empty()) {
        child.kill();
    }
    assert_eq!(restart(&mut events).await, "killed");
    server.crash();
    assert_eq!(restart(&mut events).await, "gave up after 3 rounds of failed attempts");
    assert_eq!(restart(&mut events).await, "gave up after 6 rounds of failed attempts");
    tether.shutdown().await;
}

async fn restart(events: &mut Receiver<Event>) -> String {
    let found = timeout(PATIENCE, async {
        loop {
            if let Event::Restarted { reason, .. } = events.recv().await.expect("the tether lives") {
                return reason.to_string();
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for a restart"))
}

#[tokio::test]
async fn a_probe_that_panics_is_restarted() {
    let (tether, server, _listener) = connected().await;
    let (before, load) = (tether.status().borrow().clone(), load(tether.handle(), 500));
    for _ in 0..3 {
        let victim = probe_of(&tether).await;
        victim.send_message(ProbeMsg::Panic).expect("it lives");
        victim.wait(Some(PATIENCE)).await.expect("it ends");
    }
    timeout(PATIENCE, load).await.expect("the load goes on").expect("no command fails");
    let now = tether.status().borrow().clone();
    assert_eq!((now.phase, now.epoch, tether.stats().dials), (Phase::Connected, before.epoch, 1));
    // And it still does its work: nobody sends anything.
    let mut events = tether.events();
    server.demote();
    let by_probe = |event: &Event| matches!(event, Event::Demoted { detector: Detector::Probe, .. });
    until(&mut events, "the demotion", by_probe).await;
    tether.shutdown().await;
}

/// The probe, as soon as there is one that lives.
async fn probe_of(tether: &Tether) -> ActorCell {
    let found = timeout(PATIENCE, async {
        loop {
            let below = tether.actor().get_children().into_iter().flat_map(|child| child.get_children());
            if let Some(probe) = below.into_iter().find(|probe| probe.get_status() == ActorStatus::Running) {
                return probe;
            }
            tokio::task::yield_now().await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for a probe"))
}

/// While the link is held and another is being looked for.
#[tokio::test]
async fn a_connection_that_panics_while_demoted_goes_on_holding() {
    let (tether, server, _listener) = connected().await;
    let mut events = tether.events();
    server.demote();
    let mut handle = tether.handle();
    let held = tokio::spawn(async move { handle.incr::<_, _, u64>("count", 1).await });
    until(&mut events, "the demotion", |event| matches!(event, Event::Demoted { .. })).await;
    report(&tether, ConnectionMsg::Panic);
    until(&mut events, "the restart", |event| matches!(event, Event::Restarted { .. })).await;
    assert!(!held.is_finished());
    server.promote();
    let count = timeout(PATIENCE, held).await.expect("it is let go").expect("no panic").expect("a primary");
    assert_eq!((count, server.executions("INCRBY")), (1, 1));
    tether.shutdown().await;
}

/// A panic in the middle of a dial: the dial ends with it, and there is another.
#[tokio::test]
async fn a_connection_that_panics_while_it_dials_dials_again() {
    let (tether, server, _listener) = connected().await;
    let mut events = tether.events();
    server.hang();
    server.kill_connections();
    until(&mut events, "a dial", |event| matches!(event, Event::Dialling { .. })).await;
    report(&tether, ConnectionMsg::Panic);
    until(&mut events, "the restart", |event| matches!(event, Event::Restarted { .. })).await;
    server.resume();
    tether.ready(PATIENCE).await.expect("the server is well");
    tether.shutdown().await;
}

#[tokio::test]
async fn reports_of_an_older_epoch_do_nothing() {
    let (tether, server, _listener) = connected().await;
    let old = tether.status().borrow().epoch.expect("it is connected");
    let mut events = tether.events();
    server.kill_connections();
    until(&mut events, "a new link", |event| matches!(event, Event::Connected { .. })).await;
    tether.ready(PATIENCE).await.expect("the server is well");
    let (before, dials) = (tether.status().borrow().clone(), tether.stats().dials);
    let mut events = tether.events();

    for message in stale(old) {
        report(&tether, message);
        let mut handle = tether.handle();
        handle.incr::<_, _, u64>("count", 1).await.expect("the link serves");
    }
    // One of the present epoch goes through the same mailbox, so all of those were handled when it shows.
    report(&tether, ConnectionMsg::Pin);
    let mut status = tether.status();
    let pinned = timeout(PATIENCE, status.wait_for(|status| status.pinned)).await;
    let now = pinned.expect("the mailbox is worked off").expect("the tether lives").clone();
    assert_eq!(now, Status { pinned: true, ..before });
    assert_eq!(tether.stats().dials, dials);
    assert!(events.try_recv().is_err(), "nothing happened");
    tether.shutdown().await;
}

fn stale(epoch: Epoch) -> Vec<ConnectionMsg> {
    vec![
        ConnectionMsg::ConnectionFailed { epoch, end: LinkEnd::Closed },
        ConnectionMsg::Suspected { epoch, silent_for: Duration::from_secs(10) },
        ConnectionMsg::Heard { epoch },
        ConnectionMsg::Unfit { epoch, detector: Detector::Refusal, reason: "out of date".into() },
        ConnectionMsg::Unfit { epoch, detector: Detector::Probe, reason: "out of date".into() },
        ConnectionMsg::Probed { epoch, sight: Sight::Primary },
        ConnectionMsg::Probed { epoch, sight: Sight::Unfit },
    ]
}
