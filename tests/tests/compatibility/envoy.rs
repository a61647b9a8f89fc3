//! Envoy's filter for Redis before a server. It answers `PING` by itself, and `HELLO`, always as a primary (1.37 asks the servers, and
//! older ones do not know it). A server that it has lost is `upstream failure`, of which nobody knows whether it ran.

use redis_tether::redis;
use redis_tether::{FailureKind, Outcome, OutcomeExt, Protocol, Role, Tether};
use redis_tether_testkit::GatewayKind;
use redis_tether_tests::fakes::config;
use redis_tether_tests::watch::{Diary, PATIENCE, within};

use super::in_common::its_server_is_away_for_a_while;
use super::{Front, is_change, is_connected};

async fn front() -> Front {
    Front::before_the_primary(GatewayKind::Envoy).await
}

#[tokio::test]
async fn it_answers_for_itself() {
    let mut front = front().await;
    front.works().await;
    // Whatever is behind it: see `in_common.rs`.
    assert_eq!(front.tether.status().borrow().role, Some(Role::Primary));
    let (all, count): (String, u64) = within(PATIENCE, "a transaction", async {
        redis::pipe().atomic().get("key").incr("count", 1).query_async(&mut front.handle).await
    })
    .await
    .expect("it knows transactions");
    assert_eq!((all.as_str(), count), ("value", 1));
    for words in [&["BLPOP", "list", "1"][..], &["DBSIZE"], &["NO-SUCH-COMMAND"]] {
        let error = front.ask(words).await.expect_err("it does not know that");
        assert_eq!((error.code(), error.outcome()), (Some("ERR"), Some(Outcome::Refused)), "{error}");
        assert!(error.to_string().contains("unknown command"), "{error}");
    }
    front.door.reset();
    front.diary.until("another link", is_connected).await;
    front.works().await;
    assert_eq!(front.door.connections_accepted(), 2);
    assert_eq!(front.diary.count(is_change), 0, "what it says of histories is of nobody");
    front.tether.shutdown().await;
}

/// It speaks RESP2 alone, and a configuration that asks for more says what to change.
#[tokio::test]
async fn it_refuses_resp3() {
    let front = front().await;
    let mut config = config(front.gateway.addr());
    config.protocol = Protocol::Resp3;
    let tether = Tether::start(config).await.expect("a valid configuration");
    let refused = |event: &redis_tether::Event| {
        matches!(event, redis_tether::Event::DialFailed { kind: FailureKind::Config, .. })
    };
    let event = Diary::of(&tether).until("the refusal", refused).await.to_string();
    assert!(event.contains("set the protocol to resp2"), "{event}");
    tether.shutdown().await;
    front.tether.shutdown().await;
}

/// Callers are told what the proxy says: nobody knows. It says so also where it never connected.
#[tokio::test]
async fn its_server_crashes_and_comes_back() {
    its_server_is_away_for_a_while(GatewayKind::Envoy, async |_, first| {
        assert_eq!(first.outcome(), Some(Outcome::Ambiguous), "{first}");
        assert!(first.to_string().contains("upstream"), "{first}");
    })
    .await;
}

#[tokio::test]
async fn its_server_hangs_and_goes_on() {
    let mut front = front().await;
    front.works().await;
    let epoch = front.tether.status().borrow().epoch;
    front.nodes.primary.freeze().await.expect("frozen");
    let error = front.ask(&["INCR", "n"]).await.expect_err("the proxy gives up after 2 s");
    assert_eq!((error.code(), error.outcome()), (Some("upstream"), Some(Outcome::Ambiguous)), "{error}");
    front.nodes.primary.thaw().expect("thawed");
    front.works().await;
    // It may have been suspected for as long as the proxy waited.
    assert_eq!(front.tether.status().borrow().epoch, epoch, "{:#?}", front.diary.so_far());
    front.tether.shutdown().await;
}
