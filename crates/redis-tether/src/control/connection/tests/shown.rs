//! What people are shown of an outage is what commands meet: the phase, the failed rounds, how long it took.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::*;
use crate::resolve::{Query, Resolve, ResolveError};

/// Answers until it is told to be mute, and from then on not at all.
#[derive(Clone, Default)]
struct Mutable(Arc<AtomicBool>);

impl Mutable {
    fn be_mute(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Resolve for Mutable {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        let is_mute = self.0.load(Ordering::SeqCst);
        Box::pin(async move {
            if is_mute {
                std::future::pending::<()>().await;
            }
            let host = query.host.parse().expect("the worlds go by addresses");
            Ok(vec![SocketAddr::new(host, query.port)])
        })
    }
}

/// The resolver is mute, so that each incarnation that gave up is waited for a while to be replaced.
#[tokio::test(start_paused = true)]
async fn a_link_is_shown_as_serving_while_commands_go_through_and_at_no_other_time() {
    let resolver = Mutable::default();
    let world = World::resolving(resolver.clone()).await;
    resolver.be_mute();
    outage_is_shown(&world, FakeServer::demote, FakeServer::promote).await;
    outage_is_shown(&world, FakeServer::crash, FakeServer::restart).await;
    world.tether.shutdown().await;
}

async fn outage_is_shown(world: &World, strike: impl Fn(&FakeServer), repair: impl Fn(&FakeServer)) {
    let (restarts, mut events) = (world.tether.stats().restarts, world.tether.events());
    strike(&world.server);
    let is_noticed = |event: &Event| matches!(event, Event::Demoted { .. } | Event::Lost { .. });
    until(&mut events, "the outage to be noticed", is_noticed).await;
    shows_what_commands_meet(world, ms(3_000)).await;
    assert!(world.tether.stats().restarts > restarts, "no incarnation gave up");
    repair(&world.server);
    shows_what_commands_meet(world, ms(10_000)).await;
    assert_eq!(world.tether.status().borrow().phase, Phase::Connected);
}

/// Looks every millisecond for so long.
async fn shows_what_commands_meet(world: &World, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep(ms(1)).await;
        let status = world.tether.status().borrow().clone();
        let outage = world.tether.control.gate().outage();
        assert_eq!(status.phase == Phase::Connected, outage.down_for.is_none(), "{status}, and {outage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_failed_rounds_of_an_outage_are_counted_and_its_length_is_told() {
    let world = World::connected().await;
    let mut events = world.tether.events();
    for outage in [1..=7, 1..=2] {
        let shown =
            || (world.tether.status().borrow().failed_rounds, world.tether.control.gate().outage().failed_rounds);
        assert_eq!(shown(), (0, 0));
        world.net.refuse(world.addr);
        world.link().abort(LinkEnd::Closed);
        let lost = Instant::now();
        // More than one incarnation makes: the next one goes on counting.
        for failed in outage {
            until(&mut events, "a failed dial", |event| matches!(event, Event::DialFailed { .. })).await;
            assert_eq!(shown(), (failed, failed));
        }
        world.net.heal(world.addr);
        let connected = until(&mut events, "another link", |event| matches!(event, Event::Connected { .. })).await;
        let Event::Connected { down_for, .. } = connected else { unreachable!("it was waited for") };
        assert!(!down_for.is_zero());
        assert_eq!(down_for, lost.elapsed());
    }
    world.tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn how_long_the_link_was_silent_and_held_is_told() {
    let world = World::connected().await;
    let (mut handle, mut events) = (world.tether.handle(), world.tether.events());
    for held in [ms(123), ms(45)] {
        world.server.hang();
        let sent = Instant::now();
        let command = in_flight(&world.server, handle.clone(), Duration::ZERO).await;
        let suspected = until(&mut events, "the suspicion", |event| matches!(event, Event::Suspected { .. })).await;
        let silence = sent.elapsed();
        assert!(matches!(suspected, Event::Suspected { silent_for, .. } if silent_for == silence), "{suspected:?}");
        sleep(held).await;
        world.server.resume();
        let resumed = until(&mut events, "the link", |event| matches!(event, Event::Resumed { .. })).await;
        assert!(matches!(resumed, Event::Resumed { held_for, .. } if held_for == held), "{resumed:?}");
        command.await.expect("it was slow, and nothing was lost");
        handle.set::<_, _, ()>("key", "value").await.expect("it serves");
    }
    world.tether.shutdown().await;
}

/// The address tells what an epoch does not: which server it is that fails.
#[tokio::test(start_paused = true)]
async fn what_goes_wrong_with_a_link_is_told_with_where_it_leads_and_why() {
    let world = World::connected().await;
    let (mut events, there) = (world.tether.events(), Address::Tcp(world.addr));
    let epoch = world.link().epoch();
    world.report(ConnectionMsg::Suspected { epoch, silent_for: ms(300) });
    let suspected = until(&mut events, "the suspicion", |event| matches!(event, Event::Suspected { .. })).await;
    assert!(matches!(&suspected, Event::Suspected { address, .. } if *address == there), "{suspected:?}");
    assert!(suspected.to_string().contains("10.0.0.1:6379"), "{suspected}");
    let (detector, reason) = (Detector::Refusal, "READONLY".into());
    world.report(ConnectionMsg::Unfit { epoch, detector, reason });
    let demoted = until(&mut events, "the demotion", |event| matches!(event, Event::Demoted { .. })).await;
    assert!(matches!(&demoted, Event::Demoted { address, .. } if *address == there), "{demoted:?}");
    assert_eq!(
        demoted.to_string(),
        format!("10.0.0.1:6379 not fit to serve, epoch {epoch}: refusal, READONLY; commands are held")
    );
    let link = world.link();
    link.abort(LinkEnd::Closed);
    let lost = until(&mut events, "the loss", |event| matches!(event, Event::Lost { .. })).await;
    assert!(matches!(&lost, Event::Lost { address, .. } if address == link.address()), "{lost:?}");
    assert!(lost.to_string().starts_with("link to 10.0.0.1:6379 lost"), "{lost}");
    world.tether.shutdown().await;
}
