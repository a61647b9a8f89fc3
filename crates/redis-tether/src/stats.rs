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
    pub(crate) resent_unexecuted: Counter,
    /// Times that a command was sent again that may have been executed, since its caller had opted in.
    pub(crate) resent_ambiguous: Counter,
    /// Replies by which a server refused what another one, or itself in a moment, would take.
    pub(crate) refusal_replies: Counter,
    /// Commands that failed in the tether without having left.
    pub(crate) failed_not_sent: Counter,
    /// Commands that failed in the tether, after servers had refused them without executing anything.
    pub(crate) failed_refused: Counter,
    /// Commands that failed in the tether with their fate unknown.
    pub(crate) failed_ambiguous: Counter,
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
/// counted: the fast path touches no counter. All are counters, which only grow, but for the gauge `held_now`.
///
/// `failed_not_sent`, `failed_refused` and `failed_ambiguous` are the commands whose callers were given a
/// [`CommandError`](crate::CommandError), by its [`Outcome`](crate::Outcome). An error that a server answered with and that was
/// handed out as it came (`WRONGTYPE`, `NOPERM`, `OOM`) is in none of them, though its outcome may be `Refused` as well: it is a reply
/// like others, and part of a pipeline's or a cluster's answer, which is put together later.
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
    /// Commands that are held now: a gauge.
    pub held_now: u64,
    /// Times that a held command was let go, since there was somewhere to go and it was its turn.
    pub released: u64,
    /// Times that a command was sent again after it was provably not executed: it was refused, or never left. Each costs its caller
    /// time, and no error.
    pub resent_unexecuted: u64,
    /// Times that a command was sent again that may have been executed already, since its caller had opted in
    /// ([`Retry`](crate::Retry)): it may have been executed twice. Zero unless somebody has.
    pub resent_ambiguous: u64,
    /// Replies by which a server refused what another one, or itself in a moment, would take (`READONLY`, `LOADING`, `MASTERDOWN`,
    /// `CLUSTERDOWN`, `TRYAGAIN`). They count replies, not failures: most of these commands are sent again and succeed.
    pub refusal_replies: u64,
    /// Commands that failed as [`NotSent`](crate::Outcome::NotSent): none left this process, as when the hold window had passed.
    pub failed_not_sent: u64,
    /// Commands that failed as [`Refused`](crate::Outcome::Refused): what servers answered was one of `refusal_replies`, and no
    /// other server was found in time to send them to.
    pub failed_refused: u64,
    /// Commands that failed as [`Ambiguous`](crate::Outcome::Ambiguous): they left, and whether they were executed is unknown.
    pub failed_ambiguous: u64,
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
            resent_unexecuted: counters.resent_unexecuted.value(),
            resent_ambiguous: counters.resent_ambiguous.value(),
            refusal_replies: counters.refusal_replies.value(),
            failed_not_sent: counters.failed_not_sent.value(),
            failed_refused: counters.failed_refused.value(),
            failed_ambiguous: counters.failed_ambiguous.value(),
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
            resent_unexecuted: join(self.resent_unexecuted, other.resent_unexecuted),
            resent_ambiguous: join(self.resent_ambiguous, other.resent_ambiguous),
            refusal_replies: join(self.refusal_replies, other.refusal_replies),
            failed_not_sent: join(self.failed_not_sent, other.failed_not_sent),
            failed_refused: join(self.failed_refused, other.failed_refused),
            failed_ambiguous: join(self.failed_ambiguous, other.failed_ambiguous),
            late_deadlines: join(self.late_deadlines, other.late_deadlines),
            fallbacks: join(self.fallbacks, other.fallbacks),
            dials: join(self.dials, other.dials),
            links: join(self.links, other.links),
            restarts: join(self.restarts, other.restarts),
            lookups: join(self.lookups, other.lookups),
        }
    }
}
