//! No secret is shown: not in `Debug`, not in an error, not in the log.

use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Event, OutcomeExt, Policy, Protocol, Tether};
use redis_tether_testkit::Reply;
use redis_tether_tests::fakes::{config, connected, fake};
use redis_tether_tests::log::Log;
use redis_tether_tests::watch::{Diary, PATIENCE};

use super::{SENTINEL, works};

/// Everything that could show a secret, with servers that accept it, that refuse it, and that repeat it.
#[tokio::test]
async fn a_password_is_never_shown() {
    let log = Log::of_this_process();
    let mut shown = Vec::new();
    let (server, listener) = fake().await;
    server.add_user("app", SENTINEL);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        server.heal();
        server.require_password(Some(SENTINEL));
        let mut config = config(listener.addr()).with_username("app").with_password(SENTINEL);
        config.protocol = protocol;
        shown.push(format!("{config} {config:?} {:?}", config.password));
        let builder = Tether::builder(config);
        shown.push(format!("{builder:?}"));
        let tether = builder.start().await.expect("a valid configuration");
        let mut diary = Diary::of(&tether);
        tether.ready(PATIENCE).await.expect("it is let in");
        works(&tether).await;
        shown.push(format!("{tether:?} {:?} {:?} {:?}", tether.handle(), tether.stats(), tether.status()));

        // Refused: with the server's own words, and with words that repeat what was sent.
        for words in [
            None,
            Some(format!("WRONGPASS {SENTINEL} is wrong")),
            Some(format!("ERR unknown command `AUTH`, with args beginning with: `app`, `{SENTINEL}`, ")),
            Some(format!("ERR wrong number of arguments for 'auth' command near {SENTINEL}")),
            Some(format!("-ERR {SENTINEL}")),
        ] {
            match &words {
                None => server.add_user("app", "another"),
                Some(words) => ["AUTH", "HELLO"].iter().for_each(|command| server.refuse(command, Some(words))),
            }
            let mut diary = Diary::of(&tether);
            server.kill_connections();
            diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
            diary.until("the refusal", |event| matches!(event, Event::DialFailed { .. })).await;
            let error = tether.ready(Duration::from_millis(50)).await.expect_err("it is not let in");
            shown.push(format!("{error} {error:?}"));
            let error = tether
                .handle()
                .with_policy(Policy::default().fail_fast())
                .get::<_, String>("key")
                .await
                .expect_err("it is not let in");
            shown.push(format!("{error} {error:?} {:?}", error.command_error()));
            server.add_user("app", SENTINEL);
            server.heal();
            tether.ready(PATIENCE).await.expect("it is let in");
        }
        shown.push(format!("{:?} {:?}", diary.so_far(), tether.status()));
        tether.shutdown().await;
    }
    for text in [log.text()].into_iter().chain(shown) {
        if let Some(at) = text.find(SENTINEL) {
            panic!("the password is shown: {}", &text[at.saturating_sub(300)..(at + 100).min(text.len())]);
        }
    }
    assert!(log.text().contains("dial failed, epoch"), "the log has what happened");
    assert_ne!(server.run(&["GET", "key"]), Reply::Nil);
}

/// The commands of an application may carry secrets as well: none of them is logged.
#[tokio::test]
async fn what_commands_carry_is_never_logged() {
    let log = Log::of_this_process();
    let (server, listener) = fake().await;
    let tether = connected(config(listener.addr())).await;
    let mut handle = tether.handle();
    handle.set::<_, _, ()>("key", SENTINEL).await.expect("the server is well");
    let _: String = handle.get("key").await.expect("the server is well");
    server.demote();
    let mut fast = tether.handle().with_policy(Policy::default().fail_fast());
    let error = fast.set::<_, _, ()>("key", SENTINEL).await.expect_err("it is a replica");
    assert!(!format!("{error} {error:?}").contains(SENTINEL));
    tether.shutdown().await;
    assert!(!log.text().contains(SENTINEL), "{}", log.text());
}
