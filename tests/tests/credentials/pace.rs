//! How often a source and a server are asked, in virtual time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis_tether::{BoxFuture, Config, CredentialSource, Credentials, CredentialsError, Event, Occasion, Tether};
use redis_tether_testkit::{FakeServer, SimNet};
use redis_tether_tests::rig::InMemory;
use redis_tether_tests::watch::{Diary, PATIENCE};
use tokio::time::sleep;

/// A source that counts how often it is asked.
#[derive(Clone)]
struct Counting {
    answer: fn(usize) -> Result<Credentials, CredentialsError>,
    check_interval: Option<Duration>,
    asked: Arc<AtomicUsize>,
}

impl Counting {
    fn new(answer: fn(usize) -> Result<Credentials, CredentialsError>) -> Counting {
        Counting { answer, check_interval: None, asked: Arc::default() }
    }

    fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl CredentialSource for Counting {
    fn credentials(&self, _: Occasion) -> BoxFuture<'static, Result<Credentials, CredentialsError>> {
        let answer = (self.answer)(self.asked.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move { answer })
    }

    fn check_interval(&self) -> Option<Duration> {
        self.check_interval
    }
}

async fn served(source: &Counting) -> (FakeServer, Tether) {
    let (net, server) = (SimNet::new(), FakeServer::new());
    let address = SocketAddr::from(([10, 0, 0, 1], 6379));
    net.bind(address, server.clone());
    let builder = Tether::builder(Config::new("10.0.0.1", 6379)).transport(InMemory(net)).seed(7);
    server.require_password(Some("p0"));
    let tether = builder.credentials(source.clone()).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("it is let in");
    (server, tether)
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_the_last_fifth_of_its_life() {
    let source = Counting::new(|_| Ok(Credentials::new("p0").with_lifetime(Duration::from_secs(900))));
    let (_server, tether) = served(&source).await;
    assert_eq!(source.times_asked(), 1);
    sleep(Duration::from_secs(629)).await;
    assert_eq!(source.times_asked(), 1);
    sleep(Duration::from_secs(93)).await;
    assert_eq!(source.times_asked(), 2);
    sleep(Duration::from_secs(9000)).await;
    let times = source.times_asked();
    assert!((13..=15).contains(&times), "{times}");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_not_changed_is_looked_at_and_not_sent() {
    let check_interval = Some(Duration::from_secs(2));
    let source = Counting { check_interval, ..Counting::new(|_| Ok(Credentials::new("p0"))) };
    let (server, tether) = served(&source).await;
    let mut diary = Diary::of(&tether);
    server.refuse("AUTH", Some("ERR nobody was to ask"));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(source.times_asked(), 31);
    assert_eq!(diary.so_far(), []);
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_tried_again_at_the_pace_of_rejections() {
    let source = Counting::new(|number| {
        let password = if number == 0 { "p0" } else { "wrong" };
        Ok(Credentials::new(password).with_lifetime(Duration::from_secs(60)))
    });
    let (_server, tether) = served(&source).await;
    let mut diary = Diary::of(&tether);
    sleep(Duration::from_secs(50) + Duration::from_secs(10)).await;
    let early = diary.count(|event| matches!(event, Event::ReauthenticationFailed { .. }));
    // 250 ms at most apart in the first ten seconds, and half of the first delay at least.
    assert!((40..=800).contains(&early), "{early}");
    sleep(Duration::from_secs(100)).await;
    let late = diary.count(|event| matches!(event, Event::ReauthenticationFailed { .. })) - early;
    assert!((20..=400).contains(&late), "{late}");
    assert_eq!(diary.so_far().len(), early + late, "the link is the same");
    tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_asked_again_at_the_same_pace_and_the_link_serves_on() {
    let source = Counting::new(|number| match number {
        0 => Ok(Credentials::new("p0").with_lifetime(Duration::from_secs(60))),
        _ => Err(CredentialsError::new("out of order")),
    });
    let (_server, tether) = served(&source).await;
    let mut diary = Diary::of(&tether);
    sleep(Duration::from_secs(300)).await;
    let failures = diary.count(|event| matches!(event, Event::CredentialsFailed { .. }));
    assert!((50..=250).contains(&failures), "{failures}");
    assert_eq!(diary.so_far().len(), failures, "the link is the same");
    tether.shutdown().await;
}
