//! Dials that ask a source for what they sign in with.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use redis_tether_core::FailureKind;

use super::rig::World;
use super::{PASSWORD, ping};
use crate::config::Protocol;
use crate::credentials::{CredentialSource, Credentials, CredentialsError, Occasion, credentials_fn};
use crate::lock::lock;

/// A source that answers dials with the one and refusals with the other, and what it was asked.
fn source(stale: &'static str, fresh: &'static str) -> (Arc<dyn CredentialSource>, Arc<Mutex<Vec<Occasion>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    let source = credentials_fn(move |occasion| {
        lock(&noted).push(occasion);
        async move { Ok(Credentials::new(if occasion == Occasion::Refused { fresh } else { stale })) }
    });
    (Arc::new(source), asked)
}

#[tokio::test(start_paused = true)]
async fn a_stale_password_is_replaced_at_once_and_within_the_dial() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let (source, asked) = source("stale", PASSWORD);
        let world = World::with_source(Some(source), |config| {
            config.protocol = protocol;
            config.db = 3;
        });
        world.server.require_password(Some(PASSWORD));
        let link = world.dial().await.expect("the source has a fresh one");
        let issued = link.signed_in().now().expect("it is signed in");
        assert_eq!(issued.credentials.password().expose(), PASSWORD);
        assert!(ping(&mut link.multiplexer()).await.is_some());
        assert_eq!((world.dials(), lock(&asked).as_slice()), (1, [Occasion::Dial, Occasion::Refused].as_slice()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_without_a_fresh_one_is_asked_once_more_and_the_refusal_stands() {
    let (source, asked) = source("stale-one", "stale-one");
    let world = World::with_source(Some(source), |_| {});
    world.server.require_password(Some(PASSWORD));
    world.server.refuse("AUTH", Some("WRONGPASS stale-one is wrong"));
    let error = world.failure().await;
    assert_eq!(error.kind(), FailureKind::Auth);
    assert!(error.to_string().ends_with("WRONGPASS *** is wrong"), "{error}");
    assert_eq!(lock(&asked)[..2], [Occasion::Dial, Occasion::Refused]);
    assert_eq!(world.dials(), 1, "one connection, whatever was asked");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_none_fails_the_dial_at_the_pace_of_refusals_and_is_not_asked_for_a_dead_server() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let source = credentials_fn(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err(CredentialsError::new("no role to assume")) }
    });
    let world = World::with_source(Some(Arc::new(source)), |_| {});
    let error = world.failure().await;
    assert_eq!(error.kind(), FailureKind::Auth);
    assert!(error.to_string().ends_with("no credentials to sign in with: no role to assume"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    world.net.refuse(world.address);
    assert_eq!(world.failure().await.kind(), FailureKind::Refused);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "nobody is there to sign in to");
}
