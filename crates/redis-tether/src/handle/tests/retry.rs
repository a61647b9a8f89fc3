//! Sending again what may have been executed, where the caller has opted in.

use super::*;
use crate::config::{CommandSettings, Retry};
use crate::dial::verify::VerifyLevel;
use crate::gate::ClosedCause;

/// What a server of version 7 says of `GET`, `SET` and `XINFO`, in the order of the alphabet.
const FLAGS_OF_GET: &str = "*1\r\n*3\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast";
const FLAGS_OF_SET: &str = "*1\r\n*3\r\n$3\r\nset\r\n:-3\r\n*2\r\n+write\r\n+denyoom";
const FLAGS_OF_BOTH: &str =
    "*2\r\n*3\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n*3\r\n$3\r\nset\r\n:-3\r\n*2\r\n+write\r\n+denyoom";
const NOPERM: &str = "-NOPERM this user has no permissions to run the 'command|info' command";

fn policy(retry: Retry) -> Policy {
    Policy::of(&CommandSettings::default()).retry(retry)
}

fn get() -> Cmd {
    let mut cmd = redis::cmd("GET");
    cmd.arg("key");
    cmd
}

/// Answers `COMMAND INFO` with these flags, and all else with OK.
fn with_flags(flags: &'static str) -> Peer {
    Peer::new(move |line| Some(if line.starts_with("COMMAND INFO") { flags } else { "+OK" }.to_owned()))
}

impl Rig {
    /// A published link to a peer that answers every question.
    async fn open_well(&self, number: u64, peer: &Peer) -> Arc<crate::link::Link> {
        let link = self.link_that_answers(VerifyLevel::Hello, number, peer).await;
        assert!(self.gate().open(Arc::clone(&link)), "a fresh link is published");
        link
    }

