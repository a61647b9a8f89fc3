//! TLS in each form of a configuration: what asks for it, what is refused, and that nothing asks for less than it seems to.

use serde_json::{Value, json};

use super::super::{Config, ConfigError, TlsSettings, TlsVerify};
use super::{SECRET, all_of_tls, assert_no_secret, message};

fn tls() -> Config {
    Config::new("redis", 6379).with_tls(TlsSettings::new())
}

fn with(change: impl FnOnce(&mut TlsSettings)) -> Config {
    let mut settings = TlsSettings::new();
    change(&mut settings);
    tls().with_tls(settings)
}

fn insecure() -> Config {
    with(|tls| tls.verify = TlsVerify::Insecure)
}

fn from_json(value: Value) -> Result<Config, String> {
    serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
}

fn from_vars(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn urls() {
    let cases = [
        ("rediss://redis", tls()),
        ("VALKEYS://redis:6379/", tls()),
        ("rediss://redis/#insecure", insecure()),
        ("rediss://redis#insecure", insecure()),
        ("rediss://redis?tls_verify=insecure", insecure()),
        ("rediss://redis?tls.verify=insecure#insecure", insecure()),
        ("rediss://redis?tls_verify=FULL", tls()),
        ("rediss://redis?tls_server_name=10.0.0.1", with(|tls| tls.server_name = Some("10.0.0.1".to_owned()))),
        ("rediss://redis?tls_ca_file=/a%20b/ca.pem", with(|tls| tls.ca_file = Some("/a b/ca.pem".into()))),
        (
            "rediss://redis?tls_ca_file=/etc/redis/ca.pem&tls_cert_file=/etc/redis/cert.pem\
             &tls.key_file=/etc/redis/key.pem&tls_server_name=redis.internal",
            tls().with_tls(all_of_tls()),
        ),
    ];
    for (url, config) in cases {
        assert_eq!(Config::from_url(url), Ok(config.clone()), "{url}");
        assert_eq!(Config::from_url(&config.to_string()), Ok(config), "{url}");
    }
    assert_eq!(insecure().to_string(), "rediss://redis:6379/0?tls_verify=insecure");
}

#[test]
fn urls_that_are_refused() {
    let cases = [
        ("redis://h?tls_ca_file=/ca.pem", "write rediss:// or valkeys://"),
        ("redis://h?tls_verify=full", "write rediss:// or valkeys://"),
        ("redis://h#insecure", "fragment"),
        ("rediss://h#secure", "fragment"),
        ("rediss://h?tls_verify=full#insecure", "tls.verify is given twice"),
        ("rediss://h?tls_verify=none", "tls.verify is `none`, expected full or insecure"),
        ("rediss://h?tls_cert_file=/c.pem", "tls has a cert_file without the key_file"),
        ("rediss://h?tls_key_file=/k.pem", "tls has a key_file without the cert_file"),
        ("rediss://h?tls_ca_file=", "tls.ca_file is empty"),
        ("rediss://h?tls_ca_file=https://x/ca.pem", "tls.ca_file is a URL"),
        ("rediss://h?tls_server_name=a:1", "tls.server_name is neither a DNS name nor an IP address"),
        ("unix:///s?tls_ca_file=/ca.pem", "the endpoint is a unix socket"),
    ];
    for (url, expected) in cases {
        let message = message(Config::from_url(url));
        assert!(message.contains(expected), "{url}: {message}");
    }
}

#[test]
fn connection_strings() {
    let named = |port| Config { endpoint: super::super::Endpoint::tcp("redis", port), ..tls() };
    assert_eq!(Config::from_stackexchange("redis:6379,ssl=true"), Ok(tls()));
    assert_eq!(Config::from_stackexchange("redis,SSL=True"), Ok(named(6380)), "that library's port with TLS");
    assert_eq!(Config::from_stackexchange("redis:6379,ssl=false,sslHost=x"), Ok(Config::new("redis", 6379)));
    assert_eq!(
        Config::from_stackexchange("redis:6379,sslHost=redis.internal,ssl=true"),
        Ok(with(|tls| tls.server_name = Some("redis.internal".to_owned())))
    );
    let message = message(Config::from_stackexchange("h,ssl=true,sslHost=a b"));
    assert!(message.contains("tls.server_name is neither"), "{message}");
}

#[test]
fn environments() {
    let ca = |config: &mut Config| config.tls.get_or_insert_default().ca_file = Some("/ca.pem".into());
    let mut trusting = tls();
    ca(&mut trusting);
    let cases: &[(&[(&str, &str)], Config)] = &[
        (&[("REDIS_URL", "rediss://redis")], tls()),
        (&[("REDIS_URL", "rediss://redis"), ("REDIS_TLS", "true")], tls()),
        (&[("REDIS_URL", "redis:6379,ssl=true"), ("REDIS_TLS", "1")], tls()),
        (&[("REDIS_URL", "redis:6379"), ("REDIS_TLS", "yes")], tls()),
        (&[("REDIS_HOST", "redis"), ("REDIS_TLS", " true ")], tls()),
        (&[("REDIS_HOST", "redis"), ("REDIS_TLS", "false")], Config::new("redis", 6379)),
        (&[("REDIS_HOST", "redis"), ("REDIS_TLS", "true"), ("REDIS_TLS_CA_FILE", "/ca.pem")], trusting.clone()),
        (&[("REDIS_URL", "rediss://redis?tls_ca_file=/ca.pem"), ("REDIS_TLS_CA_FILE", "/ca.pem")], trusting),
        (
            &[
                ("REDIS_URL", "rediss://redis"),
                ("REDIS_TLS_CA_FILE", "/etc/redis/ca.pem"),
                ("REDIS_TLS_CERT_FILE", "/etc/redis/cert.pem"),
                ("REDIS_TLS_KEY_FILE", "/etc/redis/key.pem"),
                ("REDIS_TLS_SERVER_NAME", "redis.internal"),
            ],
            tls().with_tls(all_of_tls()),
        ),
    ];
    for (vars, expected) in cases {
        assert_eq!(from_vars(vars).as_ref(), Ok(expected), "{vars:?}");
    }
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("REDIS_URL", "redis://h"), ("REDIS_TLS", "true")], "REDIS_URL and REDIS_TLS disagree"),
        (&[("REDIS_URL", "rediss://h"), ("REDIS_TLS", "false")], "REDIS_URL and REDIS_TLS disagree"),
        (&[("REDIS_URL", "h,ssl=true"), ("REDIS_TLS", "no")], "REDIS_URL and REDIS_TLS disagree"),
        (&[("REDIS_HOST", "h"), ("REDIS_TLS", "maybe")], "REDIS_TLS: its value is `maybe`, expected true or false"),
        (&[("REDIS_HOST", "h"), ("REDIS_TLS_CA_FILE", "/ca.pem")], "REDIS_TLS_CA_FILE: tls is not asked for"),
        (
            &[("REDIS_URL", "rediss://h?tls_ca_file=/a.pem"), ("REDIS_TLS_CA_FILE", "/b.pem")],
            "REDIS_URL and REDIS_TLS_CA_FILE disagree",
        ),
        (
            &[("REDIS_HOST", "h"), ("REDIS_TLS", "true"), ("REDIS_TLS_KEY_FILE", "-----BEGIN PRIVATE KEY-----")],
            "REDIS_TLS_KEY_FILE: tls.key_file is a certificate or a key itself",
        ),
    ];
    for (vars, expected) in cases {
        let message = message(from_vars(vars));
        assert!(message.contains(expected), "{vars:?}: {message}");
    }
}

