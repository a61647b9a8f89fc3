//! Deadlines: of commands that are answered late or never, that block, that were let go and come round late.

use super::*;

#[tokio::test(start_paused = true)]
async fn no_reply_by_the_deadline_is_ambiguous() {
    let rig = Rig::new();
    let peer = Peer::mute();
    let link = rig.open(1, &peer).await;
    let start = Instant::now();
    let error = send(&mut rig.handle(), &set()).await.expect_err("nobody answers");
    assert_eq!(start.elapsed(), DEADLINE);
    assert_eq!(
        error.to_string(),
        "ambiguous: deadline passed; endpoint redis:6379, epoch 1, silent for 5.0s, in flight 1"
    );
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous));
    assert!(matches!(error.retry_method(), redis::RetryMethod::NoRetry));
    assert_eq!(link.ledger().in_flight(), 0, "it is outstanding no more");

    let start = Instant::now();
    let mut handle = rig.handle_with(rig.policy().deadline(Duration::from_millis(30)));
    assert_eq!(fate(send(&mut handle, &set()).await), (Outcome::Ambiguous, Reason::DeadlinePassed));
    assert_eq!(start.elapsed().as_millis(), 30);
    assert_eq!(peer.received().len(), 2, "nothing was sent twice");
}

#[tokio::test(start_paused = true)]
async fn what_has_not_left_by_the_deadline_is_not_sent() {
    let rig = Rig::new();
    rig.open(1, &Peer::deaf()).await;
    let mut stuck = rig.handle();
    let large = redis::cmd("SET").arg("key").arg(vec![b'v'; TAKEN_UNREAD]).take();
    let large = tokio::spawn(async move { send(&mut stuck, &large).await });
    settle().await;
    assert_eq!(fate(send(&mut rig.handle(), &set()).await), (Outcome::NotSent, Reason::DeadlinePassed));
    assert_eq!(fate(large.await.expect("no panic")), (Outcome::Ambiguous, Reason::DeadlinePassed));
}

#[tokio::test(start_paused = true)]
async fn a_blocking_commands_own_timeout_comes_on_top() {
    let rig = Rig::new();
    rig.open(1, &Peer::mute()).await;
    let start = Instant::now();
    let reply = send(&mut rig.handle(), redis::cmd("BLPOP").arg("list").arg(10)).await;
    assert_eq!(fate(reply), (Outcome::Ambiguous, Reason::DeadlinePassed));
    assert_eq!(start.elapsed(), DEADLINE + Duration::from_secs(10));

    let mut handle = rig.handle();
    let for_ever = redis::cmd("BLPOP").arg("list").arg(0).take();
    let waited = timeout(Duration::from_secs(36_000), for_ever.query_async::<String>(&mut handle)).await;
    assert!(waited.is_err(), "for ever is longer than ten hours");
}

#[tokio::test(start_paused = true)]
async fn a_blocking_command_is_held_no_longer_than_others() {
    let rig = Rig::with(CommandSettings { hold_window: LIMIT, ..CommandSettings::default() });
    let start = Instant::now();
    let reply = send(&mut rig.handle(), redis::cmd("BLPOP").arg("list").arg(0)).await;
    assert_eq!(fate(reply), (Outcome::NotSent, Reason::DeadlinePassed));
    assert_eq!(start.elapsed(), DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_was_slept_through_is_put_off() {
    let rig = Rig::new();
    let peer = Peer::mute();
    rig.open(1, &peer).await;
    let mut handle = rig.handle();
    let call = tokio::spawn(async move { send(&mut handle, &set()).await });
    settle().await;
    advance(DEADLINE + Duration::from_secs(10)).await;
    sleep(Duration::from_millis(100)).await;
    assert!(!call.is_finished(), "the reply may be waiting in the socket");
    peer.pay("+OK");
    assert_eq!(call.await.expect("no panic").as_deref(), Ok("OK"));
    assert_eq!(rig.shared.counters.late_deadlines.value(), 1);

    let mut handle = rig.handle();
    let call = tokio::spawn(async move { send(&mut handle, &set()).await });
    settle().await;
    advance(DEADLINE + Duration::from_secs(10)).await;
    let late = Instant::now();
    assert_eq!(fate(call.await.expect("no panic")), (Outcome::Ambiguous, Reason::DeadlinePassed));
    assert_eq!(late.elapsed().as_millis(), 250, "but not for long");
}

/// Held, let go, and then not looked at by its caller for `busy`; meanwhile `happens`.
async fn looked_at_late(rig: &Rig, busy: Duration, happens: impl FnOnce(&Rig)) -> RedisResult<String> {
    let (mut handle, cmd) = (rig.handle(), set());
    let mut call = pin!(cmd.query_async(&mut handle));
    assert!(poll_once(call.as_mut()).await.is_none());
    let peer = ok();
    let link = rig.open(1, &peer).await;
    happens(rig);
    advance(busy).await;
    assert!(poll_once(call.as_mut()).await.is_none());
    settle().await;
    assert_eq!(peer.received(), Vec::<String>::new(), "it is not sent over a link that takes no commands");
    rig.open(2, &ok()).await;
    link.abort(LinkEnd::Mute);
    timeout(LIMIT, call).await.expect("it ends")
}

#[tokio::test(start_paused = true)]
async fn who_comes_round_late_is_held_again_where_the_link_takes_no_commands_any_more() {
    let rig = Rig::new();
    let close = |rig: &Rig| rig.gate().close(ClosedCause::suspect("a test".into()));
    let reply = looked_at_late(&rig, Duration::from_millis(400), close).await;
    assert_eq!(reply.expect("it is sent over the next link"), "OK");
}

#[tokio::test(start_paused = true)]
async fn who_comes_round_after_the_deadline_was_not_sent() {
    for late in [Duration::from_millis(20), Duration::from_secs(50)] {
        let rig = Rig::new();
        let (mut handle, cmd) = (rig.handle(), set());
        let mut call = pin!(cmd.query_async::<String>(&mut handle));
        assert!(poll_once(call.as_mut()).await.is_none());
        let before = Duration::from_millis(2_900);
        advance(before).await;
        let peer = ok();
        rig.open(1, &peer).await;
        advance(DEADLINE - before + late).await;
        let reply = timeout(LIMIT, call).await.expect("it ends");
        assert_eq!(fate(reply), (Outcome::NotSent, Reason::DeadlinePassed), "{late:?} late");
        assert_eq!(peer.received(), Vec::<String>::new());
    }
}

/// The link that it was let go to says nothing of why it comes so late; the refusal that it has behind it does.
#[tokio::test(start_paused = true)]
async fn who_was_refused_and_comes_round_after_the_deadline_is_told_with_what() {
    let rig = Rig::new();
    rig.open(1, &Peer::saying(READONLY)).await;
    let (mut handle, cmd) = (rig.handle(), set());
    let mut call = pin!(cmd.query_async::<String>(&mut handle));
    assert!(poll_once(call.as_mut()).await.is_none());
    settle().await;
    assert!(poll_once(call.as_mut()).await.is_none(), "it is refused, and held");
    let peer = ok();
    rig.open(2, &peer).await;
    advance(DEADLINE).await;
    let error = timeout(LIMIT, call).await.expect("it ends").expect_err("it is late");
    assert_eq!(error.to_string(), "refused: deadline passed: READONLY; endpoint redis:6379, epoch 2");
    assert_eq!(peer.received(), Vec::<String>::new());
}
