//! Tests of the configuration: a table for each form it comes in, and properties over arbitrary input. They use the
//! public surface only, apart from the table of settings, which they hold against what serde writes.

mod cluster;
mod env;
mod file;
mod properties;
mod replicas;
mod secret_files;
mod sentinel;
mod stackexchange;
#[cfg(feature = "tls-no-provider")]
mod tls;
mod url;
mod validate;
#[cfg(not(feature = "tls-no-provider"))]
mod without_tls;

use super::{Config, ConfigError, TlsSettings};

/// Stands for every secret: no message, `Debug` or `Display` may contain it.
const SECRET: &str = "s3ntinel-Passw0rd";

/// The message of an error, after checking that neither it nor its `Debug` form has the secret in it.
fn message(result: Result<Config, ConfigError>) -> String {
    let error = result.expect_err("this configuration should have been refused");
    assert_no_secret(&format!("{error} {error:?}"));
    error.to_string()
}

fn assert_no_secret(text: &str) {
    assert!(!text.contains(SECRET), "a secret got out: {text}");
    let tail = &SECRET[4..];
    assert!(!text.contains(tail), "a part of a secret got out: {text}");
}

fn all_of_tls() -> TlsSettings {
    let files = TlsSettings::new().with_ca_file("/etc/redis/ca.pem");
    files.with_client_certificate("/etc/redis/cert.pem", "/etc/redis/key.pem").with_server_name("redis.internal")
}
