//! What happens to a command: answered, sent again, refused, lost, late. In virtual time, over in-memory links.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::{AsyncCommands, RedisError, pipe};
use redis_tether_core::reply::Refusal;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};

use super::rig::{Peer, READONLY, Rig, TAKEN_UNREAD, epoch, poll_once, settle};
use super::*;
use crate::config::CommandSettings;
use crate::gate::ClosedCause;
use crate::ledger::LinkEnd;
use crate::outcome::{CommandError, Outcome, OutcomeExt, Reason};

mod aborted;
mod late;
mod pipelines;
mod retry;

const LIMIT: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(5);

fn ok() -> Peer {
    Peer::saying("+OK")
}

fn set() -> Cmd {
    let mut cmd = redis::cmd("SET");
    cmd.arg("key").arg("hunter2");
    cmd
}

async fn send(handle: &mut Handle, cmd: &Cmd) -> RedisResult<String> {
    timeout(LIMIT, cmd.query_async(handle)).await.expect("the command ends")
}

fn ours(error: &RedisError) -> &CommandError {
    error.command_error().expect("a failure of ours")
}

fn fate<T: std::fmt::Debug>(reply: RedisResult<T>) -> (Outcome, Reason) {
    let error = reply.expect_err("the command fails");
    (ours(&error).outcome(), ours(&error).reason())
}

/// Answers the first `count` commands with `line`, the others with OK.
fn saying_first(count: usize, line: &'static str) -> Peer {
    let asked = AtomicUsize::new(0);
    Peer::new(move |_| {
        let is_first = asked.fetch_add(1, Ordering::SeqCst) < count;
        Some(if is_first { line } else { "+OK" }.to_owned())
    })
}

#[tokio::test(start_paused = true)]
async fn a_command_is_sent_and_answered() {
    let rig = Rig::new();
    let peer = ok();
    let link = rig.open(1, &peer).await;
    let mut handle = rig.handle();
    for _ in 0..3 {
        assert_eq!(send(&mut handle, &set()).await.as_deref(), Ok("OK"));
    }
    handle.set::<_, _, ()>("a", 1).await.expect("AsyncCommands works on it");
    assert_eq!(peer.received().len(), 4);
    assert_eq!(handle.get_db(), 3);
    assert_eq!(link.ledger().in_flight(), 0);
    assert_eq!(rig.shared.counters.held.value(), 0, "nothing was held");
}

