//! What the configuration means to the recovery machine. Called when a tether is started.

use std::num::NonZeroU32;

use redis_tether_core::pacing::{LanePace, PacingSettings};
use redis_tether_core::recovery::Settings;

use super::error::ConfigError;
use super::{Config, LaneSettings};

impl Config {
    /// The machine's settings, from a configuration that has been found valid.
    pub(crate) fn recovery_settings(&self) -> Result<Settings, ConfigError> {
        self.validate()?;
        let defaults = Settings::default();
        Ok(Settings {
            pacing: PacingSettings {
                unreachable: lane(&self.pacing.unreachable),
                rejected: lane(&self.pacing.rejected),
                ..defaults.pacing
            },
            // Zero has been refused.
            failures_before_resolve: NonZeroU32::new(self.failures_before_resolve).unwrap_or(NonZeroU32::MIN),
            stagger: self.dial.stagger,
            suspect_after: self.detection.suspect_after,
            dead_after: self.detection.dead_after,
            swap_interval: self.resolve.swap_budget,
            max_age: self.max_age,
            ..defaults
        })
    }
}

fn lane(settings: &LaneSettings) -> LanePace {
    LanePace {
        first: settings.first,
        early_cap: settings.early_cap,
        early_for: settings.early,
        late_cap: settings.late_cap,
    }
}
