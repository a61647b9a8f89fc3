//! What only proxies and odd servers say: other words for a refusal, an answer about a server that they have lost, `NOAUTH`
//! in the middle of things. Fake servers say it.

use redis_tether::redis::Value;
use redis_tether::{Config, Outcome, Tether};
use redis_tether_testkit::server::allocate_addresses;
use redis_tether_testkit::{Dns, FakeServer};
use redis_tether_tests::fakes::fake;
use redis_tether_tests::rig::resolver;
use redis_tether_tests::servers::bind;
use redis_tether_tests::watch::{Diary, PATIENCE, within};

use super::{Beside, NAME, ask, is_refused, words};

#[tokio::test]
async fn a_refusal_in_a_proxys_words() {
    for said in ["ERR READONLY You can't write against a read only replica.", "ERR -READONLY a replica"] {
        let addresses = allocate_addresses(2).expect("two loopback addresses");
        let (old, new) = (FakeServer::new(), FakeServer::new());
        let _listeners =
            [bind(async || old.listen(addresses[0]).await).await, bind(async || new.listen(addresses[1]).await).await];
        new.replicate_from(&old);
        let dns = Dns::new();
        dns.set(NAME, addresses.iter().map(|address| address.ip()).collect());
        let config = Config::new(NAME, addresses[0].port());
        let tether = Tether::builder(config).resolver(resolver(&dns)).start().await.expect("a valid configuration");
        tether.ready(PATIENCE).await.expect("the primary is well");
        let mut diary = Diary::of(&tether);
        old.readonly_text(Some(said));
        old.demote();
        let mut handle = tether.handle();
        let sent = tokio::spawn(async move { ask(&mut handle, &words(&["INCR", "n"])).await });
        diary.until("the refusal", is_refused).await;
        new.promote();
        let answer = within(PATIENCE, "the new primary's answer", sent).await.expect("no panic");
        assert_eq!(answer, Ok(Value::Int(1)), "{said}");
        assert_eq!((old.executions("INCR"), new.executions("INCR")), (0, 1), "{said}");
        tether.shutdown().await;
    }
}

/// The command was sent on, and no reply came: it may have been executed.
#[tokio::test]
async fn a_proxy_that_has_lost_the_server() {
    let (server, listener) = fake().await;
    let mut beside = Beside::at(listener.addr()).await;
    for (code, said) in [
        ("ERR", "ERR Connection timed out"),
        ("ERR", "ERR Connection reset by peer"),
        ("ERR", "ERR server connection close"),
        ("upstream", "upstream failure"),
    ] {
        server.refuse("INCR", Some(said));
        beside.hands_out_as(Outcome::Ambiguous, code, &words(&["INCR", "n"])).await;
    }
    server.refuse("INCR", Some("ERR Connection refused"));
    beside.hands_out("ERR", &words(&["INCR", "n"])).await;
    beside.tether.shutdown().await;
}

/// Servers do not say it to a connection that they have let in. A proxy may that has lost its own.
#[tokio::test]
async fn noauth_in_the_middle_of_things() {
    let (server, listener) = fake().await;
    let mut beside = Beside::at(listener.addr()).await;
    server.refuse("GET", Some("NOAUTH Authentication required."));
    beside.hands_out("NOAUTH", &words(&["GET", "k"])).await;
    server.refuse("GET", Some("WRONGPASS invalid username-password pair or user is disabled."));
    beside.hands_out("WRONGPASS", &words(&["GET", "k"])).await;
    server.refuse("GET", None);
    assert_eq!(ask(&mut beside.handle, &words(&["GET", "k"])).await, Ok(Value::Nil));
    beside.tether.shutdown().await;
}

/// Nobody knows what a made-up code means: it is the caller's.
#[tokio::test]
async fn a_code_that_nobody_knows() {
    let (server, listener) = fake().await;
    let mut beside = Beside::at(listener.addr()).await;
    for said in ["REDIRECT 10.0.0.1:6379", "WEIRD what is this", "READONLYX", "DENIED"] {
        server.refuse("GET", Some(said));
        let code = said.split(' ').next().expect("a word");
        beside.hands_out(code, &words(&["GET", "k"])).await;
    }
    beside.tether.shutdown().await;
}
