//! The serde form, as a file has it. JSON stands for every format.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::table::SETTINGS;
use super::super::{Config, Endpoint, HoldMode, Password};
use super::{SECRET, assert_no_secret};

fn read(value: Value) -> Result<Config, String> {
    serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(read(json!({})), Ok(Config::default()));
    let config = read(json!({
        "endpoint": { "host": "redis" },
        "commands": { "deadline": "1500ms", "hold": "fail_fast" },
        "pacing": { "rejected": { "first": "60ms" } },
    }));
    let mut expected = Config::new("redis", 6379);
    expected.commands.deadline = Duration::from_millis(1500);
    expected.commands.hold = HoldMode::FailFast;
    expected.pacing.rejected.first = Duration::from_millis(60);
    assert_eq!(config, Ok(expected));
}

#[test]
fn endpoints() {
    let cases = [
        (json!({ "host": "[::1]", "port": 1 }), Endpoint::tcp("::1", 1)),
        (json!({ "path": "/run/redis.sock" }), Endpoint::unix("/run/redis.sock")),
    ];
    for (value, endpoint) in cases {
        assert_eq!(read(json!({ "endpoint": value })).expect("an endpoint").endpoint, endpoint);
    }
}

#[test]
fn refused() {
    let cases = [
        (json!({ "hots": 1 }), "unknown field `hots`"),
        (json!({ "endpoint": { "hots": "x" } }), "unknown field `hots`"),
        (json!({ "endpoint": { "port": 1 } }), "needs a host"),
        (json!({ "endpoint": { "host": "h", "path": "/p" } }), "only a path"),
        (json!({ "endpoint": { "host": "h", "port": 65536 } }), "expected u16"),
        (json!({ "commands": { "dedline": "1s" } }), "unknown field `dedline`"),
        (json!({ "detection": { "x": 1 } }), "unknown field `x`"),
        (json!({ "dial": { "x": 1 } }), "unknown field `x`"),
        (json!({ "resolve": { "x": 1 } }), "unknown field `x`"),
        (json!({ "pacing": { "x": 1 } }), "unknown field `x`"),
        (json!({ "pacing": { "rejected": { "x": 1 } } }), "unknown field `x`"),
        (json!({ "commands": { "deadline": 5 } }), "a duration"),
        (json!({ "commands": { "deadline": "5" } }), "invalid value"),
        (json!({ "verify": "maybe" }), "unknown variant `maybe`"),
    ];
    for (value, expected) in cases {
        let message = read(value.clone()).expect_err("this file should have been refused");
        assert!(message.contains(expected), "{value}: {message}");
    }
}

/// A password without quotes is a number to most formats, and serde's own message would show it.
#[test]
fn an_unquoted_password_is_refused_without_showing_it() {
    for password in [json!(73_501_946), json!(-73_501_946), json!(73.501_946), json!(true), json!([73_501_946])] {
        let message = read(json!({ "password": password })).expect_err("not a string");
        assert!(!message.contains("501"), "{message}");
    }
    let message = read(json!({ "password": 1 })).expect_err("not a string");
    assert!(message.contains("password must be a string"), "{message}");
}

#[test]
fn serialised_it_keeps_the_password_and_printed_it_does_not() {
    let config = Config::new("redis", 6379).with_username("u").with_password(SECRET);
    let json = serde_json::to_string(&config).expect("plain data");
    assert_eq!(serde_json::from_str::<Config>(&json).ok(), Some(config.clone()));
    assert_no_secret(&format!("{config} {config:?} {config:#?}"));
    let password = Password::from(SECRET);
    assert_eq!(format!("{password} {password:?}"), "*** ***");
}

/// URLs, `Display` and validation work from the table, so that a field missing there would be silently out of reach.
#[test]
fn the_table_has_every_field() {
    let config = Config { max_age: Some(Duration::from_secs(1)), ..Config::default() };
    let json = serde_json::to_value(&config).expect("plain data");
    let mut fields = Vec::new();
    collect_leaves("", &json, &mut fields);
    fields.retain(|field| field != "db" && !field.starts_with("endpoint."));
    let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name.to_owned()).collect();
    names.sort();
    fields.sort();
    assert_eq!(names, fields);
}

fn collect_leaves(prefix: &str, value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                collect_leaves(&format!("{prefix}{dot}{name}"), value, leaves);
            }
        }
        _ => leaves.push(prefix.to_owned()),
    }
}

/// Each row reads and writes the field it is named after: a value set through the row shows in the file under its name.
#[test]
fn each_row_of_the_table_is_its_own_field() {
    for setting in SETTINGS {
        let mut config = Config::default();
        let candidates = ["7m", "77", "resp3", "ping", "fail_fast"];
        let set = candidates.iter().any(|text| setting.parse(&mut config, text).is_ok());
        assert!(set, "{} takes none of the candidates", setting.name);
        let changed = serde_json::to_value(&config).expect("plain data");
        let default = serde_json::to_value(Config::default()).expect("plain data");
        let pointer = format!("/{}", setting.name.replace('.', "/"));
        assert_ne!(changed.pointer(&pointer), default.pointer(&pointer), "{}", setting.name);
        let printed = setting.print(&config).expect("it was just set");
        let mut again = Config::default();
        setting.parse(&mut again, &printed).expect("what it printed");
        assert_eq!(again, config, "{}", setting.name);
    }
}

#[test]
fn names_in_a_url_are_unique() {
    let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.short).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
