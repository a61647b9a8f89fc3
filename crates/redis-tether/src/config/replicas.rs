//! Where reads go that may be answered by replicas: the section `replicas` of a configuration. Plain data; the set of replicas
//! reads it.

use serde::Serialize;

use super::endpoint::{DEFAULT_PORT, canonical_host, check_host};
use super::error::ConfigError;

/// What becomes of a read for which no replica serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fallback {
    /// It goes to the primary. The default: an answer is worth more than the load.
    #[default]
    Primary,
    /// It is held until a replica serves, as any command is until there is a link, and fails as not sent: for a primary that must
    /// not be given the load of all reads at once.
    None,
}

/// Where the replicas are, and what becomes of reads where there are none. Nothing of it has an effect until
/// [`Tether::replicas`](crate::Tether::replicas) is called.
///
/// # Defaults
/// `fallback` primary, no `host`, `port` 6379.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReplicaSettings {
    /// Whether the primary answers where no replica does. Default: it does.
    pub fallback: Fallback,

    /// A name that means replicas, as the reader endpoint of a managed service does, or an address. Each of its addresses is dialled,
    /// and used if it says that it is a replica. Default: none, and then the primary is asked who its replicas are, or the
    /// sentinels, or the cluster. Over TLS a certificate may be for it, or for the endpoint's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,

    /// The port that goes with `host`. 1 to 65535, default 6379.
    pub port: u16,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self { fallback: Fallback::Primary, host: None, port: DEFAULT_PORT }
    }
}

impl ReplicaSettings {
    pub(super) fn set_host(&mut self, host: &str) {
        self.host = Some(canonical_host(host.to_owned()));
    }

    /// What is no host may hold a password.
    pub(super) fn shown_host(&self) -> Option<&str> {
        let is_host = self.problem().is_none();
        self.host.as_deref().map(|host| if is_host { host } else { "not a host" })
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        match check_host(self.host.as_deref()?) {
            Err(ConfigError::Host { problem }) => Some(problem),
            _ => None,
        }
    }
}
