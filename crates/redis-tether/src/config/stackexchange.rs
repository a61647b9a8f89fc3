//! Reading a StackExchange.Redis connection string, so that a service that moves here keeps its setting. What has a
//! counterpart is mapped, what tunes that client's own machinery is ignored, and what would change what commands do is
//! refused. `Config::from_stackexchange` documents which is which.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::draft::{Draft, parse_bool, parse_db};
use super::endpoint::{DEFAULT_PORT, Endpoint, split_host_port};
use super::error::ConfigError;
use super::password::Password;
use super::sentinel::{DEFAULT_SENTINEL_PORT, SentinelEndpoint, SentinelNode};
use super::settings::Protocol;
use super::table::{ANY_SPAN, WHOLE_SECONDS, check_span};
use super::tls::TlsSettings;

impl Config {
    /// Reads a StackExchange.Redis connection string: `host:6379,password=...,asyncTimeout=2000`.
    ///
    /// Names of options may be in any case; space around names and values is dropped, as that library does. A password
    /// may contain `=` but no comma.
    ///
    /// | option | here |
    /// |---|---|
    /// | `user`, `password`, `name` | username, password, client name; empty is none |
    /// | `defaultDatabase` | `db` |
    /// | `protocol` | `protocol` |
    /// | `asyncTimeout` (ms), or else `syncTimeout` | `commands.deadline`, which is 5 s in both |
    /// | `connectTimeout` (ms) | `dial.timeout`; `dial.connect_timeout`, too, where that is longer |
    /// | `keepAlive` (s) | `dial.keepalive_idle`; zero and below leave the default |
    /// | `ssl=true` | `tls`, and then the port defaults to 6380, as in that library |
    /// | `sslHost` | `tls.server_name`, with `ssl=true` |
    /// | `abortConnect`, `allowAdmin`, `checkCertificateRevocation`, `configChannel`, `configCheckSeconds`, `connectRetry`, `defaults`, `highIntegrity`, `highPriorityThreads`, `maintNotifications`, `maintPostEventRelaxed`, `maintRelaxedTimeout`, `maintRelaxedWindowMax`, `preserveAsyncOrder`, `proxy`, `resolveDns`, `responseTimeout`, `setlib`, `sslProtocols`, `tcpKeepAlive`, `tiebreaker`, `topologyRefreshSeconds`, `version`, `writeBuffer` | ignored: a tether starts while the server is down, never stops trying, finds the role of its peer and what a proxy takes by asking it; TLS is 1.2 or 1.3, and nothing is checked for revocation |
    /// | `serviceName`, and then one or several endpoints | the master's name, and the sentinels; their port defaults to 26379 |
    /// | `sentinelUser`, `sentinelPassword` | those of the sentinels; without either, `user` and `password` go for the sentinels, too |
    /// | several endpoints without `serviceName` | refused: name the primary endpoint, or use `redis+cluster://` |
    /// | `channelPrefix`, `tunnel`, `$COMMAND=...` | refused: ignoring them would send other commands, or elsewhere |
    ///
    /// An endpoint that begins with `!` is the path of a unix socket.
    ///
    /// # Errors
    /// What is malformed, unknown, given twice, contradictory or out of range is refused. The error never repeats the
    /// string.
    pub fn from_stackexchange(text: &str) -> Result<Self, ConfigError> {
        read(text)?.finish()
    }
}

