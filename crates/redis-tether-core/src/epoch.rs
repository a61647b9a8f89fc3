//! The number of a link. Every attempt to make one takes the next number, so an epoch is never reused and a later link
//! always has a greater one. Every message, timer and report names the epoch it speaks of; one of an older epoch is void.

use std::fmt;
use std::num::NonZeroU64;

/// The number of a link: never zero, never reused within a tether, greater for a later link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(NonZeroU64);

impl Epoch {
    /// The epoch of a tether's first attempt.
    pub const FIRST: Epoch = Epoch(NonZeroU64::MIN);

    /// The epoch with this number, or `None` for zero, which stands for 'no link'.
    #[must_use]
    pub const fn new(number: u64) -> Option<Epoch> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Epoch(number)),
            None => None,
        }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Epoch {
        // At a million attempts a second the number lasts for half a million years.
        Epoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
