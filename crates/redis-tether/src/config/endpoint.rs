//! Where the server is: the `Endpoint` of a configuration, how it is written, and what a host may look like. Used by
//! every parser and by validation. Nothing here resolves or connects.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cluster::{ClusterEndpoint, ClusterSeed};
use super::document::Document;
use super::error::ConfigError;
use super::sentinel::{SentinelEndpoint, SentinelNode};

/// The port of Redis and Valkey, taken wherever none is given.
pub const DEFAULT_PORT: u16 = 6379;

/// Where the server is.
///
/// In a file: `{ host = "redis", port = 6379 }` (the port may be left out) or `{ path = "/run/redis.sock" }`, or as a URL
/// that says no more than that: `redis://redis:6379`, `unix:///run/redis.sock`. Sentinels are a [`SentinelEndpoint`],
/// a cluster is a [`ClusterEndpoint`].
///
/// `localhost` and `127.0.0.1` mean the machine this process runs on, and inside a container that is the container
/// itself: there, name the server's service (`redis` in a compose file, `redis.namespace.svc` in Kubernetes).
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Endpoint {
    /// A host and a port, reached over TCP.
    #[non_exhaustive]
    Tcp {
        /// A DNS name, an IPv4 address, or an IPv6 address without brackets. A name is resolved again whenever the
        /// link is in doubt; a trailing dot keeps the resolver from trying search domains.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// A unix socket on this machine.
    #[non_exhaustive]
    Unix {
        /// Absolute, at most 107 bytes, which is what the operating system takes.
        path: PathBuf,
    },
    /// Wherever these sentinels say that the primary is.
    Sentinel(SentinelEndpoint),
    /// All primaries of a cluster.
    Cluster(ClusterEndpoint),
}

impl Endpoint {
    /// A host and a port. An IPv6 address may come in brackets; they are dropped, and the address is stored in its
    /// canonical form. Nothing else is checked here: [`Config::validate`](super::Config::validate) does that.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp { host: canonical_host(host.into()), port }
    }

    /// A unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix { path: path.into() }
    }

    /// Wherever these sentinels say that the primary of this name is.
    pub fn sentinel(nodes: impl IntoIterator<Item = SentinelNode>, master: impl Into<String>) -> Self {
        Self::Sentinel(SentinelEndpoint::new(nodes, master))
    }

    /// The cluster that is found through these.
    pub fn cluster(seeds: impl IntoIterator<Item = ClusterSeed>) -> Self {
        Self::Cluster(ClusterEndpoint::new(seeds))
    }

    /// As a file has it. Checked at once, so that no part of a file is kept unchecked as a host.
    pub(super) fn from_document(document: Document) -> Result<Self, ConfigError> {
        let endpoint = match document {
            Document::Table(entries) if entries.iter().any(|(name, _)| name == "sentinels") => {
                Self::Sentinel(SentinelEndpoint::from_fields(entries)?)
            }
            Document::Table(entries) if entries.iter().any(|(name, _)| name == "cluster") => {
                Self::Cluster(ClusterEndpoint::from_fields(entries)?)
            }
            Document::Table(entries) => EndpointFields::read(entries)?.endpoint()?,
            Document::Text(text) => super::url::read_endpoint(&text).map_err(|cause| cause.in_field("endpoint"))?,
            other => return Err(other.refused("endpoint", FORMS)),
        };
        endpoint.check().map_err(|cause| cause.in_field("endpoint"))?;
        Ok(endpoint)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Tcp { host, port } => check_host(host).and_then(|()| check_port("endpoint.port", *port)),
            Self::Unix { path } => check_path(path),
            Self::Sentinel(sentinel) => sentinel.check(),
            Self::Cluster(cluster) => cluster.check(),
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::tcp("localhost", DEFAULT_PORT)
    }
}

