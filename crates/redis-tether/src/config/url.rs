//! Reading a configuration from a URL. Split by hand: the unix forms keep their path to the letter, IPv6 and unusual
//! passwords are met where they stand, and no error of a general URL parser can repeat what a mistyped URL holds.

mod several;

use std::borrow::Cow;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::Config;
use super::draft::{Draft, parse_db};
use super::endpoint::{DEFAULT_PORT, Endpoint, split_host_port};
use super::error::{ConfigError, shown_name};
use super::password::Password;
use super::sentinel::{SentinelEndpoint, SentinelTls};
use super::settings::HoldMode;
use super::table::{SENTINEL_SETTINGS, SETTINGS, Setting};
use super::tls::{TlsSettings, TlsVerify};

impl Config {
    /// Reads `redis://[user][:password]@host[:port][/db][?parameters]`, or for a unix socket
    /// `redis+unix:///path[?db=..&user=..&pass=..]`, or for sentinels
    /// `redis+sentinel://[user][:password]@host[:port][,host[:port]...]/master[/db][?sentinel_user=..&sentinel_pass=..]`, or for a
    /// cluster `redis+cluster://[user][:password]@host[:port][,host[:port]...]`.
    ///
    /// - Schemes: `redis` and `valkey`, with TLS `rediss` and `valkeys`; `redis+unix`, `valkey+unix` and `unix`;
    ///   `redis+sentinel` and `valkey+sentinel`, with TLS `rediss+sentinel` and `valkeys+sentinel`, for sentinels and servers
    ///   alike unless `sentinel_tls` says otherwise; and with `cluster` in the same places for clusters. An IPv6 address stands in brackets.
    /// - Of sentinels, `user` and `password` in front of the hosts are those of the server. The port defaults to 26379. What they
    ///   have of their own are parameters: `sentinel_user` and `sentinel_pass`, `sentinel_username_file` and
    ///   `sentinel_password_file`, `sentinel_tls=true` or `false` where that is not as with the servers, `sentinel_tls_ca_file` and
    ///   so on for each [field of TLS](TlsSettings).
    /// - The port defaults to 6379, the database to 0.
    /// - In username and password, `/`, `?`, `#` and `@` must be percent-encoded (`%2F`, `%3F`, `%23`, `%40`). An empty
    ///   username or password is none.
    /// - Parameters: `user`, `pass`, `db`, `client_name`, `fail_fast=true` and every setting, by the name it has in a
    ///   file (`commands.deadline=2s`) or by its own (`deadline=2s`, `suspect_after=250ms`). `resolve.interval` is
    ///   `resolve_interval`, `dial.timeout` is `dial_timeout`, and the lanes of the pacing are `unreachable_first` and
    ///   the like. Durations have their unit with them. `%26` is `&`; a `+` stands for itself.
    /// - With TLS, the [fields of its section](TlsSettings) are parameters as well: `tls_ca_file=/etc/redis/ca.pem`,
    ///   `tls_server_name=redis.internal`. `#insecure` at the end, as redis-rs has it, is `tls_verify=insecure`.
    /// - Of a unix socket, the slashes before the path may be one or three: `unix:/path`.
    ///
    /// # Errors
    /// What is malformed, unknown, given twice, contradictory or out of range is refused; so are those of TLS in a build without it,
    /// and the scheme `redis+srv`: for SRV records, the URL is `redis://_redis._tcp.example.com`, and the resolver a `HickoryResolver` (feature
    /// `hickory`). The error never repeats the URL.
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        read(url)?.finish()
    }
}

/// Reads a URL or, where the text is none, a StackExchange.Redis connection string. Text is a URL if it begins with a scheme
/// and `://`, or with one of the schemes above and a colon that no port follows: `unix:/run/redis.sock`.
impl FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        read_any(text)?.finish()
    }
}