    /// Sends `cmd` to a peer that does not answer, whose link is then lost; the next link leads to `second`.
    async fn lose_and_go_on(&self, retry: Retry, cmd: &Cmd, second: &Peer) -> RedisResult<String> {
        let link = self.open_well(1, &Peer::mute()).await;
        let mut handle = self.handle_with(policy(retry));
        let cmd = cmd.clone();
        let call = tokio::spawn(async move { send(&mut handle, &cmd).await });
        settle().await;
        link.abort(LinkEnd::Closed);
        self.open_well(2, second).await;
        call.await.expect("no panic")
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_it_does_it_is_sent_again() {
    let rig = Rig::new();
    let second = ok();
    let reply = rig.lose_and_go_on(Retry::All, &set(), &second).await;
    assert_eq!(reply.as_deref(), Ok("OK"));
    assert_eq!(second.received(), ["SET key hunter2"], "and nothing is asked");
    let counters = &rig.shared.counters;
    assert_eq!(
        (counters.resent_ambiguous.value(), counters.resent_unexecuted.value(), counters.failed_ambiguous.value()),
        (1, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_server_calls_read_only_is_sent_again() {
    let rig = Rig::new();
    let second = with_flags(FLAGS_OF_GET);
    let reply = rig.lose_and_go_on(Retry::ReadOnly, &get(), &second).await;
    assert_eq!(reply.as_deref(), Ok("OK"));
    assert_eq!(second.received(), ["COMMAND INFO GET", "GET key"]);
    assert_eq!(rig.shared.counters.resent_ambiguous.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_changes_something_is_not() {
    for flags in [FLAGS_OF_SET, "*1\r\n$-1", NOPERM, "*0", "+OK"] {
        let rig = Rig::new();
        let second = with_flags(flags);
        let error = rig.lose_and_go_on(Retry::ReadOnly, &set(), &second).await.expect_err("it may have run");
        assert_eq!((ours(&error).outcome(), ours(&error).reason()), (Outcome::Ambiguous, Reason::LinkLost), "{flags}");
        assert_eq!(second.received(), ["COMMAND INFO SET"]);
        assert_eq!(
            (ours(&error).epoch(), ours(&error).times_sent()),
            (Some(epoch(1)), 1),
            "of the link it was lost on"
        );
        assert_eq!(rig.shared.counters.resent_ambiguous.value(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_known_waits_for_no_link() {
    let rig = Rig::new();
    let _ = rig.lose_and_go_on(Retry::ReadOnly, &set(), &with_flags(FLAGS_OF_SET)).await;
    let link = rig.open_well(3, &Peer::mute()).await;
    let mut handle = rig.handle_with(policy(Retry::ReadOnly));
    let call = tokio::spawn(async move { send(&mut handle, &set()).await });
    settle().await;
    let start = Instant::now();
    link.abort(LinkEnd::Closed);
    assert_eq!(fate(call.await.expect("no panic")), (Outcome::Ambiguous, Reason::LinkLost));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_read_only_if_all_of_it_is() {
    for (commands, flags, again) in
        [(vec![get(), get()], FLAGS_OF_GET, true), (vec![get(), set()], FLAGS_OF_BOTH, false)]
    {
        let rig = Rig::new();
        let link = rig.open_well(1, &Peer::mute()).await;
        let mut handle = rig.handle_with(policy(Retry::ReadOnly));
        let mut pipeline = pipe();
        for cmd in commands {
            pipeline.add_command(cmd);
        }
        let call = tokio::spawn(async move { pipeline.query_async::<Vec<String>>(&mut handle).await });
        settle().await;
        link.abort(LinkEnd::Closed);
        let second = with_flags(flags);
        rig.open_well(2, &second).await;
        let reply = timeout(LIMIT, call).await.expect("it ends").expect("no panic");
        assert_eq!(reply.is_ok(), again, "{reply:?}");
        assert_eq!(second.received().len(), if again { 3 } else { 1 }, "{:?}", second.received());
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_knows_no_questions_is_not_asked() {
    let rig = Rig::new();
    let link = rig.link_that_answers(VerifyLevel::Ping, 1, &Peer::mute()).await;
    rig.gate().open(Arc::clone(&link));
    let mut handle = rig.handle_with(policy(Retry::ReadOnly));
    let call = tokio::spawn(async move { send(&mut handle, &get()).await });
    settle().await;
    link.abort(LinkEnd::Closed);
    let second = with_flags(FLAGS_OF_GET);
    rig.gate().open(rig.link_that_answers(VerifyLevel::Ping, 2, &second).await);
    assert_eq!(fate(call.await.expect("no panic")), (Outcome::Ambiguous, Reason::LinkLost));
    assert_eq!(second.received(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn no_command_is_sent_again_for_ever() {
    let rig = Rig::new();
    let mut handle = rig.handle_with(policy(Retry::All).max_retries(2));
    let call = tokio::spawn(async move { send(&mut handle, &set()).await });
    for number in 1..=3 {
        let link = rig.open_well(number, &Peer::mute()).await;
        settle().await;
        assert_eq!(link.ledger().in_flight(), 1, "sent over link {number}");
        link.abort(LinkEnd::Closed);
    }
    let fourth = ok();
    rig.open_well(4, &fourth).await;
    let error = call.await.expect("no panic").expect_err("three times is enough");
    assert_eq!((ours(&error).outcome(), ours(&error).times_sent()), (Outcome::Ambiguous, 3));
    assert!(error.to_string().contains(", sent 3 times"), "{error}");
    assert_eq!(fourth.received(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_question_may_be_lost_as_well() {
    let rig = Rig::new();
    let link = rig.open_well(1, &Peer::mute()).await;
    let mut handle = rig.handle_with(policy(Retry::ReadOnly));
    let call = tokio::spawn(async move { send(&mut handle, &get()).await });
    settle().await;
    link.abort(LinkEnd::Closed);
    let second = Peer::mute();
    let link = rig.open_well(2, &second).await;
    settle().await;
    assert_eq!(second.received(), ["COMMAND INFO GET"]);
    link.abort(LinkEnd::Closed);
    rig.open_well(3, &with_flags(FLAGS_OF_GET)).await;
    assert_eq!(call.await.expect("no panic").as_deref(), Ok("OK"));
}

/// Whatever becomes of the later sendings, the first may have been executed.
#[tokio::test(start_paused = true)]
async fn what_may_have_run_is_ambiguous_to_the_end() {
    for retry in [Retry::All, Retry::ReadOnly] {
        let rig = Rig::new();
        let link = rig.open_well(1, &Peer::mute()).await;
        let mut handle = rig.handle_with(policy(retry));
        let call = tokio::spawn(async move { send(&mut handle, &get()).await });
        settle().await;
        link.abort(LinkEnd::Closed);
        assert_eq!(fate(call.await.expect("no panic")), (Outcome::Ambiguous, Reason::HoldWindowPassed));
    }
    let rig = Rig::new();
    let refused = rig.lose_and_go_on(Retry::All, &set(), &Peer::saying(READONLY)).await;
    assert_eq!(fate(refused), (Outcome::Ambiguous, Reason::HoldWindowPassed));

    let rig = Rig::new();
    let link = rig.open_well(1, &Peer::mute()).await;
    let mut handle = rig.handle_with(policy(Retry::All).fail_fast());
    let call = tokio::spawn(async move { send(&mut handle, &set()).await });
    settle().await;
    link.abort(LinkEnd::Closed);
    assert_eq!(fate(call.await.expect("no panic")), (Outcome::Ambiguous, Reason::FailFast));

    let rig = Rig::new();
    rig.open_well(1, &Peer::mute()).await;
    let mut handle = rig.handle_with(policy(Retry::All));
    let error = send(&mut handle, &set()).await.expect_err("nobody answers");
    assert_eq!((ours(&error).outcome(), ours(&error).times_sent()), (Outcome::Ambiguous, 1), "late is no loss");
}

#[tokio::test(start_paused = true)]
async fn a_script_that_was_refused_half_way_is_sent_again_where_all_is() {
    let rig = Rig::new();
    let half = Peer::saying("-READONLY You can't write. script: 1b2, on @user_script:1.");
    rig.open_well(1, &half).await;
    let mut handle = rig.handle_with(policy(Retry::All));
    let call = tokio::spawn(async move { send(&mut handle, redis::cmd("EVAL").arg("return 1").arg(0)).await });
    settle().await;
    assert_eq!(rig.recorder.refusals(), [(epoch(1), Refusal::ReadOnly)]);
    rig.open_well(2, &ok()).await;
    assert_eq!(call.await.expect("no panic").as_deref(), Ok("OK"));
}

#[tokio::test(start_paused = true)]
async fn what_asks_about_the_lost_link_is_not_sent_over_another() {
    let rig = Rig::new();
    let mut wait = redis::cmd("WAIT");
    wait.arg(1).arg(1_000);
    let second = ok();
    let reply = rig.lose_and_go_on(Retry::All, &wait, &second).await;
    assert_eq!(fate(reply), (Outcome::Ambiguous, Reason::LinkLost));
    assert_eq!(second.received(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn handles_of_one_tether_may_differ() {
    let rig = Rig::new();
    rig.gate().close(ClosedCause::Connecting);
    let patient = rig.handle();
    let quick = patient.clone().with_policy(patient.policy().fail_fast());
    let start = Instant::now();
    assert_eq!(fate(send(&mut quick.clone(), &set()).await), (Outcome::NotSent, Reason::FailFast));
    assert_eq!(start.elapsed(), Duration::ZERO);
    let held = quick.with_policy(patient.policy().fail_fast().hold());
    assert_eq!(fate(send(&mut held.clone(), &set()).await), (Outcome::NotSent, Reason::HoldWindowPassed));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}
