//! Whom to believe about the slots. Nodes that are cut off, frozen or behind tell what was. The word of a node that takes its
//! cluster for healthy counts for more than that of one which does not; then the word of most; and where there is no majority,
//! the one with the latest configuration epoch. Epochs come last on purpose: a replica that is cut off raises its own with
//! every election that it loses. Where most do not say so, nobody is believed who tells what was before that which is known.
//!
//! Nodes learn of a replica one after another, and tell of none before they know that it has data: so the replicas of what is
//! believed are those of everybody who says the same of the primaries.

use super::{Group, Node};

/// What one node says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Testimony {
    /// Who has which slots, in a canonical order.
    pub groups: Vec<Group>,
    /// Whether the node takes its cluster for healthy; `None` if it would not say.
    pub is_healthy: Option<bool>,
    /// The latest configuration epoch that it knows of, zero if it would not say.
    pub epoch: u64,
}

impl Testimony {
    /// Whether it says the same about who takes writes for what.
    fn agrees(&self, other: &Testimony) -> bool {
        self.owners().eq(other.owners())
    }

    fn owners(&self) -> impl Iterator<Item = (&[(u16, u16)], &str, u16)> {
        self.groups.iter().map(|group| (&*group.ranges, &*group.primary.host, group.primary.port))
    }
}

/// The testimony that is believed, if there is any that assigns slots. The first of equals, with the replicas of which the others tell.
#[must_use]
pub fn believed<'a>(testimonies: impl IntoIterator<Item = &'a Testimony>) -> Option<Testimony> {
    let testimonies: Vec<&Testimony> = testimonies.into_iter().collect();
    let best = best(&testimonies)?;
    let mut believed = best.clone();
    // Those who are cut off may go on telling of who has left.
    let is_cut_off = |one: &Testimony| one.is_healthy == Some(false);
    let is_heard = |other: &&&Testimony| other.agrees(best) && (is_cut_off(best) || !is_cut_off(other));
    for other in testimonies.iter().filter(is_heard) {
        for (place, group) in other.groups.iter().enumerate() {
            if believed.groups[place].replicas == group.replicas {
                continue;
            }
            // Nobody is in two shards: who is somewhere already stays there.
            let is_new = |node: &&Node| !believed.groups.iter().flat_map(Group::nodes).any(|known| known.is(node));
            let new: Vec<Node> = group.replicas.iter().filter(is_new).cloned().collect();
            believed.groups[place].replicas.extend(new);
        }
    }
    believed.groups.iter_mut().for_each(|group| group.replicas.sort_unstable());
    Some(believed)
}

fn best<'a>(testimonies: &[&'a Testimony]) -> Option<&'a Testimony> {
    let rank = |testimony: &Testimony| {
        let votes = testimonies.iter().filter(|other| other.agrees(testimony)).count();
        (testimony.is_healthy != Some(false), votes * 2 > testimonies.len(), testimony.epoch, votes)
    };
    let mut best: Option<&Testimony> = None;
    for testimony in testimonies.iter().copied().filter(|testimony| !testimony.groups.is_empty()) {
        if best.is_none_or(|best| rank(testimony) > rank(best)) {
            best = Some(testimony);
        }
    }
    best
}

/// Whether what those say who have not been heard, of so many, would change nothing.
#[must_use]
pub fn has_majority<'a>(testimonies: impl IntoIterator<Item = &'a Testimony>, of: usize) -> bool {
    let testimonies: Vec<&Testimony> = testimonies.into_iter().collect();
    let Some(best) = best(&testimonies).filter(|best| best.is_healthy != Some(false)) else {
        return false;
    };
    testimonies.iter().filter(|other| other.agrees(best)).count() * 2 > of
}

