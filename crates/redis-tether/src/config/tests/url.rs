//! URLs: what they mean, and which are refused for which reason.

use std::time::Duration;

use super::super::{Config, ConfigError, Endpoint, HoldMode, Protocol, Retry, Verify};
use super::{SECRET, assert_no_secret, message};

fn read(url: &str) -> Config {
    Config::from_url(url).unwrap_or_else(|error| panic!("{url} was refused: {error}"))
}

#[test]
fn endpoints() {
    let cases = [
        ("redis://redis", Endpoint::tcp("redis", 6379)),
        ("redis://redis:6380", Endpoint::tcp("redis", 6380)),
        ("REDIS://redis:6380/", Endpoint::tcp("redis", 6380)),
        (" redis://redis \n", Endpoint::tcp("redis", 6379)),
        ("valkey://a.b.example.", Endpoint::tcp("a.b.example.", 6379)),
        ("redis://my_service:1", Endpoint::tcp("my_service", 1)),
        ("redis://127.0.0.1:65535", Endpoint::tcp("127.0.0.1", 65535)),
        ("redis://[::1]:6380/2", Endpoint::tcp("::1", 6380)),
        ("redis://[2001:DB8:0:0::1]", Endpoint::tcp("2001:db8::1", 6379)),
        ("redis+unix:///run/redis.sock", Endpoint::unix("/run/redis.sock")),
        ("valkey+unix:///run/a%20b/../c.sock", Endpoint::unix("/run/a b/../c.sock")),
        ("unix:///run/@redis", Endpoint::unix("/run/@redis")),
        ("unix:/run/redis.sock", Endpoint::unix("/run/redis.sock")),
        ("redis+unix:/run/redis.sock", Endpoint::unix("/run/redis.sock")),
    ];
    for (url, endpoint) in cases {
        assert_eq!(read(url).endpoint, endpoint, "{url}");
    }
}

#[test]
fn credentials() {
    let cases = [
        ("redis://h", None, None),
        ("redis://@h", None, None),
        ("redis://:@h", None, None),
        ("redis://default@h", Some("default"), None),
        ("redis://:p@h", None, Some("p")),
        ("redis://u:p@h", Some("u"), Some("p")),
        ("redis://u:p:q@h", Some("u"), Some("p:q")),
        ("redis://u:p@q@h", Some("u"), Some("p@q")),
        ("redis://u%3A:%2F%3F%23%40%25@h", Some("u:"), Some("/?#@%")),
        ("redis://u:50%off@h", Some("u"), Some("50%off")),
        ("redis://u:p+q%20r@h", Some("u"), Some("p+q r")),
        ("redis://h?user=u&pass=p%2B", Some("u"), Some("p+")),
        ("redis://h?username=u&password=p", Some("u"), Some("p")),
        ("redis://u:p@h?user=u&pass=p", Some("u"), Some("p")),
        ("redis://u@h?pass=p", Some("u"), Some("p")),
        ("unix:///s?user=u&pass=p%40", Some("u"), Some("p@")),
        ("unix:///s?pass=a+b/c==&user=u+v", Some("u+v"), Some("a+b/c==")),
        ("redis://h?pass=a%2Bb%3D%26%20", None, Some("a+b=& ")),
        ("redis://h?%70ass=a+b&&", None, Some("a+b")),
    ];
    for (url, username, password) in cases {
        let config = read(url);
        assert_eq!(config.username.as_deref(), username, "{url}");
        assert_eq!(config.password.as_ref().map(|password| password.expose()), password, "{url}");
    }
}

#[test]
fn databases() {
    for (url, db) in [
        ("redis://h", 0),
        ("redis://h/", 0),
        ("redis://h/7", 7),
        ("redis://h/7/", 7),
        ("redis://h?db=7", 7),
        ("redis://h/7?db=7", 7),
        ("unix:///s?db=7", 7),
    ] {
        assert_eq!(read(url).db, db, "{url}");
    }
}

