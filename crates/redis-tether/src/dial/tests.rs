//! Dials against fake servers under virtual time: what is accepted, what is refused and as what, what is learned, and what is
//! left behind.

mod credentials;
mod levels;
mod rig;
#[cfg(feature = "tls")]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use redis_tether_core::{Address, Epoch, FailureKind, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use self::rig::World;
use super::Rejection;
use super::verify::{VerifyLevel, verify};
use crate::config::{Config, Protocol, Verify};
use crate::ledger::LinkEnd;
use crate::multiplexer::Multiplexer;

const LIMIT: Duration = Duration::from_secs(5);
const PASSWORD: &str = "correct-horse";

/// The reply, if there is one.
async fn ping(multiplexer: &mut Multiplexer) -> Option<Vec<Value>> {
    multiplexer.ask(redis::pipe().cmd("PING")).await
}

#[tokio::test(start_paused = true)]
async fn a_primary_is_accepted_and_carries_commands() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let world = World::with(|config| {
            config.protocol = protocol;
            config.password = Some(PASSWORD.into());
            config.db = 3;
            config.client_name = Some("orders".to_owned());
        });
        world.server.require_password(Some(PASSWORD));
        let link = world.dial().await.expect("a link");
        assert_eq!((link.role(), link.verify_level()), (Role::Primary, VerifyLevel::Hello));
        assert_eq!(link.epoch(), Epoch::FIRST);
        assert_eq!(link.address(), &Address::Tcp(world.address));
        let mut commands = redis::pipe();
        commands.cmd("CLIENT").arg("GETNAME").set("k", "v");
        let replies = link.multiplexer().ask(&commands).await.expect("replies");
        assert_eq!(replies, [Value::BulkString(b"orders".to_vec()), Value::Okay]);
        let writes = world.server.writes();
        assert_eq!(writes.len(), 1, "{writes:?}");
        assert_eq!(world.dials(), 1);
        assert_eq!(world.ends.seen(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_asks_at_the_level_of_the_link() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let world = World::with(|config| config.protocol = protocol);
        let link = world.dial().await.expect("a link");
        let verdict = verify(&mut link.multiplexer(), link.verify_level()).await.expect("a verdict");
        assert_eq!((verdict.role, verdict.loading), (Role::Primary, false));
        assert!(verdict.version.is_some());
        world.server.demote();
        let verdict = verify(&mut link.multiplexer(), link.verify_level()).await.expect("a verdict");
        assert_eq!((verdict.role, verdict.role_word.is_some()), (Role::Replica, true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_dropped_ends() {
    let world = World::new();
    let link = world.dial().await.expect("a link");
    let multiplexer = link.multiplexer();
    drop(link);
    assert_eq!(world.ends.seen(), [LinkEnd::Retired]);
    world.until_no_stream_is_left().await;
    drop(multiplexer);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_link_fails_what_is_in_flight_and_closes_its_gate_first() {
    let world = World::new();
    let link = Arc::new(world.dial().await.expect("a link"));
    assert!(world.gate.open(Arc::clone(&link)));
    assert!(world.gate.admits(Epoch::FIRST));
    world.server.hang();
    let caller = tokio::spawn({
        let mut multiplexer = link.multiplexer();
        async move { ping(&mut multiplexer).await }
    });
    tokio::task::yield_now().await;
    link.abort(LinkEnd::Mute);
    assert!(!world.gate.admits(Epoch::FIRST), "the gate is closed when abort returns");
    let reply = timeout(LIMIT, caller).await.expect("the caller hears of it").expect("no panic");
    assert_eq!(reply, None);
    assert_eq!(world.ends.seen(), [LinkEnd::Mute]);
    world.until_no_stream_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_closes_the_gate_before_callers_fail() {
    let world = World::new();
    let link = Arc::new(world.dial().await.expect("a link"));
    assert!(world.gate.open(Arc::clone(&link)));
    world.server.hang();
    let caller = tokio::spawn({
        let (mut multiplexer, gate) = (link.multiplexer(), Arc::clone(&world.gate));
        async move {
            let reply = ping(&mut multiplexer).await;
            (reply.is_none(), gate.admits(Epoch::FIRST))
        }
    });
    world.server.wait_for_bytes(1).await.expect("the command arrives");
    world.server.crash();
    let seen = timeout(LIMIT, caller).await.expect("the caller hears of it").expect("no panic");
    assert_eq!(seen, (true, false), "(failed, gate still open)");
}

#[tokio::test(start_paused = true)]
async fn replicas_and_loading_servers_are_turned_down() {
    let world = World::new();
    world.server.demote();
    assert_eq!(world.failure().await.kind(), FailureKind::NotPrimary);
    world.server.promote();
    world.server.start_loading();
    assert_eq!(world.failure().await.kind(), FailureKind::Loading);
    world.server.finish_loading();
    world.dial().await.expect("a link once it is well");
    assert_eq!(world.dials(), 3, "each dial was one connection");
}

#[tokio::test(start_paused = true)]
async fn loading_is_loading_also_where_a_database_is_selected() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let world = World::with(|config| {
            config.db = 1;
            config.protocol = protocol;
            config.password = Some(PASSWORD.into());
        });
        world.server.require_password(Some(PASSWORD));
        world.server.start_loading();
        assert_eq!(world.failure().await.kind(), FailureKind::Loading);
        world.server.finish_loading();
        world.server.refuse("SELECT", Some("LOADING Redis is loading the dataset in memory"));
        assert_eq!(world.failure().await.kind(), FailureKind::Loading);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_save_is_a_primary_all_the_same() {
    let world = World::with(|config| config.verify = Verify::Ping);
    world.server.fail_saves();
    let link = world.dial().await.expect("a link");
    assert_eq!(link.role(), Role::Primary, "only a primary looks at that");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_the_same_again() {
    let world = World::new();
    world.server.refuse("HELLO", Some("BUSY Redis is busy running a script"));
    let link = world.dial().await.expect("a link");
    assert_eq!((link.role(), link.verify_level()), (Role::Unknown, VerifyLevel::Hello));
}

#[tokio::test(start_paused = true)]
async fn credentials_are_refused_as_such() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let wrong = World::with(|config| {
            config.password = Some("guessed-wrong".into());
            config.protocol = protocol;
        });
        wrong.server.require_password(Some(PASSWORD));
        let error = wrong.failure().await;
        assert_eq!(error.kind(), FailureKind::Auth);
        assert!(error.to_string().contains("WRONGPASS"), "{error}");
        assert_eq!(wrong.dials(), 1, "a refusal is no hanging up");

        let missing = World::with(|config| config.protocol = protocol);
        missing.server.require_password(Some(PASSWORD));
        let error = missing.failure().await;
        assert_eq!(error.kind(), FailureKind::Auth);
        assert!(error.to_string().contains("NOAUTH"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_server_gets_the_password_without_the_username() {
    let world = World::with(|config| {
        config.username = Some("default".to_owned());
        config.password = Some(PASSWORD.into());
    });
    let answers = [
        &b"-ERR wrong number of arguments for 'auth' command\r\n-ERR unknown\r\n-ERR unknown\r\n"[..],
        b"+OK\r\n-ERR unknown\r\n-ERR unknown\r\n",
        b"-ERR unknown command 'HELLO'\r\n+PONG\r\n",
        b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
    ];
    let heard = world.script(&answers);
    let link = world.dial().await.expect("a link");
    assert_eq!((link.role(), link.verify_level()), (Role::Primary, VerifyLevel::Role));
    let heard = heard.lock().expect("no panic");
    assert!(heard[0].starts_with("*3\r\n$4\r\nAUTH\r\n$7\r\ndefault"), "{heard:?}");
    assert!(heard[1].starts_with("*2\r\n$4\r\nAUTH\r\n$13\r\ncorrect-horse"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_a_server_repeats_stays_secret() {
    for repeated in [
        "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `correct-horse`, ",
        "ERR no correct-horse here\tplease",
    ] {
        let world = World::with(|config| {
            config.protocol = Protocol::Resp3;
            config.password = Some(PASSWORD.into());
        });
        world.server.refuse("HELLO", Some(repeated));
        let error = world.failure().await;
        assert_eq!(error.kind(), FailureKind::Config);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(PASSWORD), "{shown}");
        assert!(!shown.contains(['\n', '\t']), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_room_is_told_from_one_that_hangs_up() {
    for change in [(|_| {}) as fn(&mut Config), |config| config.password = Some(PASSWORD.into())] {
        let world = World::with(change);
        world.server.max_clients(Some(0));
        let error = world.failure().await;
        assert_eq!(error.kind(), FailureKind::MaxClients, "{error}");
        assert_eq!(world.dials(), 1, "nothing is tried again");
        world.server.max_clients(None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_protected_server_says_so() {
    let world = World::new();
    world.net.bind_with(world.address, |mut io| {
        tokio::spawn(async move { io.write_all(b"-DENIED Redis is running in protected mode\r\n").await });
    });
    assert_eq!(world.failure().await.kind(), FailureKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn denied_courtesies_fail_nothing() {
    let world = World::with(|config| config.client_name = Some("orders".to_owned()));
    world.server.deny(&["CLIENT"]);
    let link = world.dial().await.expect("a link");
    assert_eq!(link.verify_level(), VerifyLevel::Hello);
}

#[tokio::test(start_paused = true)]
async fn where_hello_is_denied_role_is_asked() {
    let world = World::new();
    world.server.deny(&["HELLO"]);
    let link = world.dial().await.expect("a link");
    assert_eq!((link.role(), link.verify_level()), (Role::Primary, VerifyLevel::Role));
    world.server.demote();
    assert_eq!(world.failure().await.kind(), FailureKind::NotPrimary);
}

#[tokio::test(start_paused = true)]
async fn being_denied_everything_is_an_answer() {
    let world = World::new();
    world.server.deny(&["HELLO", "ROLE", "PING"]);
    let link = world.dial().await.expect("a link");
    assert_eq!((link.role(), link.verify_level()), (Role::Unknown, VerifyLevel::Ping));
    assert_eq!(world.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_know_hello_is_asked_for_its_role() {
    let world = World::new();
    world.server.unknown(&["HELLO"]);
    let link = world.dial().await.expect("a link");
    assert_eq!((link.role(), link.verify_level()), (Role::Primary, VerifyLevel::Role));
    let hellos = world.server.commands("HELLO");
    world.dial().await.expect("a link");
    assert_eq!(world.server.commands("HELLO"), hellos, "learned: not asked again");
    assert_eq!(world.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_we_do_not_know_is_accepted() {
    let world = World::new();
    world.server.role_word(Some("active-replica"));
    assert_eq!(world.dial().await.expect("a link").role(), Role::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_sentinel_is_no_server() {
    let world = World::new();
    let hello = b"*6\r\n$6\r\nserver\r\n$5\r\nredis\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n+PONG\r\n";
    world.script(&[b"+OK\r\n+OK\r\n", hello]);
    let error = world.failure().await;
    assert_eq!(error.kind(), FailureKind::Config, "{error}");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_it_should_to_the_millisecond() {
    let silent = World::new();
    silent.server.hang();
    let begun = Instant::now();
    assert_eq!(silent.failure().await.kind(), FailureKind::TimedOut);
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    silent.until_no_stream_is_left().await;

    let black_hole = World::new();
    black_hole.net.black_hole(black_hole.address);
    let begun = Instant::now();
    assert_eq!(black_hole.failure().await.kind(), FailureKind::TimedOut);
    assert_eq!(begun.elapsed(), Duration::from_secs(1));

    let dripping = World::new();
    dripping.server.drip(Some(Duration::from_secs(1)));
    let begun = Instant::now();
    assert_eq!(dripping.failure().await.kind(), FailureKind::TimedOut);
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_told_from_nobody_reachable() {
    let world = World::new();
    world.server.crash();
    assert_eq!(world.failure().await.kind(), FailureKind::Refused);
    world.net.unreachable(world.address);
    assert_eq!(world.failure().await.kind(), FailureKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn an_error_says_what_went_wrong_once() {
    let world = World::new();
    world.server.crash();
    assert_eq!(world.failure().await.to_string(), "10.0.0.1:6379: connection refused");

    for (errno, line) in [
        (111, "10.0.0.1:6379: connection refused"),
        (104, "10.0.0.1:6379: connection reset"),
        (110, "10.0.0.1:6379: timed out"),
        (113, "10.0.0.1:6379: unreachable: No route to host (os error 113)"),
        (2, "10.0.0.1:6379: connection refused: No such file or directory (os error 2)"),
    ] {
        let error = std::io::Error::from_raw_os_error(errno);
        let address = Address::Tcp(world.address);
        assert_eq!(Rejection::by_io(&error).at(&address).to_string(), line);
        let ended = LinkEnd::Failed(error.kind(), error.to_string());
        assert_eq!(Rejection::by_end(&ended).at(&address).to_string(), line);
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_is_not_the_protocol() {
    let world = World::new();
    world.server.garbage();
    let error = world.failure().await;
    assert_eq!(error.kind(), FailureKind::Protocol, "{error}");
    world.until_no_stream_is_left().await;

    world.server.heal();
    let link = world.dial().await.expect("a link");
    world.server.garbage();
    assert_eq!(ping(&mut link.multiplexer()).await, None);
    let ended = async {
        while link.ledger().end().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, ended).await.expect("the link ends");
    let ends = world.ends.seen();
    assert!(matches!(ends[..], [LinkEnd::Protocol(_)]), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_after_each_reply_never_sticks() {
    let world = World::new();
    world.server.close_after_reply();
    for _ in 0..3 {
        // Either it is found out at once, or the link that seemed ready dies; both are told.
        if let Ok(link) = world.dial().await {
            assert_eq!(ping(&mut link.multiplexer()).await, None);
            assert!(link.ledger().is_dead());
        }
    }
    world.server.heal();
    world.dial().await.expect("a link once it is well");
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_dropped_leaves_nothing() {
    let world = World::new();
    world.server.hang();
    let dial = timeout(Duration::from_millis(100), world.dial()).await;
    assert!(dial.is_err(), "the server is silent");
    world.until_no_stream_is_left().await;
    assert_eq!(world.ends.seen(), []);
}

#[tokio::test]
async fn a_reply_that_came_while_we_stood_still_counts() {
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    let answered = tokio::spawn(async move {
        // As a driver that has its turn only after the timer.
        tokio::task::yield_now().await;
        theirs.write_all(b"+").await
    });
    let wait = super::within(Duration::from_millis(20), async {
        // The only thread stands still for longer than the limit.
        std::thread::sleep(Duration::from_millis(120));
        ours.read_u8().await
    });
    assert_eq!(wait.await.expect("granted a grace").expect("a byte"), b'+');
    answered.await.expect("no panic").expect("written");
}
