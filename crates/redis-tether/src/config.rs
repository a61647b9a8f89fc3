//! Configuration: one plain struct and the forms it is read from (code, file, URL, environment, StackExchange.Redis
//! string). The application builds a [`Config`] and hands it to `Tether::start`; everything else in the crate only
//! reads it. Nothing here does I/O, apart from `Config::from_env` reading the environment.

mod cluster;
mod display;
mod document;
mod draft;
mod endpoint;
mod env;
mod error;
mod file;
mod pacing;
mod password;
mod recovery;
mod replicas;
mod secret_file;
mod sentinel;
mod settings;
mod stackexchange;
mod table;
mod tls;
mod url;
mod validate;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use cluster::{ClusterEndpoint, ClusterSeed};
pub use endpoint::{DEFAULT_PORT, Endpoint};
pub use error::ConfigError;
pub use pacing::{LaneSettings, PacingSettings};
pub use password::Password;
pub use replicas::{Fallback, ReplicaSettings};
pub use secret_file::SecretFile;
pub use sentinel::{DEFAULT_SENTINEL_PORT, SentinelEndpoint, SentinelNode, SentinelTls};
pub use settings::{
    ClusterNode, CommandSettings, DetectionSettings, DialSettings, HoldMode, Protocol, ResolveSettings, Retry, Verify,
};
pub use tls::{TlsSettings, TlsVerify};

/// Where the server is and how its connection is kept.
///
/// A `Config` comes from code ([`Config::new`], then change the fields that matter), from a URL
/// ([`Config::from_url`]), from the environment ([`Config::from_env`]), from a StackExchange.Redis connection string
/// ([`Config::from_stackexchange`]), or, being read and written by serde, from any file the application loads: durations are
/// written as people write them (`250ms`, `3s`), unknown fields are refused, and whatever is left out has its default. In
/// place of the whole may stand a URL or a StackExchange.Redis string.
///
/// Reading checks the endpoint and the range of each setting; how they go together, [`Config::validate`] does, when a tether
/// starts. The error names the setting and what is allowed, and never shows what may be a misplaced password, though an
/// error of the file format may quote the line it stands on (TOML's does). The format must say what its values are, as JSON,
/// TOML, YAML and CBOR do; numbers may be text, as an environment has them.
///
/// The defaults suit a service that talks to a primary a network hop away; the host, the credentials and perhaps
/// `commands.deadline` are all that most applications set.
///
/// `Display` prints the URL form, with every setting that is not the default and with `***` for the password; but for
/// the password it reads back as the same configuration. `Debug` hides the password, too. `Serialize` writes it.
///
/// # Example
///
/// ```
/// use redis_tether::Config;
/// use std::time::Duration;
///
/// let mut config = Config::new("redis", 6379).with_password("correct horse");
/// config.commands.deadline = Duration::from_secs(1);
/// config.validate()?;
/// assert_eq!(config.to_string(), "redis://:***@redis:6379/0?deadline=1s");
/// # Ok::<(), redis_tether::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Config {
    /// Where the server is. Default: `localhost`, port 6379, where a server on a developer's machine listens. Inside a
    /// container that is the container itself.
    pub endpoint: Endpoint,

    /// TLS, and with which certificates. Default: none, and the connection is plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,

    /// The ACL user. Default: none, which signs in as `default`. A username other than `default` needs a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,

    /// The password. Default: none, and then no AUTH is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,

    /// The file that the username is in, in place of `username`. Needs a password or a `password_file`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_file: Option<SecretFile>,

    /// The file that the password is in, in place of `password`. The live link is signed in anew when what it holds has
    /// changed. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<SecretFile>,

    /// The number of the database. 0 to 2,147,483,647, within what the server has; default 0, where a connection begins, so
    /// that nothing need be sent or allowed to select it.
    pub db: u32,

    /// RESP2 (the default, since every server and proxy speaks it) or RESP3.
    pub protocol: Protocol,

    /// The name of the connection in `CLIENT LIST`: printable ASCII without spaces. Default: none. A server that denies
    /// setting it is used all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,

    /// How connections are verified. Default: `auto`, which asks as much as the server or proxy turns out to take.
    pub verify: Verify,

    /// What a [`Tether`](crate::Tether) makes of a node that has only some of its cluster's slots. Default: it is refused, since
    /// what was meant is a [`ClusterTether`](crate::ClusterTether).
    pub cluster_node: ClusterNode,

    /// After how many failed rounds of dials in a row a fresh incarnation starts, with the addresses resolved anew. 1 to
    /// 1,000, default 3: more than a hiccup, and soon enough that a stale address costs little.
    pub failures_before_resolve: u32,

    /// At what age a healthy connection is replaced; up to 10 % earlier, drawn for each connection, so that a fleet does not
    /// renew in step. 1 s to 30 days; default: never, since a good connection is best left alone.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,

    /// How long a link that is replaced, or ends with the tether, may take to finish what is in flight. 1 ms to 1 h,
    /// default 5 s, like the deadline of the commands it waits for.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,

    /// Deadlines and holding.
    pub commands: CommandSettings,

    /// When a link is doubted, and when it is given up.
    pub detection: DetectionSettings,

    /// How one connection is made.
    pub dial: DialSettings,

    /// How fast dials follow one another.
    pub pacing: PacingSettings,

    /// How often DNS is asked again.
    pub resolve: ResolveSettings,

    /// Where reads go that may be answered by replicas.
    pub replicas: ReplicaSettings,
}

