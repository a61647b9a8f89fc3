//! What has come in of one survey so far, and how many are still to be heard: names that lead nowhere yet count as much as nodes that
//! have not answered. Pure; who is asked, and for how long, is the surveyor's.

use std::net::SocketAddr;

use redis_tether_core::cluster::{Testimony, believed, has_majority};

use super::error::SurveyError;

/// See the head of this file.
pub(super) struct Hearing {
    /// Names that have led to no address, be it that they are still looked up.
    unlocated: usize,
    asked: Vec<SocketAddr>,
    testimonies: Vec<Testimony>,
    errors: Vec<SurveyError>,
}

impl Hearing {
    /// Of the nodes behind so many names, none of which has been looked up.
    pub(super) fn new(names: usize) -> Hearing {
        Hearing { unlocated: names, asked: Vec::new(), testimonies: Vec::new(), errors: Vec::new() }
    }

    /// A name leads there: those who are to be asked now. Some are known by another name.
    pub(super) fn located(&mut self, places: Vec<SocketAddr>) -> Vec<SocketAddr> {
        self.unlocated -= 1;
        let news: Vec<SocketAddr> = places.into_iter().filter(|at| !self.asked.contains(at)).collect();
        self.asked.extend(&news);
        news
    }

    pub(super) fn heard(&mut self, testimony: Testimony) {
        self.testimonies.push(testimony);
    }

    /// Of a name, or of whoever was asked: either stays one that was not heard.
    pub(super) fn failed(&mut self, error: SurveyError) {
        self.errors.push(error);
    }

    /// Whether what the others say would change nothing.
    pub(super) fn is_decided(&self) -> bool {
        has_majority(&self.testimonies, self.asked.len() + self.unlocated)
    }

    pub(super) fn has_asked(&self, at: SocketAddr) -> bool {
        self.asked.contains(&at)
    }

    /// Who is believed, or why there is nobody.
    pub(super) fn verdict(self) -> Result<Testimony, SurveyError> {
        believed(&self.testimonies).cloned().ok_or_else(|| SurveyError::of_all(self.errors))
    }
}

#[cfg(test)]
mod tests {
    use redis_tether_core::cluster::{Group, Node};

    use super::*;
    use crate::resolve::ResolveError;

    fn place(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6379))
    }

    fn says(primary: &str) -> Testimony {
        let primary = Node { id: String::new(), host: primary.to_owned(), port: 6379 };
        let group = Group { ranges: vec![(0, 16383)], primary, replicas: Vec::new() };
        Testimony { groups: vec![group], is_healthy: Some(true), epoch: 1 }
    }

    #[test]
    fn names_that_lead_nowhere_count_as_nodes_that_were_not_heard() {
        let mut hearing = Hearing::new(3);
        assert_eq!(hearing.located(vec![place(1)]), [place(1)]);
        hearing.heard(says("a"));
        assert!(!hearing.is_decided(), "two are still looked up");
        hearing.failed(ResolveError::NotFound { host: "b".to_owned() }.into());
        hearing.failed(ResolveError::NotFound { host: "c".to_owned() }.into());
        assert!(!hearing.is_decided(), "two were not found");
    }

    #[test]
    fn a_node_of_two_names_is_one() {
        let mut hearing = Hearing::new(2);
        assert_eq!(hearing.located(vec![place(1)]), [place(1)]);
        assert_eq!(hearing.located(vec![place(2), place(1)]), [place(2)]);
        hearing.heard(says("a"));
        assert!(!hearing.is_decided());
        hearing.heard(says("a"));
        assert!(hearing.is_decided());
    }
}
