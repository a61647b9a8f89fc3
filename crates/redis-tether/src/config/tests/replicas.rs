//! Where replicas are, and what becomes of reads without any, as each form of a configuration has it.

use super::super::{Config, ConfigError, Fallback, ReplicaSettings};

fn readers(port: u16, fallback: Fallback) -> ReplicaSettings {
    ReplicaSettings { host: Some("readers.test".to_owned()), port, fallback }
}

#[test]
fn a_url_has_them_and_reads_back() {
    let url = "redis://redis:6379/0?replica_fallback=none&replica_host=readers.test&replica_port=6380";
    let config = Config::from_url(url).expect("a valid URL");
    assert_eq!(config.replicas, readers(6380, Fallback::None));
    assert_eq!(config.to_string(), url);
    assert_eq!(Config::new("redis", 6379).replicas, ReplicaSettings::default());
}

#[test]
fn a_file_has_a_section_for_them() {
    let json = r#"{ "endpoint": { "host": "redis" }, "replicas": { "host": "readers.test", "fallback": "none" } }"#;
    let config: Config = serde_json::from_str(json).expect("a valid file");
    assert_eq!(config.replicas, readers(6379, Fallback::None));
    let section: ReplicaSettings = serde_json::from_str(r#"{ "host": "readers.test" }"#).expect("a valid section");
    assert_eq!(section, readers(6379, Fallback::Primary));
}

fn from_vars(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(|name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn the_environment_names_a_host_with_its_port() {
    let config = from_vars(&[("REDIS_HOST", "redis"), ("REDIS_REPLICA_HOST", "readers.test:6380")]).expect("valid");
    assert_eq!(config.replicas, readers(6380, Fallback::Primary));
    let url = ("REDIS_URL", "redis://redis?replica_host=readers.test&replica_fallback=none");
    let config = from_vars(&[url, ("REDIS_REPLICA_HOST", "readers.test")]).expect("the same twice");
    assert_eq!(config.replicas, readers(6379, Fallback::None));
    let error = from_vars(&[url, ("REDIS_REPLICA_HOST", "others.test")]).expect_err("two names");
    assert_eq!(error.to_string(), "REDIS_URL and REDIS_REPLICA_HOST disagree: set one of them, or both to the same");
}

#[test]
fn what_is_no_host_is_refused_and_not_shown() {
    let mut config = Config::new("redis", 6379);
    config.replicas.host = Some("user:s3cret word@host".to_owned());
    let error = config.validate().expect_err("no host");
    assert!(error.to_string().starts_with("replicas.host "), "{error}");
    assert!(!format!("{error} {config}").contains("s3cret"), "{error} {config}");
    config.replicas = ReplicaSettings { port: 0, ..ReplicaSettings::default() };
    let error = config.validate().expect_err("no port");
    assert_eq!(error.to_string(), "replicas.port is 0, allowed is 1 to 65535");
}

#[test]
fn a_cluster_tells_of_its_own() {
    let error = Config::from_url("redis+cluster://node:6379?replica_host=readers.test").expect_err("of no use");
    assert!(matches!(error, ConfigError::Cluster { .. }) && error.to_string().contains("replicas.host"), "{error}");
}
