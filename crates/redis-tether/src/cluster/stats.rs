//! What is counted of a cluster: what its shards count, those that are gone included, and what happens between them. Pure
//! bookkeeping; nothing is decided by a count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use crate::config::CommandSettings;
use crate::lock::lock;
use crate::outcome::Outcome;
use crate::room::{Held, Room};
use crate::stats::{Counter, Counters, Stats};
use crate::tether::Tether;

/// What has been counted since the cluster was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ClusterStats {
    /// The sum over all shards, with the commands that were held or failed before they came to any. A command that is sent
    /// elsewhere may be counted at each shard that it came to. One that was held by a shard that is gone is held on, and counts as
    /// held twice and released once.
    pub total: Stats,
    /// Times that a node has sent a command elsewhere (`MOVED`, `ASK`).
    pub redirections: u64,
    /// Surveys of the slots.
    pub surveys: u64,
}

/// What is counted outside of the shards.
pub(super) struct Counts {
    own: Arc<Counters>,
    pub(super) redirections: Counter,
    /// Of tethers that have ended.
    past: Mutex<Option<Stats>>,
    /// Those that are ending, by the order in which they began to.
    ending: Mutex<BTreeMap<u64, Tether>>,
    pub(super) room: Arc<Room>,
}

impl Default for Counts {
    fn default() -> Self {
        let own = Arc::<Counters>::default();
        let (redirections, room) = (Counter::default(), Room::new(own.clone()));
        Counts { own, redirections, past: Mutex::default(), ending: Mutex::default(), room }
    }
}

impl Counts {
    pub(super) fn stats(&self, shards: impl Iterator<Item = Stats>, surveys: u64) -> ClusterStats {
        let mut total = Stats::of(&self.own);
        total.held_now = self.room.held_now();
        let ending = self.ending();
        let ending = ending.iter().map(Tether::stats);
        let past = *lock(&self.past);
        for stats in shards.chain(ending).chain(past) {
            total = total.joined_by(&stats, u64::saturating_add);
        }
        ClusterStats { total, redirections: self.redirections.value(), surveys }
    }

    /// Takes note of a tether that is about to end. Its place is for [`has_ended`](Counts::has_ended).
    pub(super) fn begins_to_end(&self, tether: &Tether) -> u64 {
        let mut ending = lock(&self.ending);
        let place = ending.last_key_value().map_or(0, |(last, _)| last + 1);
        ending.insert(place, tether.clone());
        place
    }

    pub(super) fn has_ended(&self, place: u64, tether: &Tether) {
        lock(&self.ending).remove(&place);
        self.keep(tether);
    }

    /// Those that are ending.
    pub(super) fn ending(&self) -> Vec<Tether> {
        lock(&self.ending).values().cloned().collect()
    }

    /// Keeps the counts of a tether that has ended.
    pub(super) fn keep(&self, tether: &Tether) {
        let ended = Stats { held_now: 0, ..tether.stats() };
        let mut past = lock(&self.past);
        *past = Some(past.map_or(ended, |past| past.joined_by(&ended, u64::saturating_add)));
    }

    pub(super) fn failed(&self, outcome: Outcome) {
        match outcome {
            Outcome::NotSent => self.own.failed_not_sent.increment(),
            Outcome::Refused => self.own.failed_refused.increment(),
            Outcome::Ambiguous => self.own.failed_ambiguous.increment(),
        }
    }

    /// Room for a command of this size that has to wait for somebody to have its slot, if there is any.
    pub(super) fn hold(&self, bytes: usize, most: &CommandSettings) -> Option<Held> {
        self.room.take(bytes, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_commands_are_bounded_in_number_and_in_bytes() {
        let (counts, mut most) = (Counts::default(), CommandSettings::default());
        (most.max_held, most.max_held_bytes) = (2, 10);
        let first = counts.hold(6, &most);
        assert!(first.is_some());
        assert!(counts.hold(5, &most).is_none(), "bytes");
        let second = counts.hold(4, &most);
        assert!(second.is_some());
        assert!(counts.hold(0, &most).is_none(), "number");
        drop(first);
        let third = counts.hold(6, &most);
        assert!(third.is_some(), "leaving makes room");
        let stats = counts.stats(std::iter::empty(), 3);
        assert_eq!(
            (stats.total.held, stats.total.held_now, stats.surveys),
            (3, 2, 3),
            "who found no room was not held"
        );
        let _heir = counts.room.keep(100);
        assert_eq!(counts.stats(std::iter::empty(), 3).total.held, 4, "for whom there is always room");
    }
}
