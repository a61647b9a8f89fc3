//! What only the crate itself can bring about in a connection actor: links that end in the moment in which they are opened,
//! and reports that come while there is no actor to hear them.

mod answers;
mod probes;
mod shown;

use std::net::SocketAddr;

use redis::AsyncCommands;
use redis_tether_testkit::{FakeServer, SimNet};
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::gate::ClosedCause;
use crate::transport::BoxFuture;
use crate::transport::in_memory::InMemory;
use crate::{Config, Handle, Resolve, SystemResolver, Tether};

/// Virtual time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tether that serves from the one server of its world.
struct World {
    net: SimNet,
    addr: SocketAddr,
    server: FakeServer,
    tether: Tether,
}

impl World {
    async fn connected() -> World {
        World::resolving(SystemResolver::new()).await
    }

    async fn resolving(resolver: impl Resolve) -> World {
        let (net, server) = (SimNet::new(), FakeServer::new());
        let addr = SocketAddr::from(([10, 0, 0, 1], 6379));
        net.bind(addr, server.clone());
        let config = Config::new(addr.ip().to_string(), addr.port());
        let builder = Tether::builder(config).transport(InMemory(net.clone())).resolver(resolver).seed(7);
        let tether = builder.start().await.expect("valid");
        tether.ready(PATIENCE).await.expect("the server is well");
        World { net, addr, server, tether }
    }

    fn link(&self) -> Arc<Link> {
        self.tether.control.gate().link().expect("it is connected")
    }

