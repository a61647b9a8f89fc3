//! The serde form, as a file has it. JSON stands for every format.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::table::SETTINGS;
use super::super::{CommandSettings, Config, Endpoint, HoldMode, Password, ReplicaSettings, Verify};
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
        (json!({ "host": "redis", "port": "6380" }), Endpoint::tcp("redis", 6380)),
        (json!({ "path": "/run/redis.sock" }), Endpoint::unix("/run/redis.sock")),
        (json!("redis://redis:6380"), Endpoint::tcp("redis", 6380)),
        (json!("valkey://[::1]/"), Endpoint::tcp("::1", 6379)),
        (json!("unix:///run/@redis.sock"), Endpoint::unix("/run/@redis.sock")),
    ];
    for (value, endpoint) in cases {
        assert_eq!(read(json!({ "endpoint": value })).expect("an endpoint").endpoint, endpoint);
    }
}

#[test]
fn refused() {
    let cases = [
        (json!([]), "configuration is a list, expected a table of settings, a URL or"),
        (
            json!({ "hots": 1 }),
            "field `hots` is not known, allowed are endpoint, username, password, db, client_name, ",
        ),
        (json!({ "commands.deadline": "1s" }), "field `commands.deadline` is not known, allowed are endpoint"),
        (json!({ "endpoint": { "hots": "x" } }), "field `endpoint.hots` is not known, allowed are host, port, path"),
        (json!({ "endpoint": null }), "endpoint is empty, expected a table with a host"),
        (json!({ "endpoint": { "port": 1 } }), "endpoint is without a host and without the path of a unix socket"),
        (json!({ "endpoint": { "host": "h", "path": "/p" } }), "endpoint is a path together with a host or a port"),
        (json!({ "endpoint": { "host": 7 } }), "endpoint.host is a number, expected text"),
        (json!({ "endpoint": { "host": "redis://h" } }), "endpoint: host is a whole URL"),
        (json!({ "endpoint": { "path": "redis.sock" } }), "endpoint: unix socket path is relative"),
        (json!({ "endpoint": { "host": "h", "port": 0 } }), "port is not a port, expected a number from 1 to 65535"),
        (json!({ "endpoint": { "host": "h", "port": 65536 } }), "expected a number from 1 to 65535"),
        (json!({ "endpoint": { "host": "h", "port": [1] } }), "endpoint.port is a list, expected a number from 1"),
        (json!({ "endpoint": "redis" }), "an endpoint that is text is a URL, redis://host:6379 or unix:///path"),
        (json!({ "endpoint": "redis://u:p@h" }), "an endpoint has no credentials, database or parameters"),
        (json!({ "endpoint": "redis://:p@h" }), "an endpoint has no credentials"),
        (json!({ "endpoint": "redis://h/0" }), "an endpoint has no credentials, database"),
        (json!({ "endpoint": "unix:///s?pass=p" }), "an endpoint has no credentials"),
        (json!({ "endpoint": "redis://h?deadline=5s" }), "an endpoint has no credentials, database or parameters"),
        (json!({ "username": 7 }), "username is a number, expected text"),
        (json!({ "db": -1 }), "db is not a number, expected a whole number from 0"),
        (json!({ "db": 1.5 }), "db is a number with a point, expected a whole number"),
        (json!({ "commands": null }), "commands is empty, expected a table of settings"),
        (json!({ "pacing": { "rejected": "1s" } }), "pacing.rejected is text"),
        (
            json!({ "commands": { "dedline": "1s" } }),
            "field `commands.dedline` is not known, allowed are deadline, hold,",
        ),
        (json!({ "commands": { "deadline": { "secs": 1 } } }), "commands.deadline is a table, expected a duration"),
        (json!({ "commands": { "max_held": true } }), "commands.max_held is true or false, expected a whole number"),
        (json!({ "commands": { "max_held": 0 } }), "commands.max_held is 0, allowed is 1 to 10000000"),
        (json!({ "dial": { "keepalive_retries": 4_294_967_299_u64 } }), "dial.keepalive_retries is"),
        (json!({ "detection": { "x": 1 } }), "field `detection.x` is not known"),
        (json!({ "dial": { "x": 1 } }), "field `dial.x` is not known"),
        (json!({ "resolve": { "x": 1 } }), "field `resolve.x` is not known"),
        (json!({ "pacing": { "x": 1 } }), "field `pacing.x` is not known, allowed are unreachable, rejected"),
        (json!({ "pacing": { "rejected": { "x": 1 } } }), "field `pacing.rejected.x` is not known, allowed are first,"),
        (json!({ "commands": { "deadline": 5 } }), "commands.deadline is `5`, expected a duration with its unit"),
        (json!({ "commands": { "deadline": "5" } }), "commands.deadline is `5`, expected a duration with its unit"),
        (json!({ "verify": "maybe" }), "verify is `maybe`, expected auto, hello, role, ping or none"),
    ];
    for (value, expected) in cases {
        let message = read(value.clone()).expect_err("this file should have been refused");
        assert!(message.contains(expected), "{value}: {message}");
    }
    for twice in [r#"{"db":1,"db":1}"#, r#"{"endpoint":{"host":"h","host":"h"}}"#, r#"{"dial":{},"dial":{}}"#] {
        let message = serde_json::from_str::<Config>(twice).expect_err("given twice").to_string();
        assert!(message.contains("is given twice"), "{message}");
    }
}

