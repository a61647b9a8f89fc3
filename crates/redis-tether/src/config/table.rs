//! One row for each setting that is a duration, a count, a word or a text of TLS: its name, its range, and how it is read and
//! written. URL parameters, files, `Display` and validation all work from this table, so that none of them can
//! miss a setting; a test holds the table against the fields that serde writes.

mod words;

use std::time::Duration;

use super::Config;
use super::error::ConfigError;
use super::replicas::Fallback;
use super::secret_file::SecretFile;
use super::settings::{ClusterNode, HoldMode, Protocol, Retry, Verify};
use super::tls::{TlsSettings, TlsVerify, name_problem, path_problem, shown_name, shown_path};

/// A row of the table.
pub(super) struct Setting {
    /// The name by its place in a file: `commands.deadline`. Files are read by it, errors use it, URLs accept it.
    pub(super) name: &'static str,
    /// The name in a URL: `deadline`.
    pub(super) short: &'static str,
    value: Value,
}

enum Value {
    Span {
        read: fn(&Config) -> Duration,
        write: fn(&mut Config, Duration),
        allowed: (Duration, Duration),
    },
    OptionalSpan {
        read: fn(&Config) -> Option<Duration>,
        write: fn(&mut Config, Duration),
        allowed: (Duration, Duration),
    },
    Count {
        read: fn(&Config) -> u64,
        write: fn(&mut Config, u64),
        allowed: (u64, u64),
    },
    Word {
        read: fn(&Config) -> &'static str,
        /// False if the word is none of `words`.
        write: fn(&mut Config, &str) -> bool,
        words: &'static str,
    },
    /// A name or a path, which may be anything until it has been checked.
    Text {
        /// As it may be printed.
        read: fn(&Config) -> Option<&str>,
        write: fn(&mut Config, &str),
        /// What is wrong with it.
        problem: fn(&Config) -> Option<&'static str>,
        expected: &'static str,
    },
}

impl Setting {
    /// Whether a parameter of this name means this setting.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.short == name
    }

    /// The value as a URL has it once decoded; `None` where an optional setting is off.
    pub(super) fn print(&self, config: &Config) -> Option<String> {
        match self.value {
            Value::Span { read, .. } => Some(print_span(read(config))),
            Value::OptionalSpan { read, .. } => read(config).map(print_span),
            Value::Count { read, .. } => Some(read(config).to_string()),
            Value::Word { read, .. } => Some(read(config).to_owned()),
            Value::Text { read, .. } => read(config).map(str::to_owned),
        }
    }

    /// Reads the value from text. The range is checked later, with everything else.
    pub(super) fn parse(&self, config: &mut Config, text: &str) -> Result<(), ConfigError> {
        let unreadable = || ConfigError::unreadable(self.name, text, self.expected());
        match self.value {
            Value::Span { write, .. } | Value::OptionalSpan { write, .. } => {
                write(config, humantime::parse_duration(text).map_err(|_| unreadable())?);
            }
            Value::Count { write, .. } => write(config, text.parse().map_err(|_| unreadable())?),
            Value::Word { write, .. } => {
                if !write(config, &text.to_ascii_lowercase()) {
                    return Err(unreadable());
                }
            }
            Value::Text { write, .. } => write(config, text),
        }
        Ok(())
    }

    /// What is understood, in words.
    pub(super) fn expected(&self) -> &'static str {
        match self.value {
            Value::Span { .. } | Value::OptionalSpan { .. } => "a duration with its unit, as in 250ms or 3s",
            Value::Count { .. } => "a whole number, as in 10000",
            Value::Word { words, .. } => words,
            Value::Text { expected, .. } => expected,
        }
    }

    /// Whether it may be off.
    pub(super) fn is_optional(&self) -> bool {
        matches!(self.value, Value::OptionalSpan { .. } | Value::Text { .. })
    }

    /// Refuses a value outside the range.
    pub(super) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        match self.value {
            Value::Span { read, allowed, .. } => check_span(self.name, read(config), allowed),
            Value::OptionalSpan { read, allowed, .. } => match read(config) {
                Some(span) => check_span(self.name, span, allowed),
                None => Ok(()),
            },
            Value::Count { read, allowed, .. } => check_count(self.name, read(config), allowed),
            Value::Word { .. } => Ok(()),
            Value::Text { problem, .. } => match problem(config) {
                Some(problem) => Err(ConfigError::Text { field: self.name, problem }),
                None => Ok(()),
            },
        }
    }
}

/// A duration without the spaces that humantime puts between its units, so that a URL needs no escapes for it.
pub(super) fn print_span(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}

pub(super) fn check_span(
    field: &'static str,
    span: Duration,
    (least, most): (Duration, Duration),
) -> Result<(), ConfigError> {
    if (least..=most).contains(&span) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        field,
        value: print_span(span),
        allowed: format!("{} to {}", print_span(least), print_span(most)),
    })
}

