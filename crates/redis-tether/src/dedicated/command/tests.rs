//! What is carried and what is not.

use std::time::Duration;

use redis::Pipeline;

use super::*;

fn command(line: &str) -> Cmd {
    let mut cmd = Cmd::new();
    cmd.arg(line.split(' ').collect::<Vec<_>>());
    cmd
}

fn pipeline(lines: &[&str]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for line in lines {
        pipeline.add_command(command(line));
    }
    pipeline
}

fn demand_of_lines(lines: &[&str]) -> Result<Demand, Refused> {
    demand_of_all_own(Many { pipeline: &pipeline(lines), offset: 0, count: lines.len() })
}

#[test]
fn what_has_one_reply_is_carried() {
    for line in [
        "GET key",
        "WATCH key",
        "UNWATCH",
        "MULTI",
        "EXEC",
        "DISCARD",
        "SELECT 3",
        "AUTH user password",
        "HELLO 3",
        "RESET",
        "QUIT",
        "CLIENT SETNAME worker",
        "CLIENT TRACKING ON",
        "CLIENT NO-EVICT ON",
        "ASKING",
        "READONLY",
        "READWRITE",
    ] {
        assert_eq!(demand_of_own(&command(line)), Ok(Demand::Plain), "{line}");
    }
}

#[test]
fn blocking_commands_are_known() {
    let second = Some(Duration::from_secs(1));
    assert_eq!(demand_of_own(&command("BLPOP key 1")), Ok(Demand::Blocking(second)));
    assert_eq!(demand_of_own(&command("BLPOP key 0")), Ok(Demand::Blocking(None)));
    assert_eq!(demand_of_lines(&["WATCH key", "BLPOP key 1"]), Ok(Demand::Blocking(second)));
}

#[test]
fn what_would_shift_replies_is_refused() {
    for line in [
        "SUBSCRIBE news",
        "psubscribe n*",
        "SSUBSCRIBE news",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE",
        "SUNSUBSCRIBE",
        "MONITOR",
        "SYNC",
        "PSYNC ? -1",
        "REPLCONF ACK 0",
        "SCRIPT DEBUG YES",
        "CLIENT REPLY OFF",
        "client reply skip",
    ] {
        let refused = demand_of_own(&command(line)).expect_err(line);
        assert!(line.to_uppercase().starts_with(refused.command), "{line}: {refused:?}");
        // Behind one that a shared link would refuse, and this one carries.
        assert_eq!(demand_of_lines(&["WATCH key", line]), Err(refused), "{line}");
    }
    let mut unanswered = command("SET key value");
    unanswered.set_no_response(true);
    assert!(demand_of_own(&unanswered).is_err());
}

#[test]
fn so_is_a_pipeline_that_is_miscounted() {
    let pipeline = pipeline(&["GET one", "GET two"]);
    assert!(demand_of_all_own(Many { pipeline: &pipeline, offset: 0, count: 1 }).is_err());
    assert!(demand_of_all_own(Many { pipeline: &pipeline, offset: 1, count: 1 }).is_ok());
}

/// What comes unasked, begins another conversation or shifts replies.
#[test]
fn what_has_no_place_alone_is_refused() {
    for name in [
        "SUBSCRIBE",
        "PSUBSCRIBE",
        "SSUBSCRIBE",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE",
        "SUNSUBSCRIBE",
        "MONITOR",
        "SYNC",
        "PSYNC",
        "REPLCONF",
        "SCRIPT DEBUG",
        "CLIENT REPLY",
    ] {
        assert!(demand_of_own(&command(name)).is_err(), "{name}");
    }
}
