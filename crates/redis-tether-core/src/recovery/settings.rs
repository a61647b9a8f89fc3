//! The figures that the recovery machine decides by. The library fills them from its `Config`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::pacing::PacingSettings;

/// What the recovery machine is told once. All durations are greater than zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How soon to try again.
    pub pacing: PacingSettings,
    /// So many rounds may fail in a row before the incarnation gives up for a fresh one.
    pub failures_before_resolve: NonZeroU32,
    /// Between the starts of attempts at several addresses of one round.
    pub stagger: Duration,
    /// The silence that makes a link suspect; also the grace that every verdict gives the link to speak after all.
    pub suspect_after: Duration,
    /// The silence after which a suspect link is given up.
    pub dead_after: Duration,
    /// The silence after which a suspect link may be replaced by a new one to the same address.
    pub replace_after: Duration,
    /// After a suspicion that proved wrong, no side link is dialled for this long: slow servers are not met by a storm.
    pub side_dial_interval: Duration,
    /// An address that the resolver did not name before is tried at once, whatever the pacing, unless it was tried less
    /// than this long ago. Also how soon the resolver is asked again when no answer came at all.
    pub fresh_after: Duration,
    /// Between moves that rest on DNS evidence alone. Also how long the name must go on meaning the present address until
    /// looking elsewhere in vain is forgotten.
    pub swap_interval: Duration,
    /// When to ask again after the link's address was absent from an answer for the first time.
    pub confirm_absence_after: Duration,
    /// How long a fresh answer of the resolver is waited for, by a fresh incarnation and by a reconnect that was asked for
    /// by hand, before they make do with the last one.
    pub fresh_answer_wait: Duration,
    /// A link of this age is replaced, make before break; up to [`Settings::RENEWAL_JITTER`] of it earlier, drawn for each
    /// link. `None`: never.
    pub max_age: Option<Duration>,
}

impl Settings {
    /// A timer that fires this late says that we were stalled, not that the peer was: its verdict is void.
    pub const STALL: Duration = Duration::from_millis(100);

    /// So many verdicts in a row may be void before one counts, late or not.
    pub const VOID_VERDICTS: u32 = 8;

    /// The part of `max_age` by which a link may be renewed earlier, at random: a fleet that was started together does not
    /// renew in step.
    pub const RENEWAL_JITTER: f64 = 0.1;

    /// At most so many attempts are under way at once.
    pub const PARALLEL_ATTEMPTS: usize = 4;
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            pacing: PacingSettings::default(),
            failures_before_resolve: NonZeroU32::new(3).expect("3 is not zero"),
            stagger: Duration::from_millis(250),
            suspect_after: Duration::from_millis(250),
            dead_after: Duration::from_secs(5),
            replace_after: Duration::from_secs(1),
            side_dial_interval: Duration::from_secs(1),
            fresh_after: Duration::from_secs(1),
            swap_interval: Duration::from_secs(10),
            confirm_absence_after: Duration::from_millis(250),
            fresh_answer_wait: Duration::from_millis(250),
            max_age: None,
        }
    }
}
