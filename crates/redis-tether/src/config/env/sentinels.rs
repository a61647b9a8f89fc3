//! The variables that name sentinels, and those that say how they are spoken to: beside a URL of sentinels, or in place of one.

use super::{URL, add_field, add_row, add_secret_file, given, given_password};
use crate::config::draft::{Draft, parse_bool};
use crate::config::error::ConfigError;
use crate::config::sentinel::{SentinelEndpoint, SentinelNode, SentinelTls};
use crate::config::table::SENTINEL_SETTINGS;
use crate::config::tls::TlsSettings;
use crate::config::{Config, Endpoint};

pub(super) const SENTINELS: &str = "REDIS_SENTINELS";
pub(super) const MASTER: &str = "REDIS_SENTINEL_MASTER";
const USERNAME: &str = "REDIS_SENTINEL_USERNAME";
const PASSWORD: &str = "REDIS_SENTINEL_PASSWORD";
const USERNAME_FILE: &str = "REDIS_SENTINEL_USERNAME_FILE";
const PASSWORD_FILE: &str = "REDIS_SENTINEL_PASSWORD_FILE";
const TLS: &str = "REDIS_SENTINEL_TLS";

/// Each with the setting that it gives.
const TLS_TEXTS: [(&str, &str); 4] = [
    ("REDIS_SENTINEL_TLS_SERVER_NAME", "endpoint.tls.server_name"),
    ("REDIS_SENTINEL_TLS_CA_FILE", "endpoint.tls.ca_file"),
    ("REDIS_SENTINEL_TLS_CERT_FILE", "endpoint.tls.cert_file"),
    ("REDIS_SENTINEL_TLS_KEY_FILE", "endpoint.tls.key_file"),
];

/// Those that mean something only where sentinels are named.
fn theirs() -> impl Iterator<Item = &'static str> {
    let texts = TLS_TEXTS.map(|(variable, _)| variable);
    [USERNAME, PASSWORD, USERNAME_FILE, PASSWORD_FILE, TLS].into_iter().chain(texts)
}

/// All that are read here.
pub(super) fn variables() -> impl Iterator<Item = &'static str> {
    [SENTINELS, MASTER].into_iter().chain(theirs())
}

/// The configuration that names them, without a URL.
pub(super) fn read(sentinels: Option<String>, master: Option<String>) -> Result<Draft, ConfigError> {
    let nodes = sentinels.map_or_else(|| Ok(Vec::new()), |text| SentinelNode::read_list(&text));
    let nodes = nodes.map_err(|cause| cause.in_variable(SENTINELS))?;
    let config = Config::sentinel(nodes, master.unwrap_or_default());
    config.endpoint.check().map_err(|cause| cause.in_variable(SENTINELS))?;
    Ok(Draft { config, given_port: None, given_db: None, given_tls: None })
}

/// Beside a URL these may say the same again.
pub(super) fn agree(draft: &Draft, sentinels: Option<String>, master: Option<String>) -> Result<(), ConfigError> {
    let own = match &draft.config.endpoint {
        Endpoint::Sentinel(own) => Some(own),
        _ => None,
    };
    let nodes = sentinels.map(|text| SentinelNode::read_list(&text).map_err(|cause| cause.in_variable(SENTINELS)));
    if nodes.transpose()?.is_some_and(|nodes| own.is_none_or(|own| own.nodes != nodes)) {
        return Err(ConfigError::VariablesDisagree { first: URL, second: SENTINELS });
    }
    if master.is_some_and(|master| own.is_none_or(|own| own.master != master)) {
        return Err(ConfigError::VariablesDisagree { first: URL, second: MASTER });
    }
    Ok(())
}

/// How they are spoken to.
pub(super) fn add(draft: &mut Draft, vars: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    let Endpoint::Sentinel(own) = &mut draft.config.endpoint else {
        let Some(variable) = theirs().find(|variable| given(&vars, variable).is_some()) else { return Ok(()) };
        return Err(ConfigError::Text {
            field: variable,
            problem: "means nothing here: no sentinels are named (REDIS_SENTINELS, or a REDIS_URL of redis+sentinel://)",
        });
    };
    add_credentials(own, &vars)?;
    add_tls(own, given(&vars, TLS))?;
    for (variable, setting) in TLS_TEXTS {
        if let Some(text) = given(&vars, variable) {
            add_tls_text(draft, variable, setting, &text)?;
        }
    }
    Ok(())
}

fn add_credentials(own: &mut SentinelEndpoint, vars: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    add_field(&mut own.username, USERNAME, given(&vars, USERNAME))?;
    add_field(&mut own.password, PASSWORD, given_password(&vars, PASSWORD))?;
    let (username, password) = (own.username.as_ref().map(|_| USERNAME), own.password.as_ref().map(|_| PASSWORD));
    add_secret_file(&mut own.username_file, username, USERNAME_FILE, given(&vars, USERNAME_FILE))?;
    add_secret_file(&mut own.password_file, password, PASSWORD_FILE, given(&vars, PASSWORD_FILE))
}

fn add_tls(own: &mut SentinelEndpoint, tls: Option<String>) -> Result<(), ConfigError> {
    let Some(tls) = tls else { return Ok(()) };
    let tls = parse_bool("its value", &tls).map_err(|cause| cause.in_variable(TLS))?;
    match (&own.tls, tls) {
        (SentinelTls::Own(_), false) | (SentinelTls::Off, true) => {
            return Err(ConfigError::VariablesDisagree { first: URL, second: TLS });
        }
        (SentinelTls::AsServers, true) => {
            own.tls = SentinelTls::own(TlsSettings::asked_for_by(TLS)?);
        }
        (_, false) => own.tls = SentinelTls::Off,
        (SentinelTls::Own(_), true) => {}
    }
    Ok(())
}

fn add_tls_text(
    draft: &mut Draft,
    variable: &'static str,
    setting: &'static str,
    text: &str,
) -> Result<(), ConfigError> {
    if matches!(&draft.config.endpoint, Endpoint::Sentinel(own) if own.tls == SentinelTls::Off) {
        let problem = "is given, and TLS with sentinels is declined: leave one or the other out";
        return Err(ConfigError::Text { field: variable, problem });
    }
    add_row(draft, variable, SENTINEL_SETTINGS.iter().find(|row| row.name == setting), text)
}
