//! Pipelines and transactions: when one is sent again, and what its failures mean.

use super::*;

fn transaction() -> redis::Pipeline {
    let mut transaction = pipe();
    transaction.atomic().set("a", 1).ignore().get("a");
    transaction
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_was_refused_is_sent_again() {
    let queueing = |line: &str| match line.split(' ').next() {
        Some("MULTI") => "+OK",
        Some("EXEC") => "-EXECABORT Transaction discarded because of previous errors.",
        Some("SET") => READONLY,
        _ => "+QUEUED",
    };
    let executing = |line: &str| match line.split(' ').next() {
        Some("MULTI") => "+OK",
        Some("EXEC") => "-EXECABORT Transaction discarded because of: READONLY You can't write",
        _ => "+QUEUED",
    };
    let working = |line: &str| match line.split(' ').next() {
        Some("MULTI") => "+OK",
        Some("EXEC") => "*2\r\n+OK\r\n:1",
        _ => "+QUEUED",
    };
    for refuses in [&queueing as &(dyn Fn(&str) -> &'static str + Send + Sync), &executing] {
        let rig = Rig::new();
        let lines = ["MULTI", "SET a 1", "GET a", "EXEC"].map(|line| (line, refuses(line)));
        let replica = Peer::new(move |asked| {
            let line = lines.iter().find(|(line, _)| *line == asked);
            line.map(|(_, reply)| (*reply).to_owned())
        });
        rig.open(1, &replica).await;
        let mut handle = rig.handle();
        let call = tokio::spawn(async move { transaction().query_async::<(i32,)>(&mut handle).await });
        settle().await;
        assert_eq!(rig.recorder.refusals(), [(epoch(1), Refusal::ReadOnly)]);
        rig.open(2, &Peer::new(move |line| Some(working(line).to_owned()))).await;
        let reply = timeout(LIMIT, call).await.expect("the transaction ends").expect("no panic");
        assert_eq!(reply, Ok((1,)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_was_refused_for_other_reasons_is_handed_out() {
    let rig = Rig::new();
    let peer = Peer::new(|line| {
        let reply = match line.split(' ').next() {
            Some("MULTI") => "+OK",
            Some("EXEC") => "-EXECABORT Transaction discarded because of previous errors.",
            Some("SET") => "-ERR wrong number of arguments",
            _ => READONLY,
        };
        Some(reply.to_owned())
    });
    rig.open(1, &peer).await;
    let error = transaction().query_async::<(i32,)>(&mut rig.handle()).await.expect_err("it was aborted");
    assert_eq!(error.code(), Some("EXECABORT"));
    assert_eq!(error.outcome(), Some(Outcome::Refused));
    assert_eq!(rig.recorder.refusals().len(), 1, "the link is reported all the same");
}

/// redis-rs would say of it that it is no answer to a transaction.
#[tokio::test(start_paused = true)]
async fn what_the_server_says_of_exec_itself_is_handed_out() {
    let line = "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    let rig = Rig::new();
    rig.open(1, &Peer::new(move |words| Some(if words == "EXEC" { line } else { "+QUEUED" }.to_owned()))).await;
    let error = transaction().query_async::<(i32,)>(&mut rig.handle()).await.expect_err("it was discarded");
    assert_eq!((error.code(), error.outcome()), (Some("EXECABORT"), Some(Outcome::Refused)), "{error}");
    assert!(error.to_string().contains("OOM command not allowed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_sent_again_only_if_all_of_it_was_refused() {
    let writes = |peer: Peer| async move {
        let rig = Rig::new();
        rig.open(1, &peer).await;
        let mut handle = rig.handle();
        let call = tokio::spawn(async move {
            let mut writes = pipe();
            writes.set("a", 1).set("b", 2);
            writes.query_async::<(String, String)>(&mut handle).await
        });
        settle().await;
        let refusals = rig.recorder.refusals();
        let second = ok();
        rig.open(2, &second).await;
        let reply = timeout(LIMIT, call).await.expect("the pipeline ends").expect("no panic");
        (reply, refusals.len(), second.received().len())
    };
    let (reply, refusals, again) = writes(Peer::saying(READONLY)).await;
    assert_eq!(reply, Ok(("OK".to_owned(), "OK".to_owned())));
    assert_eq!((refusals, again), (1, 2));

    let (reply, refusals, again) = writes(saying_first(1, READONLY)).await;
    assert_eq!(reply.expect_err("one was refused").code(), Some("READONLY"));
    assert_eq!((refusals, again), (1, 0), "the other one has run");
}

/// Replies that nobody wants are not seen, and what they answered has run.
#[tokio::test(start_paused = true)]
async fn a_pipeline_of_which_only_the_end_is_wanted_is_never_sent_again() {
    let rig = Rig::new();
    let first = Peer::new(|line| Some(if line.starts_with("INCR") { ":1" } else { READONLY }.to_owned()));
    rig.open(1, &first).await;
    let mut handle = rig.handle();
    let mut pipeline = pipe();
    pipeline.cmd("INCR").arg("a").cmd("SET").arg("b").arg(2);
    let replies = timeout(LIMIT, handle.req_packed_commands(&pipeline, 1, 1)).await.expect("it is handed out");
    assert!(
        matches!(replies.expect("as it came").as_slice(), [Value::ServerError(error)] if error.code() == "READONLY")
    );
    assert_eq!(first.received(), ["INCR a", "SET b 2"]);
}

/// The multiplexer counts replies: one too few, and the next caller is given what is left.
#[tokio::test(start_paused = true)]
async fn a_pipeline_with_another_number_of_replies_is_not_sent() {
    let rig = Rig::new();
    let peer = Peer::new(|line| Some(format!("+{}", line.replace(' ', "_"))));
    rig.open(1, &peer).await;
    let (mut plain, mut atomic) = (pipe(), pipe());
    plain.cmd("GET").arg("mine").cmd("GET").arg("mine too");
    atomic.atomic().cmd("GET").arg("mine");
    let wrong = [
        (&plain, 0, 1),
        (&plain, 1, 2),
        (&plain, usize::MAX, 3),
        (&plain, 2, 0),
        (&atomic, 3, 0),
        (&atomic, 0, 1),
        (&atomic, 1, 1),
    ];
    for (pipeline, offset, count) in wrong {
        let mut handle = rig.handle();
        let (outcome, reason) = fate(handle.req_packed_commands(pipeline, offset, count).await);
        assert_eq!(outcome, Outcome::NotSent);
        assert!(matches!(reason, Reason::NotOnSharedLink { .. }), "{reason:?}");
    }
    let yours: String = rig.handle().get("yours").await.expect("an answer");
    assert_eq!((yours.as_str(), peer.received().len()), ("GET_yours", 1));
}

/// What ran is not called refused, whatever else of it was.
#[tokio::test(start_paused = true)]
async fn what_ran_in_part_is_ambiguous() {
    let ran_with_a_failure = Peer::new(|line| {
        let reply = match line {
            "MULTI" => "+OK",
            "EXEC" => "*2\r\n:7\r\n-ERR value is not an integer or out of range",
            _ => "+QUEUED",
        };
        Some(reply.to_owned())
    });
    let half = Peer::new(|line| Some(if line.starts_with("INCR a") { ":1" } else { "-WRONGTYPE no" }.to_owned()));
    for (peer, is_atomic) in [(ran_with_a_failure, true), (half, false)] {
        let rig = Rig::new();
        rig.open(1, &peer).await;
        let mut pipeline = pipe();
        if is_atomic {
            pipeline.atomic();
        }
        pipeline.cmd("INCR").arg("a").cmd("INCR").arg("b");
        let reply = timeout(LIMIT, pipeline.query_async::<Vec<i64>>(&mut rig.handle())).await.expect("it is answered");
        let error = reply.expect_err("a part of it failed");
        assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
    }
}

/// A transaction that the caller has written out: what stands around it ran.
#[tokio::test(start_paused = true)]
async fn what_stands_around_an_aborted_transaction_has_run() {
    let rig = Rig::new();
    let peer = Peer::new(|line| {
        let reply = match line {
            "MULTI" => "+OK",
            "EXEC" => "-EXECABORT Transaction discarded because of previous errors.",
            "INCR a" => ":1",
            _ => "+QUEUED",
        };
        Some(reply.to_owned())
    });
    rig.open(1, &peer).await;
    let mut pipeline = pipe();
    pipeline.cmd("INCR").arg("a").cmd("MULTI").cmd("INCR").arg("b").cmd("EXEC");
    let reply = timeout(LIMIT, pipeline.query_async::<Vec<i64>>(&mut rig.handle())).await.expect("it is answered");
    let error = reply.expect_err("a part of it failed");
    assert_eq!(error.outcome(), Some(Outcome::Ambiguous), "{error}");
}
