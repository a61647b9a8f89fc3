//! Whom to believe about the slots. Nodes that are cut off, frozen or behind tell what was. The word of a node that takes its
//! cluster for healthy counts for more than that of one which does not; then the word of most; and where there is no majority,
//! the one with the latest configuration epoch. Epochs come last on purpose: a replica that is cut off raises its own with
//! every election that it loses. Where most do not say so, nobody is believed who tells what was before that which is known.

use super::Group;

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
    /// Whether it says the same about who takes writes for what. Replicas come and go, and nodes learn of it at different times.
    fn agrees(&self, other: &Testimony) -> bool {
        self.owners().eq(other.owners())
    }

    fn owners(&self) -> impl Iterator<Item = (&[(u16, u16)], &str, u16)> {
        self.groups.iter().map(|group| (&*group.ranges, &*group.primary.host, group.primary.port))
    }
}

/// The testimony that is believed, if there is any that assigns slots. The first of equals.
#[must_use]
pub fn believed<'a>(testimonies: impl IntoIterator<Item = &'a Testimony>) -> Option<&'a Testimony> {
    let testimonies: Vec<&Testimony> = testimonies.into_iter().collect();
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
    let Some(best) = believed(testimonies.iter().copied()).filter(|best| best.is_healthy != Some(false)) else {
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
    use crate::cluster::Node;

    fn says(primary: &str, epoch: u64) -> Testimony {
        let primary = Node { id: String::new(), host: primary.to_owned(), port: 6379 };
        let group = Group { ranges: vec![(0, 16383)], primary, replicas: Vec::new() };
        Testimony { groups: vec![group], is_healthy: Some(true), epoch }
    }

    fn believed_primary(testimonies: &[Testimony]) -> Option<&str> {
        believed(testimonies).map(|testimony| testimony.groups[0].primary.host.as_str())
    }

    #[test]
    fn most_are_right_whatever_a_lone_one_has_for_an_epoch() {
        assert_eq!(believed_primary(&[says("old", 9), says("new", 5), says("new", 5)]), Some("new"));
    }

    #[test]
    fn who_is_cut_off_knows_it() {
        let cut_off = Testimony { is_healthy: Some(false), ..says("old", 9) };
        assert_eq!(believed_primary(&[cut_off.clone(), cut_off.clone(), says("new", 5)]), Some("new"));
        assert_eq!(believed_primary(&[cut_off]), Some("old"), "it is all that there is");
    }

    #[test]
    fn without_a_majority_the_latest_epoch_counts() {
        assert_eq!(believed_primary(&[says("old", 4), says("new", 5)]), Some("new"));
        assert_eq!(believed_primary(&[says("one", 0), says("other", 0)]), Some("one"));
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
        assert_eq!(believed_primary(&[empty, says("one", 0)]), Some("one"));
    }
}
