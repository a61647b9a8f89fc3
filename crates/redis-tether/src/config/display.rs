//! A configuration as a URL: what logs and error messages show. Prints every setting that differs from its default,
//! so that what is printed reads back as the same configuration; the password alone is printed as `***`.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};

use super::Config;
use super::cluster;
use super::endpoint::Endpoint;
use super::sentinel::{Listed, SentinelEndpoint};
use super::table::{SENTINEL_SETTINGS, SETTINGS};

/// What stays as it is: RFC 3986's unreserved characters. Everything else is safe to encode anywhere in a URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path, slashes are what they are; and in a query they mean nothing.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// The URL form, `redis://user:***@host:6379/0?deadline=1s`, or `rediss://` with TLS: never a password, and otherwise everything that
/// [`Config::from_url`] needs to read the same configuration. Read back, the password is the literal `***`.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parameters = Parameters::default();
        match &self.endpoint {
            endpoint @ Endpoint::Tcp { .. } => {
                f.write_str(if self.tls.is_some() { "rediss://" } else { "redis://" })?;
                self.fmt_userinfo(f)?;
                write!(f, "{endpoint}/{}", self.db)?;
            }
            Endpoint::Unix { path } => {
                f.write_str("redis+unix://")?;
                match self.endpoint.check() {
                    Ok(()) => percent_encode(path.as_os_str().as_encoded_bytes(), ENCODED_IN_PATH).fmt(f)?,
                    Err(_) => fmt::Display::fmt(&self.endpoint, f)?,
                }
                self.collect_identity(&mut parameters);
            }
            Endpoint::Sentinel(sentinel) => {
                f.write_str(if self.tls.is_some() { "rediss+sentinel://" } else { "redis+sentinel://" })?;
                self.fmt_userinfo(f)?;
                let master = utf8_percent_encode(&sentinel.master, ENCODED);
                write!(f, "{}/{master}/{}", Listed(&sentinel.nodes), self.db)?;
                collect_sentinels_identity(sentinel, &mut parameters);
            }
            Endpoint::Cluster(cluster) => {
                f.write_str(if self.tls.is_some() { "rediss+cluster://" } else { "redis+cluster://" })?;
                self.fmt_userinfo(f)?;
                cluster::Listed(&cluster.seeds).fmt(f)?;
                if self.db != 0 {
                    parameters.push("db", &self.db.to_string());
                }
            }
        }
        self.collect_settings(&mut parameters);
        f.write_str(&parameters.0)
    }
}

impl Config {
    fn fmt_userinfo(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let username = utf8_percent_encode(self.username.as_deref().unwrap_or_default(), ENCODED);
        match &self.password {
            Some(password) => write!(f, "{username}:{password}@"),
            None if self.username.is_some() => write!(f, "{username}@"),
            None => Ok(()),
        }
    }

    /// A unix URL has no place for these outside its parameters.
    fn collect_identity(&self, parameters: &mut Parameters) {
        if self.db != 0 {
            parameters.push("db", &self.db.to_string());
        }
        if let Some(username) = &self.username {
            parameters.push("user", &utf8_percent_encode(username, ENCODED).to_string());
        }
        if let Some(password) = &self.password {
            parameters.push("pass", &password.to_string());
        }
    }

    fn collect_settings(&self, parameters: &mut Parameters) {
        if let Some(name) = &self.client_name {
            parameters.push("client_name", &utf8_percent_encode(name, ENCODED).to_string());
        }
        let defaults = Self::default();
        for setting in SETTINGS.iter().chain(SENTINEL_SETTINGS) {
            let value = setting.print(self);
            if let Some(value) = value.filter(|value| setting.print(&defaults).as_ref() != Some(value)) {
                parameters.push(setting.short, &utf8_percent_encode(&value, ENCODED_IN_PATH).to_string());
            }
        }
    }
}

fn collect_sentinels_identity(sentinel: &SentinelEndpoint, parameters: &mut Parameters) {
    if let Some(username) = &sentinel.username {
        parameters.push("sentinel_user", &utf8_percent_encode(username, ENCODED).to_string());
    }
    if let Some(password) = &sentinel.password {
        parameters.push("sentinel_pass", &password.to_string());
    }
}

/// The query of a URL as it grows, with its leading question mark.
#[derive(Default)]
struct Parameters(String);

impl Parameters {
    /// The value is already encoded.
    fn push(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(value);
    }
}