/// As [`Config::from_str`], for the environment.
pub(super) fn read_any(text: &str) -> Result<Draft, ConfigError> {
    let text = text.trim();
    if is_url(text) { read(text) } else { super::stackexchange::read(text) }
}

/// A URL that names an endpoint and says nothing else, for the `endpoint` of a file.
pub(super) fn read_endpoint(text: &str) -> Result<Endpoint, ConfigError> {
    let text = text.trim();
    if !is_url(text) {
        return Err(ConfigError::MalformedUrl {
            problem: "an endpoint that is text is a URL, redis://host:6379 or unix:///path; other forms are tables",
        });
    }
    let Draft { config, given_db, .. } = read(text)?;
    if config.tls.is_some() {
        return Err(ConfigError::MalformedUrl {
            problem: "an endpoint does not say whether TLS is spoken: write redis:// and add the section tls, which may be \
                      empty, or give the whole URL in place of the whole configuration",
        });
    }
    if config.username.is_some() || config.password.is_some() || given_db.is_some() || text.contains('?') {
        return Err(ConfigError::MalformedUrl {
            problem: "an endpoint has no credentials, database or parameters: give them as settings of their own, or the \
                      whole URL in place of the whole configuration",
        });
    }
    Ok(config.endpoint)
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    if rest.starts_with("//") {
        return is_scheme(scheme);
    }
    // `redis` is a scheme, and the name of many a host.
    let port = rest.split(',').next().unwrap_or_default().trim_end();
    let is_port = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    !is_port && !matches!(Scheme::read(scheme), Err(ConfigError::UnknownScheme { .. }))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn read(url: &str) -> Result<Draft, ConfigError> {
    let (scheme, rest) = url
        .trim()
        .split_once(':')
        .ok_or(ConfigError::MalformedUrl { problem: "it has no scheme, write redis://host:6379" })?;
    let scheme = Scheme::read(scheme)?;
    let rest = match (rest.strip_prefix("//"), scheme) {
        (Some(rest), _) => rest,
        // As RFC 8089 has it for files: without an authority, its slashes may go, too.
        (None, Scheme::Unix) if rest.starts_with('/') => rest,
        (None, Scheme::Unix) => {
            return Err(ConfigError::MalformedUrl {
                problem: "its scheme is not followed by a path, write unix:///path",
            });
        }
        (None, Scheme::Tcp | Scheme::Tls(_) | Scheme::Sentinel(_) | Scheme::Cluster(_)) => {
            return Err(ConfigError::MalformedUrl {
                problem: "its scheme is not followed by //, write redis://host:6379",
            });
        }
    };
    let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(split);
    match scheme {
        Scheme::Tcp => read_tcp(authority, rest, None),
        Scheme::Tls(asked_by) => read_tcp(authority, rest, Some(TlsSettings::asked_for_by(asked_by)?)),
        Scheme::Unix => read_unix(authority, rest),
        Scheme::Sentinel(asked_by) => {
            several::read_sentinel(authority, rest, asked_by.map(TlsSettings::asked_for_by).transpose()?)
        }
        Scheme::Cluster(asked_by) => {
            several::read_cluster(authority, rest, asked_by.map(TlsSettings::asked_for_by).transpose()?)
        }
    }
}

const SCHEMES: &str = "redis, valkey, rediss, valkeys, redis+sentinel, valkey+sentinel, rediss+sentinel, valkeys+sentinel, \
                       redis+cluster, valkey+cluster, rediss+cluster, valkeys+cluster, redis+unix, valkey+unix and unix";

#[derive(Clone, Copy)]
enum Scheme {
    Tcp,
    /// As it is called.
    Tls(&'static str),
    Unix,
    /// As it is called, with TLS.
    Sentinel(Option<&'static str>),
    /// As it is called, with TLS.
    Cluster(Option<&'static str>),
}

impl Scheme {
    fn read(scheme: &str) -> Result<Self, ConfigError> {
        let topology = |asked_by, topology| Err(ConfigError::TopologyUnsupported { asked_by, topology });
        match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => Ok(Self::Tcp),
            "redis+unix" | "valkey+unix" | "unix" => Ok(Self::Unix),
            "rediss" => Ok(Self::Tls("rediss://")),
            "valkeys" => Ok(Self::Tls("valkeys://")),
            "redis+sentinel" | "redis-sentinel" | "valkey+sentinel" | "valkey-sentinel" => Ok(Self::Sentinel(None)),
            "rediss+sentinel" | "rediss-sentinel" => Ok(Self::Sentinel(Some("rediss+sentinel://"))),
            "valkeys+sentinel" | "valkeys-sentinel" => Ok(Self::Sentinel(Some("valkeys+sentinel://"))),
            "redis+cluster" | "redis-cluster" | "valkey+cluster" | "valkey-cluster" => Ok(Self::Cluster(None)),
            "rediss+cluster" | "rediss-cluster" => Ok(Self::Cluster(Some("rediss+cluster://"))),
            "valkeys+cluster" | "valkeys-cluster" => Ok(Self::Cluster(Some("valkeys+cluster://"))),
            "redis+srv" | "rediss+srv" | "valkey+srv" | "valkeys+srv" => topology("redis+srv://", "SRV records"),
            // The scheme is not repeated: in `user:password@host` it is the user.
            _ => Err(ConfigError::UnknownScheme { allowed: SCHEMES }),
        }
    }
}

fn read_tcp(authority: &str, rest: &str, mut tls: Option<TlsSettings>) -> Result<Draft, ConfigError> {
    check_rest(rest)?;
    let (rest, fragment) = split_insecure(rest, &mut tls);
    let (path, query) = split_rest(rest)?;
    let (userinfo, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    if address.contains(',') {
        return Err(ConfigError::SeveralEndpoints);
    }
    let (host, given_port) = split_host_port(address)?;
    let given_tls = Some(tls.is_some());
    let config = Config { tls, ..Config::new(host, given_port.unwrap_or(DEFAULT_PORT)) };
    let mut draft = Draft { config, given_port, given_db: None, given_tls };
    read_userinfo(&mut draft, userinfo)?;
    // As redis-rs has it: a trailing slash after the number is fine.
    let db = path.trim_matches('/');
    if !db.is_empty() {
        set_db(&mut draft, db)?;
    }
    read_parameters(&mut draft, query)?;
    agree_on_tls(draft, fragment)
}

/// What a fragment of a URL says. It means something with TLS alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fragment {
    None,
    Insecure,
}

fn split_insecure<'a>(rest: &'a str, tls: &mut Option<TlsSettings>) -> (&'a str, Fragment) {
    match (tls, rest.strip_suffix("#insecure")) {
        (Some(tls), Some(rest)) => {
            tls.verify = TlsVerify::Insecure;
            (rest, Fragment::Insecure)
        }
        _ => (rest, Fragment::None),
    }
}

/// The scheme, the fragment and the parameters of one URL.
fn agree_on_tls(draft: Draft, fragment: Fragment) -> Result<Draft, ConfigError> {
    match &draft.config.tls {
        Some(_) if draft.given_tls == Some(false) => Err(ConfigError::Tls {
            problem: "settings are given, and the scheme is that of a plain connection: write rediss:// or valkeys://",
        }),
        Some(tls) if fragment == Fragment::Insecure && tls.verify != TlsVerify::Insecure => {
            Err(ConfigError::Repeated { field: "tls.verify" })
        }
        _ => Ok(draft),
    }
}

/// Before anything of the rest is read or named in an error: it may be the tail of a password.
fn check_rest(rest: &str) -> Result<(), ConfigError> {
    if rest.contains('@') {
        return Err(ConfigError::MalformedUrl {
            problem: "it has an @ after the host: percent-encode / ? # and @ in username, password and parameters \
                      (%2F %3F %23 %40)",
        });
    }
    Ok(())
}

fn read_unix(authority: &str, rest: &str) -> Result<Draft, ConfigError> {
    if !authority.is_empty() {
        return Err(ConfigError::MalformedUrl {
            problem: "a unix socket has no host: write unix:///path with three slashes, and user and pass as parameters",
        });
    }
    let (path, query) = split_rest(rest)?;
    let path = percent_decode_str(path).decode_utf8().map_err(|_| ConfigError::Path { problem: "is not UTF-8" })?;
    let config = Config::unix(path.into_owned());
    let mut draft = Draft { config, given_port: None, given_db: None, given_tls: Some(false) };
    read_parameters(&mut draft, query)?;
    Ok(draft)
}

/// Path and query of what follows the authority.
fn split_rest(rest: &str) -> Result<(&str, &str), ConfigError> {
    if rest.contains('#') {
        return Err(ConfigError::MalformedUrl {
            problem: "it has a fragment (#), which means nothing here: percent-encode a # as %23",
        });
    }
    Ok(rest.split_once('?').unwrap_or((rest, "")))
}

fn read_userinfo(draft: &mut Draft, userinfo: &str) -> Result<(), ConfigError> {
    let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    set_username(draft, &decode("username", username)?)?;
    set_password(draft, &decode("password", password)?)
}

fn decode<'a>(field: &'static str, text: &'a str) -> Result<Cow<'a, str>, ConfigError> {
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| ConfigError::Text { field, problem: "is not UTF-8 once percent-decoded" })
}

fn read_parameters(draft: &mut Draft, query: &str) -> Result<(), ConfigError> {
    let mut seen = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        // A form would have spaces as +, but this is none: a + stands for itself, as in the passwords that are base64.
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = percent_decode_str(name).decode_utf8_lossy();
        let Some(parameter) = Parameter::called(&name) else {
            // After a password, an unknown name may be the part of it that follows an unencoded &.
            let after_password = seen.iter().any(|seen: &&str| seen.ends_with("password"));
            return Err(unknown_parameter(&name, after_password.then_some(seen.len() + 1)));
        };
        let field = parameter.field();
        if seen.contains(&field) {
            return Err(ConfigError::Repeated { field });
        }
        seen.push(field);
        parameter.read(draft, &decode(field, value)?)?;
    }
    agree_on_sentinels_tls(draft, &seen)
}