#[test]
fn parameters() {
    let config = read(
        "redis://h?protocol=3&client_name=orders-1&verify=PING&deadline=2s&hold_window=1s500ms&max_held=7\
         &max_held_bytes=2048&retry=read_only&max_retries=2&fail_fast=true&suspect_after=100ms&detection.dead_after=4s&probe_interval=1s\
         &probe_timeout=99ms&failures_before_resolve=9&dial_timeout=2s&connect_timeout=500ms&resolve_interval=3s\
         &max_age=1h&drain_timeout=1s&pacing.rejected.first=60ms&keepalive_retries=4",
    );
    let mut expected = Config::new("h", 6379).with_client_name("orders-1");
    expected.protocol = Protocol::Resp3;
    expected.verify = Verify::Ping;
    expected.commands.deadline = Duration::from_secs(2);
    expected.commands.hold = HoldMode::FailFast;
    expected.commands.hold_window = Duration::from_millis(1500);
    expected.commands.max_held = 7;
    expected.commands.max_held_bytes = 2048;
    expected.commands.retry = Retry::ReadOnly;
    expected.commands.max_retries = 2;
    expected.detection.suspect_after = Duration::from_millis(100);
    expected.detection.dead_after = Duration::from_secs(4);
    expected.detection.probe_interval = Duration::from_secs(1);
    expected.detection.probe_timeout = Duration::from_millis(99);
    expected.failures_before_resolve = 9;
    expected.dial.timeout = Duration::from_secs(2);
    expected.dial.connect_timeout = Duration::from_millis(500);
    expected.dial.keepalive_retries = 4;
    expected.resolve.interval = Duration::from_secs(3);
    expected.pacing.rejected.first = Duration::from_millis(60);
    expected.max_age = Some(Duration::from_secs(3600));
    expected.drain_timeout = Duration::from_secs(1);
    assert_eq!(config, expected);
}

#[test]
fn refused() {
    let cases = [
        ("", "no scheme"),
        ("redis", "no scheme"),
        ("redis:h", "not followed by //"),
        ("redis://", "host is empty"),
        ("redis:///1", "host is empty"),
        ("redis://:6379", "host is empty"),
        ("http://h", "unknown URL scheme, allowed are redis, valkey"),
        ("redis://h?sentinel_user=u", "sentinel_user means nothing here"),
        ("redis://a:1,b:2", "several endpoints"),
        ("redis://h:0", "port is not a port, expected a number from 1 to 65535"),
        ("redis://h:65536", "expected a number from 1 to 65535"),
        ("redis://h:port", "expected a number from 1 to 65535"),
        ("redis://h:", "expected a number from 1 to 65535"),
        ("redis://::1:6379", "has several colons"),
        ("redis://[::g]", "not a valid IPv6 address"),
        ("redis://[::1", "does not close it"),
        ("redis://[::1]6379", "other than :port"),
        ("redis://[fe80::1%25eth0]", "zones"),
        ("redis://0.0.0.0", "wildcard"),
        ("redis://[::]", "wildcard"),
        ("redis://a b", "no host name has"),
        ("redis://${HOST}", "no host name has"),
        ("redis://bücher", "xn--"),
        ("redis://a..b", "label"),
        ("redis://h/one", "db is not a number"),
        ("redis://h/-1", "db is not a number"),
        ("redis://h/4294967295", "db is 4294967295, allowed is 0 to 2147483647"),
        ("redis://h/1?db=2", "db is given twice"),
        ("redis://h#insecure", "fragment"),
        ("redis://u@h", "username is given without a password"),
        ("redis://u:%ff@h", "password is not UTF-8"),
        ("unix://h/path", "three slashes"),
        ("unix:run/redis.sock", "write unix:///path"),
        ("redis:/h", "write redis://host:6379"),
        ("redis://h?pass=%ff", "password is not UTF-8"),
        ("unix://", "unix socket path is empty"),
        ("unix:///s#x", "fragment"),
        (
            "redis://h?dedline=2s",
            "parameter `dedline` is not known, allowed are user, pass, db, client_name, fail_fast, sentinel_user, sentinel_pass, username_file, password_file, protocol",
        ),
        ("redis://h?deadline", "commands.deadline is empty, expected a duration with its unit"),
        ("redis://h?deadline=2", "commands.deadline is `2`, expected a duration with its unit"),
        ("redis://h?deadline=-2s", "expected a duration"),
        ("redis://h?deadline=0s", "commands.deadline is 0s, allowed is 1ms to 1h"),
        ("redis://h?deadline=99999999999999y", "expected a duration"),
        ("redis://h?deadline=300years", "commands.deadline is 300years"),
        ("redis://h?deadline=1s&commands.deadline=2s", "commands.deadline is given twice"),
        ("redis://h?fail_fast=true&hold=hold", "commands.hold is given twice"),
        ("redis://h?fail_fast=1", "fail_fast is `1`, expected true or false"),
        ("redis://h?max_held=many", "commands.max_held is `many`, expected a whole number"),
        ("redis://h?max_held=99999999999", "commands.max_held is 99999999999, allowed is 1 to 10000000"),
        ("redis://h?verify=maybe", "verify is `maybe`, expected auto, hello, role, ping or none"),
        ("redis://h?protocol=resp4", "protocol is `resp4`, expected resp2"),
        ("redis://h?client_name=a%20b", "client_name has a character"),
    ];
    for (url, expected) in cases {
        let message = message(Config::from_url(url));
        assert!(message.contains(expected), "{url}: {message}");
    }
}

