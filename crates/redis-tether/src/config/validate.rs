//! Whether a configuration makes sense: ranges, names, and settings that exclude each other. Called by every parser
//! and when a tether starts, so that nothing further down has to expect nonsense. Changes nothing.

use std::time::Duration;

use super::error::ConfigError;
use super::table::{SENTINEL_SETTINGS, SETTINGS, check_count, print_span};
use super::{Config, Endpoint};

impl Config {
    /// Checks every setting against its range and against the others.
    ///
    /// The parsers and the start of a tether call it; call it yourself to report a mistake earlier.
    ///
    /// # Errors
    /// The first mistake found: it names the setting, its value (unless it may be secret) and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.endpoint.check()?;
        self.check_credentials()?;
        self.check_client_name()?;
        check_count("db", u64::from(self.db), (0, DB_AT_MOST))?;
        SETTINGS.iter().chain(SENTINEL_SETTINGS).try_for_each(|setting| setting.check(self))?;
        self.check_cluster()?;
        self.tls.as_ref().map_or(Ok(()), |tls| tls.check(&self.endpoint))?;
        self.check_contradictions()
    }

    fn check_credentials(&self) -> Result<(), ConfigError> {
        self.check_secret_files()?;
        let problem = match self.username.as_deref() {
            Some("") => Some("is empty: leave it out"),
            Some("default") | None => None,
            Some(_) if self.password.is_none() && self.password_file.is_none() => Some(
                "is given without a password: give one, any for a user with nopass \
                 (a password alone is written redis://:password@host)",
            ),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return Err(ConfigError::Text { field: "username", problem });
        }
        let password = self.password.as_ref().map(|password| password.expose());
        let problem = match password {
            Some("") => "is empty: leave it out",
            Some(text) if text.ends_with(['\n', '\r']) => {
                "ends in a line break: was it read from a file without trimming?"
            }
            _ => return Ok(()),
        };
        Err(ConfigError::Text { field: "password", problem })
    }

    fn check_cluster(&self) -> Result<(), ConfigError> {
        let problem = match (&self.endpoint, self.db) {
            (Endpoint::Cluster(_), 1..) => "nodes have one database, number 0: leave db out",
            (Endpoint::Cluster(_), _) if self.replicas.host.is_some() => {
                "shards tell of their replicas themselves: leave replicas.host out"
            }
            _ => return Ok(()),
        };
        Err(ConfigError::Cluster { problem })
    }

    fn check_secret_files(&self) -> Result<(), ConfigError> {
        let (field, problem) = if self.password_file.is_some() && self.password.is_some() {
            ("password_file", "is given beside a password: leave one of them out")
        } else if self.username_file.is_some() && self.username.is_some() {
            ("username_file", "is given beside a username: leave one of them out")
        } else if self.username_file.is_some() && self.password_file.is_none() && self.password.is_none() {
            ("username_file", "is given without a password: give one, or a password_file")
        } else {
            return Ok(());
        };
        Err(ConfigError::Text { field, problem })
    }

    fn check_client_name(&self) -> Result<(), ConfigError> {
        let problem = match self.client_name.as_deref() {
            Some("") => "is empty: leave it out",
            // What CLIENT SETNAME takes.
            Some(name) if !name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                "has a character that CLIENT SETNAME refuses: printable ASCII without spaces is allowed"
            }
            _ => return Ok(()),
        };
        Err(ConfigError::Text { field: "client_name", problem })
    }

    fn check_contradictions(&self) -> Result<(), ConfigError> {
        let Self { detection, dial, pacing, resolve, .. } = self;
        below(("detection.suspect_after", detection.suspect_after), ("detection.dead_after", detection.dead_after))?;
        at_most(
            ("detection.probe_timeout", detection.probe_timeout),
            ("detection.probe_interval", detection.probe_interval),
        )?;
        at_most(("dial.connect_timeout", dial.connect_timeout), ("dial.timeout", dial.timeout))?;
        let lane = &pacing.unreachable;
        let caps = ("pacing.unreachable.early_cap", lane.early_cap);
        at_most(("pacing.unreachable.first", lane.first), caps)?;
        at_most(caps, ("pacing.unreachable.late_cap", lane.late_cap))?;
        let lane = &pacing.rejected;
        let caps = ("pacing.rejected.early_cap", lane.early_cap);
        at_most(("pacing.rejected.first", lane.first), caps)?;
        at_most(caps, ("pacing.rejected.late_cap", lane.late_cap))?;
        let fast = ("resolve.fast_interval", resolve.fast_interval);
        at_most(fast, ("resolve.interval", resolve.interval))?;
        at_most(fast, ("resolve.outage_interval", resolve.outage_interval))
    }
}

/// The server takes a C int.
const DB_AT_MOST: u64 = i32::MAX as u64;

type Named = (&'static str, Duration);

fn below(one: Named, other: Named) -> Result<(), ConfigError> {
    if one.1 < other.1 {
        return Ok(());
    }
    Err(contradiction(one, "must be below", other))
}

fn at_most(one: Named, other: Named) -> Result<(), ConfigError> {
    if one.1 <= other.1 {
        return Ok(());
    }
    Err(contradiction(one, "must not exceed", other))
}

fn contradiction(one: Named, rule: &'static str, other: Named) -> ConfigError {
    ConfigError::Contradiction {
        field: one.0,
        value: print_span(one.1),
        rule,
        other: other.0,
        other_value: print_span(other.1),
    }
}
