//! Sentinels as the endpoint of a configuration: who they are, what they call the primary, how to sign in to them, and whether
//! that goes over TLS. Every form of a configuration reads them through here; the settings that are rows of a table are in
//! `table/sentinels.rs`. Nothing here asks a sentinel anything.

use std::fmt;

use serde::{Serialize, Serializer};

use super::document::Document;
use super::draft::parse_bool;
use super::endpoint::{canonical_host, check_host, check_port, fmt_host_port, split_host_port};
use super::error::ConfigError;
use super::file;
use super::password::Password;
use super::secret_file::SecretFile;
use super::tls::TlsSettings;

/// The port of sentinels, taken wherever none is given.
pub const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// More are a mistake: each is asked whenever the primary is in doubt.
const NODES_AT_MOST: usize = 32;

/// Sentinels, and the primary that they are asked for.
///
/// In a file: `{ sentinels = ["a:26379", "b:26379"], master = "mymaster" }`, where needed with the `username` and `password` of
/// the sentinels themselves (or `username_file` and `password_file`) and the `tls` that is spoken with them. As a URL:
/// `redis+sentinel://a:26379,b:26379/mymaster`.
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

    /// The file that the sentinels' username is in, in place of `username`. Needs a password or a `password_file` of theirs.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_file: Option<SecretFile>,

    /// The file that the sentinels' password is in, in place of `password`. Read for each connection to one of them. Default:
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<SecretFile>,

    /// TLS with the sentinels. Default: as with the servers.
    #[serde(skip_serializing_if = "SentinelTls::is_as_servers")]
    pub tls: SentinelTls,
}

/// Whether sentinels are spoken to over TLS, and with which certificates.
///
/// In a file the field `tls` of the endpoint: `false`, `true` for the defaults, or a table as the section [`tls`](TlsSettings) is one. In
/// a URL `sentinel_tls=false` or `true`, and `sentinel_tls_ca_file` and the like; in the environment `REDIS_SENTINEL_TLS` and
/// `REDIS_SENTINEL_TLS_CA_FILE` and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SentinelTls {
    /// As with the servers: over TLS with their settings if [`Config::tls`](super::Config::tls) has any, else in plain. The default.
    #[default]
    AsServers,
    /// In plain, also where the servers speak TLS.
    Off,
    /// Over TLS with these settings, also where the servers speak plainly. Nothing of theirs counts here: what these leave out has
    /// its default. That of `server_name` is the host that each sentinel is listed with.
    Own(Box<TlsSettings>),
}

impl SentinelTls {
    /// Over TLS with these settings.
    #[must_use]
    pub fn own(settings: TlsSettings) -> Self {
        Self::Own(Box::new(settings))
    }

    /// The field of a file.
    fn from_document(document: Document) -> Result<Self, ConfigError> {
        match document {
            Document::Nothing => Ok(Self::AsServers),
            Document::Table(entries) => Ok(Self::own(file::read_sentinels_tls(entries)?)),
            Document::Truth(wanted) => Ok(Self::wanted(wanted)),
            Document::Text(text) => parse_bool("endpoint.tls", &text).map(Self::wanted),
            other => {
                Err(other
                    .refused("endpoint.tls", "true, false, or a table such as { ca_file = \"/etc/redis/ca.pem\" }"))
            }
        }
    }

    fn wanted(wanted: bool) -> Self {
        if wanted { Self::own(TlsSettings::default()) } else { Self::Off }
    }

    fn is_as_servers(&self) -> bool {
        *self == Self::AsServers
    }
}

/// As a file has it.
impl Serialize for SentinelTls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AsServers => serializer.serialize_none(),
            Self::Off => serializer.serialize_bool(false),
            Self::Own(settings) => settings.serialize(serializer),
        }
    }
}

