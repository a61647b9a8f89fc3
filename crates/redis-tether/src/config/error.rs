//! What is wrong with a configuration. Every parser and `Config::validate` return this one type. Messages name the
//! field, the value where it cannot be a secret, and what is allowed; they never quote a whole URL or connection
//! string, because a malformed one has its password in an unexpected place.

use thiserror::Error;

/// Why a configuration was refused.
///
/// No variant ever carries a password, nor a piece of input that might be a misplaced one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting lies outside what is allowed.
    #[error("{field} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// The setting, as it is called in a file: `commands.deadline`. For a StackExchange.Redis string, the option.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// The range, in words.
        allowed: String,
    },

    /// The text of a setting could not be read.
    #[error("{field} is {value}, expected {expected}")]
    Unreadable {
        /// The setting, option or part of the URL.
        field: &'static str,
        /// The text in backquotes, or a note that it is not shown.
        value: String,
        /// What would have been understood.
        expected: String,
    },

    /// Two settings exclude each other.
    #[error("{field} ({value}) {rule} {other} ({other_value})")]
    Contradiction {
        /// The one setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What must hold between the two: `must be below`, for instance.
        rule: &'static str,
        /// The other setting.
        other: &'static str,
        /// The other one's value.
        other_value: String,
    },

    /// The host is missing or is not a host name or address.
    #[error("host {problem}")]
    Host {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The unix socket's path cannot be used.
    #[error("unix socket path {problem}")]
    Path {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The username, password or client name cannot be used. Never says what it is.
    #[error("{field} {problem}")]
    Text {
        /// `username`, `password` or `client_name`.
        field: &'static str,
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The text is not a URL.
    #[error("malformed URL: {problem}")]
    MalformedUrl {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The URL's scheme is none of ours.
    #[error("unknown URL scheme, allowed are {allowed}")]
    UnknownScheme {
        /// The schemes that are understood.
        allowed: &'static str,
    },

    /// The configuration asks for TLS.
    #[error("{asked_by} asks for TLS, and TLS support is not in this version")]
    TlsUnsupported {
        /// What asked for it: `rediss://` or `ssl=true`.
        asked_by: &'static str,
    },

    /// The configuration asks for Sentinel or Cluster.
    #[error("{asked_by} asks for {topology}, which is not in this version: name one endpoint, as in redis://host:6379")]
    TopologyUnsupported {
        /// What asked for it: `redis+sentinel://` or `serviceName`.
        asked_by: &'static str,
        /// `Sentinel`, `Cluster` or `SRV records`.
        topology: &'static str,
    },

    /// More than one endpoint is named.
    #[error(
        "several endpoints, and this version follows one: name one that always leads to the primary \
         (a comma inside a password reads as a second endpoint: percent-encode it in a URL)"
    )]
    SeveralEndpoints,

    /// A URL parameter or StackExchange.Redis option that is not known.
    #[error("{name} is not known, allowed are {allowed}")]
    UnknownName {
        /// Which one: its name, or its position where the name might be a piece of a password.
        name: String,
        /// All known names, separated by commas.
        allowed: String,
    },

    /// A StackExchange.Redis option that would change what commands do and has no counterpart here.
    #[error("{option} is not supported: {reason}")]
    UnsupportedOption {
        /// The option.
        option: &'static str,
        /// Why it is refused instead of ignored.
        reason: &'static str,
    },

    /// One setting is given twice.
    #[error("{field} is given twice")]
    Repeated {
        /// The setting.
        field: &'static str,
    },

    /// No environment variable names an endpoint.
    #[error(
        "no endpoint in the environment: set REDIS_URL (redis://:password@host:6379/0), or REDIS_HOST with, where \
         needed, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD and REDIS_DB"
    )]
    NoEndpointInEnvironment,

    /// Two environment variables say different things.
    #[error("{first} and {second} disagree: set one of them, or both to the same")]
    VariablesDisagree {
        /// The variable that takes precedence.
        first: &'static str,
        /// The variable that says otherwise.
        second: &'static str,
    },

    /// What an environment variable holds was refused.
    #[error("{variable}: {cause}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// Why.
        cause: Box<ConfigError>,
    },
}

impl ConfigError {
    pub(super) fn unreadable(field: &'static str, text: &str, expected: impl Into<String>) -> Self {
        Self::Unreadable { field, value: shown(text), expected: expected.into() }
    }

    pub(super) fn in_variable(self, variable: &'static str) -> Self {
        Self::Variable { variable, cause: Box::new(self) }
    }
}

/// The longest piece of input that an error repeats. Settings are shorter; tokens and pasted strings are longer.
const SHOWN_AT_MOST: usize = 24;

/// The text in backquotes if it looks like the value of a setting, else a note. A value that swallowed the next
/// option (`2s,password=...`) has punctuation that no setting has, and is not repeated.
pub(super) fn shown(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | ' ');
    if text.is_empty() {
        "empty".to_owned()
    } else if text.len() <= SHOWN_AT_MOST && text.chars().all(plain) {
        format!("`{text}`")
    } else {
        "not readable (and not repeated here, since it may hold a secret)".to_owned()
    }
}