    /// Past the tether, as a link or a handle would.
    fn report(&self, message: ConnectionMsg) {
        self.tether.control.reports.send(message);
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn until(events: &mut Receiver<Event>, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
    let found = timeout(PATIENCE, async {
        loop {
            let event = events.recv().await.expect("the tether lives");
            if is_it(&event) {
                return event;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

fn so_far(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

/// A command that is under way for so long.
async fn in_flight(server: &FakeServer, mut handle: Handle, takes: Duration) -> JoinHandle<()> {
    server.slow(takes);
    let read = server.bytes_read();
    let command = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await.expect("it is drained") });
    server.wait_for_bytes(read + 1).await.expect("it arrives");
    server.slow(Duration::ZERO);
    command
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ended_meanwhile_is_not_resumed() {
    let world = World::connected().await;
    let (link, mut events) = (world.link(), world.tether.events());
    let epoch = link.epoch();
    world.report(ConnectionMsg::Suspected { epoch, silent_for: ms(300) });
    world.report(ConnectionMsg::Heard { epoch });
    // Its own report comes after those.
    link.abort(LinkEnd::Closed);
    let mut status = world.tether.status();
    let moved_on = status.wait_for(|status| status.phase == Phase::Connected && status.epoch != Some(epoch));
    drop(timeout(PATIENCE, moved_on).await.expect("waited for another link").expect("the tether lives"));
    let told = so_far(&mut events);
    let count = |is_it: fn(&&Event) -> bool| told.iter().filter(is_it).count();
    assert_eq!(count(|event| matches!(event, Event::Resumed { .. })), 0, "{told:?}");
    assert_eq!(count(|event| matches!(event, Event::Lost { .. })), 1, "{told:?}");
    world.tether.shutdown().await;
}

/// A link that is dialled while a tether stops is nobody's.
#[tokio::test(start_paused = true)]
async fn nothing_is_published_while_it_stops() {
    let world = World::connected().await;
    let mut events = world.tether.events();
    let command = in_flight(&world.server, world.tether.handle(), ms(2_000)).await;
    world.tether.reconnect().expect("the first one");
    until(&mut events, "the new link", |event| matches!(event, Event::Connected { .. })).await;
    let stopping = tokio::spawn({
        let tether = world.tether.clone();
        async move { tether.shutdown().await }
    });
    let mut status = world.tether.status();
    let is_stopping = status.wait_for(|status| status.phase == Phase::Stopping);
    drop(timeout(PATIENCE, is_stopping).await.expect("waited for the shutdown to begin").expect("it lives"));
    // The link before is still being drained, and the one that served ends now.
    world.link().abort(LinkEnd::Closed);
    until(&mut events, "another dial", |event| matches!(event, Event::Dialling { .. })).await;
    sleep(ms(500)).await;
    assert_eq!(world.tether.status().borrow().phase, Phase::Stopping);
    timeout(PATIENCE, stopping).await.expect("waited for the shutdown").expect("no panic");
    command.await.expect("it was drained");
    let told = so_far(&mut events);
    assert!(!told.iter().any(|event| matches!(event, Event::Connected { .. })), "{told:?}");
    assert_eq!((world.tether.stats().dials, world.tether.stats().links), (3, 2));
}

/// A search beside a link that serves may fail as it likes.
#[tokio::test(start_paused = true)]
async fn what_fails_beside_a_link_that_serves_is_no_reason_for_a_command_to_fail() {
    let world = World::connected().await;
    let mut events = world.tether.events();
    world.server.max_clients(Some(1));
    world.tether.reconnect().expect("the first one");
    until(&mut events, "a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
    sleep(ms(1)).await;
    assert_eq!(world.tether.status().borrow().phase, Phase::Connected);
    assert!(world.tether.status().borrow().last_error.is_some(), "people are told");
    assert_eq!(world.tether.control.gate().outage().failure, None);
    world.tether.shutdown().await;
}

/// It was mute, and then it ended: that it ended says more.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_link_is_not_taken_for_its_silence() {
    let world = World::connected().await;
    world.net.refuse(world.addr);
    let (link, mut events) = (world.link(), world.tether.events());
    world.report(ConnectionMsg::Suspected { epoch: link.epoch(), silent_for: ms(300) });
    link.abort(LinkEnd::Closed);
    until(&mut events, "its loss", |event| matches!(event, Event::Lost { .. })).await;
    let state = world.tether.control.gate().outage().state;
    assert_eq!(state, Some(ClosedCause::Lost(LinkEnd::Closed)));
    world.tether.shutdown().await;
}

/// A link that is mute and then says that it is demoted: commands fail with the later reason.
#[tokio::test(start_paused = true)]
async fn a_reason_that_is_learned_later_replaces_the_one_before() {
    let world = World::connected().await;
    world.net.refuse(world.addr);
    world.server.demote();
    let (epoch, mut events) = (world.link().epoch(), world.tether.events());
    world.report(ConnectionMsg::Suspected { epoch, silent_for: ms(300) });
    world.report(ConnectionMsg::Unfit { epoch, detector: Detector::Probe, reason: "it says so".into() });
    until(&mut events, "the demotion", |event| matches!(event, Event::Demoted { .. })).await;
    let state = world.tether.control.gate().outage().state;
    assert!(matches!(state, Some(ClosedCause::Demoted(_))), "{state:?}");
    world.tether.shutdown().await;
}

/// Whoever found the link mute is gone; that it was found mute is known all the same.
#[tokio::test(start_paused = true)]
async fn a_mute_link_is_not_handed_commands_because_its_connection_actor_died() {
    let world = World::connected().await;
    let (epoch, mut events) = (world.link().epoch(), world.tether.events());
    world.server.hang();
    let mut handle = world.tether.handle();
    let command = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await });
    until(&mut events, "the suspicion", |event| matches!(event, Event::Suspected { .. })).await;
    for _ in 0..3 {
        world.report(ConnectionMsg::Panic);
        until(&mut events, "the restart", |event| matches!(event, Event::Restarted { .. })).await;
        sleep(ms(300)).await;
        assert_eq!(world.tether.status().borrow().phase, Phase::Suspect);
    }
    let told = so_far(&mut events);
    assert!(!told.iter().any(|event| matches!(event, Event::Resumed { .. })), "it has not said a word: {told:?}");
    world.server.resume();
    until(&mut events, "the end of the suspicion", |event| matches!(event, Event::Resumed { .. })).await;
    command.await.expect("no panic").expect("it was slow, and nothing was lost");
    assert_eq!(world.link().epoch(), epoch);
    world.tether.shutdown().await;
}

/// The refusal closes the gate, and nobody is there to hear why. The successor sees to it that it opens again.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_no_connection_actor_heard_of_is_got_over() {
    let world = World::connected().await;
    let (epoch, mut events) = (world.link().epoch(), world.tether.events());
    // One that keeps dying is not restarted at once.
    for _ in 0..3 {
        world.report(ConnectionMsg::Panic);
        until(&mut events, "the restart", |event| matches!(event, Event::Restarted { .. })).await;
    }
    world.report(ConnectionMsg::Panic);
    world.server.demote();
    let mut handle = world.tether.handle();
    let command = tokio::spawn(async move { handle.set::<_, _, ()>("key", "value").await });
    sleep(ms(1)).await;
    let state = world.tether.control.gate().outage().state;
    assert!(matches!(state, Some(ClosedCause::Refused(_))), "{state:?}");
    assert_eq!(so_far(&mut events), [], "there is somebody");
    world.server.promote();
    let outcome = timeout(ms(500), command).await.expect("waited for the command to be let go").expect("no panic");
    outcome.expect("the server is well again");
    assert_eq!(world.link().epoch(), epoch, "nothing was lost");
    let restarted = so_far(&mut events);
    assert!(matches!(restarted.first(), Some(Event::Restarted { .. })), "{restarted:?}");
    assert_eq!(world.tether.status().borrow().phase, Phase::Connected);
    world.tether.shutdown().await;
}

/// As where a connection actor dies between two steps: what is saved speaks of a link that the gate has no more.
#[tokio::test(start_paused = true)]
async fn a_link_that_was_given_up_as_its_actor_ended_is_told_of_as_that() {
    let world = World::connected().await;
    let (control, mut events) = (&world.tether.control, world.tether.events());
    control.gate().clear();
    assert!(control.inheritance().1.is_none());
    let lost = events.try_recv().expect("told at once").to_string();
    assert!(lost.contains("lost") && lost.contains("given up as the connection actor ended"), "{lost}");
    world.tether.shutdown().await;
}