/// Whether this is what was before that which is known: of the same cluster, which was in an earlier epoch then. A cluster that has
/// taken another one's place has other nodes, and numbers of its own.
#[must_use]
pub fn is_of_the_past(testimony: &Testimony, known: &[Group], epoch: u64) -> bool {
    let mut nodes = known.iter().flat_map(Group::nodes);
    let is_the_same = nodes.any(|node| testimony.groups.iter().flat_map(Group::nodes).any(|other| other.is(node)));
    is_the_same && testimony.epoch > 0 && testimony.epoch < epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(primary: &str, epoch: u64) -> Testimony {
        let group = Group { ranges: vec![(0, 16383)], primary: node(primary), replicas: Vec::new() };
        Testimony { groups: vec![group], is_healthy: Some(true), epoch }
    }

    fn believed_primary(testimonies: &[Testimony]) -> Option<String> {
        believed(testimonies).map(|testimony| testimony.groups[0].primary.host.clone())
    }

    fn node(host: &str) -> Node {
        Node { id: String::new(), host: host.to_owned(), port: 6379 }
    }

    /// Of a primary `one` with these replicas, and of a primary `two` with those.
    fn tells(one: &[&str], two: &[&str]) -> Testimony {
        let group = |ranges, primary, replicas: &[&str]| {
            let replicas = replicas.iter().copied().map(node).collect();
            Group { ranges: vec![ranges], primary: node(primary), replicas }
        };
        let groups = vec![group((0, 8191), "one", one), group((8192, 16383), "two", two)];
        Testimony { groups, is_healthy: Some(true), epoch: 1 }
    }

    #[test]
    fn most_are_right_whatever_a_lone_one_has_for_an_epoch() {
        assert_eq!(believed_primary(&[says("old", 9), says("new", 5), says("new", 5)]), Some("new".to_owned()));
    }

    #[test]
    fn who_is_cut_off_knows_it() {
        let cut_off = Testimony { is_healthy: Some(false), ..says("old", 9) };
        assert_eq!(believed_primary(&[cut_off.clone(), cut_off.clone(), says("new", 5)]), Some("new".to_owned()));
        assert_eq!(believed_primary(&[cut_off]), Some("old".to_owned()), "it is all that there is");
    }

    #[test]
    fn without_a_majority_the_latest_epoch_counts() {
        assert_eq!(believed_primary(&[says("old", 4), says("new", 5)]), Some("new".to_owned()));
        assert_eq!(believed_primary(&[says("one", 0), says("other", 0)]), Some("one".to_owned()));
    }

    #[test]
    fn most_of_those_asked_decide_and_no_fewer() {
        let two = [says("new", 5), says("new", 5)];
        assert!(has_majority(&two, 3) && !has_majority(&two, 4) && !has_majority(&[], 0));
        let cut_off = Testimony { is_healthy: Some(false), ..says("old", 9) };
        assert!(!has_majority(&[cut_off.clone(), cut_off], 3), "others may know better");
    }

    #[test]
    fn what_was_before_is_told_from_what_is_new() {
        let known = says("one", 5).groups;
        assert!(is_of_the_past(&says("one", 4), &known, 5));
        assert!(!is_of_the_past(&says("one", 5), &known, 5) && !is_of_the_past(&says("one", 0), &known, 5), "not told");
        assert!(!is_of_the_past(&says("another cluster", 1), &known, 5));
    }

    #[test]
    fn a_node_without_slots_says_nothing() {
        let empty = Testimony { groups: Vec::new(), is_healthy: None, epoch: 0 };
        assert_eq!(believed(std::slice::from_ref(&empty)), None);
        assert_eq!(believed_primary(&[empty, says("one", 0)]), Some("one".to_owned()));
    }

    #[test]
    fn a_replica_that_one_knows_is_known() {
        let told = [tells(&[], &["c"]), tells(&["b"], &["c"]), tells(&["a"], &[])];
        for first in 0..told.len() {
            let mut told = told.clone();
            told.rotate_left(first);
            assert_eq!(believed(&told), Some(tells(&["a", "b"], &["c"])), "{first} first");
        }
    }

    #[test]
    fn a_replica_is_of_one_shard() {
        let moved = [tells(&[], &["a"]), tells(&["a"], &[])];
        assert_eq!(believed(&moved), Some(moved[0].clone()), "the first is right");
    }

    #[test]
    fn who_says_otherwise_of_the_primaries_or_is_cut_off_tells_of_no_replica() {
        let known = tells(&["a"], &[]);
        let mut promoted = tells(&["b"], &["one"]);
        promoted.groups[0].primary = node("a");
        assert_eq!(believed(&[known.clone(), known.clone(), promoted]), Some(known.clone()));
        let cut_off = Testimony { is_healthy: Some(false), ..tells(&["a", "b"], &[]) };
        assert_eq!(believed(&[known.clone(), cut_off]), Some(known));
    }
}
