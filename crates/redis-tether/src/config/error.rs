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
    #[non_exhaustive]
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
    #[non_exhaustive]
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
    #[non_exhaustive]
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
    #[non_exhaustive]
    Host {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The list of sentinels or the master's name cannot be used.
    #[error("sentinel {problem}")]
    #[non_exhaustive]
    Sentinel {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The list of a cluster's seeds cannot be used, or the rest of the configuration does not go with a cluster.
    #[error("cluster {problem}")]
    #[non_exhaustive]
    Cluster {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// One sentinel is named twice.
    #[error("sentinel {sentinel} is named twice: leave one out")]
    #[non_exhaustive]
    SentinelRepeated {
        /// Its host and port.
        sentinel: String,
    },

    /// The unix socket's path cannot be used.
    #[error("unix socket path {problem}")]
    #[non_exhaustive]
    Path {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The username, password, client name or a setting of TLS cannot be used, or a parameter is not text. Never says what it is.
    #[error("{field} {problem}")]
    #[non_exhaustive]
    Text {
        /// `username`, `password`, `client_name`, `tls.ca_file` and the like; of a URL, any parameter.
        field: &'static str,
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The text is not a URL.
    #[error("malformed URL: {problem}")]
    #[non_exhaustive]
    MalformedUrl {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },

    /// The URL's scheme is none of ours.
    #[error("unknown URL scheme, allowed are {allowed}")]
    #[non_exhaustive]
    UnknownScheme {
        /// The schemes that are understood.
        allowed: &'static str,
    },

    /// The configuration asks for TLS, which this build does not have.
    #[error("{asked_by} asks for TLS, and redis-tether was built without it: enable its feature `tls`")]
    #[non_exhaustive]
    TlsUnsupported {
        /// What asked for it: `rediss://`, `ssl=true` or `tls`.
        asked_by: &'static str,
    },

    /// The settings of TLS do not go together, or TLS is not asked for.
    #[error("tls {problem}")]
    #[non_exhaustive]
    Tls {
        /// What is wrong, and what to write.
        problem: &'static str,
    },

    /// The URL asks for SRV records by its scheme. They are a matter of the resolver, and of the name.
    #[error(
        "{asked_by} asks for {topology}, which have no scheme of their own here: write redis://_redis._tcp.example.com, and give \
         the tether a HickoryResolver (feature hickory)"
    )]
    #[non_exhaustive]
    TopologyUnsupported {
        /// What asked for it: `redis+srv://`.
        asked_by: &'static str,
        /// `SRV records`.
        topology: &'static str,
    },

    /// More than one endpoint is named.
    #[error(
        "several endpoints, and this version follows one: name one that always leads to the primary, or sentinels with the \
         name of their master, redis+sentinel://host1:26379,host2:26379/mymaster or serviceName=mymaster, or nodes of one \
         cluster, redis+cluster://host1:6379,host2:6379 (a comma inside a password reads as a second endpoint: percent-encode it in a URL)"
    )]
    SeveralEndpoints,

    /// A field of a file, URL parameter or StackExchange.Redis option that is not known.
    #[error("{name} is not known, allowed are {allowed}")]
    #[non_exhaustive]
    UnknownName {
        /// Which one: its name, or its position where the name might be a piece of a password.
        name: String,
        /// The names that are known there, separated by commas.
        allowed: String,
    },

    /// A StackExchange.Redis option that would change what commands do and has no counterpart here.
    #[error("{option} is not supported: {reason}")]
    #[non_exhaustive]
    UnsupportedOption {
        /// The option.
        option: &'static str,
        /// Why it is refused instead of ignored.
        reason: &'static str,
    },

    /// One setting is given twice.
    #[error("{field} is given twice")]
    #[non_exhaustive]
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
    #[non_exhaustive]
    VariablesDisagree {
        /// The variable that takes precedence.
        first: &'static str,
        /// The variable that says otherwise.
        second: &'static str,
    },

    /// What a field of a file holds was refused.
    #[error("{field}: {cause}")]
    #[non_exhaustive]
    Field {
        /// The field: `endpoint`.
        field: &'static str,
        /// Why.
        cause: Box<ConfigError>,
    },

    /// What an environment variable holds was refused.
    #[error("{variable}: {cause}")]
    #[non_exhaustive]
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

    /// A field of a file, by the path of the section it stands in: empty at the top.
    pub(super) fn unknown_field(path: &str, name: &str, allowed: impl Into<String>) -> Self {
        let name = match shown_name(name) {
            Some(name) if path.is_empty() => format!("field `{name}`"),
            Some(name) => format!("field `{path}.{name}`"),
            None => "a field (its name is not repeated, since it does not look like one)".to_owned(),
        };
        Self::UnknownName { name, allowed: allowed.into() }
    }

    /// A tether follows one primary, and a cluster has several.
    pub(crate) fn cluster_for_tether() -> Self {
        Self::Cluster {
            problem: "endpoints are for ClusterTether: start that, or name one server, as in redis://host:6379",
        }
    }

    /// The reverse.
    pub(crate) fn no_cluster() -> Self {
        Self::Cluster { problem: "is not what the endpoint names: write redis+cluster://, or start a Tether" }
    }

    pub(super) fn in_field(self, field: &'static str) -> Self {
        Self::Field { field, cause: Box::new(self) }
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

/// The longest name that an error repeats; no setting's is longer.
const NAME_AT_MOST: usize = 32;

/// The name of a field or parameter that is not known, if it looks like one. Where it does not, it may be a piece of a
/// secret.
pub(super) fn shown_name(name: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (!name.is_empty() && name.len() <= NAME_AT_MOST && name.chars().all(plain)).then_some(name)
}
