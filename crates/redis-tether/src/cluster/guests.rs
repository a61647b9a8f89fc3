//! Nodes that have no slot yet. A cluster does not tell of them when it is asked for its slots; the first that is heard of one is a
//! key that has moved there ahead of its slot (`ASK`). Each is a shard without slots for a while, so that such commands have a way.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use redis_tether_core::cluster::{Group, Node};
use tokio::time::Instant;

use crate::lock::lock;

/// How long after a command was last sent there it stays. The keys of one slot have moved by then, or the next have begun to.
const STAYS: Duration = Duration::from_secs(60);

/// So many at a time: more than people add to a cluster at once.
const AT_MOST: usize = 16;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Guests(Mutex<BTreeMap<(String, u16), Instant>>);

impl Guests {
    /// A command is on its way there. `true` if nobody knew of it; `false` also where there is no room.
    pub(super) fn invite(&self, host: &str, port: u16) -> bool {
        let (mut guests, now) = (lock(&self.0), Instant::now());
        guests.retain(|_, invited| now.duration_since(*invited) < STAYS);
        let place = (host.to_owned(), port);
        let is_full = guests.len() >= AT_MOST;
        match guests.get_mut(&place) {
            Some(invited) => *invited = now,
            None if is_full => return false,
            None => {
                guests.insert(place, now);
                return true;
            }
        }
        false
    }

    /// A command is on its way to whoever is there.
    pub(super) fn visit(&self, host: &str, port: u16) {
        if let Some(invited) = lock(&self.0).get_mut(&(host.to_owned(), port)) {
            *invited = Instant::now();
        }
    }

    /// These groups, and one for each node that is in none of them.
    pub(super) fn beside(&self, groups: &[Group]) -> Vec<Group> {
        let (mut guests, now) = (lock(&self.0), Instant::now());
        guests.retain(|(host, port), invited| {
            let is_known = groups.iter().flat_map(Group::nodes).any(|node| node.is_at(host, *port));
            !is_known && now.duration_since(*invited) < STAYS
        });
        let alone = |(host, port): &(String, u16)| {
            let primary = Node { id: String::new(), host: host.clone(), port: *port };
            Group { ranges: Vec::new(), primary, replicas: Vec::new() }
        };
        groups.iter().cloned().chain(guests.keys().map(alone)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_guest_stays_until_it_is_at_home_or_nobody_comes() {
        let guests = Guests::default();
        assert!(guests.invite("new", 6379) && !guests.invite("new", 6379));
        let beside = guests.beside(&[]);
        assert!(beside.len() == 1 && beside[0].ranges.is_empty() && beside[0].primary.is_at("new", 6379));
        tokio::time::advance(STAYS / 2).await;
        guests.visit("new", 6379);
        tokio::time::advance(STAYS / 2).await;
        assert_eq!(guests.beside(&[]).len(), 1, "somebody came again");
        let at_home = Group { ranges: vec![(0, 9)], ..beside[0].clone() };
        assert_eq!(guests.beside(std::slice::from_ref(&at_home)), [at_home]);
        assert!(guests.invite("other", 6379));
        tokio::time::advance(STAYS).await;
        assert!(guests.beside(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_some() {
        let guests = Guests::default();
        for port in 1..100 {
            guests.invite("new", port);
        }
        assert_eq!(guests.beside(&[]).len(), AT_MOST);
    }
}
