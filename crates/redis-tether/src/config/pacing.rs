//! The pacing section: how fast dials follow one another, in two lanes. Plain data like the rest of the settings, in a
//! file of its own because a lane's defaults depend on which lane it is.

use std::time::Duration;

use serde::Serialize;

/// How fast dials follow one another while there is no link, in two lanes: what a failed attempt costs the server
/// decides which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PacingSettings {
    /// For servers that could not be reached or refused the connection: cheap for both sides. Default 20 ms, growing
    /// to 100 ms during the first 5 s, then to 200 ms: a refusal costs a host some microseconds, and whoever waits longer
    /// between two of them is back later than a client that simply tries ten times a second.
    pub unreachable: LaneSettings,

    /// For servers that accepted and then failed (AUTH, LOADING, maxclients): every attempt costs a recovering server
    /// work, and may lock an account. Default 50 ms, growing to 250 ms during the first 10 s, then to 5 s: what is
    /// planned (a restart, a failover, a password that is rotated) is over in seconds, and what is not is left in peace.
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
            late_cap: Duration::from_millis(200),
        }
    }

    fn rejected() -> Self {
        Self {
            first: Duration::from_millis(50),
            early_cap: Duration::from_millis(250),
            early: Duration::from_secs(10),
            late_cap: Duration::from_secs(5),
        }
    }
}
