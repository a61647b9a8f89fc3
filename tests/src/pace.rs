//! The pace that dials must keep to, computed from the settings, so that a test can hold a count of dials against it.

use std::time::Duration;

use redis_tether::LaneSettings;
use redis_tether_core::pacing::LanePace;

/// The most attempts that this lane allows within `window` of an outage: one address, and every attempt fails at once.
#[must_use]
pub fn most_dials(lane: &LaneSettings, window: Duration) -> u64 {
    dials(lane, window, |pace, longest| pace.floor(longest))
}

/// The fewest that it makes in that case.
#[must_use]
pub fn fewest_dials(lane: &LaneSettings, window: Duration) -> u64 {
    dials(lane, window, |_, longest| longest)
}

fn dials(lane: &LaneSettings, window: Duration, wait: impl Fn(&LanePace, Duration) -> Duration) -> u64 {
    let pace =
        LanePace { first: lane.first, early_cap: lane.early_cap, early_for: lane.early, late_cap: lane.late_cap };
    let (mut age, mut dials) = (Duration::ZERO, 0);
    for step in 0.. {
        dials += 1;
        age += wait(&pace, pace.cap(step, age));
        if age > window {
            break;
        }
    }
    dials
}

#[cfg(test)]
mod tests {
    use redis_tether::PacingSettings;

    use super::*;

    #[test]
    fn the_defaults_come_to_what_they_promise() {
        let lane = PacingSettings::default().rejected;
        let window = Duration::from_secs(3);
        // At least 25 ms each.
        assert_eq!(most_dials(&lane, window), 1 + 120);
        // At most 50, 100, 200 ms, then 250 ms each: 10 of those fit.
        assert_eq!(fewest_dials(&lane, window), 1 + 3 + 10);
    }
}
