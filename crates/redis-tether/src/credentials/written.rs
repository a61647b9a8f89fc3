//! The credentials that a configuration has, in itself or in files that it names: those at the servers, or those at the sentinels in
//! front of them. The keyring is made of them.

use crate::config::{Config, Password, SecretFile, SentinelEndpoint};

/// Has no `Debug`: it holds a password.
#[derive(Clone, Default)]
pub(super) struct Written {
    /// What the names of these settings begin with.
    pub(super) section: &'static str,
    pub(super) username: Option<String>,
    pub(super) password: Option<Password>,
    pub(super) username_file: Option<SecretFile>,
    pub(super) password_file: Option<SecretFile>,
}

impl Written {
    pub(super) fn at_servers(config: &Config) -> Written {
        Written {
            section: "",
            username: config.username.clone(),
            password: config.password.clone(),
            username_file: config.username_file.clone(),
            password_file: config.password_file.clone(),
        }
    }

    pub(super) fn at_sentinels(endpoint: &SentinelEndpoint) -> Written {
        Written {
            section: "endpoint.",
            username: endpoint.username.clone(),
            password: endpoint.password.clone(),
            username_file: endpoint.username_file.clone(),
            password_file: endpoint.password_file.clone(),
        }
    }
}
