//! A configuration while it is being read: the values so far, and which of those that have a default were actually
//! given. The environment needs the difference, because its variables add to a URL and may not contradict it.

use super::Config;
use super::error::ConfigError;

/// What a parser has understood, not yet validated.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) given_port: Option<u16>,
    pub(super) given_db: Option<u32>,
    /// Whether it was said that the connection speaks TLS, or that it does not.
    pub(super) given_tls: Option<bool>,
}

impl Draft {
    /// The configuration, if it is a sound one.
    pub(super) fn finish(self) -> Result<Config, ConfigError> {
        self.config.validate()?;
        Ok(self.config)
    }
}

/// Reads a yes or a no, as StackExchange.Redis strings and the environment have it.
pub(super) fn parse_bool(field: &'static str, text: &str) -> Result<bool, ConfigError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(ConfigError::unreadable(field, text, "true or false")),
    }
}

/// Reads the number of a database. The text is never repeated: in a URL whose password has a slash, the rest of the
/// password stands where the number belongs.
pub(super) fn parse_db(text: &str) -> Result<u32, ConfigError> {
    text.parse().map_err(|_| ConfigError::Unreadable {
        field: "db",
        value: "not a number".to_owned(),
        expected: "a whole number from 0, as in redis://host:6379/0".to_owned(),
    })
}
