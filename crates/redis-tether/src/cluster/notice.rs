//! What is wrong with a configuration that works for now, for whoever operates the application. Pure: where the endpoint leads is
//! looked up elsewhere.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use redis_tether_core::cluster::{Group, Node};

use crate::config::ClusterSeed;

/// Something that somebody should change although the cluster is served.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ClusterNotice {
    /// The endpoint is that of one node where one of the cluster was meant: a per-node name of a managed service, or an address.
    /// Once that node is replaced, nobody who starts finds the cluster.
    #[non_exhaustive]
    OneNode {
        /// The one seed of the configuration, with its port.
        seed: Arc<str>,
        /// How many nodes have slots, replicas included.
        nodes: usize,
    },
}

impl ClusterNotice {
    /// Of the one seed that there is, and the places to which it leads, one of which may be a balancer before the nodes.
    pub(super) fn of<'a>(
        seed: &ClusterSeed,
        places: &[SocketAddr],
        groups: impl Iterator<Item = &'a Group>,
    ) -> Option<ClusterNotice> {
        let [only] = places else { return None };
        let nodes: Vec<&Node> = groups.flat_map(Group::nodes).collect();
        let is_theirs = |node: &&Node| match node.host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, node.port) == *only,
            Err(_) => node.port == seed.port && node.host.eq_ignore_ascii_case(&seed.host),
        };
        // An address cannot come to mean others, whoever is there.
        let is_of_one = seed.host.parse::<IpAddr>().is_ok() || nodes.iter().any(is_theirs);
        let seed = || seed.to_string().into();
        (is_of_one && nodes.len() > 1).then(|| ClusterNotice::OneNode { seed: seed(), nodes: nodes.len() })
    }
}

impl fmt::Display for ClusterNotice {
    /// One line for a log: what is wrong, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterNotice::OneNode { seed, nodes } => write!(
                f,
                "{seed} leads to one of {nodes} nodes and nowhere else: name the cluster's configuration endpoint, or several nodes, \
                 or the cluster is not found again once that node is replaced"
            ),
        }
    }
}
