//! Who has which slots, as far as is known: shards that keep their number through failovers and replacements of nodes, and the
//! table that leads from a slot to its shard. Made anew by each survey that tells something new; never changed.

use redis_tether_core::cluster::{Group, SLOTS, Slot, successors};
use tokio::time::Instant;

/// Where the table has no shard.
const NOBODY: u16 = u16::MAX;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Layout {
    /// In the order of their first slots.
    shards: Vec<Numbered>,
    table: Box<[u16]>,
    next_number: Number,
    /// Since when some slot has had nobody.
    uncovered_since: Option<Instant>,
}

/// Which shard it is, whoever serves it and wherever its slots are. None is used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Number(u32);

impl Number {
    /// For cursors, which come back from anywhere.
    pub(super) fn read(value: u32) -> Number {
        Number(value)
    }

    /// As people are shown it.
    pub(crate) fn value(self) -> u32 {
        self.0
    }

    fn next(self) -> Number {
        Number(self.0 + 1)
    }
}

/// A shard, by the number that it keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Numbered {
    pub(crate) number: Number,
    pub(crate) group: Group,
}

impl Layout {
    /// Nothing is known.
    pub(crate) fn unknown() -> Layout {
        let table = vec![NOBODY; usize::from(SLOTS)].into();
        Layout { shards: Vec::new(), table, next_number: Number(1), uncovered_since: Some(Instant::now()) }
    }

    /// What these groups make of it; `None` if they tell nothing new.
    pub(crate) fn succeeded_by(&self, groups: &[Group]) -> Option<Layout> {
        if self.shards.iter().map(|shard| &shard.group).eq(groups) {
            return None;
        }
        let past: Vec<Group> = self.shards.iter().map(|shard| shard.group.clone()).collect();
        let mut next_number = self.next_number;
        let mut shards = Vec::with_capacity(groups.len());
        for (group, before) in groups.iter().zip(successors(&past, groups)) {
            let number = before.map_or(next_number, |before| self.shards[before].number);
            if before.is_none() {
                next_number = next_number.next();
            }
            shards.push(Numbered { number, group: group.clone() });
        }
        let table = table(&shards);
        let uncovered_since = table.contains(&NOBODY).then(|| self.uncovered_since.unwrap_or_else(Instant::now));
        Some(Layout { shards, table, next_number, uncovered_since })
    }

    pub(crate) fn shards(&self) -> &[Numbered] {
        &self.shards
    }

    /// Those of the shards that have any.
    pub(crate) fn groups_with_slots(&self) -> impl Iterator<Item = &Group> {
        self.shards.iter().map(|shard| &shard.group).filter(|group| !group.ranges.is_empty())
    }

    /// Of those of the shards that have any.
    pub(crate) fn numbers_with_slots(&self) -> impl Iterator<Item = Number> {
        self.shards.iter().filter(|shard| !shard.group.ranges.is_empty()).map(|shard| shard.number)
    }

    /// The shard that has this slot.
    pub(crate) fn owner(&self, slot: Slot) -> Option<Number> {
        let place = usize::from(self.table[usize::from(slot.number())]);
        self.shards.get(place).map(|shard| shard.number)
    }

    pub(crate) fn shard(&self, number: Number) -> Option<&Group> {
        self.shards.iter().find(|shard| shard.number == number).map(|shard| &shard.group)
    }

    /// The shard whose primary is announced there.
    pub(crate) fn led_from(&self, host: &str, port: u16) -> Option<Number> {
        let leads = |shard: &&Numbered| shard.group.primary.is_at(host, port);
        self.shards.iter().find(leads).map(|shard| shard.number)
    }

    pub(crate) fn uncovered_since(&self) -> Option<Instant> {
        self.uncovered_since
    }
}

fn table(shards: &[Numbered]) -> Box<[u16]> {
    let mut table = vec![NOBODY; usize::from(SLOTS)];
    for (place, shard) in shards.iter().enumerate() {
        // No cluster has as many shards as slots, but an answer may say so.
        let place = u16::try_from(place).unwrap_or(NOBODY);
        for (first, last) in &shard.group.ranges {
            table[usize::from(*first)..=usize::from(*last)].fill(place);
        }
    }
    table.into()
}

#[cfg(test)]
mod tests {
    use redis_tether_core::cluster::Node;

    use super::*;

    fn group(first: u16, last: u16, primary: &str) -> Group {
        let primary = Node { id: primary.to_owned(), host: primary.to_owned(), port: 6379 };
        Group { ranges: vec![(first, last)], primary, replicas: Vec::new() }
    }

    fn owner(layout: &Layout, slot: u16) -> Option<u32> {
        layout.owner(Slot::new(slot).expect("a slot")).map(Number::value)
    }

    #[tokio::test(start_paused = true)]
    async fn shards_keep_their_numbers_and_new_ones_get_new_ones() {
        let first = Layout::unknown().succeeded_by(&[group(0, 99, "a"), group(100, 16383, "b")]).expect("news");
        assert_eq!((owner(&first, 99), owner(&first, 100)), (Some(1), Some(2)));
        assert!(first.uncovered_since().is_none());
        assert!(first.succeeded_by(&[group(0, 99, "a"), group(100, 16383, "b")]).is_none(), "no news");
        let grown = [group(0, 49, "c"), group(50, 99, "a"), group(100, 16383, "d")];
        let second = first.succeeded_by(&grown).expect("news");
        assert_eq!((owner(&second, 0), owner(&second, 50), owner(&second, 100)), (Some(3), Some(1), Some(2)));
        let third = second.succeeded_by(&[group(50, 99, "a")]).expect("news");
        let fourth = third.succeeded_by(&[group(0, 49, "e"), group(50, 99, "a")]).expect("news");
        assert_eq!((owner(&third, 0), owner(&fourth, 0)), (None, Some(4)), "no number is used again");
        assert!(fourth.uncovered_since().is_some() && fourth.uncovered_since() == third.uncovered_since());
        assert_eq!(fourth.led_from("e", 6379), Some(Number(4)));
    }
}