/// `host:port` with an IPv6 address in brackets, or the path of the socket. What stands in place of a host or a path and is
/// none, a whole URL perhaps, may hold a password: it is printed as `<not a host>` or `<not a path>`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => fmt_host_port(f, host, *port),
            Self::Unix { path } if check_path(path).is_err() => f.write_str(NOT_A_PATH),
            Self::Unix { path } => write!(f, "{}", path.display()),
            Self::Sentinel(sentinel) => sentinel.fmt(f),
            Self::Cluster(cluster) => cluster.fmt(f),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => {
                let host = if check_host(host).is_err() { NOT_A_HOST } else { host };
                f.debug_struct("Tcp").field("host", &host).field("port", port).finish()
            }
            Self::Unix { path } => {
                let path = if check_path(path).is_err() { Path::new(NOT_A_PATH) } else { path };
                f.debug_struct("Unix").field("path", &path).finish()
            }
            Self::Sentinel(sentinel) => sentinel.fmt(f),
            Self::Cluster(cluster) => cluster.fmt(f),
        }
    }
}

pub(super) fn fmt_host_port(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if check_host(host).is_err() {
        write!(f, "{NOT_A_HOST}:{port}")
    } else if host.contains(':') {
        write!(f, "[{host}]:{port}")
    } else {
        write!(f, "{host}:{port}")
    }
}

const NOT_A_HOST: &str = "<not a host>";
const NOT_A_PATH: &str = "<not a path>";

/// The forms of an endpoint in a file.
const FORMS: &str = "a table with a host, a port and no more, or a path, or sentinels and a master, or cluster; or a URL such as \
     redis://host:6379 or unix:///path";

/// The fields of an endpoint in a file.
#[derive(Default)]
struct EndpointFields {
    host: Option<String>,
    port: Option<u16>,
    path: Option<String>,
}

impl EndpointFields {
    fn read(entries: Vec<(String, Document)>) -> Result<Self, ConfigError> {
        let mut fields = Self::default();
        for (name, value) in entries {
            match name.as_str() {
                "host" => set("endpoint.host", &mut fields.host, value.into_text("endpoint.host")?)?,
                "port" => {
                    let port = parse_port(&value.into_plain("endpoint.port", PORTS)?)?;
                    set("endpoint.port", &mut fields.port, port)?;
                }
                "path" => set("endpoint.path", &mut fields.path, value.into_text("endpoint.path")?)?,
                _ => {
                    return Err(ConfigError::unknown_field(
                        "endpoint",
                        &name,
                        "host, port, path; sentinels, master; cluster",
                    ));
                }
            }
        }
        Ok(fields)
    }

    fn endpoint(self) -> Result<Endpoint, ConfigError> {
        let refused = |problem: &str| {
            Err(ConfigError::Unreadable { field: "endpoint", value: problem.to_owned(), expected: FORMS.to_owned() })
        };
        match (self.host, self.port, self.path) {
            (Some(host), port, None) => Ok(Endpoint::tcp(host, port.unwrap_or(DEFAULT_PORT))),
            (None, None, Some(path)) => Ok(Endpoint::unix(path)),
            (None, _, None) => refused("without a host and without the path of a unix socket"),
            (_, _, Some(_)) => refused("a path together with a host or a port"),
        }
    }
}

