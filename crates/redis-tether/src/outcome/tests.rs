//! The lines that failed commands show, and what redis-rs makes of our error.

use redis_tether_core::{Address, FailureKind};

use redis::{RetryMethod, Value, make_extension_error};

use super::*;
use crate::dial::DialError;

fn facts(outcome: Outcome, reason: Reason) -> Facts {
    Facts::new(outcome, reason, &Arc::from("redis:6379"))
}

fn server_error(code: &str, detail: &str) -> RedisError {
    make_extension_error(code.to_owned(), Some(detail.to_owned()))
}

#[test]
fn one_line_says_it_all() {
    let address = Address::Tcp(([10, 0, 0, 1], 6379).into());
    let refused = DialError::new(FailureKind::Refused, &address, "");
    let held = Facts {
        down_for: Some(Duration::from_secs(3)),
        state: Some("connecting".to_owned()),
        failed_rounds: 12,
        cause: Some(refused.to_string()),
        held: 57,
        ..facts(Outcome::NotSent, Reason::HoldWindowPassed)
    };
    assert_eq!(
        CommandError::new(held).to_string(),
        "not sent: hold window passed, no link for 3.0s (connecting, 12 rounds failed): 10.0.0.1:6379: connection refused; \
         endpoint redis:6379, held 57"
    );
    let lost = Facts {
        epoch: Epoch::new(7),
        silent_for: Some(Duration::from_millis(5_040)),
        in_flight: 3,
        cause: Some("silent for too long".to_owned()),
        ..facts(Outcome::Ambiguous, Reason::LinkLost)
    };
    assert_eq!(
        CommandError::new(lost).to_string(),
        "ambiguous: link lost before the reply: silent for too long; endpoint redis:6379, epoch 7, silent for 5.0s, \
         in flight 3"
    );
    let watch = Reason::NotOnSharedLink { command: "WATCH", hint: "use a script" };
    assert_eq!(
        CommandError::new(facts(Outcome::NotSent, watch)).to_string(),
        "not sent: WATCH has no place on a shared link: use a script; endpoint redis:6379"
    );
}

#[test]
fn redis_keeps_our_error_and_never_advises_to_retry() {
    let error = CommandError::new(facts(Outcome::Ambiguous, Reason::LinkLost));
    let wrapped = RedisError::from(error.clone());
    assert_eq!(wrapped.to_string(), error.to_string());
    for wrapped in [wrapped.clone(), wrapped] {
        assert_eq!(wrapped.command_error(), Some(&error));
        assert_eq!(wrapped.outcome(), Some(Outcome::Ambiguous));
        assert!(matches!(wrapped.retry_method(), RetryMethod::NoRetry));
        assert!(!wrapped.is_unrecoverable_error());
    }
}

#[test]
fn outcomes_of_the_servers_errors() {
    for (code, detail, outcome) in [
        ("MISCONF", "Redis is configured to save RDB snapshots", Outcome::Refused),
        ("WRONGTYPE", "Operation against a key holding the wrong kind of value", Outcome::Refused),
        ("WRONGTYPE", "Operation against a key script: 1b2, on @user_script:2.", Outcome::Ambiguous),
    ] {
        let error = server_error(code, detail);
        assert_eq!(error.outcome(), Some(outcome), "{code} {detail}");
        assert_eq!(error.command_error(), None);
    }
    let readonly = redis::parse_redis_value(b"-READONLY no\r\n").and_then(Value::extract_error);
    assert_eq!(readonly.expect_err("an error reply").outcome(), Some(Outcome::Refused));
}

#[test]
fn what_went_wrong_on_this_side_has_no_outcome() {
    let conversion = redis::from_redis_value::<u8>(Value::SimpleString("many".to_owned())).expect_err("not a number");
    assert_eq!(RedisError::from(conversion).outcome(), None);
    assert_eq!(RedisError::from((ErrorKind::Client, "empty command")).outcome(), None);
    assert_eq!(RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe)).outcome(), None);
}
