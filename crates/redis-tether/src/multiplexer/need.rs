//! How large a buffer should be that is used again and again: what it held of late counts, not what a burst once made of it. A
//! link may be idle for most of its life, and a process may have a thousand of them.

/// How much a buffer has held, the less of it the longer ago.
#[derive(Default)]
pub(super) struct Need(usize);

/// A buffer is too large that could hold so many times what it held of late.
const MUCH: usize = 4;

impl Need {
    /// It has held so much.
    pub(super) fn note(&mut self, held: usize) {
        self.0 = held.max(self.0 - self.0.div_ceil(8));
    }

    /// How much it held of late.
    pub(super) fn recent(&self) -> usize {
        self.0
    }

    /// Whether a buffer should be given back that has this capacity. What `least` allows is always kept.
    pub(super) fn is_exceeded_by(&self, capacity: usize, least: usize) -> bool {
        capacity > self.0.saturating_mul(MUCH).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_forgotten_and_what_is_usual_is_not() {
        let mut need = Need::default();
        need.note(1_000_000);
        assert_eq!(need.recent(), 1_000_000);
        assert!(!need.is_exceeded_by(1_048_576, 1_024));
        let mut probes = 0;
        while !need.is_exceeded_by(1_048_576, 1_024) {
            need.note(100);
            probes += 1;
        }
        assert!((8..16).contains(&probes), "{probes}");
        (0..200).for_each(|_| need.note(100));
        assert_eq!(need.recent(), 100);
        assert!(!need.is_exceeded_by(1_024, 1_024) && need.is_exceeded_by(1_025, 1_024));
        (0..200).for_each(|_| need.note(0));
        assert_eq!(need.recent(), 0);
    }
}
