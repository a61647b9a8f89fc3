//! Reading a configuration, or a part of one, from a file: by serde, in any format that says what its values are. A file
//! has the names of the table in `table.rs`, and its values are read as a URL's are, with the same errors: they name the
//! setting and what is allowed, and quote nothing that may be a secret.

use serde::de::{Deserialize, Deserializer, Error};

use super::document::Document;
use super::draft::parse_db;
use super::error::ConfigError;
use super::password::Password;
use super::replicas::{Fallback, ReplicaSettings};
use super::sentinel::{SentinelEndpoint, SentinelTls};
use super::settings::{
    ClusterNode, CommandSettings, DetectionSettings, DialSettings, HoldMode, Protocol, ResolveSettings, Retry, Verify,
};
use super::table::{SENTINEL_SETTINGS, SETTINGS, Setting};
use super::tls::{TlsSettings, TlsVerify};
use super::{Config, Endpoint, PacingSettings};

impl Config {
    fn from_document(document: Document) -> Result<Self, ConfigError> {
        match document {
            Document::Text(text) => text.parse(),
            Document::Table(entries) => {
                let mut config = Self::default();
                read_table(&mut config, "", entries)?;
                Ok(config)
            }
            other => Err(other.refused("configuration", "a table of settings, a URL or a StackExchange.Redis string")),
        }
    }
}

/// The entries of a section, or of the whole file where the path is empty.
fn read_table(config: &mut Config, path: &str, entries: Vec<(String, Document)>) -> Result<(), ConfigError> {
    let mut seen: Vec<&'static str> = Vec::new();
    for (name, value) in entries {
        let known = names_in(path).find(|known| *known == name).ok_or_else(|| unknown(path, &name))?;
        if seen.contains(&known) {
            return Err(ConfigError::Repeated { field: known });
        }
        seen.push(known);
        read_at(config, &join(path, known), value)?;
    }
    Ok(())
}

fn read_at(config: &mut Config, path: &str, value: Document) -> Result<(), ConfigError> {
    match path {
        "endpoint" => config.endpoint = Endpoint::from_document(value)?,
        "username" => config.username = value.into_optional_text("username")?,
        "password" => config.password = value.into_optional_text("password")?.map(Password::new),
        "db" => config.db = parse_db(&value.into_plain("db", "a whole number from 0")?)?,
        "client_name" => config.client_name = value.into_optional_text("client_name")?,
        _ => match settings_in(path).iter().find(|setting| setting.name == path) {
            Some(setting) => read_setting(config, setting, value)?,
            None => read_section(config, path, value)?,
        },
    }
    Ok(())
}

fn read_setting(config: &mut Config, setting: &Setting, value: Document) -> Result<(), ConfigError> {
    if setting.is_optional() && value == Document::Nothing {
        return Ok(());
    }
    setting.parse(config, &value.into_plain(setting.name, setting.expected())?)?;
    setting.check(config)
}

fn read_section(config: &mut Config, path: &str, value: Document) -> Result<(), ConfigError> {
    match value {
        // That it is there asks for TLS.
        Document::Table(entries) if path == "tls" => {
            config.tls.get_or_insert_default();
            read_table(config, path, entries)
        }
        Document::Nothing if path == "tls" => Ok(()),
        Document::Table(entries) => read_table(config, path, entries),
        other => Err(other.refused(section_called(path), "a table of settings")),
    }
}

/// The names that stand beside the table of settings.
const IDENTITY: [&str; 5] = ["endpoint", "username", "password", "db", "client_name"];

/// What of the tables may stand below this path.
fn settings_in(path: &str) -> &'static [Setting] {
    if path.starts_with("endpoint.") { SENTINEL_SETTINGS } else { SETTINGS }
}

/// What may stand in the section of this path. Some names come up several times in a row: once for each setting below them.
fn names_in(path: &str) -> impl Iterator<Item = &'static str> {
    let identity = IDENTITY.into_iter().filter(move |_| path.is_empty());
    let settings = settings_in(path).iter().filter_map(move |setting| {
        let below = match path {
            "" => setting.name,
            _ => setting.name.strip_prefix(path)?.strip_prefix('.')?,
        };
        below.split('.').next()
    });
    identity.chain(settings)
}

fn unknown(path: &str, name: &str) -> ConfigError {
    let mut allowed: Vec<_> = names_in(path).collect();
    allowed.dedup();
    ConfigError::unknown_field(path, name, allowed.join(", "))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The path of a section, as the table has it.
fn section_called(path: &str) -> &'static str {
    let names = settings_in(path).iter().map(|setting| setting.name);
    names.filter_map(|name| name.get(..path.len())).find(|prefix| *prefix == path).unwrap_or("section")
}

/// The settings of TLS that stand in the table of an endpoint.
pub(super) fn read_sentinels_tls(entries: Vec<(String, Document)>) -> Result<TlsSettings, ConfigError> {
    let mut config = Config::sentinel([], "");
    read_table(&mut config, "endpoint.tls", entries)?;
    match config.endpoint {
        Endpoint::Sentinel(SentinelEndpoint { tls: SentinelTls::Own(settings), .. }) => Ok(*settings),
        _ => Ok(TlsSettings::default()),
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_document(Document::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// An application may have one of these in a file of its own: it is read as if it stood in its place in a `Config`.
macro_rules! read_in_place {
    ($($type:ty: $path:literal, $($field:ident).+;)+) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut config = Config::default();
                read_at(&mut config, $path, Document::deserialize(deserializer)?).map_err(D::Error::custom)?;
                Ok(config.$($field).+)
            }
        }
    )+};
}

read_in_place! {
    Endpoint: "endpoint", endpoint;
    Protocol: "protocol", protocol;
    Verify: "verify", verify;
    ClusterNode: "cluster_node", cluster_node;
    HoldMode: "commands.hold", commands.hold;
    Retry: "commands.retry", commands.retry;
    CommandSettings: "commands", commands;
    DetectionSettings: "detection", detection;
    DialSettings: "dial", dial;
    PacingSettings: "pacing", pacing;
    ResolveSettings: "resolve", resolve;
    ReplicaSettings: "replicas", replicas;
    Fallback: "replicas.fallback", replicas.fallback;
}

impl<'de> Deserialize<'de> for TlsSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut config = Config::default();
        read_at(&mut config, "tls", Document::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Ok(config.tls.unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for TlsVerify {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut config = Config::default();
        read_at(&mut config, "tls.verify", Document::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Ok(config.tls.unwrap_or_default().verify)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Document::deserialize(deserializer)?.into_text("password").map_err(D::Error::custom)?;
        Ok(Self::new(text))
    }
}
