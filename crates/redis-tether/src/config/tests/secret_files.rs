//! Files that secrets are in, in each form of a configuration; and that a secret in place of a path is not printed.

use serde_json::json;

use super::super::{Config, ConfigError};
use super::{SECRET, assert_no_secret, message};

fn redis() -> Config {
    Config::new("redis", 6379)
}

fn from_json(value: &serde_json::Value) -> Result<Config, String> {
    serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
}

fn from_vars(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn understood_in_each_form_and_printed_as_they_are() {
    let password = redis().with_password_file("/run/secrets/redis");
    let both = password.clone().with_username_file("/run/secrets/user name");
    let named = password.clone().with_username("app");
    let cases = [
        ("redis://redis?password_file=/run/secrets/redis", password.clone()),
        ("redis://redis?username_file=/run/secrets/user%20name&password_file=/run/secrets/redis", both.clone()),
        ("redis://app@redis?password_file=/run/secrets/redis", named.clone()),
    ];
    for (url, config) in cases {
        assert_eq!(Config::from_url(url), Ok(config.clone()), "{url}");
        assert_eq!(Config::from_url(&config.to_string()), Ok(config), "{url}");
    }
    assert_eq!(password.to_string(), "redis://redis:6379/0?password_file=/run/secrets/redis");
    assert!(format!("{both:?}").contains(r#"password_file: Some("/run/secrets/redis")"#), "{both:?}");

    let file = json!({ "endpoint": { "host": "redis" }, "username": "app", "password_file": "/run/secrets/redis" });
    assert_eq!(from_json(&file), Ok(named.clone()));
    let written = serde_json::to_value(&both).expect("plain data");
    assert_eq!(from_json(&written), Ok(both.clone()));

    let vars = [("REDIS_HOST", "redis"), ("REDIS_PASSWORD_FILE", "/run/secrets/redis")];
    assert_eq!(from_vars(&vars), Ok(password));
    let vars = [
        ("REDIS_URL", "redis://redis?password_file=/run/secrets/redis"),
        ("REDIS_PASSWORD_FILE", "/run/secrets/redis"),
        ("REDIS_USERNAME_FILE", " /run/secrets/user name "),
    ];
    assert_eq!(from_vars(&vars), Ok(both));
    let vars = [("REDIS_HOST", "redis"), ("REDIS_USERNAME", "app"), ("REDIS_PASSWORD_FILE", "/run/secrets/redis")];
    assert_eq!(from_vars(&vars), Ok(named));
}

#[test]
fn a_secret_and_a_file_for_it_exclude_each_other() {
    let urls = [
        ("redis://:p@redis?password_file=/p", "password_file is given beside a password"),
        ("redis://u@redis?username_file=/u&password_file=/p", "username_file is given beside a username"),
        ("redis://redis?username_file=/u", "username_file is given without a password"),
    ];
    for (url, expected) in urls {
        let message = message(Config::from_url(url));
        assert!(message.contains(expected), "{url}: {message}");
    }
    let (host, file) = (("REDIS_HOST", "redis"), ("REDIS_PASSWORD_FILE", "/p"));
    let vars: &[(&[(&str, &str)], &str)] = &[
        (&[host, file, ("REDIS_PASSWORD", SECRET)], "REDIS_PASSWORD and REDIS_PASSWORD_FILE disagree"),
        (
            &[host, file, ("REDIS_USERNAME", "u"), ("REDIS_USERNAME_FILE", "/u")],
            "REDIS_USERNAME and REDIS_USERNAME_FILE disagree",
        ),
        (&[("REDIS_URL", "redis://redis?password_file=/other"), file], "REDIS_URL and REDIS_PASSWORD_FILE disagree"),
        (&[host, ("REDIS_USERNAME_FILE", "/u")], "username_file is given without a password"),
    ];
    for (vars, expected) in vars {
        let message = message(from_vars(vars));
        assert!(message.contains(expected), "{vars:?}: {message}");
    }
}

#[test]
fn a_secret_in_place_of_a_path_is_refused_and_not_printed() {
    for text in [SECRET, "relative/path", "https://vault/secret", "/a\nb"] {
        let config = redis().with_password_file(text);
        assert_no_secret(&format!("{config} {config:?} {:?}", config.password_file));
        let message = message(config.validate().map(|()| redis()));
        assert!(message.starts_with("password_file is not "), "{message}");
    }
    let message = message(from_vars(&[("REDIS_HOST", "redis"), ("REDIS_PASSWORD_FILE", SECRET)]));
    assert!(message.starts_with("REDIS_PASSWORD_FILE: its value is not an absolute path"), "{message}");
    let error = from_json(&json!({ "password_file": SECRET })).expect_err("no path");
    assert_no_secret(&error);
    assert!(message_of_url().contains("is not an absolute path"));
}

fn message_of_url() -> String {
    message(Config::from_url(&format!("redis://redis?password_file={SECRET}")))
}