pub(super) fn check_count(field: &'static str, count: u64, (least, most): (u64, u64)) -> Result<(), ConfigError> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { field, value: count.to_string(), allowed: format!("{least} to {most}") })
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Every duration has an upper bound, so that adding any of them to an `Instant` cannot overflow. An hour is far above
/// what any of these settings is for.
const HOUR: Duration = Duration::from_secs(60 * 60);
const THIRTY_DAYS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a setting may be where nothing narrower is said: tokio's timers have a resolution of a millisecond.
pub(super) const ANY_SPAN: (Duration, Duration) = (MILLISECOND, HOUR);
/// The kernel counts keepalive in whole seconds.
pub(super) const WHOLE_SECONDS: (Duration, Duration) = (SECOND, HOUR);

macro_rules! span {
    ($name:literal, $short:literal, $($field:ident).+) => { span!($name, $short, $($field).+, ANY_SPAN) };
    ($name:literal, $short:literal, $($field:ident).+, $allowed:expr) => {
        Setting {
            name: $name,
            short: $short,
            value: Value::Span {
                read: |config| config.$($field).+,
                write: |config, span| config.$($field).+ = span,
                allowed: $allowed,
            },
        }
    };
}

macro_rules! count {
    ($name:literal, $short:literal, $($field:ident).+ : $type:ty, $least:expr, $most:expr) => {
        Setting {
            name: $name,
            short: $short,
            value: Value::Count {
                read: |config| u64::try_from(config.$($field).+).unwrap_or(u64::MAX),
                // What does not fit the type is out of range, and so is its maximum.
                write: |config, count| config.$($field).+ = <$type>::try_from(count).unwrap_or(<$type>::MAX),
                allowed: ($least, $most),
            },
        }
    };
}

macro_rules! word {
    ($name:literal, $short:literal, $($field:ident).+ : $type:ty) => {
        Setting {
            name: $name,
            short: $short,
            value: Value::Word {
                read: |config| config.$($field).+.word(),
                write: |config, text| match <$type>::from_word(text) {
                    Some(value) => {
                        config.$($field).+ = value;
                        true
                    }
                    None => false,
                },
                words: <$type>::WORDS,
            },
        }
    };
}

/// `$of` and `$of_mut` find the settings of TLS that the field is one of, where there are any.
macro_rules! tls_path {
    ($name:literal, $short:literal, $of:path, $of_mut:path, $field:ident) => {
        Setting {
            name: $name,
            short: $short,
            value: Value::Text {
                read: |config| $of(config)?.$field.as_deref().map(shown_path),
                write: |config, path| {
                    if let Some(tls) = $of_mut(config) {
                        tls.$field = Some(path.into());
                    }
                },
                problem: |config| match $of(config)?.$field.as_deref()?.to_str() {
                    Some(path) => path_problem(path),
                    None => Some("is not UTF-8"),
                },
                expected: "the path of a PEM file",
            },
        }
    };
}

macro_rules! tls_server_name {
    ($name:literal, $short:literal, $of:path, $of_mut:path) => {
        Setting {
            name: $name,
            short: $short,
            value: Value::Text {
                read: |config| $of(config)?.server_name.as_deref().map(shown_name),
                write: |config, name| {
                    if let Some(tls) = $of_mut(config) {
                        tls.server_name = Some(name.to_owned());
                    }
                },
                problem: |config| name_problem($of(config)?.server_name.as_deref()?),
                expected: "a DNS name or an IP address",
            },
        }
    };
}

macro_rules! tls_verify {
    ($name:literal, $short:literal, $of:path, $of_mut:path) => {
        Setting {
            name: $name,
            short: $short,
            value: Value::Word {
                read: |config| $of(config).map_or(TlsVerify::default(), |tls| tls.verify).word(),
                write: |config, text| match TlsVerify::from_word(text) {
                    Some(verify) => {
                        if let Some(tls) = $of_mut(config) {
                            tls.verify = verify;
                        }
                        true
                    }
                    None => false,
                },
                words: TlsVerify::WORDS,
            },
        }
    };
}

/// `$of` and `$of_mut` find what the field is one of, where it is there.
macro_rules! secret_file {
    ($name:literal, $short:literal, $of:path, $of_mut:path, $field:ident) => {
        Setting {
            name: $name,
            short: $short,
            value: Value::Text {
                read: |config| $of(config)?.$field.as_ref().map(SecretFile::shown),
                write: |config, path| {
                    if let Some(of) = $of_mut(config) {
                        of.$field = Some(SecretFile::new(path));
                    }
                },
                problem: |config| $of(config)?.$field.as_ref()?.problem(),
                expected: "the absolute path of a file",
            },
        }
    };
}

mod sentinels;

pub(super) use self::sentinels::SENTINEL_SETTINGS;

fn whole(config: &Config) -> Option<&Config> {
    Some(config)
}

fn whole_mut(config: &mut Config) -> Option<&mut Config> {
    Some(config)
}

fn tls(config: &Config) -> Option<&TlsSettings> {
    config.tls.as_ref()
}

/// Whoever sets a field of the section asks for TLS. Where the form has another word for that, it is held against this.
fn tls_mut(config: &mut Config) -> Option<&mut TlsSettings> {
    Some(config.tls.get_or_insert_default())
}

/// All settings, in the order in which `Display` prints and validation checks them.
pub(super) static SETTINGS: &[Setting] = &[
    secret_file!("username_file", "username_file", whole, whole_mut, username_file),
    secret_file!("password_file", "password_file", whole, whole_mut, password_file),
    word!("protocol", "protocol", protocol: Protocol),
    word!("verify", "verify", verify: Verify),
    word!("cluster_node", "cluster_node", cluster_node: ClusterNode),
    span!("commands.deadline", "deadline", commands.deadline),
    word!("commands.hold", "hold", commands.hold: HoldMode),
    span!("commands.hold_window", "hold_window", commands.hold_window),
    count!("commands.max_held", "max_held", commands.max_held: usize, 1, 10_000_000),
    count!("commands.max_held_bytes", "max_held_bytes", commands.max_held_bytes: usize, 1 << 10, 1 << 30),
    word!("commands.retry", "retry", commands.retry: Retry),
    count!("commands.max_retries", "max_retries", commands.max_retries: u32, 1, 100),
    span!("detection.suspect_after", "suspect_after", detection.suspect_after),
    span!("detection.dead_after", "dead_after", detection.dead_after),
    span!("detection.probe_interval", "probe_interval", detection.probe_interval),
    span!("detection.probe_timeout", "probe_timeout", detection.probe_timeout),
    span!("dial.connect_timeout", "connect_timeout", dial.connect_timeout),
    span!("dial.timeout", "dial_timeout", dial.timeout),
    span!("dial.stagger", "stagger", dial.stagger),
    span!("dial.tcp_user_timeout", "tcp_user_timeout", dial.tcp_user_timeout),
    span!("dial.keepalive_idle", "keepalive_idle", dial.keepalive_idle, WHOLE_SECONDS),
    span!("dial.keepalive_interval", "keepalive_interval", dial.keepalive_interval, WHOLE_SECONDS),
    count!("dial.keepalive_retries", "keepalive_retries", dial.keepalive_retries: u32, 1, 127),
    span!("pacing.unreachable.first", "unreachable_first", pacing.unreachable.first),
    span!("pacing.unreachable.early_cap", "unreachable_early_cap", pacing.unreachable.early_cap),
    span!("pacing.unreachable.early", "unreachable_early", pacing.unreachable.early),
    span!("pacing.unreachable.late_cap", "unreachable_late_cap", pacing.unreachable.late_cap),
    span!("pacing.rejected.first", "rejected_first", pacing.rejected.first),
    span!("pacing.rejected.early_cap", "rejected_early_cap", pacing.rejected.early_cap),
    span!("pacing.rejected.early", "rejected_early", pacing.rejected.early),
    span!("pacing.rejected.late_cap", "rejected_late_cap", pacing.rejected.late_cap),
    span!("resolve.interval", "resolve_interval", resolve.interval),
    span!("resolve.fast_interval", "fast_interval", resolve.fast_interval),
    span!("resolve.fast_for", "fast_for", resolve.fast_for),
    span!("resolve.outage_interval", "outage_interval", resolve.outage_interval),
    span!("resolve.swap_budget", "swap_budget", resolve.swap_budget),
    count!("failures_before_resolve", "failures_before_resolve", failures_before_resolve: u32, 1, 1_000),
    Setting {
        name: "max_age",
        short: "max_age",
        value: Value::OptionalSpan {
            read: |config| config.max_age,
            write: |config, span| config.max_age = Some(span),
            allowed: (SECOND, THIRTY_DAYS),
        },
    },
    span!("drain_timeout", "drain_timeout", drain_timeout),
    word!("replicas.fallback", "replica_fallback", replicas.fallback: Fallback),
    Setting {
        name: "replicas.host",
        short: "replica_host",
        value: Value::Text {
            read: |config| config.replicas.shown_host(),
            write: |config, host| config.replicas.set_host(host),
            problem: |config| config.replicas.problem(),
            expected: "a host name or an IP address",
        },
    },
    Setting {
        name: "replicas.port",
        short: "replica_port",
        value: Value::Count {
            read: |config| config.replicas.port.into(),
            // The largest is a port like others, so what does not fit must become one that is none.
            write: |config, count| config.replicas.port = u16::try_from(count).unwrap_or(0),
            allowed: (1, 65_535),
        },
    },
    tls_server_name!("tls.server_name", "tls_server_name", tls, tls_mut),
    tls_path!("tls.ca_file", "tls_ca_file", tls, tls_mut, ca_file),
    tls_path!("tls.cert_file", "tls_cert_file", tls, tls_mut, cert_file),
    tls_path!("tls.key_file", "tls_key_file", tls, tls_mut, key_file),
    tls_verify!("tls.verify", "tls_verify", tls, tls_mut),
];
