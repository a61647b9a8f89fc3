//! When the next survey is due: slowly while all is well, fast while what is known is in doubt, and at the pace of refusals where
//! only people can help. Pure; the surveyor keeps it.

use std::time::Duration;

use redis_tether_core::Lane;
use redis_tether_core::pacing::{Pacing, PacingSettings};
use tokio::time::Instant;

use super::error::SurveyError;
use crate::config::ResolveSettings;

/// Surveys are up to this part of the interval early, so that a fleet does not ask in step.
const JITTER: f64 = 0.2;

/// See the head of this file.
pub(super) struct Pace {
    resolve: ResolveSettings,
    settings: PacingSettings,
    rng: fastrand::Rng,
    origin: Instant,
    patience: Pacing,
    doubted_since: Option<Instant>,
}

/// When there is to be another survey.
pub(super) struct Due {
    /// If somebody wants one.
    pub(super) earliest: Instant,
    /// If nobody does.
    pub(super) by_itself: Instant,
}

impl Pace {
    pub(super) fn new(resolve: ResolveSettings, settings: PacingSettings, rng: fastrand::Rng, now: Instant) -> Pace {
        Pace { resolve, settings, rng, origin: now, patience: Pacing::new(settings), doubted_since: None }
    }

    /// After the survey that began then, ended now and came to this.
    pub(super) fn after(&mut self, begun: Instant, now: Instant, failure: Option<&SurveyError>) -> Due {
        let earliest = match failure {
            Some(error) if error.is_for_people() => {
                self.origin + self.patience.failed(now - self.origin, Lane::Rejected, &mut self.rng)
            }
            _ => {
                self.patience = Pacing::new(self.settings);
                begun + self.resolve.fast_interval
            }
        };
        let interval = match failure {
            None => {
                self.doubted_since = None;
                self.resolve.interval.mul_f64(1.0 - JITTER * self.rng.f64())
            }
            Some(_) => {
                let since = *self.doubted_since.get_or_insert(begun);
                self.interval_in_doubt(now - since)
            }
        };
        Due { earliest, by_itself: begun + interval }
    }

    fn interval_in_doubt(&self, doubted_for: Duration) -> Duration {
        let resolve = &self.resolve;
        if doubted_for < resolve.fast_for { resolve.fast_interval } else { resolve.outage_interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Surveys {
        pace: Pace,
        now: Instant,
    }

    impl Surveys {
        fn new() -> Surveys {
            let (now, rng) = (Instant::now(), fastrand::Rng::with_seed(7));
            Surveys { pace: Pace::new(ResolveSettings::default(), PacingSettings::default(), rng, now), now }
        }

        /// One that takes no time, and how long it is until another one is made: where somebody wants it, and where nobody does.
        fn one(&mut self, failure: Option<&SurveyError>) -> (Duration, Duration) {
            let due = self.pace.after(self.now, self.now, failure);
            let waits = (due.earliest - self.now, due.by_itself - self.now);
            self.now = due.earliest.max(due.by_itself);
            waits
        }
    }

    fn for_people() -> SurveyError {
        SurveyError::NoSlots { at: "10.0.0.1:6379".to_owned() }
    }

    #[test]
    fn while_all_is_well_they_are_rare_and_out_of_step_and_soon_where_one_is_wanted() {
        let (mut surveys, resolve) = (Surveys::new(), ResolveSettings::default());
        let waits: Vec<_> = (0..100).map(|_| surveys.one(None)).collect();
        let right = resolve.interval.mul_f64(1.0 - JITTER)..=resolve.interval;
        assert!(waits.iter().all(|(_, by_itself)| right.contains(by_itself)), "{waits:?}");
        assert!(waits.iter().any(|(_, by_itself)| *by_itself != waits[0].1), "in step");
        assert!(waits.iter().all(|(earliest, _)| *earliest == resolve.fast_interval), "{waits:?}");
    }

    #[test]
    fn in_doubt_they_are_fast_for_a_while_and_anew_after_one_that_told_something() {
        let (mut surveys, resolve) = (Surveys::new(), ResolveSettings::default());
        let fast = |surveys: &mut Surveys| {
            let failures = std::iter::repeat_with(|| surveys.one(Some(&SurveyError::TimedOut)));
            failures.take_while(|(_, by_itself)| *by_itself == resolve.fast_interval).count()
        };
        let once = fast(&mut surveys);
        assert_eq!(resolve.fast_interval * u32::try_from(once).expect("few"), resolve.fast_for);
        assert_eq!(surveys.one(Some(&SurveyError::TimedOut)), (resolve.fast_interval, resolve.outage_interval));
        surveys.one(None);
        assert_eq!(fast(&mut surveys), once);
    }

    #[test]
    fn where_only_people_can_help_nobody_has_them_made_faster() {
        let (mut surveys, resolve) = (Surveys::new(), ResolveSettings::default());
        let lane = PacingSettings::default().rejected;
        let late_from = surveys.now + lane.early_for;
        while surveys.now < late_from {
            let (earliest, _) = surveys.one(Some(&for_people()));
            assert!((lane.first / 2..=lane.early_cap).contains(&earliest), "{earliest:?}");
        }
        for _ in 0..20 {
            let (earliest, _) = surveys.one(Some(&for_people()));
            assert!((lane.late_cap / 10..=lane.late_cap).contains(&earliest), "{earliest:?}");
        }
        let (earliest, _) = surveys.one(Some(&SurveyError::TimedOut));
        assert_eq!(earliest, resolve.fast_interval, "somebody may answer at any moment");
        let (earliest, _) = surveys.one(Some(&for_people()));
        assert!(earliest <= lane.first, "{earliest:?}, the first again");
    }
}
