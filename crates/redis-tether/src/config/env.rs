//! Reading a configuration from environment variables. Called by applications through [`Config::from_env`]; the
//! variables come in through a function, so that tests need not touch the process's environment.

mod sentinels;

use self::sentinels::{MASTER, SENTINELS};
use super::Config;
use super::draft::{Draft, parse_bool, parse_db};
use super::endpoint::{DEFAULT_PORT, Endpoint, canonical_host, parse_port, split_host_port};
use super::error::ConfigError;
use super::password::Password;
use super::replicas::ReplicaSettings;
use super::secret_file::SecretFile;
use super::table::{SETTINGS, Setting};
use super::tls::TlsSettings;
use super::url::read_any;

const URL: &str = "REDIS_URL";
const HOST: &str = "REDIS_HOST";
const PORT: &str = "REDIS_PORT";
const USERNAME: &str = "REDIS_USERNAME";
const PASSWORD: &str = "REDIS_PASSWORD";
const USERNAME_FILE: &str = "REDIS_USERNAME_FILE";
const PASSWORD_FILE: &str = "REDIS_PASSWORD_FILE";
const DB: &str = "REDIS_DB";
const TLS: &str = "REDIS_TLS";
/// With its port: a variable of its own for that is what Kubernetes injects beside a service called `redis-replica`.
const REPLICAS: &str = "REDIS_REPLICA_HOST";

/// Each with the setting that it gives.
const TLS_TEXTS: [(&str, &str); 4] = [
    ("REDIS_TLS_SERVER_NAME", "tls.server_name"),
    ("REDIS_TLS_CA_FILE", "tls.ca_file"),
    ("REDIS_TLS_CERT_FILE", "tls.cert_file"),
    ("REDIS_TLS_KEY_FILE", "tls.key_file"),
];

impl Config {
    /// Reads `REDIS_URL`, `REDIS_HOST`, `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD`, `REDIS_USERNAME_FILE`,
    /// `REDIS_PASSWORD_FILE`, `REDIS_DB`, `REDIS_TLS` and, with TLS, `REDIS_TLS_CA_FILE`, `REDIS_TLS_CERT_FILE`, `REDIS_TLS_KEY_FILE` and `REDIS_TLS_SERVER_NAME` from the environment of the
    /// process.
    ///
    /// - An empty variable counts as not set. Space around a value is dropped, except in the password.
    /// - `REDIS_URL` wins. It may be a URL or a StackExchange.Redis connection string. The other variables add what it
    ///   leaves out (a password kept in a secret, for instance) and may repeat what it says; if they say something
    ///   else, that is refused, naming both.
    /// - Without it, `REDIS_HOST` names the server. `REDIS_PORT` defaults to 6379, `REDIS_DB` to 0, `REDIS_TLS` to false.
    /// - Kubernetes injects `REDIS_PORT=tcp://10.0.0.1:6379` into every pod beside a service called `redis`. With
    ///   `REDIS_URL` set such a value (`tcp://`, `udp://` or `sctp://` and whatever follows) is ignored; with
    ///   `REDIS_HOST` set only its port counts; alone it is the endpoint.
    ///   Prefer `REDIS_HOST=redis` then: a name can be resolved again, an address cannot.
    /// - `REDIS_USERNAME_FILE` and `REDIS_PASSWORD_FILE` are the absolute paths of files that these are in, as secrets are mounted:
    ///   [`SecretFile`](crate::SecretFile).
    /// - In place of a host, `REDIS_SENTINELS=host1:26379,host2:26379` with `REDIS_SENTINEL_MASTER=mymaster` names sentinels.
    ///   `REDIS_SENTINEL_USERNAME` and `REDIS_SENTINEL_PASSWORD` are theirs, also beside a `REDIS_URL` of sentinels; and so are
    ///   `REDIS_SENTINEL_USERNAME_FILE` and `REDIS_SENTINEL_PASSWORD_FILE`.
    /// - `REDIS_SENTINEL_TLS=true` or `false` where they are not spoken to as the servers are, and `REDIS_SENTINEL_TLS_CA_FILE`,
    ///   `REDIS_SENTINEL_TLS_CERT_FILE`, `REDIS_SENTINEL_TLS_KEY_FILE` and `REDIS_SENTINEL_TLS_SERVER_NAME`:
    ///   [`SentinelTls`](crate::SentinelTls).
    ///
    /// - `REDIS_REPLICA_HOST` is the reader endpoint, `host` or `host:port` ([`ReplicaSettings::host`](crate::ReplicaSettings::host)).
    ///
    /// # Errors
    /// What is malformed or contradictory is refused, naming the variable; if neither a URL nor a host is given, the
    /// error says what to set.
    pub fn from_env() -> Result<Self, ConfigError> {
        let texts = TLS_TEXTS.map(|(variable, _)| variable);
        let files = [USERNAME_FILE, PASSWORD_FILE];
        let others = files.into_iter().chain(texts).chain(sentinels::variables());
        for variable in [URL, HOST, PORT, USERNAME, PASSWORD, DB, TLS, REPLICAS].into_iter().chain(others) {
            if std::env::var_os(variable).is_some_and(|value| value.to_str().is_none()) {
                let cause = ConfigError::Unreadable {
                    field: "its value",
                    value: "not text".to_owned(),
                    expected: "UTF-8".to_owned(),
                };
                return Err(cause.in_variable(variable));
            }
        }
        Self::from_vars(|variable| std::env::var(variable).ok())
    }

