//! The environment: which variable counts, and which combinations are refused.

use super::super::{Config, ConfigError, Endpoint};
use super::{SECRET, message};

fn read(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn understood() {
    let redis = || Config::new("redis", 6379);
    let cases: &[(&[(&str, &str)], Config)] = &[
        (&[("REDIS_URL", "redis://redis")], redis()),
        (&[("REDIS_URL", " redis://redis\n"), ("REDIS_HOST", "")], redis()),
        (&[("REDIS_URL", "redis:6379,defaultDatabase=1")], redis().with_db(1)),
        (&[("REDIS_HOST", "redis")], redis()),
        (&[("REDIS_HOST", " redis "), ("REDIS_PORT", " 6380 ")], Config::new("redis", 6380)),
        (&[("REDIS_HOST", "[::1]"), ("REDIS_PORT", "1")], Config::new("::1", 1)),
        (&[("REDIS_HOST", "::1")], Config::new("::1", 6379)),
        (&[("REDIS_HOST", "redis"), ("REDIS_PORT", "")], redis()),
        (&[("REDIS_PORT", "tcp://10.0.0.1:6380")], Config::new("10.0.0.1", 6380)),
        (&[("REDIS_PORT", "tcp://[fd00::1]:6380")], Config::new("fd00::1", 6380)),
        (&[("REDIS_HOST", "redis"), ("REDIS_PORT", "tcp://10.0.0.1:6380")], Config::new("redis", 6380)),
        (&[("REDIS_URL", "redis://redis"), ("REDIS_PORT", "tcp://10.0.0.1:6380")], redis()),
        (&[("REDIS_URL", "redis://redis"), ("REDIS_PORT", "6380")], Config::new("redis", 6380)),
        (&[("REDIS_URL", "redis://redis:6379"), ("REDIS_PORT", "6379"), ("REDIS_HOST", "redis")], redis()),
        (&[("REDIS_URL", "redis://[::1]"), ("REDIS_HOST", "0:0:0:0:0:0:0:1")], Config::new("::1", 6379)),
        (&[("REDIS_URL", "unix:///s"), ("REDIS_PORT", "tcp://10.0.0.1:6380")], Config::unix("/s")),
        (&[("REDIS_URL", "redis://redis"), ("REDIS_PORT", "tcp://10.0.0.1")], redis()),
        (&[("REDIS_URL", "redis://redis"), ("REDIS_PORT", "udp://10.0.0.1:6380")], redis()),
        (&[("REDIS_URL", "redis://redis"), ("REDIS_PORT", "sctp://10.0.0.1:6380")], redis()),
        (
            &[("REDIS_URL", "redis://redis"), ("REDIS_USERNAME", "u"), ("REDIS_PASSWORD", " p "), ("REDIS_DB", "3")],
            redis().with_username("u").with_password(" p ").with_db(3),
        ),
        (
            &[
                ("REDIS_URL", "redis://u:p@redis/3"),
                ("REDIS_USERNAME", "u"),
                ("REDIS_PASSWORD", "p"),
                ("REDIS_DB", "3"),
            ],
            redis().with_username("u").with_password("p").with_db(3),
        ),
        (&[("REDIS_HOST", "redis"), ("REDIS_PASSWORD", "")], redis()),
    ];
    for (vars, expected) in cases {
        assert_eq!(read(vars).as_ref(), Ok(expected), "{vars:?}");
    }
}

#[test]
fn refused() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "set REDIS_URL (redis://:password@host:6379/0), or REDIS_HOST"),
        (&[("REDIS_PORT", "6379")], "set REDIS_URL"),
        (&[("REDIS_URL", ""), ("REDIS_PASSWORD", SECRET)], "set REDIS_URL"),
        (&[("REDIS_URL", "redis://a"), ("REDIS_HOST", "b")], "REDIS_URL and REDIS_HOST disagree"),
        (&[("REDIS_URL", "redis://a:1"), ("REDIS_PORT", "2")], "REDIS_URL and REDIS_PORT disagree"),
        (&[("REDIS_URL", "redis://a/1"), ("REDIS_DB", "2")], "REDIS_URL and REDIS_DB disagree"),
        (&[("REDIS_URL", "redis://u:p@a"), ("REDIS_USERNAME", "v")], "REDIS_URL and REDIS_USERNAME disagree"),
        (&[("REDIS_URL", "redis://:p@a"), ("REDIS_PASSWORD", SECRET)], "REDIS_URL and REDIS_PASSWORD disagree"),
        (&[("REDIS_URL", "unix:///s"), ("REDIS_HOST", "b")], "REDIS_URL and REDIS_HOST disagree"),
        (&[("REDIS_URL", "unix:///s"), ("REDIS_PORT", "6379")], "REDIS_URL and REDIS_PORT disagree"),
        (&[("REDIS_HOST", "redis://b")], "REDIS_HOST: host is a whole URL"),
        (&[("REDIS_HOST", "b:6379")], "REDIS_HOST: host has a port in it"),
        (&[("REDIS_HOST", "b"), ("REDIS_PORT", "0")], "REDIS_PORT: port is not a port, expected a number from 1"),
        (&[("REDIS_HOST", "b"), ("REDIS_PORT", "tcp://10.0.0.1")], "REDIS_PORT: port is not a tcp:// address with"),
        (&[("REDIS_HOST", "b"), ("REDIS_PORT", "udp://10.0.0.1:1")], "REDIS_PORT: port is not a tcp:// address with"),
        (&[("REDIS_PORT", "tcp://0.0.0.0:6379")], "REDIS_PORT: host is a wildcard address"),
        (&[("REDIS_PORT", "udp://10.0.0.1:6379")], "REDIS_PORT: port is not a tcp:// address with"),
        (&[("REDIS_URL", "redis://a"), ("REDIS_PORT", "http://b:1")], "REDIS_PORT: port is not a port"),
        (&[("REDIS_HOST", "b"), ("REDIS_DB", "x")], "REDIS_DB: db is not a number"),
        (&[("REDIS_HOST", "b"), ("REDIS_USERNAME", "u")], "username is given without a password"),
        (&[("REDIS_HOST", "b"), ("REDIS_PASSWORD", "s3ntinel-Passw0rd\n")], "password ends in a line break"),
        (&[("REDIS_HOST", SECRET), ("REDIS_PORT", SECRET)], "REDIS_PORT"),
        (&[("REDIS_URL", SECRET), ("REDIS_DB", SECRET)], "REDIS_DB"),
    ];
    for (vars, expected) in cases {
        let message = message(read(vars));
        assert!(message.contains(expected), "{vars:?}: {message}");
    }
}

#[test]
fn the_injected_port_alone_is_the_endpoint() {
    let config = read(&[("REDIS_PORT", "tcp://10.0.0.1:6379")]).expect("Kubernetes' form");
    assert_eq!(config.endpoint, Endpoint::tcp("10.0.0.1", 6379));
}