/// Wherever a mistyped URL leaves its password, the error does not show it.
#[test]
fn misplaced_passwords_stay_secret() {
    let cases = [
        "{}",
        "{}@h",
        "u:{}@h",
        "{}://h",
        "redis:{}@h",
        "redis://u:{}",
        "redis://{}@h",
        "redis://u:12/{}@h",
        "redis://u:12?{}@h",
        "redis://u:12#{}@h",
        "redis://u:a/{}@h:6379/0",
        "redis://u:a?{}@h:6379/0",
        "redis://u:a#{}@h:6379/0",
        "redis://u:{}@h:port",
        "redis://u:{}@h/x",
        "redis://u:{}@",
        "redis://u:{}@a,b",
        "redis://u:{}%ff@h",
        "redis://h?pass=a&{}=b",
        "redis://h?pass=a&{}",
        "redis://u:{}@h?pass=other",
        "redis://h?deadline=2s,password={}",
        "redis://h?protocol=2;password={}",
        "redis://h?db={}",
        "redis://[{}]",
        "redis://h/{}",
        "rediss:u:{}@h",
        "rediss://u:{}@h#insecure#",
        "rediss://h?tls_ca_file=redis://:{}@h",
        "rediss://h?tls_server_name={}@h",
        "redis://h?tls_ca_file={}",
        "redis+sentinel://u:{}@h",
        "unix://u:{}@/s",
        "unix:///s?pass={}&deadline=x",
    ];
    for case in cases {
        let url = case.replace("{}", SECRET);
        message(Config::from_url(&url));
        if let Err(error) = url.parse::<Config>() {
            assert_no_secret(&format!("{error} {error:?}"));
        }
    }
}

#[test]
fn an_at_sign_after_the_host_says_what_to_encode() {
    let error = Config::from_url("redis://u:a/b@h").expect_err("the password has a slash");
    assert!(error.to_string().contains("percent-encode / ? # and @"), "{error}");
    assert!(matches!(error, ConfigError::MalformedUrl { .. }));
}

#[test]
fn display_is_the_url_with_what_is_not_default() {
    let mut config = Config::new("redis", 6379);
    assert_eq!(config.to_string(), "redis://redis:6379/0");
    config = config.with_username("app/1").with_password(SECRET).with_db(2).with_client_name("a&b");
    config.commands.deadline = Duration::from_millis(1500);
    config.commands.hold = HoldMode::FailFast;
    assert_eq!(
        config.to_string(),
        "redis://app%2F1:***@redis:6379/2?client_name=a%26b&deadline=1s500ms&hold=fail_fast"
    );
    assert_eq!(Config::new("[::1]", 1).to_string(), "redis://[::1]:1/0");
    let unix = Config::unix("/run/a b.sock").with_username("u").with_password(SECRET).with_db(3);
    assert_eq!(unix.to_string(), "redis+unix:///run/a%20b.sock?db=3&user=u&pass=***");
}

#[test]
fn from_str_takes_both_forms() {
    for text in ["redis://redis:6380/1", "redis:6380,defaultDatabase=1", "redis:6380 , defaultDatabase=1"] {
        let config: Config = text.parse().expect(text);
        assert_eq!(config, Config::new("redis", 6380).with_db(1), "{text}");
    }
    assert_eq!("unix:/tmp/x".parse(), Ok(Config::unix("/tmp/x")));
    assert_eq!("unix:6379".parse(), Ok(Config::new("unix", 6379)));
}

/// A scheme and a colon make a URL, unless a port follows: the error then shows how a URL is written.
#[test]
fn a_scheme_without_its_slashes_is_a_mistyped_url() {
    for (text, expected) in [
        ("redis:/redis:6379", "write redis://host:6379"),
        ("redis:", "write redis://host:6379"),
        ("unix:redis.sock", "write unix:///path"),
        ("rediss:redis", "write redis://host:6379"),
        ("redis:s3ntinel-Passw0rd@redis", "write redis://host:6379"),
        ("host:/redis", "port is not a port"),
    ] {
        let message = message(text.parse());
        assert!(message.contains(expected), "{text}: {message}");
    }
}

/// There is a resolver for them, and no scheme.
#[test]
fn who_asks_for_srv_records_by_a_scheme_is_told_how_to() {
    let error = Config::from_url("redis+srv://redis.example.com").expect_err("no scheme of ours");
    let line = error.to_string();
    assert!(line.contains("redis://_redis._tcp.example.com") && line.contains("feature hickory"), "{line}");
    assert_eq!(read("redis://_redis._tcp.example.com").endpoint, Endpoint::tcp("_redis._tcp.example.com", 6379));
}
