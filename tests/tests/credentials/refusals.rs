//! Servers that refuse what they are given, and sources that are of no help.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_tether::{Credentials, Event, Occasion, credentials_fn};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::load::Load;
use redis_tether_tests::on_each_server;
use redis_tether_tests::watch::{Diary, PATIENCE};

use super::{config_for, connected, issuer, out_of_order, who_am_i};

on_each_server!(
    a_stale_password_costs_no_failed_dial,
    a_refused_renewal_keeps_the_link,
    a_source_out_of_order_costs_nothing_while_its_last_answer_is_valid
);

/// The source keeps its answers, as libraries for tokens do: what it has is over before it knows.
async fn a_stale_password_costs_no_failed_dial(kind: ServerKind) {
    let issuer = issuer(kind).await;
    let kept = Arc::new(std::sync::Mutex::new(issuer.issue().await));
    let (minting, keeping) = (issuer.clone(), kept.clone());
    let source = credentials_fn(move |occasion| {
        let (issuer, kept) = (minting.clone(), keeping.clone());
        async move {
            if occasion == Occasion::Refused {
                let fresh = issuer.issue().await;
                *kept.lock().expect("no panic") = fresh;
            }
            let token = kept.lock().expect("no panic").clone();
            Ok(token.credentials())
        }
    });
    let tether = connected(config_for(&issuer), source).await;
    let mut diary = Diary::of(&tether);
    let stale = kept.lock().expect("no panic").user.clone();
    issuer.order(&["ACL", "SETUSER", &stale, "resetpass"]).await;
    issuer.world().kill_clients().await.expect("the server is well");
    diary.until("a new link", |event| matches!(event, Event::Connected { .. })).await;
    assert_eq!(diary.count(|event| matches!(event, Event::DialFailed { .. })), 0, "{:?}", diary.so_far());
    tether.shutdown().await;
}

async fn a_refused_renewal_keeps_the_link(kind: ServerKind) {
    let issuer = issuer(kind).await;
    let (minting, is_wrong) = (issuer.clone(), Arc::new(AtomicBool::new(false)));
    let wrong = is_wrong.clone();
    let source = credentials_fn(move |_| {
        let (issuer, is_wrong) = (minting.clone(), wrong.load(Ordering::SeqCst));
        async move {
            let credentials = if is_wrong {
                Credentials::new("s3ntinel-wrong").with_username("nobody")
            } else {
                issuer.issue().await.credentials()
            };
            Ok(credentials.with_lifetime(Duration::from_secs(1)))
        }
    });
    let tether = connected(config_for(&issuer), source).await;
    let (mut diary, load) = (Diary::of(&tether), Load::start(&tether.handle(), 8));
    let first = tether.status().borrow().epoch;
    is_wrong.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let is_refusal = |event: &Event| matches!(event, Event::ReauthenticationFailed { .. });
        let line = diary.until("a refusal", is_refusal).await.to_string();
        assert!(line.contains("WRONGPASS") && !line.contains("s3ntinel"), "{line}");
        load.go_on_for(20).await;
    }
    let last_error = tether.status().borrow().last_error.clone();
    assert!(last_error.is_some_and(|error| error.contains("WRONGPASS")), "the status tells");
    is_wrong.store(false, Ordering::SeqCst);
    diary.until("a renewal", |event| matches!(event, Event::Reauthenticated { .. })).await;
    assert_eq!(tether.status().borrow().epoch, first, "the link is the same");
    load.finish().await.assert_none_failed();
    tether.shutdown().await;
}

async fn a_source_out_of_order_costs_nothing_while_its_last_answer_is_valid(kind: ServerKind) {
    let issuer = issuer(kind).await;
    let token = issuer.issue().await;
    let (acts, told) = (Arc::new(std::sync::Mutex::new(0)), token.clone());
    let source = credentials_fn(move |_| {
        let (act, token) = (acts.clone(), told.clone());
        async move {
            let number = {
                let mut number = act.lock().expect("no panic while it is held");
                *number += 1;
                *number
            };
            match number {
                1 => Ok(token.credentials()),
                2 => panic!("a test asked for it"),
                3 => Err(out_of_order()),
                _ => pending().await,
            }
        }
    });
    let tether = connected(config_for(&issuer), source).await;
    let mut diary = Diary::of(&tether);
    for what in ["a link in spite of a panic", "a link in spite of an error", "a link in spite of silence"] {
        issuer.world().kill_clients().await.expect("the server is well");
        diary.until(what, |event| matches!(event, Event::Connected { .. })).await;
        assert_eq!(who_am_i(&mut tether.handle()).await.as_deref(), Ok(&*token.user), "{what}");
    }
    assert_eq!(diary.count(|event| matches!(event, Event::CredentialsFailed { .. })), 2, "{:?}", diary.so_far());
    assert_eq!(diary.count(|event| matches!(event, Event::DialFailed { .. })), 0, "{:?}", diary.so_far());
    let begun = tokio::time::Instant::now();
    tether.shutdown().await;
    assert!(begun.elapsed() < PATIENCE / 4, "a source that hangs does not hold up the end");
}