impl Config {
    /// The defaults, for a server at this host and port. An IPv6 address may come in brackets.
    ///
    /// Nothing is checked yet: [`Config::validate`] does, and starting a tether calls it.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self::at(Endpoint::tcp(host, port))
    }

    /// The defaults, for a server behind a unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Endpoint::unix(path))
    }

    /// The defaults, for the primary that these sentinels call `master`.
    pub fn sentinel(nodes: impl IntoIterator<Item = SentinelNode>, master: impl Into<String>) -> Self {
        Self::at(Endpoint::sentinel(nodes, master))
    }

    /// The defaults, for the cluster that is found through these.
    pub fn cluster(seeds: impl IntoIterator<Item = ClusterSeed>) -> Self {
        Self::at(Endpoint::cluster(seeds))
    }

    /// Signs in as this ACL user. Needs a password, too.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Signs in with this password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Password>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Signs in with the password that is in this file at the time.
    #[must_use]
    pub fn with_password_file(mut self, path: impl Into<SecretFile>) -> Self {
        self.password_file = Some(path.into());
        self
    }

    /// Signs in as the ACL user whose name is in this file at the time.
    #[must_use]
    pub fn with_username_file(mut self, path: impl Into<SecretFile>) -> Self {
        self.username_file = Some(path.into());
        self
    }

    /// Speaks TLS, with these settings.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsSettings) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Uses this database.
    #[must_use]
    pub fn with_db(mut self, db: u32) -> Self {
        self.db = db;
        self
    }

    /// Shows the connection under this name in `CLIENT LIST`.
    #[must_use]
    pub fn with_client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    fn at(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            tls: None,
            username: None,
            password: None,
            username_file: None,
            password_file: None,
            db: 0,
            protocol: Protocol::default(),
            client_name: None,
            verify: Verify::default(),
            cluster_node: ClusterNode::default(),
            failures_before_resolve: 3,
            max_age: None,
            drain_timeout: Duration::from_secs(5),
            commands: CommandSettings::default(),
            detection: DetectionSettings::default(),
            dial: DialSettings::default(),
            pacing: PacingSettings::default(),
            resolve: ResolveSettings::default(),
            replicas: ReplicaSettings::default(),
        }
    }
}

/// The defaults, for `localhost:6379`.
impl Default for Config {
    fn default() -> Self {
        Self::at(Endpoint::default())
    }
}
