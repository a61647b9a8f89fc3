//! Clusters in every form that a configuration comes in: what they mean, and which are refused for which reason.

use super::super::{ClusterSeed, Config, ConfigError, Endpoint};
use super::{SECRET, assert_no_secret, message};

fn expected() -> Config {
    Config::cluster([ClusterSeed::new("a", 6379), ClusterSeed::new("b", 5000)])
}

fn from_vars(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn urls() {
    let cases = [
        ("redis+cluster://a,b:5000", expected()),
        ("VALKEY+CLUSTER://a:6379,b:5000/", expected()),
        ("redis-cluster://u:p@a,b:5000/0", expected().with_username("u").with_password("p")),
        ("redis+cluster://[::1]:1", Config::cluster([ClusterSeed::new("::1", 1)])),
    ];
    for (url, expected) in cases {
        assert_eq!(Config::from_url(url).as_ref(), Ok(&expected), "{url}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn with_tls() {
    for url in ["rediss+cluster://a,b:5000", "valkeys+cluster://a,b:5000"] {
        assert_eq!(Config::from_url(url), Ok(expected().with_tls(crate::TlsSettings::new())), "{url}");
    }
    assert!(expected().with_tls(crate::TlsSettings::new()).to_string().starts_with("rediss+cluster://a:6379,b:5000"));
}

#[test]
fn what_is_printed_has_no_password_and_reads_back() {
    let config = expected().with_password(SECRET);
    let printed = config.to_string();
    assert_eq!(printed, "redis+cluster://:***@a:6379,b:5000");
    assert_no_secret(&format!("{config:?} {} {:?}", config.endpoint, config.endpoint));
    assert_eq!(config.endpoint.to_string(), "cluster a:6379,b:5000");
    assert_eq!(Config::from_url(&expected().to_string()), Ok(expected()));
}

#[test]
fn files_and_variables() {
    for endpoint in [
        serde_json::json!({ "cluster": ["a", "b:5000"] }),
        serde_json::json!({ "cluster": "a,b:5000" }),
        serde_json::json!("redis+cluster://a,b:5000"),
    ] {
        let read = serde_json::from_value::<Config>(serde_json::json!({ "endpoint": endpoint }));
        assert_eq!(read.expect("a valid file"), expected());
    }
    let written = serde_json::to_value(expected().endpoint).expect("written");
    assert_eq!(written, serde_json::json!({ "cluster": ["a:6379", "b:5000"] }));
    assert_eq!(from_vars(&[("REDIS_URL", "redis+cluster://a,b:5000")]), Ok(expected()));
}

#[test]
fn what_does_not_go_with_a_cluster() {
    let cases = [
        ("redis+cluster://", "cluster list is empty"),
        ("redis+cluster://a/3", "one database, number 0"),
        ("redis+cluster://a?db=1", "one database, number 0"),
        ("redis+cluster://a,,b", "host is empty"),
        ("redis+cluster://x:y@a,z@b", "several @"),
    ];
    for (url, expected) in cases {
        let told = message(Config::from_url(url));
        assert!(told.contains(expected), "{url}: {told}");
    }
    let many = Config::cluster((0..33).map(|number| ClusterSeed::new(format!("n{number}"), 6379)));
    assert!(message(many.validate().map(|()| Config::default())).contains("longer than 32"));
    let told = message(from_vars(&[("REDIS_URL", "redis+cluster://a"), ("REDIS_HOST", "a")]));
    assert!(told.contains("disagree"), "{told}");
    assert!(matches!(expected().endpoint, Endpoint::Cluster(_)));
}