/// In whichever order they came.
fn agree_on_sentinels_tls(draft: &Draft, seen: &[&'static str]) -> Result<(), ConfigError> {
    let is_declined = matches!(&draft.config.endpoint, Endpoint::Sentinel(own) if own.tls == SentinelTls::Off);
    if is_declined && seen.iter().any(|field| field.starts_with("endpoint.tls.")) {
        return Err(ConfigError::Text {
            field: "endpoint.tls",
            problem: "is declined (sentinel_tls=false), and has settings: leave one or the other out",
        });
    }
    Ok(())
}

enum Parameter {
    Username,
    Password,
    Db,
    ClientName,
    FailFast,
    SentinelUsername,
    SentinelPassword,
    SentinelSetting(&'static Setting),
    Setting(&'static Setting),
}

impl Parameter {
    fn called(name: &str) -> Option<Self> {
        match name {
            "user" | "username" => Some(Self::Username),
            "pass" | "password" => Some(Self::Password),
            "db" => Some(Self::Db),
            "client_name" => Some(Self::ClientName),
            "fail_fast" => Some(Self::FailFast),
            "sentinel_user" | "sentinel_username" => Some(Self::SentinelUsername),
            "sentinel_pass" | "sentinel_password" => Some(Self::SentinelPassword),
            _ => {
                let row = |rows: &'static [Setting]| rows.iter().find(|setting| setting.is_called(name));
                row(SETTINGS).map(Self::Setting).or_else(|| row(SENTINEL_SETTINGS).map(Self::SentinelSetting))
            }
        }
    }

    fn field(&self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Password => "password",
            Self::Db => "db",
            Self::ClientName => "client_name",
            Self::FailFast => "commands.hold",
            Self::SentinelUsername => "sentinel_user",
            Self::SentinelPassword => "the sentinels' password",
            Self::SentinelSetting(setting) | Self::Setting(setting) => setting.name,
        }
    }

    fn read(&self, draft: &mut Draft, value: &str) -> Result<(), ConfigError> {
        match self {
            Self::Username => set_username(draft, value),
            Self::Password => set_password(draft, value),
            Self::Db => set_db(draft, value),
            Self::ClientName => {
                draft.config.client_name = Some(value.to_owned());
                Ok(())
            }
            Self::FailFast => read_fail_fast(draft, value),
            Self::SentinelUsername => {
                asked_sentinels(draft, "sentinel_user")?.username = (!value.is_empty()).then(|| value.to_owned());
                Ok(())
            }
            Self::SentinelPassword => {
                asked_sentinels(draft, "sentinel_pass")?.password = (!value.is_empty()).then(|| Password::new(value));
                Ok(())
            }
            Self::SentinelSetting(setting) => {
                asked_sentinels(draft, setting.short)?;
                setting.parse(&mut draft.config, value)
            }
            Self::Setting(setting) => setting.parse(&mut draft.config, value),
        }
    }
}

fn asked_sentinels<'a>(draft: &'a mut Draft, name: &'static str) -> Result<&'a mut SentinelEndpoint, ConfigError> {
    match &mut draft.config.endpoint {
        Endpoint::Sentinel(sentinel) => Ok(sentinel),
        _ => Err(ConfigError::Text { field: name, problem: "means nothing here: the URL names no sentinels" }),
    }
}

fn read_fail_fast(draft: &mut Draft, value: &str) -> Result<(), ConfigError> {
    draft.config.commands.hold = match value {
        "true" => HoldMode::FailFast,
        "false" => HoldMode::Hold,
        _ => return Err(ConfigError::unreadable("fail_fast", value, "true or false")),
    };
    Ok(())
}

/// As a parameter and in front of the host, the same thing may be said twice but not two different things.
fn set_username(draft: &mut Draft, username: &str) -> Result<(), ConfigError> {
    let given = (!username.is_empty()).then(|| username.to_owned());
    let before = &mut draft.config.username;
    if given.is_some() && before.is_some() && *before != given {
        return Err(ConfigError::Repeated { field: "username" });
    }
    *before = given.or(before.take());
    Ok(())
}

fn set_password(draft: &mut Draft, password: &str) -> Result<(), ConfigError> {
    let given = (!password.is_empty()).then(|| Password::new(password));
    let before = &mut draft.config.password;
    if given.is_some() && before.is_some() && *before != given {
        return Err(ConfigError::Repeated { field: "password" });
    }
    *before = given.or(before.take());
    Ok(())
}

fn set_db(draft: &mut Draft, text: &str) -> Result<(), ConfigError> {
    let db = parse_db(text)?;
    if draft.given_db.is_some_and(|before| before != db) {
        return Err(ConfigError::Repeated { field: "db" });
    }
    draft.given_db = Some(db);
    draft.config.db = db;
    Ok(())
}

fn unknown_parameter(name: &str, position: Option<usize>) -> ConfigError {
    let name = match (position, shown_name(name)) {
        (None, Some(name)) => format!("parameter `{name}`"),
        (None, None) => "a parameter (its name is not repeated, since it does not look like one)".to_owned(),
        (Some(position), _) => {
            format!("parameter {position} (its name may be part of a password: percent-encode & as %26)")
        }
    };
    let mut allowed = vec!["user", "pass", "db", "client_name", "fail_fast", "sentinel_user", "sentinel_pass"];
    allowed.extend(SETTINGS.iter().chain(SENTINEL_SETTINGS).map(|setting| setting.short));
    ConfigError::UnknownName { name, allowed: allowed.join(", ") }
}
