//! What the log tells a person on call: which tether and which server a line speaks of, and a failure that goes on once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use redis_tether::{Config, Credentials, CredentialsError, Event, Tether, credentials_fn, resolve_fn};
use redis_tether_tests::fakes::fake;
use redis_tether_tests::log::Log;
use redis_tether_tests::watch::{Diary, PATIENCE};

/// The lines of `redis_tether` that have this text.
fn lines(log: &Log, text: &str) -> Vec<String> {
    let is_ours = |line: &&str| line.contains(" redis_tether::") && line.contains(text);
    log.text().lines().filter(is_ours).map(str::to_owned).collect()
}

#[tokio::test]
async fn lookups_that_fail_are_warned_of_once_and_their_end_is_told() {
    let log = Log::of_this_process();
    let (_server, listener) = fake().await;
    let (addr, stage) = (listener.addr(), Arc::new(AtomicUsize::new(0)));
    let answers = stage.clone();
    let resolver = resolve_fn(move |_host, port| {
        let answer = match answers.load(Ordering::SeqCst) {
            0 => Ok(vec![addr]),
            1 => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(vec![addr, ([127, 0, 0, 2], port).into()]),
        };
        async move { answer }
    });
    let mut config = Config::new("unresolved.test", addr.port());
    config.resolve.interval = Duration::from_millis(100);
    let tether = Tether::builder(config).resolver(resolver).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let mut diary = Diary::of(&tether);
    stage.store(1, Ordering::SeqCst);
    for _ in 0..3 {
        diary.until("a lookup that fails", |event| matches!(event, Event::ResolveFailed { .. })).await;
    }
    stage.store(2, Ordering::SeqCst);
    diary.until("one that does not", |event| matches!(event, Event::AddressesChanged { .. })).await;
    let endpoint = format!("endpoint=\"unresolved.test:{}\"", addr.port());
    let failing = lines(&log, "the endpoint is not resolved");
    let [line] = &failing[..] else { panic!("not one line: {failing:#?}") };
    assert!(line.starts_with("WARN") && line.contains(&endpoint), "{line}");
    assert!(line.contains("no such host: unresolved.test"), "{line}");
    let again = lines(&log, "the endpoint is resolved again");
    let [line] = &again[..] else { panic!("not one line: {again:#?}") };
    assert!(line.starts_with("INFO") && line.contains(&endpoint), "{line}");
    tether.shutdown().await;
}

#[tokio::test]
async fn what_fails_is_told_with_the_endpoint_and_the_server_with_its_address() {
    let log = Log::of_this_process();
    let (server, listener) = fake().await;
    let addr = listener.addr();
    let builder = || {
        let resolver = resolve_fn(move |_host, _port| async move { Ok(vec![addr]) });
        Tether::builder(Config::new("failing.test", addr.port())).resolver(resolver)
    };
    let source = credentials_fn(|_| async { Err(CredentialsError::new("the vault is sealed")) });
    let locked_out = builder().credentials(source).start().await.expect("a valid configuration");
    let mut diary = Diary::of(&locked_out);
    diary.until("the source to fail", |event| matches!(event, Event::CredentialsFailed { .. })).await;
    locked_out.shutdown().await;

    server.role_word(Some("active-replica"));
    let tether = builder().start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let mut diary = Diary::of(&tether);
    server.kill_connections();
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    tether.shutdown().await;

    let endpoint = format!("endpoint=\"failing.test:{}\"", addr.port());
    let said = lines(&log, "the vault is sealed");
    assert!(said.iter().any(|line| line.starts_with("WARN") && line.contains(&endpoint)), "{said:#?}");
    let lost = lines(&log, &format!("link to {addr} lost"));
    assert!(lost.iter().any(|line| line.starts_with("WARN") && line.contains(&endpoint)), "{lost:#?}");
    let role = lines(&log, "the server's role is none that we know");
    let is_whole =
        |line: &String| line.starts_with("WARN") && line.contains(&endpoint) && line.contains("active-replica");
    assert!(role.iter().any(is_whole), "{role:#?}");
    let is_severe = |line: &&str| line.starts_with("WARN redis_tether::") || line.starts_with("ERROR redis_tether::");
    let nameless = |line: &&str| is_severe(line) && !line.contains("endpoint=");
    assert_eq!(log.text().lines().filter(nameless).collect::<Vec<_>>(), Vec::<&str>::new());
}

/// In the words of the event, so that whoever has one of them finds the other.
#[tokio::test]
async fn a_renewal_that_is_refused_is_warned_of_once_in_the_words_of_its_event() {
    let log = Log::of_this_process();
    let (server, listener) = fake().await;
    server.require_password(Some("p0"));
    let addr = listener.addr();
    let is_later = AtomicBool::new(false);
    let source = credentials_fn(move |_| {
        let password = if is_later.swap(true, Ordering::SeqCst) { "wrong" } else { "p0" };
        async move { Ok(Credentials::new(password).with_lifetime(Duration::from_secs(1))) }
    });
    let config = Config::new("renewed.test", addr.port());
    let resolver = resolve_fn(move |_host, _port| async move { Ok(vec![addr]) });
    let builder = Tether::builder(config).resolver(resolver).credentials(source);
    let tether = builder.start().await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    let is_refusal = |event: &Event| matches!(event, Event::ReauthenticationFailed { .. });
    let event = diary.until("a refusal", is_refusal).await.to_string();
    diary.until("another one", is_refusal).await;
    tether.shutdown().await;
    let endpoint = format!("endpoint=\"renewed.test:{}\"", addr.port());
    let mut said = lines(&log, &event);
    said.retain(|line| line.starts_with("WARN"));
    let [line] = &said[..] else { panic!("not one line: {said:#?}") };
    assert!(line.contains(&endpoint) && line.contains("fresh credentials not taken"), "{line}");
}
