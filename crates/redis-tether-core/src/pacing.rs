//! How soon to try again. Two lanes, because the two kinds of failure cost differently: where nobody was met a try is
//! cheap, where somebody accepted and then said no each try takes work from a server that may be recovering. Delays grow
//! by doubling, up to a cap that is low while the outage is young, and are jittered over nearly their whole width so that
//! a fleet does not try in step. Called by the recovery machine, and by nobody else.

use std::time::Duration;

use crate::Lane;

/// The pace of one lane. All durations must be greater than zero, and `first <= early_cap <= late_cap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LanePace {
    /// The longest first delay; it doubles with every failure in the lane.
    pub first: Duration,
    /// The longest delay while the lane's failures are younger than `early_for`.
    pub early_cap: Duration,
    /// How long the early cap holds, from the lane's first failure.
    pub early_for: Duration,
    /// The longest delay after that.
    pub late_cap: Duration,
}

impl LanePace {
    /// The longest delay after the failure number `step` (from 0), `age` after the lane's first failure.
    #[must_use]
    pub fn cap(&self, step: u32, age: Duration) -> Duration {
        let ceiling = if age < self.early_for { self.early_cap } else { self.late_cap };
        let grown = self.first.saturating_mul(1u32.checked_shl(step).unwrap_or(u32::MAX));
        grown.min(ceiling)
    }

    /// The shortest delay under a longest of `cap`. Full jitter would reach down to zero, and then no window of time
    /// would have a bound on its attempts; so a tenth of the width, and half of the first delay, are kept.
    #[must_use]
    pub fn floor(&self, cap: Duration) -> Duration {
        (cap / 10).max(self.first / 2).min(cap)
    }
}

/// The paces of both lanes, and when a link counts as settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacingSettings {
    /// For [`Lane::Unreachable`].
    pub unreachable: LanePace,
    /// For [`Lane::Rejected`].
    pub rejected: LanePace,
    /// A link that lived this long ends the episode: pacing starts from the beginning. A shorter life is one more
    /// failure, so that a server which accepts everybody and keeps nobody is not met by a storm.
    pub settled_after: Duration,
}

impl PacingSettings {
    /// The pace of `lane`.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> &LanePace {
        match lane {
            Lane::Unreachable => &self.unreachable,
            Lane::Rejected => &self.rejected,
        }
    }
}

impl Default for PacingSettings {
    fn default() -> Self {
        PacingSettings {
            unreachable: LanePace {
                first: Duration::from_millis(20),
                early_cap: Duration::from_millis(100),
                early_for: Duration::from_secs(5),
                late_cap: Duration::from_millis(200),
            },
            rejected: LanePace {
                first: Duration::from_millis(50),
                early_cap: Duration::from_millis(250),
                early_for: Duration::from_secs(10),
                late_cap: Duration::from_secs(5),
            },
            settled_after: Duration::from_secs(5),
        }
    }
}

/// The failures of one lane in the present episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LaneRecord {
    since: Duration,
    failures: u32,
}

/// When the next attempt may be made. It outlives incarnations and links: only a settled link starts it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacing {
    settings: PacingSettings,
    unreachable: Option<LaneRecord>,
    rejected: Option<LaneRecord>,
    not_before: Duration,
}

impl Pacing {
    /// Pacing at rest: the first attempt may be made at once.
    #[must_use]
    pub fn new(settings: PacingSettings) -> Self {
        Pacing { settings, unreachable: None, rejected: None, not_before: Duration::ZERO }
    }