/// As [`Config::from_stackexchange`], for the other parsers.
pub(super) fn read(text: &str) -> Result<Draft, ConfigError> {
    let mut reader = Reader::default();
    for (index, part) in text.split(',').enumerate() {
        let part = part.trim();
        match part.split_once('=') {
            Some((name, value)) => reader.read_option(index + 1, name.trim(), value.trim())?,
            None if part.is_empty() => {}
            None => reader.read_endpoint(part)?,
        }
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    endpoints: Vec<Named>,
    service: Option<String>,
    sentinel_username: Option<String>,
    sentinel_password: Option<Password>,
    given_db: Option<u32>,
    given_tls: Option<bool>,
    tls_name: Option<String>,
    config: Config,
    sync_timeout: Option<Duration>,
    async_timeout: Option<Duration>,
    seen: Vec<&'static str>,
}

/// An endpoint of the string.
enum Named {
    Tcp(String, Option<u16>),
    Unix(PathBuf),
}

impl Reader {
    fn read_endpoint(&mut self, text: &str) -> Result<(), ConfigError> {
        self.endpoints.push(match text.strip_prefix('!') {
            Some(path) => Named::Unix(path.into()),
            None => {
                let (host, port) = split_host_port(text)?;
                Named::Tcp(host, port)
            }
        });
        Ok(())
    }

    fn read_option(&mut self, position: usize, name: &str, value: &str) -> Result<(), ConfigError> {
        if name.starts_with('$') {
            return Err(ConfigError::UnsupportedOption {
                option: "$COMMAND=",
                reason: "commands are sent by their own names",
            });
        }
        let known = OPTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some(&(option, meaning)) = known else {
            return Err(self.unknown_option(position, name));
        };
        if self.seen.contains(&option) {
            return Err(ConfigError::Repeated { field: option });
        }
        self.seen.push(option);
        self.apply(option, meaning, value)
    }

    fn apply(&mut self, option: &'static str, meaning: Meaning, value: &str) -> Result<(), ConfigError> {
        let config = &mut self.config;
        let text = (!value.is_empty()).then(|| value.to_owned());
        match meaning {
            Meaning::User => config.username = text,
            Meaning::Password => config.password = text.map(Password::new),
            Meaning::Name => config.client_name = text,
            Meaning::Database => self.given_db = Some(parse_db(value)?),
            Meaning::Protocol => config.protocol = read_protocol(value)?,
            Meaning::AsyncTimeout => self.async_timeout = Some(read_milliseconds(option, value)?),
            Meaning::SyncTimeout => self.sync_timeout = Some(read_milliseconds(option, value)?),
            Meaning::ConnectTimeout => {
                let timeout = read_milliseconds(option, value)?;
                config.dial.timeout = timeout;
                config.dial.connect_timeout = config.dial.connect_timeout.min(timeout);
            }
            Meaning::KeepAlive => {
                if let Some(idle) = read_keepalive(option, value)? {
                    config.dial.keepalive_idle = idle;
                }
            }
            Meaning::Ssl => self.given_tls = Some(parse_bool(option, value)?),
            Meaning::SslHost => self.tls_name = text,
            Meaning::ServiceName => self.service = text,
            Meaning::SentinelUser => self.sentinel_username = text,
            Meaning::SentinelPassword => self.sentinel_password = text.map(Password::new),
            Meaning::Refused(reason) if text.is_some() => {
                return Err(ConfigError::UnsupportedOption { option, reason });
            }
            Meaning::Refused(_) | Meaning::Ignored => {}
        }
        Ok(())
    }

    /// After a password, an unknown name may be the part of it that follows a comma.
    fn unknown_option(&self, position: usize, name: &str) -> ConfigError {
        let is_name = name.len() <= NAME_AT_MOST && !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
        let after_password = self.seen.iter().any(|seen| seen.ends_with("assword"));
        let name = if is_name && !after_password {
            format!("option {position} (`{name}`)")
        } else {
            format!("option {position} (its name is not repeated, since it may be part of a password with a comma)")
        };
        let allowed: Vec<_> = OPTIONS.iter().map(|(option, _)| *option).collect();
        ConfigError::UnknownName { name, allowed: allowed.join(", ") }
    }

    fn finish(mut self) -> Result<Draft, ConfigError> {
        let (endpoint, given_port) = match self.service.take() {
            Some(service) => (self.sentinels(service)?, None),
            None => the_only(std::mem::take(&mut self.endpoints))?,
        };
        let mut config = self.config;
        config.endpoint = endpoint;
        config.db = self.given_db.unwrap_or(config.db);
        if self.given_tls == Some(true) {
            config.tls = Some(TlsSettings { server_name: self.tls_name, ..TlsSettings::asked_for_by("ssl=true")? });
            if let (Endpoint::Tcp { port, .. }, None) = (&mut config.endpoint, given_port) {
                *port = TLS_PORT;
            }
        }
        // That library's asyncTimeout defaults to its syncTimeout.
        if let Some(deadline) = self.async_timeout.or(self.sync_timeout) {
            config.commands.deadline = deadline;
        }
        Ok(Draft { config, given_port, given_db: self.given_db, given_tls: self.given_tls })
    }

    /// That library signs in to sentinels as it does to servers, unless it is told otherwise.
    fn sentinels(&mut self, service: String) -> Result<Endpoint, ConfigError> {
        let nodes = std::mem::take(&mut self.endpoints).into_iter().map(|named| match named {
            Named::Tcp(host, port) => Ok(SentinelNode::new(host, port.unwrap_or(DEFAULT_SENTINEL_PORT))),
            Named::Unix(_) => Err(ConfigError::Sentinel { problem: "list with a unix socket: sentinels are hosts" }),
        });
        let mut sentinel = SentinelEndpoint::new(nodes.collect::<Result<Vec<_>, _>>()?, service);
        (sentinel.username, sentinel.password) = match (&self.sentinel_username, &self.sentinel_password) {
            (None, None) => (self.config.username.clone(), self.config.password.clone()),
            (username, password) => (username.clone(), password.clone()),
        };
        Ok(Endpoint::Sentinel(sentinel))
    }
}

/// The endpoint where there is but one, and its port where one is given.
fn the_only(endpoints: Vec<Named>) -> Result<(Endpoint, Option<u16>), ConfigError> {
    let mut endpoints = endpoints.into_iter();
    let only = endpoints
        .next()
        .ok_or(ConfigError::Host { problem: "is missing: write host:6379, or a URL such as redis://host:6379" })?;
    if endpoints.next().is_some() {
        return Err(ConfigError::SeveralEndpoints);
    }
    Ok(match only {
        Named::Tcp(host, port) => (Endpoint::tcp(host, port.unwrap_or(DEFAULT_PORT)), port),
        Named::Unix(path) => (Endpoint::unix(path), None),
    })
}

/// What that library takes where none is given with `ssl=true`.
const TLS_PORT: u16 = 6380;

/// The longest name an error repeats; no option's is longer.
const NAME_AT_MOST: usize = 32;

#[derive(Clone, Copy)]
enum Meaning {
    User,
    Password,
    Name,
    Database,
    Protocol,
    AsyncTimeout,
    SyncTimeout,
    ConnectTimeout,
    KeepAlive,
    Ssl,
    SslHost,
    ServiceName,
    SentinelUser,
    SentinelPassword,
    /// It would change what is sent, or where.
    Refused(&'static str),
    Ignored,
}

/// The options of StackExchange.Redis, as its documentation spells them.
const OPTIONS: &[(&str, Meaning)] = &[
    ("abortConnect", Meaning::Ignored),
    ("allowAdmin", Meaning::Ignored),
    ("asyncTimeout", Meaning::AsyncTimeout),
    ("channelPrefix", Meaning::Refused("channels are used by their own names, so put the prefix there")),
    ("checkCertificateRevocation", Meaning::Ignored),
    ("configChannel", Meaning::Ignored),
    ("configCheckSeconds", Meaning::Ignored),
    ("connectRetry", Meaning::Ignored),
    ("connectTimeout", Meaning::ConnectTimeout),
    ("defaultDatabase", Meaning::Database),
    ("defaults", Meaning::Ignored),
    ("highIntegrity", Meaning::Ignored),
    ("highPriorityThreads", Meaning::Ignored),
    ("keepAlive", Meaning::KeepAlive),
    ("maintNotifications", Meaning::Ignored),
    ("maintPostEventRelaxed", Meaning::Ignored),
    ("maintRelaxedTimeout", Meaning::Ignored),
    ("maintRelaxedWindowMax", Meaning::Ignored),
    ("name", Meaning::Name),
    ("password", Meaning::Password),
    ("preserveAsyncOrder", Meaning::Ignored),
    ("protocol", Meaning::Protocol),
    ("proxy", Meaning::Ignored),
    ("resolveDns", Meaning::Ignored),
    ("responseTimeout", Meaning::Ignored),
    ("sentinelPassword", Meaning::SentinelPassword),
    ("sentinelUser", Meaning::SentinelUser),
    ("serviceName", Meaning::ServiceName),
    ("setlib", Meaning::Ignored),
    ("ssl", Meaning::Ssl),
    ("sslHost", Meaning::SslHost),
    ("sslProtocols", Meaning::Ignored),
    ("syncTimeout", Meaning::SyncTimeout),
    ("tcpKeepAlive", Meaning::Ignored),
    ("tiebreaker", Meaning::Ignored),
    ("topologyRefreshSeconds", Meaning::Ignored),
    ("tunnel", Meaning::Refused("connections are made directly, so name an endpoint that can be reached")),
    ("user", Meaning::User),
    ("version", Meaning::Ignored),
    ("writeBuffer", Meaning::Ignored),
];

fn read_protocol(value: &str) -> Result<Protocol, ConfigError> {
    Protocol::from_word(&value.to_ascii_lowercase())
        .ok_or_else(|| ConfigError::unreadable("protocol", value, Protocol::WORDS))
}

fn read_milliseconds(option: &'static str, value: &str) -> Result<Duration, ConfigError> {
    let milliseconds =
        value.parse().map_err(|_| ConfigError::unreadable(option, value, "a number of milliseconds, as in 5000"))?;
    let span = Duration::from_millis(milliseconds);
    check_span(option, span, ANY_SPAN)?;
    Ok(span)
}

/// `None` where that library would use its default.
fn read_keepalive(option: &'static str, value: &str) -> Result<Option<Duration>, ConfigError> {
    let seconds: i64 =
        value.parse().map_err(|_| ConfigError::unreadable(option, value, "a number of seconds, as in 60"))?;
    let Some(span) = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs) else {
        return Ok(None);
    };
    check_span(option, span, WHOLE_SECONDS)?;
    Ok(Some(span))
}
