//! Which shard is which. What a cluster says of its slots comes as groups of nodes; a shard of ours outlives every node in it,
//! so that its link, its epoch and what it holds go on through failovers and replacements. A group is the successor of the
//! shard with which it shares its primary, else most nodes, else most slots.

use std::cmp::Reverse;

use super::Slot;

/// A node of a cluster, as another one announces it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node {
    /// The cluster's own name for it; empty where that was not told.
    pub id: String,
    /// Where it is to be reached: an address, or a name.
    pub host: String,
    /// Its port for clients.
    pub port: u16,
}

impl Node {
    /// Whether this is the same node, wherever it is now.
    #[must_use]
    pub fn is(&self, other: &Node) -> bool {
        match self.id.is_empty() || other.id.is_empty() {
            true => self.is_at(&other.host, other.port),
            false => self.id == other.id,
        }
    }

    /// Whether it is announced there.
    #[must_use]
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host == host
    }
}

/// Slots, and those who have them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Group {
    /// First and last of each range, in order.
    pub ranges: Vec<(u16, u16)>,
    /// Who takes writes.
    pub primary: Node,
    /// Who follows it, in order.
    pub replicas: Vec<Node>,
}

impl Group {
    /// The primary, and then the replicas.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    /// Whether the slot is one of its own.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot.number()))
    }

    fn shared_nodes(&self, other: &Group) -> usize {
        self.nodes().filter(|node| other.nodes().any(|known| known.is(node))).count()
    }

    fn shared_slots(&self, other: &Group) -> usize {
        let overlaps = self.ranges.iter().flat_map(|one| other.ranges.iter().map(move |two| overlap(*one, *two)));
        overlaps.sum()
    }
}

fn overlap(one: (u16, u16), two: (u16, u16)) -> usize {
    let (first, last) = (one.0.max(two.0), one.1.min(two.1));
    if first <= last { usize::from(last - first) + 1 } else { 0 }
}

/// For each group of the present the one of the past that it has come from, if any. No group of the past has two successors.
#[must_use]
pub fn successors(past: &[Group], present: &[Group]) -> Vec<Option<usize>> {
    let mut kinships: Vec<_> = Vec::new();
    for (now, group) in present.iter().enumerate() {
        for (before, known) in past.iter().enumerate() {
            let kinship = (group.primary.is(&known.primary), group.shared_nodes(known), group.shared_slots(known));
            if kinship > (false, 0, 0) {
                kinships.push((Reverse(kinship), now, before));
            }
        }
    }
    kinships.sort_unstable();
    let (mut found, mut taken) = (vec![None; present.len()], vec![false; past.len()]);
    for (_, now, before) in kinships {
        if found[now].is_none() && !taken[before] {
            (found[now], taken[before]) = (Some(before), true);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node { id: name.to_owned(), host: name.to_owned(), port: 6379 }
    }

    fn group(first: u16, last: u16, nodes: &[&str]) -> Group {
        let (primary, replicas) = nodes.split_first().expect("a primary");
        Group {
            ranges: vec![(first, last)],
            primary: node(primary),
            replicas: replicas.iter().map(|name| node(name)).collect(),
        }
    }

    #[test]
    fn a_failover_is_no_other_shard() {
        let past = [group(0, 99, &["a", "a1"]), group(100, 199, &["b", "b1"])];
        let present = [group(100, 199, &["b", "b1"]), group(0, 99, &["a1"])];
        assert_eq!(successors(&past, &present), [Some(1), Some(0)]);
    }

    #[test]
    fn nor_is_one_whose_nodes_were_all_replaced() {
        let past = [group(0, 99, &["a"]), group(100, 199, &["b"])];
        let present = [group(100, 199, &["d"]), group(0, 99, &["c"])];
        assert_eq!(successors(&past, &present), [Some(1), Some(0)]);
    }

    #[test]
    fn a_node_at_another_address_is_known_by_its_id() {
        let mut moved = group(0, 99, &["a"]);
        moved.primary.host = "elsewhere".to_owned();
        assert_eq!(successors(&[group(0, 50, &["b"]), group(60, 99, &["a"])], &[moved]), [Some(1)]);
    }

    #[test]
    fn who_takes_slots_over_is_not_who_had_them() {
        let past = [group(0, 99, &["a"])];
        let present = [group(0, 49, &["new"]), group(50, 99, &["a"])];
        assert_eq!(successors(&past, &present), [None, Some(0)]);
    }

    #[test]
    fn a_replica_that_changed_sides_takes_no_shard_along() {
        let past = [group(0, 99, &["a", "a1", "a2"]), group(100, 199, &["b", "b1"])];
        let present = [group(0, 99, &["a", "a1"]), group(100, 199, &["a2", "b1"])];
        assert_eq!(successors(&past, &present), [Some(0), Some(1)]);
    }
}