    /// As [`Config::from_env`], from any source of variables: `None` is a variable that is not set.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_vars(vars: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut draft = match given(&vars, URL) {
            Some(url) => {
                let mut draft = read_any(&url).map_err(|cause| cause.in_variable(URL))?;
                agree_on_endpoint(&mut draft, given(&vars, HOST), given(&vars, PORT))?;
                sentinels::agree(&draft, given(&vars, SENTINELS), given(&vars, MASTER))?;
                draft
            }
            None => match (given(&vars, SENTINELS), given(&vars, MASTER)) {
                (None, None) => read_host_and_port(given(&vars, HOST), given(&vars, PORT))?,
                (sentinels, master) => {
                    let mut draft = sentinels::read(sentinels, master)?;
                    agree_on_endpoint(&mut draft, given(&vars, HOST), given(&vars, PORT))
                        .map_err(|error| instead_of_url(error, SENTINELS))?;
                    draft
                }
            },
        };
        sentinels::add(&mut draft, &vars)?;
        let own = &mut draft.config;
        add_field(&mut own.username, USERNAME, given(&vars, USERNAME))?;
        add_field(&mut own.password, PASSWORD, given_password(&vars, PASSWORD))?;
        let (username, password) = (own.username.as_ref().map(|_| USERNAME), own.password.as_ref().map(|_| PASSWORD));
        add_secret_file(&mut own.username_file, username, USERNAME_FILE, given(&vars, USERNAME_FILE))?;
        add_secret_file(&mut own.password_file, password, PASSWORD_FILE, given(&vars, PASSWORD_FILE))?;
        add_db(&mut draft, given(&vars, DB))?;
        add_tls(&mut draft, given(&vars, TLS))?;
        add_replicas(&mut draft, given(&vars, REPLICAS))?;
        for (variable, setting) in TLS_TEXTS {
            if let Some(text) = given(&vars, variable) {
                add_tls_text(&mut draft, variable, setting, &text)?;
            }
        }
        draft.finish()
    }
}

