//! twemproxy before a server: it knows the commands that have a key, and `PING`, `AUTH` and `COMMAND`; upon any other it hangs up.
//! It answers `PING` by itself, whatever has become of the server.

use std::time::Duration;

use redis_tether::{Event, FailureKind, Outcome, OutcomeExt, Protocol, Role, Tether};
use redis_tether_testkit::{Gateway, GatewayKind};
use redis_tether_tests::fakes::config;
use redis_tether_tests::load::Load;
use redis_tether_tests::servers::gateway_binary;
use redis_tether_tests::watch::Diary;
use tokio::time::sleep;

use super::in_common::its_server_is_away_for_a_while;
use super::{Front, is_connected, pair};

async fn front() -> Front {
    Front::before_the_primary(GatewayKind::Twemproxy).await
}

/// Three connections, of which two are hung up on, and one from then on.
#[tokio::test]
async fn it_is_asked_for_what_it_knows() {
    let nodes = pair().await;
    let binary = gateway_binary(GatewayKind::Twemproxy);
    let gateway = Gateway::builder(&binary, &[nodes.primary.addr()]).start().await.expect("a proxy");
    let mut front = Front::open(nodes, gateway, |config| {
        config.detection.probe_interval = Duration::from_millis(300);
        config.detection.probe_timeout = Duration::from_millis(300);
    })
    .await;
    front.works().await;
    assert_eq!(front.tether.status().borrow().role, Some(Role::Unknown));
    assert_eq!(front.door.connections_accepted(), 3);
    let load = Load::start(&front.handle, 2);
    sleep(Duration::from_secs(1)).await;
    load.finish().await.assert_none_failed();
    assert_eq!(front.door.connections_accepted(), 3, "probes ask no more than it stands");
    front.door.reset();
    front.diary.until("another link", is_connected).await;
    front.works().await;
    assert_eq!(front.door.connections_accepted(), 4, "what it stands is known: {:#?}", front.diary.so_far());
    front.tether.shutdown().await;
}

/// That is the proxy's way of saying so. The link is replaced at once, and the caller told that nobody knows; the tether cannot
/// know that the proxy had not sent it on.
#[tokio::test]
async fn a_command_that_it_does_not_know_costs_a_link() {
    let mut front = front().await;
    for words in [&["ECHO", "x"][..], &["NO-SUCH-COMMAND"], &["DBSIZE"]] {
        let error = front.ask(words).await.expect_err("it hangs up");
        assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
        front.works().await;
    }
    assert_eq!(front.door.connections_accepted(), 3 + 3);
    // What it does know is answered as ever, errors included.
    let error = front.ask(&["INCR", "key"]).await.expect_err("it is no number");
    assert_eq!((error.code(), error.outcome()), (Some("ERR"), Some(Outcome::Refused)), "{error}");
    assert_eq!(front.door.connections_accepted(), 3 + 3);
    front.tether.shutdown().await;
}

/// It hangs up on these as on any other command, at once and for good: only who configured them can help, and is told which.
#[tokio::test]
async fn settings_that_it_does_not_know() {
    let front = front().await;
    let base = config(front.gateway.addr());
    let mut resp3 = base.clone();
    resp3.protocol = Protocol::Resp3;
    for (config, told) in [
        (resp3, "HELLO 3"),
        (base.clone().with_db(3), "SELECT"),
        (base.clone().with_username("app").with_password("secret"), "AUTH with a username"),
    ] {
        let tether = Tether::start(config).await.expect("a valid configuration");
        let mut diary = Diary::of(&tether);
        let event = diary.until("a failed dial", |event| matches!(event, Event::DialFailed { .. })).await.to_string();
        assert!(event.contains(&format!("it was told {told}")), "{event}");
        tether.shutdown().await;
    }
    // It has no password of its own, and says so in words of Redis.
    let tether = Tether::start(base.with_password("secret")).await.expect("a valid configuration");
    let refused = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Auth, .. });
    Diary::of(&tether).until("the refusal", refused).await;
    tether.shutdown().await;
    front.tether.shutdown().await;
}

/// The proxy says what happened to its server, command by command: what it could not send on was not executed.
#[tokio::test]
async fn its_server_crashes_and_comes_back() {
    let tally = its_server_is_away_for_a_while(GatewayKind::Twemproxy, async |front, _| {
        let error = front.ask(&["SET", "key", "value"]).await.expect_err("nobody is there");
        assert_eq!(error.outcome(), Some(Outcome::Refused), "{error}");
        assert!(error.to_string().contains("Connection refused"), "{error}");
    })
    .await;
    assert!(!tally.with(Outcome::Refused).is_empty(), "the proxy refused meanwhile");
}
