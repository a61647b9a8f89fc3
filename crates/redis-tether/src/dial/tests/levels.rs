//! What a peer may be asked that hangs up on questions: what is tried, what is learned, and what is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis_tether_core::{FailureKind, Role};
use redis_tether_testkit::Reply;

use super::rig::World;
use crate::config::Verify;
use crate::dial::verify::VerifyLevel;

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_on_questions_is_asked_less_and_that_is_learned() {
    for (closes_on, level, dials, dials_again) in [
        // The last of them each time asks once more on what it hung up.
        (&["HELLO"][..], VerifyLevel::Role, 3, 1),
        (&["HELLO", "ROLE"], VerifyLevel::Ping, 4, 1),
        // It is asked whether it is alive each time, and whether it speaks TLS.
        (&["HELLO", "ROLE", "PING"], VerifyLevel::None, 6, 3),
        // As twemproxy, which knows no CLIENT either: nothing of it is said at the level of PING.
        (&["HELLO", "ROLE", "CLIENT"], VerifyLevel::Ping, 3, 1),
    ] {
        let world = World::new();
        world.server.close_on(closes_on);
        let link = world.dial().await.unwrap_or_else(|error| panic!("closing on {closes_on:?}: {error}"));
        assert_eq!((link.verify_level(), world.dials()), (level, dials), "closing on {closes_on:?}");
        assert_eq!(world.ends.seen(), [], "what a dial tried is nobody's link");

        tokio::time::advance(Duration::from_secs(1)).await;
        let again = world.dial().await.expect("a link");
        assert_eq!((again.verify_level(), world.dials()), (level, dials + dials_again), "learned");

        tokio::time::advance(Duration::from_secs(601)).await;
        world.server.heal();
        let later = world.dial().await.expect("a link");
        assert_eq!(later.verify_level(), VerifyLevel::Hello, "forgotten after a while");
    }
}

/// It says that it is a node of a cluster, and will not say more.
#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_on_being_asked_for_its_slots_is_asked_less() {
    let world = World::new();
    let words = ["server", "redis", "version", "7.4.0", "mode", "cluster", "role", "master"];
    world.server.answer("HELLO", Some(Reply::Array(words.map(Reply::bulk).into())));
    world.server.close_on(&["CLUSTER"]);
    let link = world.dial().await.expect("a link");
    assert_eq!((link.verify_level(), link.role()), (VerifyLevel::Role, Role::Primary));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_level_is_used_as_it_is() {
    for (verify, level) in [
        (Verify::Hello, VerifyLevel::Hello),
        (Verify::Role, VerifyLevel::Role),
        (Verify::Ping, VerifyLevel::Ping),
        (Verify::None, VerifyLevel::None),
    ] {
        let world = World::with(|config| config.verify = verify);
        assert_eq!(world.dial().await.expect("a link").verify_level(), level);
    }
    let world = World::with(|config| config.verify = Verify::Hello);
    world.server.close_on(&["HELLO"]);
    let error = world.failure().await;
    assert_eq!((error.kind(), world.dials()), (FailureKind::Closed, 2), "asked in TLS as well");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_on_everybody_sees_hardly_more_than_the_dials() {
    let world = World::new();
    world.net.bind_with(world.address, drop);
    for _ in 0..20 {
        assert_eq!(world.failure().await.kind(), FailureKind::Closed);
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    // Two seconds and a little: twenty dials, and two more connections in each of those seconds.
    assert!((24..=26).contains(&world.dials()), "{}", world.dials());
    world.net.bind(world.address, world.server.clone());
    let link = world.dial().await.expect("a link once somebody is there");
    assert_eq!(link.verify_level(), VerifyLevel::Hello, "nothing was learned from it");
}

impl World {
    /// The first so many connections are hung up on when one of these commands comes: a balancer whose servers change.
    fn hiccup(&self, connections: usize, closes_on: &'static [&'static str]) {
        let (server, seen) = (self.server.clone(), AtomicUsize::new(0));
        self.net.bind_with(self.address, move |io| {
            let is_bad = seen.fetch_add(1, Ordering::SeqCst) < connections;
            server.close_on(if is_bad { closes_on } else { &[] });
            server.serve(io);
        });
    }
}

/// The commands on which it hung up, and how often it did.
const HICCUPS: [(&[&str], usize); 3] = [(&["HELLO"], 1), (&["HELLO", "ROLE"], 2), (&["CLIENT"], 1)];

#[tokio::test(start_paused = true)]
async fn a_peer_that_hung_up_by_accident_is_asked_in_full_again() {
    for (closes_on, times) in HICCUPS {
        let world = World::new();
        world.hiccup(times, closes_on);
        let link = world.dial().await.expect("a link");
        assert_eq!(link.role(), Role::Primary, "hung up {times} times on {closes_on:?}");
        assert_eq!(world.dials(), times as u64 + 2);
        assert_eq!(world.ends.seen(), [], "what a dial tried is nobody's link");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(world.dial().await.expect("a link").verify_level(), VerifyLevel::Hello, "nothing was learned");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_does_not_pass_because_somebody_hung_up_once() {
    for (closes_on, times) in HICCUPS {
        let world = World::new();
        world.server.demote();
        world.hiccup(times, closes_on);
        for dial in 0..3 {
            let error = world.failure().await;
            assert_eq!(error.kind(), FailureKind::NotPrimary, "dial {dial}, hung up {times} times on {closes_on:?}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