fn set<T>(name: &'static str, field: &mut Option<T>, value: T) -> Result<(), ConfigError> {
    match field.replace(value) {
        Some(_) => Err(ConfigError::Repeated { field: name }),
        None => Ok(()),
    }
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`. The host may come out empty; the port, if
/// there is one, is from 1 to 65535.
pub(super) fn split_host_port(text: &str) -> Result<(String, Option<u16>), ConfigError> {
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(ConfigError::Host { problem: "opens a bracket and does not close it" })?;
        let after = &text[end + 1..];
        match after.strip_prefix(':') {
            Some(port) => (&text[..=end], Some(port)),
            None if after.is_empty() => (text, None),
            None => {
                return Err(ConfigError::Host { problem: "has something other than :port after its bracket" });
            }
        }
    } else {
        match text.split_once(':') {
            // `::1:6379` is an address of its own, too, so that guessing would be wrong half of the time.
            Some((_, port)) if port.contains(':') => {
                return Err(ConfigError::Host {
                    problem: "has several colons: an IPv6 address is written in brackets here, as in [::1]:6379",
                });
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = port.map(parse_port).transpose()?;
    Ok((canonical_host(host.to_owned()), port))
}

const PORTS: &str = "a number from 1 to 65535";

/// Never repeats the text: in `user:password` without a host, the password stands where a port belongs.
pub(super) fn parse_port(text: &str) -> Result<u16, ConfigError> {
    match text.parse() {
        Ok(0) | Err(_) => {
            Err(ConfigError::Unreadable { field: "port", value: "not a port".to_owned(), expected: PORTS.to_owned() })
        }
        Ok(port) => Ok(port),
    }
}

pub(super) fn canonical_host(host: String) -> String {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    match bare.parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host,
    }
}

/// RFC 1035: 253 characters of name, 63 of label.
const NAME_AT_MOST: usize = 253;
const LABEL_AT_MOST: usize = 63;

pub(super) fn check_host(host: &str) -> Result<(), ConfigError> {
    match host_problem(host) {
        Some(problem) => Err(ConfigError::Host { problem }),
        None => Ok(()),
    }
}

fn host_problem(host: &str) -> Option<&'static str> {
    if host.is_empty() {
        return Some("is empty: give a DNS name or an IP address");
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return address
            .is_unspecified()
            .then_some("is a wildcard address: it is for listening, name the server's own address");
    }
    if host.contains("://") {
        return Some("is a whole URL: give it to Config::from_url or in REDIS_URL, or leave only the host");
    }
    if host.contains('@') {
        return Some("has credentials in it: give username and password as settings of their own");
    }
    if host.contains(',') {
        return Some("has a comma in it: one endpoint is followed, unless they are sentinels (redis+sentinel://)");
    }
    if host.contains('%') {
        return Some("has a percent sign in it: IPv6 zones and percent-encoded names are not supported");
    }
    if host.starts_with('[') || host.matches(':').count() > 1 {
        return Some("is not a valid IPv6 address");
    }
    if host.contains(':') {
        return Some("has a port in it: give the port as a setting of its own (REDIS_PORT in the environment)");
    }
    if host.contains('/') {
        return Some("has a slash in it: the path of a unix socket is written unix:///path");
    }
    name_problem(host)
}

fn name_problem(host: &str) -> Option<&'static str> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_ascii() {
        return Some("has characters beyond ASCII: write an international name in its xn-- form");
    }
    if !name.chars().all(allowed) {
        return Some(
            "has a character that no host name has: letters, digits, hyphens, underscores and dots are allowed",
        );
    }
    if name.len() > NAME_AT_MOST {
        return Some("is longer than the 253 characters of a DNS name");
    }
    if name.split('.').any(|label| label.is_empty() || label.len() > LABEL_AT_MOST) {
        return Some("has a label that is empty or longer than 63 characters");
    }
    None
}

pub(super) fn check_port(field: &'static str, port: u16) -> Result<(), ConfigError> {
    if port == 0 {
        return Err(ConfigError::OutOfRange { field, value: "0".to_owned(), allowed: "1 to 65535".to_owned() });
    }
    Ok(())
}

/// `sun_path` has 108 bytes on Linux, one of them for the closing NUL.
const PATH_AT_MOST: usize = 107;

fn check_path(path: &Path) -> Result<(), ConfigError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let problem = if bytes.is_empty() {
        "is empty: give the path of the socket, as in unix:///run/redis.sock"
    } else if bytes.contains(&0) {
        "has a NUL byte in it"
    } else if !bytes.starts_with(b"/") {
        "is relative: give an absolute one, as in unix:///run/redis.sock"
    } else if bytes.len() > PATH_AT_MOST {
        "is longer than the 107 bytes that the operating system takes"
    } else if path.to_str().is_none() {
        "is not UTF-8"
    } else {
        return Ok(());
    };
    Err(ConfigError::Path { problem })
}