#[test]
fn text_in_place_of_the_whole_is_a_url_or_a_connection_string() {
    for text in
        ["redis://u:p@redis:6380/1?deadline=2s", "redis:6380,user=u,password=p,defaultDatabase=1,asyncTimeout=2000"]
    {
        let mut expected = Config::new("redis", 6380).with_username("u").with_password("p").with_db(1);
        expected.commands.deadline = Duration::from_secs(2);
        assert_eq!(read(json!(text)), Ok(expected), "{text}");
    }
}

/// Environments have nothing but text, some formats have null, and serde_json may hand numbers over as a table.
#[test]
fn numbers_and_nothing_come_in_several_forms() {
    let expected = Config::new("h", 1).with_db(3);
    for db in [json!(3), json!("3"), json!({ "$serde_json::private::Number": "3" })] {
        let endpoint = json!({ "host": "h", "port": 1 });
        assert_eq!(
            read(json!({ "endpoint": endpoint, "db": db, "password": null, "max_age": null })),
            Ok(expected.clone())
        );
    }
}

/// A part of a configuration is read as in its place, for applications that have it in a file of their own.
#[test]
fn parts() {
    let commands: CommandSettings = serde_json::from_value(json!({ "max_held": 7 })).expect("a section");
    assert_eq!(commands, CommandSettings { max_held: 7, ..CommandSettings::default() });
    assert_eq!(serde_json::from_value::<Verify>(json!("ping")).expect("a word"), Verify::Ping);
    assert_eq!(
        serde_json::from_value::<Endpoint>(json!({ "host": "h" })).expect("an endpoint"),
        Endpoint::tcp("h", 6379)
    );
    let error = serde_json::from_value::<CommandSettings>(json!(URL)).expect_err("no section").to_string();
    assert_no_secret(&error);
    assert!(error.contains("commands is text"), "{error}");
}

/// A whole URL, pasted where something less belongs.
const URL: &str = "redis://:s3ntinel-Passw0rd@redis:6379";

/// Wherever a URL is pasted, as a value or as a name, neither the error nor what is printed shows its password.
#[test]
fn a_misplaced_url_stays_secret() {
    let mut config = Config::new("redis", 6379).with_username("u").with_password("p").with_client_name("c");
    config.max_age = Some(Duration::from_secs(60));
    config.tls = Some(super::all_of_tls());
    let whole = serde_json::to_value(&config).expect("plain data");
    let mut places = vec![String::new(), "/endpoint/path".to_owned()];
    collect_places("", &whole, &mut places);
    assert!(places.len() > SETTINGS.len() + 10, "{places:?}");
    for place in places {
        for pasted in [json!(URL), json!([URL]), json!({ URL: 1 }), json!({ "x": URL }), json!(format!(" {URL}/x"))] {
            let mut document = whole.clone();
            match (document.pointer_mut(&place), place.rsplit_once('/')) {
                (Some(value), _) => *value = pasted.clone(),
                (None, Some((parent, name))) => document.pointer_mut(parent).expect(parent)[name] = pasted.clone(),
                (None, None) => unreachable!("the whole is there"),
            }
            let result = read(document.clone());
            let is_text = ["/username", "/password", "/client_name"].contains(&place.as_str());
            match result {
                Err(error) => {
                    assert_no_secret(&error);
                    let field = place.rsplit('/').next().unwrap_or_default();
                    let names_it = error.contains(field) || error.contains("is not known");
                    assert!(names_it, "{place}: {error}");
                }
                Ok(config) if place.is_empty() => assert_no_secret(&format!("{config} {config:?}")),
                Ok(_) => assert!(is_text, "{place} took {pasted}"),
            }
        }
    }
}

fn collect_places(prefix: &str, value: &Value, places: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let place = format!("{prefix}/{name}");
        collect_places(&place, value, places);
        places.push(place);
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
    assert!(message.contains("password is a number, expected text: write it in quotes"), "{message}");
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
    let tls = Some(super::all_of_tls());
    let replicas = ReplicaSettings { host: Some("readers".to_owned()), ..ReplicaSettings::default() };
    let config = Config { max_age: Some(Duration::from_secs(1)), tls, replicas, ..Config::default() }
        .with_username_file("/run/secrets/user")
        .with_password_file("/run/secrets/password");
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
        let path = if setting.name.ends_with("_file") { "/7m" } else { "7m" };
        let candidates = [path, "77", "resp3", "ping", "fail_fast", "read_only", "insecure", "accept", "none"];
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
