//! Sentinels as the endpoint of a configuration: who they are, what they call the primary, and how to sign in to them. Every
//! form of a configuration reads them through here. Nothing here asks a sentinel anything.

use std::fmt;

use serde::{Serialize, Serializer};

use super::document::Document;
use super::endpoint::{canonical_host, check_host, check_port, fmt_host_port, split_host_port};
use super::error::ConfigError;
use super::password::Password;

/// The port of sentinels, taken wherever none is given.
pub const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// More are a mistake: each is asked whenever the primary is in doubt.
const NODES_AT_MOST: usize = 32;

/// Sentinels, and the primary that they are asked for.
///
/// In a file: `{ sentinels = ["a:26379", "b:26379"], master = "mymaster" }`, where needed with the `username` and `password` of
/// the sentinels themselves. As a URL: `redis+sentinel://a:26379,b:26379/mymaster`.
///
/// The name of each sentinel is resolved again at every use, and one name may stand for several of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SentinelEndpoint {
    /// Who is asked, 1 to 32 of them. All are asked while the primary is in doubt, so their order means nothing.
    #[serde(rename = "sentinels")]
    pub nodes: Vec<SentinelNode>,

    /// What the sentinels call the primary, as in `sentinel monitor NAME ...`.
    pub master: String,

    /// The ACL user at the sentinels, which have users of their own. Default: none. Needs a password, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,

    /// The password at the sentinels. Default: none, and then no AUTH is sent to them; the server's is never tried there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
}

impl SentinelEndpoint {
    /// Asks these sentinels for the primary of this name. Nothing is checked here:
    /// [`Config::validate`](super::Config::validate) does that.
    pub fn new(nodes: impl IntoIterator<Item = SentinelNode>, master: impl Into<String>) -> Self {
        Self { nodes: nodes.into_iter().collect(), master: master.into(), username: None, password: None }
    }

    /// The fields of a file's table of which one is called `sentinels`.
    pub(super) fn from_fields(entries: Vec<(String, Document)>) -> Result<Self, ConfigError> {
        let (mut nodes, mut master) = (None, None);
        let (mut username, mut password) = (None, None);
        for (name, value) in entries {
            let repeated = match name.as_str() {
                "sentinels" => nodes.replace(read_nodes(value)?).is_some(),
                "master" => master.replace(value.into_text("endpoint.master")?).is_some(),
                "username" => username.replace(value.into_optional_text("endpoint.username")?).is_some(),
                "password" => password.replace(value.into_optional_text("endpoint.password")?).is_some(),
                _ => {
                    return Err(ConfigError::unknown_field("endpoint", &name, "sentinels, master, username, password"));
                }
            };
            if repeated {
                return Err(ConfigError::Repeated { field: "a field of endpoint" });
            }
        }
        let master = master.ok_or(ConfigError::Sentinel { problem: NO_MASTER })?;
        let password = password.flatten().map(Password::new);
        Ok(Self { nodes: nodes.unwrap_or_default(), master, username: username.flatten(), password })
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let problem = match self.nodes.len() {
            0 => Some("list is empty: name at least one, as in redis+sentinel://host1:26379,host2:26379/mymaster"),
            1..=NODES_AT_MOST => None,
            _ => Some("list is longer than 32: name some of them, one is enough to find the primary"),
        };
        let problem = problem.or_else(|| master_problem(&self.master));
        if let Some(problem) = problem {
            return Err(ConfigError::Sentinel { problem });
        }
        self.nodes.iter().try_for_each(SentinelNode::check)?;
        self.check_for_repeats()?;
        self.check_credentials()
    }

    fn check_for_repeats(&self) -> Result<(), ConfigError> {
        let is_repeated = |(index, node)| self.nodes[..index].contains(node);
        match self.nodes.iter().enumerate().find(|(index, node)| is_repeated((*index, *node))) {
            Some((_, node)) => Err(ConfigError::SentinelRepeated { sentinel: node.to_string() }),
            None => Ok(()),
        }
    }

    fn check_credentials(&self) -> Result<(), ConfigError> {
        let password = self.password.as_ref().map(Password::expose);
        let (field, problem) = match (self.username.as_deref(), password) {
            (Some(""), _) => ("the sentinels' username", "is empty: leave it out"),
            (_, Some("")) => ("the sentinels' password", "is empty: leave it out"),
            (Some(_), None) => ("the sentinels' username", "is given without a password for them: give one"),
            (_, Some(text)) if text.ends_with(['\n', '\r']) => {
                ("the sentinels' password", "ends in a line break: was it read from a file without trimming?")
            }
            _ => return Ok(()),
        };
        Err(ConfigError::Text { field, problem })
    }
}

/// `mymaster at sentinels a:26379,b:26379`: never the credentials. What is no host or name is not printed.
impl fmt::Display for SentinelEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let master = if master_problem(&self.master).is_some() { "<not a master's name>" } else { &self.master };
        write!(f, "{master} at sentinels {}", Listed(&self.nodes))
    }
}

/// Sentinels as a URL lists them.
pub(super) struct Listed<'a>(pub(super) &'a [SentinelNode]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            node.fmt(f)?;
        }
        Ok(())
    }
}

/// Where a sentinel is. In a file: `"host:26379"`, where the port may be left out.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentinelNode {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets. A name is resolved again at every use.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl SentinelNode {
    /// A sentinel at this host and port. An IPv6 address may come in brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: canonical_host(host.into()), port }
    }

    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub(super) fn read(text: &str) -> Result<Self, ConfigError> {
        let (host, port) = split_host_port(text.trim())?;
        Ok(Self { host, port: port.unwrap_or(DEFAULT_SENTINEL_PORT) })
    }

    /// Reads several, with commas between them.
    pub(super) fn read_list(text: &str) -> Result<Vec<Self>, ConfigError> {
        text.split(',').map(Self::read).collect()
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_host(&self.host)?;
        check_port("the port of a sentinel", self.port)
    }
}

/// What stands in place of a host and is none may hold a password: it is printed as `<not a host>`.
impl fmt::Display for SentinelNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_host_port(f, &self.host, self.port)
    }
}

impl fmt::Debug for SentinelNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SentinelNode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const NO_MASTER: &str = "list without a master's name: give the one of `sentinel monitor NAME ...`, as in redis+sentinel://host:26379/mymaster";

fn master_problem(master: &str) -> Option<&'static str> {
    if master.is_empty() {
        Some(NO_MASTER)
    } else if !master.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("list with a master's name that no sentinel has: printable ASCII without spaces is allowed")
    } else {
        None
    }
}

/// A list of texts, or one text with commas in it, as an environment has it.
fn read_nodes(document: Document) -> Result<Vec<SentinelNode>, ConfigError> {
    const FIELD: &str = "endpoint.sentinels";
    match document {
        Document::List(nodes) => nodes.into_iter().map(|node| SentinelNode::read(&node.into_text(FIELD)?)).collect(),
        Document::Text(text) => SentinelNode::read_list(&text),
        other => Err(other.refused(FIELD, "a list such as [\"host1:26379\", \"host2:26379\"]")),
    }
}