impl SentinelEndpoint {
    /// Asks these sentinels for the primary of this name. Nothing is checked here:
    /// [`Config::validate`](super::Config::validate) does that.
    pub fn new(nodes: impl IntoIterator<Item = SentinelNode>, master: impl Into<String>) -> Self {
        Self {
            nodes: nodes.into_iter().collect(),
            master: master.into(),
            username: None,
            password: None,
            username_file: None,
            password_file: None,
            tls: SentinelTls::default(),
        }
    }

    /// Signs in to the sentinels as this ACL user of theirs. Needs a password of theirs, too.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Signs in to the sentinels with this password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Password>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Signs in to the sentinels with the password that is in this file at the time.
    #[must_use]
    pub fn with_password_file(mut self, path: impl Into<SecretFile>) -> Self {
        self.password_file = Some(path.into());
        self
    }

    /// Signs in to the sentinels as the ACL user whose name is in this file at the time.
    #[must_use]
    pub fn with_username_file(mut self, path: impl Into<SecretFile>) -> Self {
        self.username_file = Some(path.into());
        self
    }

    /// Speaks TLS with the sentinels, with these settings in place of the servers'.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsSettings) -> Self {
        self.tls = SentinelTls::own(tls);
        self
    }

    /// Speaks with the sentinels in plain, also where the servers speak TLS.
    #[must_use]
    pub fn without_tls(mut self) -> Self {
        self.tls = SentinelTls::Off;
        self
    }

    /// The fields of a file's table of which one is called `sentinels`.
    pub(super) fn from_fields(entries: Vec<(String, Document)>) -> Result<Self, ConfigError> {
        let (mut nodes, mut master) = (None, None);
        let (mut username, mut password) = (None, None);
        let (mut username_file, mut password_file) = (None, None);
        let mut tls = None;
        for (name, value) in entries {
            let repeated = match name.as_str() {
                "sentinels" => nodes.replace(read_nodes(value)?).is_some(),
                "master" => master.replace(value.into_text("endpoint.master")?).is_some(),
                "username" => username.replace(value.into_optional_text("endpoint.username")?).is_some(),
                "password" => password.replace(value.into_optional_text("endpoint.password")?).is_some(),
                "username_file" => username_file.replace(value.into_optional_text("endpoint.username_file")?).is_some(),
                "password_file" => password_file.replace(value.into_optional_text("endpoint.password_file")?).is_some(),
                "tls" => tls.replace(SentinelTls::from_document(value)?).is_some(),
                _ => return Err(ConfigError::unknown_field("endpoint", &name, FIELDS)),
            };
            if repeated {
                return Err(ConfigError::Repeated { field: "a field of endpoint" });
            }
        }
        let master = master.ok_or(ConfigError::Sentinel { problem: NO_MASTER })?;
        Ok(Self {
            nodes: nodes.unwrap_or_default(),
            master,
            username: username.flatten(),
            password: password.flatten().map(Password::new),
            username_file: username_file.flatten().map(SecretFile::new),
            password_file: password_file.flatten().map(SecretFile::new),
            tls: tls.unwrap_or_default(),
        })
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
        self.check_credentials()?;
        match &self.tls {
            SentinelTls::Own(settings) => settings.check_for_sentinels(),
            SentinelTls::AsServers | SentinelTls::Off => Ok(()),
        }
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
        let has_password = password.is_some() || self.password_file.is_some();
        let (field, problem) = match (self.username.as_deref(), password) {
            (Some(""), _) => ("the sentinels' username", "is empty: leave it out"),
            (_, Some("")) => ("the sentinels' password", "is empty: leave it out"),
            (Some(_), _) if self.username_file.is_some() => {
                ("endpoint.username_file", "is given beside a username: leave one of them out")
            }
            (_, Some(_)) if self.password_file.is_some() => {
                ("endpoint.password_file", "is given beside a password: leave one of them out")
            }
            (Some(_), _) if !has_password => {
                ("the sentinels' username", "is given without a password for them: give one")
            }
            (None, _) if self.username_file.is_some() && !has_password => {
                ("endpoint.username_file", "is given without a password for them: give one, or a password_file")
            }
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

const FIELDS: &str = "sentinels, master, username, password, username_file, password_file, tls";

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