#[tokio::test(start_paused = true)]
async fn a_handle_follows_the_live_link() {
    let rig = Rig::new();
    let (first, second) = (ok(), ok());
    rig.open(1, &first).await;
    let mut handle = rig.handle();
    send(&mut handle, &set()).await.expect("over the first link");
    rig.open(2, &second).await;
    send(&mut handle, &set()).await.expect("over the second link");
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_reported_once_and_sent_again_on_the_next_link() {
    for line in [READONLY, "-ERR READONLY You can't write.", "-LOADING Redis is loading", "-MASTERDOWN Link down"] {
        let rig = Rig::new();
        let (replica, primary) = (Peer::saying(line), ok());
        rig.open(1, &replica).await;
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            let mut handle = rig.handle();
            calls.spawn(async move { send(&mut handle, &set()).await });
        }
        settle().await;
        assert_eq!(replica.received().len(), 100);
        assert_eq!(rig.recorder.refusals().len(), 1, "{line}");
        assert!(!rig.gate().admits(epoch(1)), "nobody else is sent there");
        sleep(Duration::from_secs(1)).await;
        rig.open(2, &primary).await;
        while let Some(call) = timeout(LIMIT, calls.join_next()).await.expect("the commands end") {
            assert_eq!(call.expect("no panic").as_deref(), Ok("OK"), "{line}");
        }
        assert_eq!(primary.received().len(), 100);
        assert_eq!(rig.shared.counters.resent_unexecuted.value(), 100);
        assert_eq!(rig.recorder.refusals().len(), 1, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_keeps_its_place_in_the_queue() {
    let rig = Rig::new();
    let numbered = |rig: &Rig, number: usize| {
        let mut handle = rig.handle();
        tokio::spawn(async move { send(&mut handle, redis::cmd("GET").arg(number)).await })
    };
    let mut calls = vec![numbered(&rig, 0)];
    settle().await;
    calls.push(numbered(&rig, 1));
    settle().await;
    rig.open(1, &Peer::saying(READONLY)).await;
    settle().await;
    calls.push(numbered(&rig, 2));
    settle().await;
    let primary = ok();
    rig.open(2, &primary).await;
    settle().await;
    assert_eq!(primary.received(), ["GET 0", "GET 1", "GET 2"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_link_takes_ends_as_refused() {
    let rig = Rig::new();
    rig.open(1, &Peer::saying(READONLY)).await;
    let start = Instant::now();
    let error = send(&mut rig.handle(), &set()).await.expect_err("there is no other server");
    assert_eq!(start.elapsed(), Duration::from_secs(3), "the hold window");
    assert_eq!(
        error.to_string(),
        "refused: hold window passed, no link for 3.0s (server refused with READONLY); \
         endpoint redis:6379, epoch 1"
    );
    assert_eq!(error.outcome(), Some(Outcome::Refused));
    assert_eq!(rig.shared.counters.failed_refused.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_an_old_link_closes_no_newer_one() {
    let rig = Rig::new();
    let (old, new) = (Peer::mute(), ok());
    let _draining = rig.open(1, &old).await;
    let mut handle = rig.handle();
    let call = tokio::spawn(async move { send(&mut handle, &set()).await });
    settle().await;
    rig.open(2, &new).await;
    old.pay(READONLY);
    assert_eq!(call.await.expect("no panic").as_deref(), Ok("OK"), "sent again at once");
    assert!(rig.gate().admits(epoch(2)));
    assert_eq!(rig.recorder.refusals(), []);
}

#[tokio::test(start_paused = true)]
async fn other_errors_are_handed_out_as_they_came() {
    for line in
        ["-MISCONF Redis is configured", "-NOAUTH Authentication required.", "-OOM command not allowed", "-ERR x"]
    {
        let rig = Rig::new();
        let peer = Peer::saying(line);
        rig.open(1, &peer).await;
        let error = send(&mut rig.handle(), &set()).await.expect_err("an error reply");
        assert_eq!(error.code().map(|code| line.contains(code)), Some(true), "{line}");
        assert_eq!(error.outcome(), Some(Outcome::Refused));
        assert!(error.command_error().is_none());
        assert!(rig.gate().admits(epoch(1)));
        assert_eq!(peer.received().len(), 1);
        assert_eq!(rig.shared.counters.failed_refused.value(), 0, "it is a reply, and not the tether's error");
    }
}

#[tokio::test(start_paused = true)]
async fn a_script_that_was_refused_half_way_is_ambiguous_and_shows_the_demotion() {
    let rig = Rig::new();
    let peer = Peer::saying("-READONLY You can't write against a read only replica. script: 1b2, on @user_script:1.");
    rig.open(1, &peer).await;
    let reply = send(&mut rig.handle(), redis::cmd("EVAL").arg("return 1").arg(0)).await;
    assert_eq!(fate(reply), (Outcome::Ambiguous, Reason::RefusedInScript));
    assert_eq!(rig.recorder.refusals(), [(epoch(1), Refusal::ReadOnly)]);
    assert_eq!(peer.received().len(), 1, "never sent again");
}

#[tokio::test(start_paused = true)]
async fn try_again_is_asked_again_shortly_and_handed_out_at_the_deadline() {
    let rig = Rig::new();
    rig.open(1, &saying_first(2, "-TRYAGAIN Multiple keys request during rehashing of slot")).await;
    let start = Instant::now();
    assert_eq!(send(&mut rig.handle(), &set()).await.as_deref(), Ok("OK"));
    assert_eq!(start.elapsed().as_millis(), 40);

    rig.open(2, &Peer::saying("-TRYAGAIN Multiple keys request during rehashing of slot")).await;
    let start = Instant::now();
    let error = send(&mut rig.handle(), &set()).await.expect_err("it never ends");
    assert_eq!(error.code(), Some("TRYAGAIN"));
    assert!(start.elapsed() <= DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_command_in_flight_on_a_link_that_ends_is_ambiguous_and_not_sent_again() {
    let rig = Rig::new();
    let (first, second) = (Peer::mute(), ok());
    let link = rig.open(1, &first).await;
    let mut handle = rig.handle();
    let call = tokio::spawn(async move { send(&mut handle, &set()).await });
    settle().await;
    let start = Instant::now();
    link.abort(LinkEnd::Closed);
    rig.open(2, &second).await;
    let error = call.await.expect("no panic").expect_err("its reply is lost");
    assert_eq!(start.elapsed(), Duration::ZERO, "at once");
    assert_eq!(
        error.to_string(),
        "ambiguous: link lost before the reply: closed by the peer; endpoint redis:6379, epoch 1, in flight 1"
    );
    assert!(matches!(error.retry_method(), redis::RetryMethod::NoRetry));
    assert_eq!(second.received(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_never_left_goes_over_the_next_link() {
    let rig = Rig::new();
    let (first, second) = (Peer::mute(), ok());
    let link = rig.open(1, &first).await;
    let mut handle = rig.handle();
    let cmd = set();
    let mut call = pin!(cmd.query_async::<String>(&mut handle));
    // It is queued for the driver, which has not run yet when the link ends.
    assert!(poll_once(call.as_mut()).await.is_none());
    assert_eq!(link.ledger().in_flight(), 1);
    link.abort(LinkEnd::Closed);
    rig.open(2, &second).await;
    let reply = timeout(LIMIT, call).await.expect("the command ends");
    assert_eq!(reply.as_deref(), Ok("OK"));
    assert_eq!((first.received().len(), second.received().len()), (0, 1));
    assert_eq!(rig.shared.counters.failed_ambiguous.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_never_left_was_not_sent() {
    let rig = Rig::new();
    let link = rig.open(1, &Peer::mute()).await;
    let mut handle = rig.handle();
    let cmd = set();
    let mut call = pin!(cmd.query_async::<String>(&mut handle));
    assert!(poll_once(call.as_mut()).await.is_none());
    link.abort(LinkEnd::Closed);
    let error = timeout(LIMIT, call).await.expect("the command ends").expect_err("there is no other link");
    assert_eq!((ours(&error).outcome(), ours(&error).times_sent()), (Outcome::NotSent, 0), "{error}");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_no_answer() {
    let rig = Rig::new();
    rig.open(1, &Peer::saying("garbage")).await;
    let (outcome, reason) = fate(send(&mut rig.handle(), &set()).await);
    assert_eq!((outcome, reason), (Outcome::Ambiguous, Reason::LinkLost));
}

#[tokio::test(start_paused = true)]
async fn what_a_shared_link_cannot_carry_is_not_sent() {
    let rig = Rig::new();
    let peer = ok();
    rig.open(1, &peer).await;
    let mut handle = rig.handle();
    let error = send(&mut handle, redis::cmd("WATCH").arg("a")).await.expect_err("not on a shared link");
    assert_eq!(error.outcome(), Some(Outcome::NotSent));
    assert!(error.to_string().starts_with("not sent: WATCH has no place on a shared link: "), "{error}");
    let error = pipe().cmd("SELECT").arg(1).exec_async(&mut handle).await.expect_err("neither in a pipeline");
    assert!(matches!(ours(&error).reason(), Reason::NotOnSharedLink { command: "SELECT", .. }));
    assert_eq!(peer.received(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn wait_speaks_of_the_link_that_the_writes_went_over() {
    let rig = Rig::new();
    let (first, second) = (Peer::saying(":1"), Peer::saying(":0"));
    rig.open(1, &first).await;
    let mut handle = rig.handle();
    let wait = redis::cmd("WAIT").arg(1).arg(100).take();
    assert_eq!(wait.query_async::<i32>(&mut handle).await, Ok(1), "a handle without writes may ask");
    send(&mut handle, &set()).await.expect("a write");
    rig.gate().close(ClosedCause::suspect("a test".into()));
    rig.gate().open(rig.gate().link().expect("it was kept"));
    assert_eq!(wait.query_async::<i32>(&mut handle).await, Ok(1), "it is the same link again");
    rig.open(2, &second).await;
    let reply = wait.query_async::<i32>(&mut handle).await;
    assert_eq!(fate(reply), (Outcome::NotSent, Reason::LinkReplaced));
    assert_eq!(second.received(), [""; 0]);
}

/// Also where something else has gone over the new link since.
#[tokio::test(start_paused = true)]
async fn wait_speaks_of_all_that_went_before() {
    let rig = Rig::new();
    let (first, second) = (ok(), Peer::saying(":1"));
    rig.open(1, &first).await;
    let mut handle = rig.handle();
    send(&mut handle, &set()).await.expect("a write");
    rig.open(2, &second).await;
    send(&mut handle, redis::cmd("GET").arg("key")).await.expect("a read");
    let wait = redis::cmd("WAIT").arg(1).arg(100).take();
    assert_eq!(fate(send(&mut handle, &wait).await), (Outcome::NotSent, Reason::LinkReplaced));
    assert_eq!(second.received(), ["GET key"]);
    // It has been said, and what is asked about now went over this link.
    send(&mut handle, &set()).await.expect("a write");
    send(&mut handle, &wait).await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_tether_says_so() {
    let rig = Rig::new();
    rig.open(1, &ok()).await;
    let mut handle = rig.handle();
    send(&mut handle, &set()).await.expect("it is up");
    rig.gate().stop();
    let error = send(&mut handle, &set()).await.expect_err("it is stopped");
    assert_eq!(error.to_string(), "not sent: tether stopped; endpoint redis:6379");
}

#[test]
fn a_handle_works_on_another_runtime_and_outlives_the_tethers() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (theirs, own) = (runtime(), runtime());
    let (rig, peer) = (Rig::new(), Peer::mute());
    let link = theirs.block_on(rig.open(1, &peer));
    let mut handle = rig.handle();
    let driving = std::thread::spawn(move || {
        theirs.block_on(async {
            while peer.received().is_empty() {
                tokio::task::yield_now().await;
            }
        });
        drop(theirs);
    });
    let reply = own.block_on(send(&mut handle, &set()));
    assert_eq!(fate(reply), (Outcome::Ambiguous, Reason::LinkLost), "the runtime ended under it");
    driving.join().expect("no panic");
    assert!(link.ledger().is_dead());
    rig.gate().stop();
    assert_eq!(fate(own.block_on(send(&mut handle, &set()))), (Outcome::NotSent, Reason::Stopped));
}

#[tokio::test(start_paused = true)]
async fn nothing_shows_what_was_sent() {
    let rig = Rig::new();
    let link = rig.open(1, &Peer::mute()).await;
    let mut handle = rig.handle();
    let late = send(&mut handle, &set()).await.expect_err("nobody answers");
    link.abort(LinkEnd::Closed);
    let held = send(&mut handle, &set()).await.expect_err("there is no link");
    for shown in [format!("{late} {late:?}"), format!("{held} {held:?} {:?}", ours(&held)), format!("{handle:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

/// Links are swapped, drained and ended under eight handles that never pause: no command may notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_command_is_lost_by_a_swap_and_a_drain() {
    let rig = Rig::new();
    let peer = ok();
    let mut live = rig.open(1, &peer).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..8 {
        let (mut handle, sent) = (rig.handle(), Arc::clone(&sent));
        senders.spawn(async move {
            loop {
                assert_eq!(send(&mut handle, &set()).await.as_deref(), Ok("OK"));
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for number in 2..300 {
        let next = rig.open(number, &peer).await;
        timeout(LIMIT, live.ledger().idle()).await.expect("the old link is drained");
        live.abort(LinkEnd::Retired);
        live = next;
        let target = sent.load(Ordering::Relaxed) + 8;
        while sent.load(Ordering::Relaxed) < target && senders.try_join_next().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(senders.len(), 8, "no command failed");
    }
    assert_eq!(rig.shared.counters.resent_unexecuted.value(), 0);
}

#[test]
fn a_handle_goes_where_it_is_needed() {
    fn is_clone_send_sync<T: Clone + Send + Sync + ConnectionLike + 'static>() {}
    is_clone_send_sync::<Handle>();
}
