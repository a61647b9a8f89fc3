//! The rows of what an endpoint of sentinels has of its own: TLS, and the files of their credentials. A table beside the other, since
//! these stand in the endpoint, and mean something only where that names sentinels.

use super::{Setting, Value};
use crate::config::draft::parse_bool;
use crate::config::secret_file::SecretFile;
use crate::config::sentinel::{SentinelEndpoint, SentinelTls};
use crate::config::tls::{TlsSettings, TlsVerify, name_problem, path_problem, shown_name, shown_path};
use crate::config::{Config, Endpoint};

fn sentinels(config: &Config) -> Option<&SentinelEndpoint> {
    match &config.endpoint {
        Endpoint::Sentinel(sentinels) => Some(sentinels),
        _ => None,
    }
}

fn sentinels_mut(config: &mut Config) -> Option<&mut SentinelEndpoint> {
    match &mut config.endpoint {
        Endpoint::Sentinel(sentinels) => Some(sentinels),
        _ => None,
    }
}

fn tls(config: &Config) -> Option<&TlsSettings> {
    match &sentinels(config)?.tls {
        SentinelTls::Own(settings) => Some(settings),
        SentinelTls::AsServers | SentinelTls::Off => None,
    }
}

/// Whoever sets one of them asks for TLS. Where it was declined, that stands, and the form refuses the two of them.
fn tls_mut(config: &mut Config) -> Option<&mut TlsSettings> {
    let tls = &mut sentinels_mut(config)?.tls;
    if *tls == SentinelTls::AsServers {
        *tls = SentinelTls::own(TlsSettings::default());
    }
    match tls {
        SentinelTls::Own(settings) => Some(settings),
        SentinelTls::AsServers | SentinelTls::Off => None,
    }
}

fn print_tls(config: &Config) -> &'static str {
    match sentinels(config).map(|sentinels| &sentinels.tls) {
        Some(SentinelTls::Own(_)) => "true",
        Some(SentinelTls::Off) => "false",
        // What nobody need say.
        Some(SentinelTls::AsServers) | None => "as the servers",
    }
}

fn read_tls(config: &mut Config, text: &str) -> bool {
    let Ok(wanted) = parse_bool("endpoint.tls", text) else { return false };
    if wanted {
        tls_mut(config);
    } else if let Some(sentinels) = sentinels_mut(config) {
        sentinels.tls = SentinelTls::Off;
    }
    true
}

/// All of them, in the order in which `Display` prints and validation checks them.
pub(in crate::config) static SENTINEL_SETTINGS: &[Setting] = &[
    secret_file!("endpoint.username_file", "sentinel_username_file", sentinels, sentinels_mut, username_file),
    secret_file!("endpoint.password_file", "sentinel_password_file", sentinels, sentinels_mut, password_file),
    Setting {
        name: "endpoint.tls",
        short: "sentinel_tls",
        value: Value::Word { read: print_tls, write: read_tls, words: "true or false" },
    },
    tls_server_name!("endpoint.tls.server_name", "sentinel_tls_server_name", tls, tls_mut),
    tls_path!("endpoint.tls.ca_file", "sentinel_tls_ca_file", tls, tls_mut, ca_file),
    tls_path!("endpoint.tls.cert_file", "sentinel_tls_cert_file", tls, tls_mut, cert_file),
    tls_path!("endpoint.tls.key_file", "sentinel_tls_key_file", tls, tls_mut, key_file),
    tls_verify!("endpoint.tls.verify", "sentinel_tls_verify", tls, tls_mut),
];