#[test]
fn files() {
    let endpoint = json!({ "host": "redis" });
    let file = |section: Value| from_json(json!({ "endpoint": endpoint, "tls": section }));
    assert_eq!(file(json!({})), Ok(tls()), "an empty section asks for TLS");
    assert_eq!(file(Value::Null), Ok(Config::new("redis", 6379)));
    assert_eq!(file(json!({ "verify": "insecure" })), Ok(insecure()));
    let all = serde_json::to_value(all_of_tls()).expect("plain data");
    assert_eq!(file(all), Ok(tls().with_tls(all_of_tls())));
    assert_eq!(serde_json::from_value::<TlsSettings>(json!({})).ok(), Some(TlsSettings::new()));
    assert_eq!(serde_json::from_value::<TlsVerify>(json!("insecure")).ok(), Some(TlsVerify::Insecure));

    for (value, expected) in [
        (json!({ "tls": true }), "tls is true or false, expected a table of settings"),
        (json!({ "tls": { "ca": "x" } }), "field `tls.ca` is not known, allowed are server_name, ca_file, cert_file,"),
        (json!({ "tls": { "ca_file": "" } }), "tls.ca_file is empty"),
        (json!({ "endpoint": "rediss://h" }), "add the section tls"),
    ] {
        let message = from_json(value.clone()).expect_err("this file should have been refused");
        assert!(message.contains(expected), "{value}: {message}");
    }
}

/// From code, anything can be put where a name or a path belongs.
#[test]
fn what_is_no_name_and_no_path_is_neither_taken_nor_printed() {
    let url = format!("redis://:{SECRET}@redis:6379");
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n");
    for config in [
        with(|tls| tls.server_name = Some(url.clone())),
        with(|tls| tls.ca_file = Some(url.clone().into())),
        with(|tls| tls.cert_file = Some(pem.clone().into())),
        with(|tls| tls.key_file = Some(pem.into())),
    ] {
        assert_no_secret(&format!("{config} {config:?} {config:#?}"));
        message(config.validate().map(|()| config));
    }
}
