//! The TLS section of a configuration: plain data, and what its values may be. The files that it names are read when a tether
//! starts and before each dial (`tls/`), not here.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::endpoint::{Endpoint, check_host};
use super::error::ConfigError;

/// TLS: whom to trust, and what to show.
///
/// In a URL, `rediss://` or `valkeys://` asks for it, with the fields as parameters (`tls_ca_file=/etc/redis/ca.pem`); in a file
/// the section `tls`, which may be empty; in the environment such a URL or `REDIS_TLS=true`; in a StackExchange.Redis string
/// `ssl=true`.
///
/// TLS 1.2 and 1.3 are spoken. The files are PEM. They are looked at before each dial: what has changed is used from then on if it
/// is sound, and if it is not, what was in use before stays in use, with a warning in the log. Nothing is checked for revocation.
///
/// # Defaults
/// `server_name` the endpoint's host, `ca_file` none (the system's roots), `cert_file` and `key_file` none (no client
/// certificate), `verify` full.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The name, or IP address, that the server's certificate must be for, and that the server is asked for (SNI); what
    /// StackExchange.Redis calls `sslHost`. Default: the endpoint's host, without a trailing dot; of a node of a cluster the name or
    /// address that it announces, or a name among the seeds; of a server that sentinels name, its address; of a replica that is read
    /// from, the name or address that it is known by (or [`replicas.host`](crate::ReplicaSettings::host)), or the endpoint's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,

    /// The certificates of the authorities to trust, in place of the system's. Default: the system's, found where OpenSSL looks
    /// for them (`SSL_CERT_FILE` and `SSL_CERT_DIR` say otherwise).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,

    /// The client's certificate, followed by its intermediate ones. Needs `key_file`. Default: none, which a server with
    /// `tls-auth-clients yes` refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,

    /// The key of the client's certificate, unencrypted. Needs `cert_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,

    /// Whether the server has to prove who it is. Default: full.
    pub verify: TlsVerify,
}

/// Whether the server's certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TlsVerify {
    /// It must be valid now, come from an authority that is trusted, and be for the server's name. The default.
    #[default]
    Full,
    /// Any certificate will do: whoever is on the way can read the password and everything else, and change it. Each tether that
    /// starts like this says so in the log. For a server with a certificate of its own making, `ca_file` is the better way.
    Insecure,
}

impl TlsSettings {
    /// The defaults: the system's roots, no client certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this file, and no others.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Shows this certificate, with this key.
    #[must_use]
    pub fn with_client_certificate(mut self, cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        self.cert_file = Some(cert_file.into());
        self.key_file = Some(key_file.into());
        self
    }

    /// Expects a certificate for this name in place of the endpoint's.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The defaults, where `asked_by` asked for TLS and this build has it.
    pub(super) fn asked_for_by(asked_by: &'static str) -> Result<Self, ConfigError> {
        if cfg!(feature = "tls-no-provider") {
            Ok(Self::default())
        } else {
            Err(ConfigError::TlsUnsupported { asked_by })
        }
    }

    /// What the fields exclude in one another, and in the rest of the configuration.
    pub(super) fn check(&self, endpoint: &Endpoint) -> Result<(), ConfigError> {
        Self::asked_for_by("tls")?;
        let problem = match endpoint {
            Endpoint::Unix { .. } => Some("goes over TCP, and the endpoint is a unix socket: leave it out"),
            _ => self.problem_of_pair(),
        };
        problem.map_or(Ok(()), |problem| Err(ConfigError::Tls { problem }))
    }

    /// The same of those that stand in the endpoint.
    pub(super) fn check_for_sentinels(&self) -> Result<(), ConfigError> {
        const FIELD: &str = "endpoint.tls";
        Self::asked_for_by(FIELD)?;
        self.problem_of_pair().map_or(Ok(()), |problem| Err(ConfigError::Text { field: FIELD, problem }))
    }

    fn problem_of_pair(&self) -> Option<&'static str> {
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => Some("has a cert_file without the key_file that belongs to it"),
            (None, Some(_)) => Some("has a key_file without the cert_file that belongs to it"),
            _ => None,
        }
    }
}

/// What is no name and no path may be anything, a URL with a password perhaps, and is not printed.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| shown_path(path).to_owned());
        f.debug_struct("TlsSettings")
            .field("server_name", &self.server_name.as_deref().map(shown_name))
            .field("ca_file", &shown(&self.ca_file))
            .field("cert_file", &shown(&self.cert_file))
            .field("key_file", &shown(&self.key_file))
            .field("verify", &self.verify)
            .finish()
    }
}

/// What `Debug` and `Display` print of a server name.
pub(super) fn shown_name(name: &str) -> &str {
    if name_problem(name).is_some() { "<not a name>" } else { name }
}

/// The same of a path.
pub(super) fn shown_path(path: &Path) -> &str {
    path.to_str().filter(|text| path_problem(text).is_none()).unwrap_or("<not a path>")
}

/// What is wrong with the name that a certificate is to be for, and what to write.
pub(super) fn name_problem(name: &str) -> Option<&'static str> {
    check_host(name)
        .err()
        .map(|_| "is neither a DNS name nor an IP address: write it without scheme, port and brackets")
}

/// What is wrong with the path of a PEM file, and what to write.
pub(super) fn path_problem(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty: give the path of a PEM file, or leave it out")
    } else if path.contains("-----BEGIN") {
        Some("is a certificate or a key itself: give the path of the file that it is in")
    } else if path.contains("://") {
        Some("is a URL: give the path of a PEM file")
    } else if path.chars().any(char::is_control) {
        Some("has a control character in it")
    } else {
        None
    }
}
