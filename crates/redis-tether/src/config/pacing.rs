//! The pacing section: how fast dials follow one another, in two lanes. Plain data like the rest of the settings, in a
//! file of its own because a lane's defaults depend on which lane it is.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// How fast dials follow one another while there is no link, in two lanes: what a failed attempt costs the server
/// decides which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PacingSettings {
    /// For servers that could not be reached or refused the connection: cheap for both sides. Default 20 ms, growing
    /// to 100 ms during the first 5 s, then to 500 ms.
    #[serde(deserialize_with = "LaneSettings::read_unreachable")]
    pub unreachable: LaneSettings,

    /// For servers that accepted and then failed (AUTH, LOADING, maxclients): every attempt costs a recovering server
    /// work, and may lock an account. Default 50 ms, growing to 500 ms during the first 10 s, then to 5 s.
    #[serde(deserialize_with = "LaneSettings::read_rejected")]
    pub rejected: LaneSettings,
}

impl Default for PacingSettings {
    fn default() -> Self {
        Self { unreachable: LaneSettings::unreachable(), rejected: LaneSettings::rejected() }
    }
}

/// One lane of the pacing: a wait that doubles up to a cap, with a second, higher cap once the outage is no longer
/// young. Full jitter is applied to each wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LaneSettings {
    /// The wait after the first failure. 1 ms to 1 h, at most `early_cap`.
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    /// The longest wait during the first `early` of an outage. 1 ms to 1 h, at most `late_cap`.
    #[serde(with = "humantime_serde")]
    pub early_cap: Duration,
    /// How long an outage counts as young. 1 ms to 1 h.
    #[serde(with = "humantime_serde")]
    pub early: Duration,
    /// The longest wait after that. 1 ms to 1 h.
    #[serde(with = "humantime_serde")]
    pub late_cap: Duration,
}

impl LaneSettings {
    fn unreachable() -> Self {
        Self {
            first: Duration::from_millis(20),
            early_cap: Duration::from_millis(100),
            early: Duration::from_secs(5),
            late_cap: Duration::from_millis(500),
        }
    }

    fn rejected() -> Self {
        Self {
            first: Duration::from_millis(50),
            early_cap: Duration::from_millis(500),
            early: Duration::from_secs(10),
            late_cap: Duration::from_secs(5),
        }
    }

    fn read_unreachable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        LaneFields::deserialize(deserializer).map(|fields| Self::unreachable().changed_by(fields))
    }

    fn read_rejected<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        LaneFields::deserialize(deserializer).map(|fields| Self::rejected().changed_by(fields))
    }

    fn changed_by(self, fields: LaneFields) -> Self {
        Self {
            first: fields.first.unwrap_or(self.first),
            early_cap: fields.early_cap.unwrap_or(self.early_cap),
            early: fields.early.unwrap_or(self.early),
            late_cap: fields.late_cap.unwrap_or(self.late_cap),
        }
    }
}

/// A lane as a file has it: what is left out stays at the default of the lane it stands in.
#[derive(Default, Deserialize)]
#[serde(rename = "lane", deny_unknown_fields, default)]
struct LaneFields {
    #[serde(with = "humantime_serde")]
    first: Option<Duration>,
    #[serde(with = "humantime_serde")]
    early_cap: Option<Duration>,
    #[serde(with = "humantime_serde")]
    early: Option<Duration>,
    #[serde(with = "humantime_serde")]
    late_cap: Option<Duration>,
}