    /// Whether no failure is remembered.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.unreachable.is_none() && self.rejected.is_none()
    }

    /// Whether a rejection is remembered.
    #[must_use]
    pub fn has_been_rejected(&self) -> bool {
        self.rejected.is_some()
    }

    /// The earliest moment for the next attempt, in time since the tether's start.
    #[must_use]
    pub fn not_before(&self) -> Duration {
        self.not_before
    }

    /// A round of attempts failed at `now`, in `lane`. Returns the moment for the next.
    pub fn failed(&mut self, now: Duration, lane: Lane, rng: &mut fastrand::Rng) -> Duration {
        let pace = *self.settings.lane(lane);
        let record = match lane {
            Lane::Unreachable => &mut self.unreachable,
            Lane::Rejected => &mut self.rejected,
        };
        let record = record.get_or_insert(LaneRecord { since: now, failures: 0 });
        let cap = pace.cap(record.failures, now.saturating_sub(record.since));
        record.failures = record.failures.saturating_add(1);
        self.not_before = self.not_before.max(now + jittered(pace.floor(cap), cap, rng));
        self.not_before
    }

    /// A link that was published at `since` was lost, or refused its work, at `now`. A settled one starts a new episode,
    /// whose first attempt is made at once; an unsettled one is one more failure.
    pub fn lost(&mut self, since: Duration, now: Duration, rng: &mut fastrand::Rng) -> Duration {
        if now.saturating_sub(since) >= self.settings.settled_after {
            *self = Pacing { not_before: now, ..Pacing::new(self.settings) };
            return now;
        }
        self.failed(now, Lane::Rejected, rng)
    }

    /// A link that was published at `since` still serves at `now`: once it is settled, what was before it is forgotten.
    pub fn kept(&mut self, since: Duration, now: Duration) {
        if now.saturating_sub(since) >= self.settings.settled_after {
            *self = Pacing { not_before: self.not_before.min(now), ..Pacing::new(self.settings) };
        }
    }
}

fn jittered(floor: Duration, cap: Duration, rng: &mut fastrand::Rng) -> Duration {
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.u64(micros(floor)..=micros(cap).max(micros(floor))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_default_lanes_grow_to_their_caps() {
        let pace = PacingSettings::default().unreachable;
        let young: Vec<_> = (0..5).map(|step| pace.cap(step, ms(0))).collect();
        assert_eq!(young, [ms(20), ms(40), ms(80), ms(100), ms(100)]);
        assert_eq!(pace.cap(40, ms(5_000)), ms(200));
        assert_eq!(PacingSettings::default().rejected.cap(40, ms(0)), ms(250));
        assert_eq!(PacingSettings::default().rejected.cap(40, ms(10_000)), ms(5_000));
    }

    #[test]
    fn a_settled_link_starts_anew_and_an_unsettled_one_does_not() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut pacing = Pacing::new(PacingSettings::default());
        for _ in 0..10 {
            pacing.failed(ms(0), Lane::Rejected, &mut rng);
        }
        let grown = pacing.clone().lost(ms(100), ms(200), &mut rng);
        assert!(grown >= ms(200) + ms(25), "an unsettled loss waits for at least a tenth of 250 ms: {grown:?}");
        assert_eq!(pacing.lost(ms(100), ms(5_100), &mut rng), ms(5_100));
    }

    proptest! {
        /// Attempts over any window stay within the pacing, whatever fails and however links come and go: between any
        /// two attempts that no settled link separates lies at least the floor of the lane that failed.
        #[test]
        fn no_two_attempts_are_closer_than_the_floor(seed: u64, outcomes in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..2_000), 1..200)) {
            let settings = PacingSettings::default();
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut pacing = Pacing::new(settings);
            let mut now = Duration::ZERO;
            for (up, rejected, lived) in outcomes {
                now = now.max(pacing.not_before());
                let failed_at;
                let lane;
                if up {
                    // Up for less than settled_after.
                    failed_at = now + ms(lived);
                    lane = Lane::Rejected;
                    pacing.lost(now, failed_at, &mut rng);
                } else {
                    failed_at = now;
                    lane = if rejected { Lane::Rejected } else { Lane::Unreachable };
                    pacing.failed(now, lane, &mut rng);
                }
                let pace = settings.lane(lane);
                let wait = pacing.not_before().saturating_sub(failed_at);
                prop_assert!(wait >= pace.first / 2, "waited only {wait:?}");
                prop_assert!(wait <= pace.late_cap);
                now = failed_at;
            }
        }
    }
}
