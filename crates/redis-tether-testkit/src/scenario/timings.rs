//! How long the parts of a scenario take. The defaults are those in which published figures are measured.

use std::time::Duration;

/// How long the parts of a scenario take.
///
/// # Defaults
/// `warm_up` 1 s, `period` 5 ms, `promote_after` 1 s, `restart_after` 2 s, `outage` 30 s, `password_away` 5 s, `script`
/// 3 s, `patience` 20 s, `observe` 2 s.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Timings {
    /// How long the writer writes before anything fails.
    pub warm_up: Duration,
    /// The time from the start of one write to the start of the next. A write that takes longer puts the next off.
    pub period: Duration,
    /// From the crash, or the freeze, to the promotion of the replica.
    pub promote_after: Duration,
    /// How long a restart takes.
    pub restart_after: Duration,
    /// How long an outage lasts.
    pub outage: Duration,
    /// How long the password is another.
    pub password_away: Duration,
    /// How long the slow script runs.
    pub script: Duration,
    /// How long a client has, from the moment the primary is reachable, before it counts as not recovered.
    pub patience: Duration,
    /// For how long the writer goes on after the recovery.
    pub observe: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_secs(1),
            period: Duration::from_millis(5),
            promote_after: Duration::from_secs(1),
            restart_after: Duration::from_secs(2),
            outage: Duration::from_secs(30),
            password_away: Duration::from_secs(5),
            script: Duration::from_secs(3),
            patience: Duration::from_secs(20),
            observe: Duration::from_secs(2),
        }
    }
}

impl Timings {
    /// The defaults but for an outage of 5 s: for tests, and for people who wait.
    #[must_use]
    pub fn quick() -> Self {
        Self::default().with_outage(Duration::from_secs(5))
    }

    /// With an outage of this length.
    #[must_use]
    pub fn with_outage(mut self, outage: Duration) -> Self {
        self.outage = outage;
        self
    }
}
