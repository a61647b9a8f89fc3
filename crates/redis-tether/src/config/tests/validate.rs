//! Validation: ranges and contradictions, with errors that name the field and what is allowed.

use std::time::Duration;

use super::super::table::SETTINGS;
use super::super::{Config, ConfigError, Endpoint};
use super::{SECRET, assert_no_secret, message};

fn changed(change: impl FnOnce(&mut Config)) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    change(&mut config);
    config.validate().map(|()| config)
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(Config::default().validate(), Ok(()));
    assert_eq!(Config::default().endpoint, Endpoint::tcp("localhost", 6379));
    assert_eq!(Config::unix("/run/redis.sock").validate(), Ok(()));
}

/// Zero and the largest value of every duration and count are out of range, and the error names the setting.
#[test]
fn every_setting_has_bounds() {
    for setting in SETTINGS {
        for extreme in ["0s", "500years", "0", "18446744073709551615"] {
            let mut config = Config::default();
            if setting.parse(&mut config, extreme).is_err() {
                continue; // A duration does not take a count, nor the other way round.
            }
            if setting.name.starts_with("tls.") || setting.name.ends_with("_file") || setting.name == "replicas.host" {
                continue; // Texts.
            }
            match config.validate() {
                Err(ConfigError::OutOfRange { field, .. }) => assert_eq!(field, setting.name),
                other => panic!("{} = {extreme} gave {other:?}", setting.name),
            }
        }
    }
}

#[test]
fn contradictions() {
    let ms = Duration::from_millis;
    let cases: [(&str, Result<Config, ConfigError>); 10] = [
        (
            "detection.suspect_after (5s) must be below detection.dead_after (5s)",
            changed(|c| c.detection.suspect_after = ms(5000)),
        ),
        (
            "detection.probe_timeout (3s1ms) must not exceed detection.probe_interval (3s)",
            changed(|c| c.detection.probe_timeout = ms(3001)),
        ),
        ("dial.connect_timeout (4s) must not exceed dial.timeout (3s)", changed(|c| c.dial.connect_timeout = ms(4000))),
        (
            "pacing.unreachable.first (101ms) must not exceed pacing.unreachable.early_cap (100ms)",
            changed(|c| c.pacing.unreachable.first = ms(101)),
        ),
        (
            "pacing.unreachable.early_cap (201ms) must not exceed pacing.unreachable.late_cap (200ms)",
            changed(|c| c.pacing.unreachable.early_cap = ms(201)),
        ),
        (
            "pacing.rejected.first (251ms) must not exceed pacing.rejected.early_cap (250ms)",
            changed(|c| c.pacing.rejected.first = ms(251)),
        ),
        (
            "pacing.rejected.early_cap (5s1ms) must not exceed pacing.rejected.late_cap (5s)",
            changed(|c| c.pacing.rejected.early_cap = ms(5001)),
        ),
        (
            "resolve.fast_interval (50ms) must not exceed resolve.interval (49ms)",
            changed(|c| c.resolve.interval = ms(49)),
        ),
        (
            "resolve.fast_interval (50ms) must not exceed resolve.outage_interval (49ms)",
            changed(|c| c.resolve.outage_interval = ms(49)),
        ),
        ("failures_before_resolve is 0, allowed is 1 to 1000", changed(|c| c.failures_before_resolve = 0)),
    ];
    for (expected, result) in cases {
        assert_eq!(message(result), expected);
    }
}

#[test]
fn a_hold_window_beyond_the_deadline_is_fine() {
    assert!(changed(|c| c.commands.hold_window = Duration::from_secs(60)).is_ok());
}

#[test]
fn endpoints() {
    let long = "a".repeat(64);
    let cases = [
        (Config::new("", 6379), "host is empty"),
        (Config::new("redis", 0), "endpoint.port is 0, allowed is 1 to 65535"),
        (Config::new("redis://redis", 6379), "host is a whole URL"),
        (Config::new("redis:6379", 6379), "host has a port in it"),
        (Config::new("user@redis", 6379), "host has credentials in it"),
        (Config::new("a,b", 6379), "host has a comma"),
        (Config::new(long, 6379), "label"),
        (Config::new("[redis]", 6379), "not a valid IPv6"),
        (Config::new("/run/redis.sock", 6379), "unix:///path"),
        (Config::unix(""), "path is empty"),
        (Config::unix("redis.sock"), "path is relative"),
        (Config::unix("/a\0b"), "NUL"),
        (Config::unix(format!("/{}", "a".repeat(107))), "107 bytes"),
    ];
    for (config, expected) in cases {
        let message = message(config.validate().map(|()| config));
        assert!(message.contains(expected), "{message}");
    }
}

/// What is not checked yet may be a whole URL: it is not printed.
#[test]
fn what_is_no_host_and_no_path_is_not_printed() {
    let url = format!("redis://:{SECRET}@redis:6379");
    for config in [Config::new(url.clone(), 6379), Config::new(format!("u:{SECRET}@h"), 1), Config::unix(url)] {
        assert_no_secret(&format!("{config} {config:?} {config:#?} {} {:?}", config.endpoint, config.endpoint));
        assert!(config.to_string().contains("<not a "), "{config}");
        message(config.validate().map(|()| config));
    }
    assert_eq!(Config::new("a b", 1).endpoint.to_string(), "<not a host>:1");
    assert_eq!(Endpoint::unix("redis.sock").to_string(), "<not a path>");
    assert_eq!(format!("{:?}", Endpoint::tcp("redis", 1)), r#"Tcp { host: "redis", port: 1 }"#);
    assert_eq!(format!("{:?}", Endpoint::unix("/s")), r#"Unix { path: "/s" }"#);
}

#[test]
fn texts() {
    let cases = [
        (Config::default().with_username(""), "username is empty"),
        (Config::default().with_password(""), "password is empty"),
        (Config::default().with_client_name(""), "client_name is empty"),
        (Config::default().with_client_name("a b"), "client_name has a character"),
        (Config::default().with_client_name("a\r\n"), "client_name has a character"),
        (Config::default().with_db(1 << 31), "db is 2147483648, allowed is 0 to 2147483647"),
    ];
    for (config, expected) in cases {
        let message = message(config.validate().map(|()| config));
        assert!(message.contains(expected), "{message}");
    }
}
