//! The beat that the rounds of idle tethers keep to: their probes and their lookups. A thousand tethers of one process that
//! woke it each at a moment of its own would wake it a thousand times a second; so they wake it twenty times, fifty at once.
//! Recovery keeps to no beat.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// From one beat to the next, where the rounds are far enough apart: the wake-ups of one beat still find each other's work
/// done, and a probe is hardly earlier for it.
const LONGEST: Duration = Duration::from_millis(50);

/// A round may be earlier by this part of its interval for the sake of the beat.
const PART: u32 = 32;

/// The same as a share.
pub(crate) const SHARE: f64 = 1.0 / PART as f64;

/// Moments at equal distances, counted from an origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    origin: Instant,
}

impl Beat {
    /// The beat of this process: other processes, which may have been started together with it, have their own.
    pub(crate) fn common() -> Beat {
        static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
        Beat { origin: Instant::from_std(*ORIGIN) }
    }

    /// One that begins now, for a tether whose course must not depend on when the process was started.
    pub(crate) fn own() -> Beat {
        Beat { origin: Instant::now() }
    }

    /// The last beat that is not after `at`, for a round that is due every `interval`.
    pub(crate) fn not_after(&self, at: Instant, interval: Duration) -> Instant {
        let step = LONGEST.min(interval / PART).as_nanos().max(1);
        let early = at.saturating_duration_since(self.origin).as_nanos() % step;
        // Less than the step, of 50 ms at most.
        at - Duration::from_nanos(early as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn rounds_of_one_process_meet_and_none_is_late() {
        let (one, other) = (Beat::common(), Beat::common());
        let start = one.origin + Duration::from_secs(60);
        for early in 0..50 {
            let at = one.not_after(start + ms(early), Duration::from_secs(3));
            assert_eq!(at, other.not_after(start, Duration::from_secs(2)), "{early} ms later");
            assert!(at <= start + ms(early));
        }
        assert_eq!(one.not_after(start + ms(50), Duration::from_secs(3)), start + ms(50));
    }

    #[test]
    fn the_beat_costs_little_of_a_short_interval() {
        let beat = Beat::own();
        for interval in [Duration::from_micros(1), ms(1), ms(10), ms(320), ms(1_600)] {
            for after in (0..2_000).map(Duration::from_micros).chain((2..2_000).map(ms)) {
                let (due, at) = (beat.origin + after, beat.not_after(beat.origin + after, interval));
                assert!(at <= due && due - at <= interval.mul_f64(SHARE), "{interval:?} {after:?}");
            }
        }
    }
}
