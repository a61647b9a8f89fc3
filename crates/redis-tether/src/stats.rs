//! What is counted, so that `stats()` can show it. The data path counts here with relaxed additions and only off the
//! fast path: a command that is sent and answered touches no counter. Nothing is decided by a count.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one tether. Each only grows, but for `held_now`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Times that a command was held.
    pub(crate) held: Counter,
    /// Commands that are held now.
    pub(crate) held_now: Counter,
    /// Times that a held command was let go.
    pub(crate) released: Counter,
    /// Times that a command was sent again, after it was provably not executed.
    pub(crate) resent: Counter,
    /// Times that a command was sent again that may have been executed, since its caller had opted in.
    pub(crate) retried: Counter,
    /// Replies by which a server refused what another one would take.
    pub(crate) refusals: Counter,
    /// Commands that failed without having left.
    pub(crate) not_sent: Counter,
    /// Commands that failed because servers kept refusing them without executing anything.
    pub(crate) refused: Counter,
    /// Commands that failed with their fate unknown.
    pub(crate) ambiguous: Counter,
    /// Deadlines that were found to have passed while this process stood still, and were put off.
    pub(crate) late_deadlines: Counter,
    /// Reads that went to the primary, since no replica served.
    pub(crate) fallbacks: Counter,
    /// Attempts to make a link.
    pub(crate) dials: Counter,
    /// Links that were published.
    pub(crate) links: Counter,
    /// Connection actors that were replaced by fresh ones.
    pub(crate) restarts: Counter,
    /// Lookups of the endpoint's name.
    pub(crate) lookups: Counter,
}

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What has been counted since the tether started. A command that is sent and answered on a serving link is not
/// counted: the fast path touches no counter.
///
/// Of reads from [replicas](crate::ReplicaHandle) it counts those that wait for a replica, that are sent again, that go to the primary, and
/// that fail without being with any replica. What happens to the links of replicas, and fails there, each of them
/// [counts by itself](crate::Replica::stats).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Times that a command was held: for a link, for a replica or a shard that it can go to, or for its turn at one that others go to
    /// already. A command that is refused and held again counts again.
    ///
    /// `held - held_now - released` is how often a command was given up while it was held: by its caller, or since its deadline or the
    /// hold window had passed, or the tether ended. (The three are read one after the other, while commands come and go.)
    pub held: u64,
    /// Commands that are held now.
    pub held_now: u64,
    /// Times that a held command was let go, since there was somewhere to go and it was its turn.
    pub released: u64,
    /// Times that a command was sent again, after it was provably not executed.
    pub resent: u64,
    /// Times that a command was sent again that may have been executed, since its caller had opted in
    /// ([`Retry`](crate::Retry)).
    pub retried: u64,
    /// Replies by which a server refused what another one would take.
    pub refusals: u64,
    /// Commands that failed without having left.
    pub not_sent: u64,
    /// Commands that failed because servers kept refusing them without executing anything.
    pub refused: u64,
    /// Commands that failed with their fate unknown.
    pub ambiguous: u64,
    /// Deadlines that were found to have passed while this process stood still, and were put off.
    pub late_deadlines: u64,
    /// Reads that went to the primary, since no replica served ([`Tether::replicas`](crate::Tether::replicas)).
    pub fallbacks: u64,
    /// Attempts to make a link.
    pub dials: u64,
    /// Links that were published.
    pub links: u64,
    /// Connection actors that were replaced by fresh ones.
    pub restarts: u64,
    /// Lookups of the endpoint's name.
    pub lookups: u64,
}

impl Stats {
    pub(crate) fn of(counters: &Counters) -> Self {
        Stats {
            held: counters.held.value(),
            held_now: counters.held_now.value(),
            released: counters.released.value(),
            resent: counters.resent.value(),
            retried: counters.retried.value(),
            refusals: counters.refusals.value(),
            not_sent: counters.not_sent.value(),
            refused: counters.refused.value(),
            ambiguous: counters.ambiguous.value(),
            late_deadlines: counters.late_deadlines.value(),
            fallbacks: counters.fallbacks.value(),
            dials: counters.dials.value(),
            links: counters.links.value(),
            restarts: counters.restarts.value(),
            lookups: counters.lookups.value(),
        }
    }

    /// These and those, number by number.
    pub(crate) fn joined_by(self, other: &Stats, join: impl Fn(u64, u64) -> u64) -> Stats {
        Stats {
            held: join(self.held, other.held),
            held_now: join(self.held_now, other.held_now),
            released: join(self.released, other.released),
            resent: join(self.resent, other.resent),
            retried: join(self.retried, other.retried),
            refusals: join(self.refusals, other.refusals),
            not_sent: join(self.not_sent, other.not_sent),
            refused: join(self.refused, other.refused),
            ambiguous: join(self.ambiguous, other.ambiguous),
            late_deadlines: join(self.late_deadlines, other.late_deadlines),
            fallbacks: join(self.fallbacks, other.fallbacks),
            dials: join(self.dials, other.dials),
            links: join(self.links, other.links),
            restarts: join(self.restarts, other.restarts),
            lookups: join(self.lookups, other.lookups),
        }
    }
}
