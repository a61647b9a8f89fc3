//! A cluster as the endpoint of a configuration: the nodes, or the one configuration endpoint, through which its slots are
//! learnt. Every form of a configuration reads them through here. Nothing here asks a node anything.

use std::fmt;

use serde::{Serialize, Serializer};

use super::document::Document;
use super::endpoint::{DEFAULT_PORT, canonical_host, check_host, check_port, fmt_host_port, split_host_port};
use super::error::ConfigError;

/// More are a mistake: one is enough to learn of all others.
const SEEDS_AT_MOST: usize = 32;

/// Through whom a cluster is found.
///
/// In a file: `{ cluster = ["clustercfg.example:6379"] }`. As a URL: `redis+cluster://clustercfg.example:6379`, where several are
/// separated by commas.
///
/// The name of each is resolved again at every use, and one name may stand for several nodes, as the configuration endpoint of a
/// managed service does. Which nodes there are, the cluster itself says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterEndpoint {
    /// Who is asked about the slots where no node is known that answers, 1 to 32 of them.
    #[serde(rename = "cluster")]
    pub seeds: Vec<ClusterSeed>,
}

impl ClusterEndpoint {
    /// A cluster that is found through these. Nothing is checked here: [`Config::validate`](super::Config::validate) does that.
    pub fn new(seeds: impl IntoIterator<Item = ClusterSeed>) -> Self {
        Self { seeds: seeds.into_iter().collect() }
    }

    /// The fields of a file's table of which one is called `cluster`.
    pub(super) fn from_fields(entries: Vec<(String, Document)>) -> Result<Self, ConfigError> {
        let mut seeds = None;
        for (name, value) in entries {
            if name != "cluster" {
                return Err(ConfigError::unknown_field("endpoint", &name, "cluster"));
            }
            if seeds.replace(read_seeds(value)?).is_some() {
                return Err(ConfigError::Repeated { field: "endpoint.cluster" });
            }
        }
        Ok(Self { seeds: seeds.unwrap_or_default() })
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let problem = match self.seeds.len() {
            0 => "list is empty: name its configuration endpoint, or a node, as in redis+cluster://host:6379",
            1..=SEEDS_AT_MOST => return self.seeds.iter().try_for_each(ClusterSeed::check),
            _ => "list is longer than 32: name some of them, one is enough to learn of all others",
        };
        Err(ConfigError::Cluster { problem })
    }
}

/// `cluster a:6379,b:6379`. What is no host is not printed.
impl fmt::Display for ClusterEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {}", Listed(&self.seeds))
    }
}

/// Seeds as a URL lists them.
pub(super) struct Listed<'a>(pub(super) &'a [ClusterSeed]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, seed) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            seed.fmt(f)?;
        }
        Ok(())
    }
}

/// A node of a cluster, or its configuration endpoint. In a file: `"host:6379"`, where the port may be left out.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterSeed {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets. A name is resolved again at every use.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl ClusterSeed {
    /// A seed at this host and port. An IPv6 address may come in brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: canonical_host(host.into()), port }
    }

    /// Reads several of `host`, `host:port`, `[v6]` and `[v6]:port`, with commas between them.
    pub(super) fn read_list(text: &str) -> Result<Vec<Self>, ConfigError> {
        text.split(',').map(Self::read).collect()
    }

    fn read(text: &str) -> Result<Self, ConfigError> {
        let (host, port) = split_host_port(text.trim())?;
        Ok(Self { host, port: port.unwrap_or(DEFAULT_PORT) })
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_host(&self.host)?;
        check_port("the port of a cluster's seed", self.port)
    }
}

/// What stands in place of a host and is none may hold a password: it is printed as `<not a host>`.
impl fmt::Display for ClusterSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_host_port(f, &self.host, self.port)
    }
}

impl fmt::Debug for ClusterSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterSeed({self})")
    }
}

impl Serialize for ClusterSeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn read_seeds(value: Document) -> Result<Vec<ClusterSeed>, ConfigError> {
    const EXPECTED: &str = "a list of nodes, each as host or host:port";
    match value {
        Document::List(elements) => {
            let texts = elements.into_iter().map(|element| element.into_text("endpoint.cluster"));
            texts.map(|text| ClusterSeed::read(&text?)).collect()
        }
        Document::Text(text) => ClusterSeed::read_list(&text),
        other => Err(other.refused("endpoint.cluster", EXPECTED)),
    }
}