fn given(vars: impl Fn(&str) -> Option<String>, variable: &str) -> Option<String> {
    let value = vars(variable)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Space around it is a part of it.
fn given_password(vars: impl Fn(&str) -> Option<String>, variable: &str) -> Option<Password> {
    vars(variable).filter(|password| !password.is_empty()).map(Password::new)
}

fn read_host_and_port(host: Option<String>, port: Option<String>) -> Result<Draft, ConfigError> {
    let port = port.as_deref().map(Port::read).transpose()?;
    let (variable, host, given_port) = match (host, port) {
        (Some(host), Some(Port::Number(port))) => (HOST, host, Some(port)),
        (Some(host), Some(Port::Injected(address))) => (HOST, host, Some(read_injected(address)?.1)),
        (Some(host), None) => (HOST, host, None),
        (None, Some(Port::Injected(address))) => {
            let (host, port) = read_injected(address)?;
            (PORT, host, Some(port))
        }
        (None, Some(Port::Number(_)) | None) => return Err(ConfigError::NoEndpointInEnvironment),
    };
    let endpoint = Endpoint::tcp(host, given_port.unwrap_or(DEFAULT_PORT));
    endpoint.check().map_err(|cause| cause.in_variable(variable))?;
    Ok(Draft { config: Config::at(endpoint), given_port, given_db: None, given_tls: None })
}

/// What `REDIS_PORT` may hold.
enum Port<'a> {
    Number(u16),
    /// By Kubernetes, for a service called `redis`: not yet read, since it does not always count.
    Injected(&'a str),
}

/// The protocols of a Kubernetes service.
const INJECTED: [&str; 3] = ["tcp://", "udp://", "sctp://"];

impl<'a> Port<'a> {
    fn read(text: &'a str) -> Result<Self, ConfigError> {
        if INJECTED.iter().any(|protocol| text.starts_with(protocol)) {
            return Ok(Self::Injected(text));
        }
        parse_port(text).map(Self::Number).map_err(|cause| cause.in_variable(PORT))
    }
}

fn read_injected(address: &str) -> Result<(String, u16), ConfigError> {
    match address.strip_prefix("tcp://").map(split_host_port) {
        Some(Ok((host, Some(port)))) => Ok((host, port)),
        _ => Err(ConfigError::Unreadable {
            field: "port",
            value: "not a tcp:// address with a valid host and port".to_owned(),
            expected: "6379 or tcp://10.0.0.1:6379".to_owned(),
        }
        .in_variable(PORT)),
    }
}

fn agree_on_endpoint(draft: &mut Draft, host: Option<String>, port: Option<String>) -> Result<(), ConfigError> {
    let disagree = |second| Err(ConfigError::VariablesDisagree { first: URL, second });
    let port = match port.as_deref().map(Port::read).transpose()? {
        Some(Port::Number(port)) => Some(port),
        Some(Port::Injected(_)) | None => None,
    };
    match &mut draft.config.endpoint {
        Endpoint::Tcp { host: own, port: own_port } => {
            let same = |host: String| Endpoint::tcp(host, 0) == Endpoint::tcp(own.as_str(), 0);
            if host.is_some_and(|host| !same(host)) {
                return disagree(HOST);
            }
            match (port, draft.given_port) {
                (Some(port), Some(given)) if port != given => return disagree(PORT),
                (Some(port), None) => *own_port = port,
                _ => {}
            }
        }
        Endpoint::Unix { .. } if host.is_some() => return disagree(HOST),
        Endpoint::Unix { .. } if port.is_some() => return disagree(PORT),
        Endpoint::Sentinel(_) | Endpoint::Cluster(_) if host.is_some() => return disagree(HOST),
        Endpoint::Sentinel(_) | Endpoint::Cluster(_) if port.is_some() => return disagree(PORT),
        Endpoint::Unix { .. } | Endpoint::Sentinel(_) | Endpoint::Cluster(_) => {}
    }
    Ok(())
}

/// The disagreement is with this variable: there is no URL.
fn instead_of_url(error: ConfigError, first: &'static str) -> ConfigError {
    match error {
        ConfigError::VariablesDisagree { second, .. } => ConfigError::VariablesDisagree { first, second },
        other => other,
    }
}

/// What the URL leaves out; of what it says, only the same again.
fn add_field<T: PartialEq>(own: &mut Option<T>, variable: &'static str, given: Option<T>) -> Result<(), ConfigError> {
    let Some(given) = given else { return Ok(()) };
    if own.as_ref().is_some_and(|own| *own != given) {
        return Err(ConfigError::VariablesDisagree { first: URL, second: variable });
    }
    *own = Some(given);
    Ok(())
}

/// A secret, which may stand in the URL as well, and a file for it exclude each other, whatever they say. `plain` is the variable
/// of the secret, if that is given in whichever way.
fn add_secret_file(
    own: &mut Option<SecretFile>,
    plain: Option<&'static str>,
    variable: &'static str,
    path: Option<String>,
) -> Result<(), ConfigError> {
    let Some(file) = path.map(SecretFile::new) else { return Ok(()) };
    if let Some(plain) = plain {
        return Err(ConfigError::VariablesDisagree { first: plain, second: variable });
    }
    if own.as_ref().is_some_and(|own| *own != file) {
        return Err(ConfigError::VariablesDisagree { first: URL, second: variable });
    }
    if let Some(problem) = file.problem() {
        return Err(ConfigError::Text { field: "its value", problem }.in_variable(variable));
    }
    *own = Some(file);
    Ok(())
}

fn add_db(draft: &mut Draft, db: Option<String>) -> Result<(), ConfigError> {
    let Some(db) = db else { return Ok(()) };
    let db = parse_db(&db).map_err(|cause| cause.in_variable(DB))?;
    match draft.given_db {
        Some(own) if own != db => Err(ConfigError::VariablesDisagree { first: URL, second: DB }),
        _ => {
            draft.config.db = db;
            Ok(())
        }
    }
}

fn add_replicas(draft: &mut Draft, text: Option<String>) -> Result<(), ConfigError> {
    let Some(text) = text else { return Ok(()) };
    let (host, port) = split_host_port(&text).map_err(|cause| cause.in_variable(REPLICAS))?;
    let given = ReplicaSettings {
        host: Some(canonical_host(host)),
        port: port.unwrap_or(DEFAULT_PORT),
        ..draft.config.replicas.clone()
    };
    if draft.config.replicas.host.is_some() && draft.config.replicas != given {
        return Err(ConfigError::VariablesDisagree { first: URL, second: REPLICAS });
    }
    draft.config.replicas = given;
    Ok(())
}

fn add_tls(draft: &mut Draft, tls: Option<String>) -> Result<(), ConfigError> {
    let Some(tls) = tls else { return Ok(()) };
    let tls = parse_bool("its value", &tls).map_err(|cause| cause.in_variable(TLS))?;
    match draft.given_tls {
        Some(own) if own != tls => return Err(ConfigError::VariablesDisagree { first: URL, second: TLS }),
        None if tls => draft.config.tls = Some(TlsSettings::asked_for_by("REDIS_TLS")?),
        _ => {}
    }
    Ok(())
}

fn add_tls_text(
    draft: &mut Draft,
    variable: &'static str,
    setting: &'static str,
    text: &str,
) -> Result<(), ConfigError> {
    if draft.config.tls.is_none() {
        let problem =
            "is not asked for, so that this would mean nothing: set REDIS_TLS=true, or write rediss:// in REDIS_URL";
        return Err(ConfigError::Tls { problem }.in_variable(variable));
    }
    add_row(draft, variable, SETTINGS.iter().find(|row| row.name == setting), text)
}

/// What the URL leaves out of a setting of the table; of what it says, only the same again.
fn add_row(
    draft: &mut Draft,
    variable: &'static str,
    setting: Option<&Setting>,
    text: &str,
) -> Result<(), ConfigError> {
    let Some(setting) = setting else { return Ok(()) };
    match setting.print(&draft.config) {
        Some(own) if own != text => Err(ConfigError::VariablesDisagree { first: URL, second: variable }),
        _ => setting
            .parse(&mut draft.config, text)
            .and_then(|()| setting.check(&draft.config))
            .map_err(|cause| cause.in_variable(variable)),
    }
}
