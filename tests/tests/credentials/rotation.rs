//! Tokens that expire under load: nothing fails, and the link stays.

use std::time::Duration;

use redis_tether::redis::{self, AsyncCommands};
use redis_tether::{Event, Protocol, Tether};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::load::Load;
use redis_tether_tests::on_each_server;
use redis_tether_tests::tokens::{LIFETIME, is_trouble};
use redis_tether_tests::watch::{Diary, PATIENCE, within};

use super::{config_for, connected, issuer, who_am_i};

on_each_server!(
    tokens_rotate_under_load,
    transactions_are_never_torn_by_a_renewal,
    a_connection_of_its_own_is_left_alone
);

const CALLERS: usize = 8;

fn is_renewal(event: &Event) -> bool {
    matches!(event, Event::Reauthenticated { .. })
}

async fn renewed(diary: &mut Diary) {
    diary.until("a renewal", is_renewal).await;
}

fn epoch(tether: &Tether) -> Option<redis_tether::Epoch> {
    tether.status().borrow().epoch
}

/// Each token is revoked once the next is in use; the last one alone lets a fresh connection in.
async fn tokens_rotate_under_load(kind: ServerKind) {
    let rotate = async |protocol: Protocol| {
        let issuer = issuer(kind).await;
        let mut config = config_for(&issuer);
        config.protocol = protocol;
        let tether = connected(config, issuer.source(LIFETIME)).await;
        let at_first = issuer.signed_in().await;
        let (mut diary, load, first) = (Diary::of(&tether), Load::start(&tether.handle(), CALLERS), epoch(&tether));
        for _ in 0..3 {
            renewed(&mut diary).await;
            issuer.revoke_all_but_the_last().await;
            load.go_on_for(50).await;
        }
        assert_eq!(epoch(&tether), first, "the link is the same");
        assert_eq!(diary.count(is_trouble), 0, "{:?}", diary.so_far());

        let now = issuer.signed_in().await;
        assert!(!at_first.is_empty() && now.is_disjoint(&at_first), "signed in as {now:?}, at first as {at_first:?}");

        tether.reconnect().expect("allowed");
        diary.until("a new link", |event| matches!(event, Event::Connected { .. })).await;
        load.go_on_for(50).await;
        load.finish().await.assert_none_failed();
        assert_eq!(diary.count(|event| matches!(event, Event::DialFailed { .. })), 0, "{:?}", diary.so_far());
        let user = who_am_i(&mut tether.handle()).await.expect("it is well");
        assert!(!now.contains(&user), "{user} was let in before");
        tether.shutdown().await;
    };
    tokio::join!(rotate(Protocol::Resp2), rotate(Protocol::Resp3));
}

/// As many renewals as may be, between transactions that would show a reply too many.
async fn transactions_are_never_torn_by_a_renewal(kind: ServerKind) {
    let issuer = issuer(kind).await;
    let tether = connected(config_for(&issuer), issuer.source(Duration::from_millis(150))).await;
    let (mut diary, first) = (Diary::of(&tether), epoch(&tether));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let mut handle = tether.handle();
            let key = format!("count:{caller}");
            tokio::spawn(async move {
                for number in 1..=300_u64 {
                    let mut transaction = redis::pipe();
                    transaction.atomic().incr(&key, 1).get(&key);
                    let counts: (u64, u64) = transaction.query_async(&mut handle).await.expect("it is well");
                    assert_eq!(counts, (number, number));
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
        })
        .collect();
    for caller in callers {
        within(PATIENCE, "the transactions", caller).await.expect("no caller panics");
    }
    let renewals = diary.count(is_renewal);
    assert!(renewals >= 3, "{renewals} renewals");
    assert_eq!(epoch(&tether), first, "the link is the same");
    assert_eq!(diary.count(is_trouble), 0, "{:?}", diary.so_far());
    tether.shutdown().await;
}

/// An `AUTH` in a `MULTI` would be queued, and answered in the `EXEC`.
async fn a_connection_of_its_own_is_left_alone(kind: ServerKind) {
    let issuer = issuer(kind).await;
    let tether = connected(config_for(&issuer), issuer.source(Duration::from_millis(500))).await;
    let mut diary = Diary::of(&tether);
    let mut own = tether.dedicated().await.expect("it is well");
    let _: () = redis::cmd("MULTI").query_async(&mut own).await.expect("begun");
    let _: () = redis::cmd("SET").arg(&["key", "value"]).query_async(&mut own).await.expect("queued");
    for _ in 0..3 {
        renewed(&mut diary).await;
    }
    issuer.revoke_all_but_the_last().await;
    let replies: (String,) = redis::cmd("EXEC").query_async(&mut own).await.expect("it ran");
    assert_eq!(replies.0, "OK");
    assert_eq!(own.get::<_, String>("key").await.as_deref(), Ok("value"), "it stays signed in");
    tether.shutdown().await;
}
