//! What the configuration means to the recovery machine, and what that promises. Called when a tether is started.

use std::num::NonZeroU32;

use redis_tether_core::pacing::{LanePace, PacingSettings};
use redis_tether_core::recovery::{Met, Settings};
use redis_tether_core::{DialFigures, ProbeFigures, RecoveryBounds, ResolveFigures, recovery_bounds};

use super::error::ConfigError;
use super::{Config, LaneSettings, Verify};
use crate::control::watcher;

impl Config {
    /// How long recovery takes at worst with these settings, for each kind of failure.
    ///
    /// ```
    /// use redis_tether::Config;
    ///
    /// let bounds = Config::new("redis", 6379).recovery_bounds()?;
    /// assert_eq!(bounds.suspected_under_load.as_millis(), 250);
    /// assert_eq!(bounds.same_address_young.as_millis(), 100);
    /// # Ok::<_, redis_tether::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`validate`](Config::validate): settings that cannot work promise nothing.
    pub fn recovery_bounds(&self) -> Result<RecoveryBounds, ConfigError> {
        let resolve = ResolveFigures {
            interval: self.resolve.interval,
            jitter: watcher::INTERVAL_JITTER,
            // And the lookup that confirms an absence may have to wait for its place in the common pace.
            settled_answer_age: self.resolve.interval / watcher::SETTLED_ANSWER_AGE + self.resolve.fast_interval,
            urgent_answer_age: self.resolve.fast_interval / watcher::URGENT_ANSWER_AGE,
            outage_answer_age: self.resolve.outage_interval / watcher::URGENT_ANSWER_AGE,
            urgent_interval: self.resolve.fast_interval,
            urgent_for: self.resolve.fast_for,
            outage_interval: self.resolve.outage_interval,
        };
        let met = if self.verify == Verify::None { Met::Unasked } else { Met::Answered };
        let dial = DialFigures { connect: self.dial.connect_timeout, total: self.dial.timeout, met };
        let probe = ProbeFigures { interval: self.detection.probe_interval };
        Ok(recovery_bounds(&self.recovery_settings()?, &resolve, &dial, &probe))
    }

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
