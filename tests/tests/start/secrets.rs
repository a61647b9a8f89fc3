//! No secret is shown: not in `Debug`, not in an error, not in the log.

use std::time::Duration;

use redis_tether::redis::AsyncCommands;
use redis_tether::{Credentials, CredentialsError, Event, OutcomeExt, Protocol, Tether, credentials_fn};
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
            let handle = tether.handle();
            let policy = handle.policy().fail_fast();
            let error = handle.with_policy(policy).get::<_, String>("key").await.expect_err("it is not let in");
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

/// A source that gives out passwords, errs with them in its words, and is refused.
#[tokio::test]
async fn a_password_of_a_source_is_never_shown() {
    let log = Log::of_this_process();
    let (server, listener) = fake().await;
    server.add_user("app", SENTINEL);
    server.require_password(Some(SENTINEL));
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let source = credentials_fn(move |_| {
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            match number % 2 {
                0 => Ok(Credentials::new(SENTINEL).with_username("app").with_lifetime(Duration::from_millis(200))),
                _ => Err(CredentialsError::new(format_args!("401 Unauthorized: {SENTINEL}\nbody"))),
            }
        }
    });
    let tether =
        Tether::builder(config(listener.addr())).credentials(source).start().await.expect("a valid configuration");
    let mut diary = Diary::of(&tether);
    tether.ready(PATIENCE).await.expect("it is let in");
    let credentials = Credentials::new(SENTINEL);
    let mut shown = vec![format!("{credentials:?}")];
    diary.until("an error of the source", |event| matches!(event, Event::CredentialsFailed { .. })).await;
    // Refused where it is given anew, and where it is given for the first time.
    server.refuse("AUTH", Some(&format!("WRONGPASS {SENTINEL} is wrong")));
    server.kill_connections();
    diary.until("the refusal", |event| matches!(event, Event::DialFailed { .. })).await;
    shown.push(format!("{:?} {:?} {tether:?}", diary.so_far(), tether.status()));
    tether.shutdown().await;
    for text in [log.text()].into_iter().chain(shown) {
        assert!(!text.contains(SENTINEL), "the password is shown: {text}");
    }
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
    let policy = tether.handle().policy().fail_fast();
    let mut fast = tether.handle().with_policy(policy);
    let error = fast.set::<_, _, ()>("key", SENTINEL).await.expect_err("it is a replica");
    assert!(!format!("{error} {error:?}").contains(SENTINEL));
    tether.shutdown().await;
    assert!(!log.text().contains(SENTINEL), "{}", log.text());
}
