//! Replies as servers, proxies and scripts give them, and what each means.

use super::*;

fn class_of(line: &str) -> ErrorClass {
    let (code, detail) = line.split_once(' ').map_or((line, None), |(code, detail)| (code, Some(detail)));
    classify(code, detail)
}

#[test]
fn refusals_that_another_server_would_not_give() {
    for (line, refusal) in [
        ("READONLY You can't write against a read only replica.", Refusal::ReadOnly),
        ("READONLY", Refusal::ReadOnly),
        ("LOADING Redis is loading the dataset in memory", Refusal::Loading),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Refusal::MasterDown),
        ("CLUSTERDOWN The cluster is down", Refusal::ClusterDown),
        ("ERR READONLY You can't write against a read only replica.", Refusal::ReadOnly),
        ("ERR -LOADING Redis is loading the dataset in memory", Refusal::Loading),
        ("LOADING Dragonfly is loading the dataset in memory", Refusal::Loading),
        ("ERR Can not execute during LOADING", Refusal::Loading),
        ("ERR Can not execute during TAKEN OVER", Refusal::Loading),
        (
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            Refusal::Unblocked,
        ),
        (
            "EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.",
            Refusal::ReadOnly,
        ),
        ("READONLY Can not run script with write flag on readonly replica.", Refusal::ReadOnly),
    ] {
        assert_eq!(class_of(line), ErrorClass::Elsewhere(refusal), "{line}");
    }
}

#[test]
fn what_waits_a_moment() {
    assert_eq!(class_of("TRYAGAIN Multiple keys request during rehashing of slot"), ErrorClass::Shortly);
}

#[test]
fn a_script_has_run_up_to_its_error() {
    for (line, refusal) in [
        (
            "READONLY You can't write against a read only replica. script: 1b2, on @user_script:1.",
            Some(Refusal::ReadOnly),
        ),
        (
            "ERR Error running script (call to f_1b2): @user_script:1: @user_script: 1: -READONLY You can't write.",
            Some(Refusal::ReadOnly),
        ),
        ("WRONGTYPE Operation against a key script: my_function, on @user_function:3.", None),
        ("ERR value is not an integer script: 1b2, on @user_script:1.", None),
    ] {
        assert_eq!(class_of(line), ErrorClass::Partial(refusal), "{line}");
    }
}

fn class_for(asked: Asked, line: &str) -> ErrorClass {
    let (code, detail) = split_reply(line);
    classify_for(asked, code, Some(detail))
}

#[test]
fn what_a_script_makes_up_is_its_answer() {
    for asked in [Asked::Script, Asked::DeclaredScript] {
        for line in [
            "READONLY while we are closed",
            "LOADING the cache",
            "MASTERDOWN",
            "CLUSTERDOWN as far as I can see",
            "TRYAGAIN in 30 s",
            "ERR READONLY says the script",
            "ERR no such user",
            "EXECABORT Transaction discarded because of: READONLY whatever",
            "UNBLOCKED for ever, instance state changed",
        ] {
            assert_eq!(class_for(asked, line), ErrorClass::Refused, "{line}");
        }
    }
}

#[test]
fn a_script_that_is_refused_before_it_begins_is_sent_elsewhere() {
    for (line, class) in [
        ("LOADING Valkey is loading the dataset in memory", ErrorClass::Elsewhere(Refusal::Loading)),
        ("MASTERDOWN Link with MASTER is down and x", ErrorClass::Elsewhere(Refusal::MasterDown)),
        ("CLUSTERDOWN Hash slot not served", ErrorClass::Elsewhere(Refusal::ClusterDown)),
        ("CLUSTERDOWN The cluster is down", ErrorClass::Elsewhere(Refusal::ClusterDown)),
        ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorClass::Shortly),
        ("READONLY Can not run script with write flag on readonly replica.", ErrorClass::Elsewhere(Refusal::ReadOnly)),
    ] {
        assert_eq!(class_for(Asked::Script, line), class, "{line}");
        assert_eq!(class_for(Asked::DeclaredScript, line), class, "{line}");
    }
}

#[test]
fn a_refusal_that_a_script_may_have_caught_is_partial() {
    let line = "READONLY You can't write against a read only replica.";
    assert_eq!(class_for(Asked::Script, line), ErrorClass::Partial(Some(Refusal::ReadOnly)));
    assert_eq!(class_for(Asked::DeclaredScript, line), ErrorClass::Elsewhere(Refusal::ReadOnly));
    assert_eq!(class_for(Asked::Command, line), ErrorClass::Elsewhere(Refusal::ReadOnly));
}

#[test]
fn scripts_are_known_by_their_names() {
    for (name, argument, asked) in [
        ("EVAL", Some("return 1"), Asked::Script),
        ("eval", Some("#!lua\nreturn 1"), Asked::DeclaredScript),
        ("Eval_Ro", Some("#!lua name=x"), Asked::DeclaredScript),
        ("EVAL", None, Asked::Script),
        ("EVALSHA", Some("#!"), Asked::Script),
        ("evalsha_ro", None, Asked::Script),
        ("FCALL", Some("f"), Asked::DeclaredScript),
        ("fcall_ro", Some("f"), Asked::DeclaredScript),
        ("EXPIRE", Some("#!"), Asked::Command),
        ("GET", Some("EVAL"), Asked::Command),
        ("", None, Asked::Command),
    ] {
        assert_eq!(Asked::by(name.as_bytes(), argument.map(str::as_bytes)), asked, "{name} {argument:?}");
    }
}

#[test]
fn a_proxy_that_lost_the_server_does_not_know() {
    for line in [
        "upstream failure",
        "ERR upstream failure",
        "upstream protocol error",
        "ERR Connection timed out",
        "ERR Connection reset by peer",
        "ERR Broken pipe",
        "ERR server connection close",
        "IOERR error or timeout writing to target instance",
    ] {
        assert_eq!(class_of(line), ErrorClass::Lost, "{line}");
    }
    for line in [
        "no upstream host",
        "upstream",
        "ERR Connection refused",
        "IOERR error or timeout connecting to the client",
        "ERR no server connection avaliable",
    ] {
        assert_eq!(class_of(line), ErrorClass::Refused, "{line}");
    }
}

#[test]
fn everything_else_is_the_callers() {
    for line in [
        "ERR syntax error",
        "ERR",
        "ERR the key READONLY is unknown",
        "UNBLOCKED client unblocked via CLIENT UNBLOCK",
        "EXECABORT Transaction discarded because of previous errors.",
        "EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.",
        "EXECABORT because of: EXECABORT because of: READONLY x",
        "MISCONF Redis is configured to save RDB snapshots",
        "NOREPLICAS Not enough good replicas to write.",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions to run the 'set' command",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "MOVED 3999 127.0.0.1:6381",
        "readonly lower case is no code",
        "",
    ] {
        assert_eq!(class_of(line), ErrorClass::Refused, "{line}");
    }
}
