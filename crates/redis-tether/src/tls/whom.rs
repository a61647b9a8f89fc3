//! Whom a certificate must be for. Most endpoints have one name. The nodes of a cluster may each have a certificate for the name or
//! the address that they announce, or one for the configuration endpoint in common, as managed services do; which of the two it
//! is nobody says, so either will do. So it is with the replicas of a primary. What a seed's name leads to must be that seed, and what
//! an endpoint's leads to that endpoint. Sentinels, where they have settings of their own, are each the host that they are listed
//! with.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use redis_tether_core::Address;
use tokio_rustls::rustls::pki_types::ServerName;

use super::TlsError;
use super::names::{Names, OF_SENTINELS, OF_SERVERS};
use crate::config::{Config, Endpoint};

/// So many nodes are remembered: more than a cluster has. What is forgotten is announced again before the next dial.
const CAPACITY: usize = 4096;

/// See the head of this file.
#[derive(Debug)]
pub(super) enum Whom {
    /// For this name, whoever is dialled: somebody has set it.
    Named(ServerName<'static>),
    /// For the endpoint's own.
    Endpoint(ServerName<'static>),
    /// For the address that is dialled.
    TheAddress,
    /// For what the peer was announced as, else for its address; or for one of the names through which it is found.
    Announced { names: BTreeMap<SocketAddr, Named>, seeds: Vec<ServerName<'static>> },
}

/// What the peer at an address is called, and by whom.
#[derive(Debug)]
pub(super) struct Named {
    name: ServerName<'static>,
    by: Namer,
}

/// Whose word for a name it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Namer {
    /// The configuration's: a seed, or a sentinel, of that name is there.
    Seed,
    /// The cluster's or the primary's, which know better.
    Peers,
}

impl Whom {
    pub(super) fn of(config: &Config, settled: Option<&str>) -> Result<Whom, TlsError> {
        let named = |name: &str| checked(name, &OF_SERVERS);
        Ok(match (settled, &config.endpoint) {
            (Some(name), _) => Whom::Named(named(name)?),
            (None, Endpoint::Tcp { host, .. }) => Whom::Endpoint(named(host)?),
            (None, Endpoint::Cluster(cluster)) => {
                let seeds = cluster.seeds.iter().map(|seed| named(&seed.host)).collect::<Result<_, _>>()?;
                Whom::Announced { names: BTreeMap::new(), seeds }
            }
            // Sentinels and the servers that they name have no name in common.
            (None, Endpoint::Unix { .. } | Endpoint::Sentinel(_)) => Whom::TheAddress,
        })
    }

    /// Of sentinels with settings of their own: for the host that each is listed with, once that is announced.
    pub(super) fn of_sentinels(settled: Option<&str>) -> Result<Whom, TlsError> {
        Ok(match settled {
            Some(name) => Whom::Named(checked(name, &OF_SENTINELS)?),
            None => Whom::Announced { names: BTreeMap::new(), seeds: Vec::new() },
        })
    }

    /// Where the deployment is found. A certificate may be for one of the names among them in place of a node's that was asked for.
    pub(super) fn seeds(&self) -> Vec<ServerName<'static>> {
        match self {
            Whom::Announced { seeds, .. } => seeds.clone(),
            Whom::Endpoint(name) => vec![name.clone()],
            Whom::Named(_) | Whom::TheAddress => Vec::new(),
        }
    }

    /// The same for the replicas of the primary that is found so, at an endpoint of their own if they have one. `None` where they are
    /// nodes like it.
    pub(super) fn of_replicas(&self, reader: Option<&str>) -> Option<Whom> {
        match self {
            Whom::Named(name) => Some(Whom::Named(name.clone())),
            Whom::Endpoint(_) | Whom::TheAddress => Some(match reader.and_then(server_name) {
                Some(name) => Whom::Endpoint(name),
                None => Whom::Announced { names: BTreeMap::new(), seeds: self.seeds() },
            }),
            Whom::Announced { .. } => None,
        }
    }

    /// The node at this address is called so.
    pub(super) fn announce(&mut self, address: SocketAddr, host: &str, by: Namer) {
        let Whom::Announced { names, .. } = self else { return };
        // One that no certificate can have is none.
        let Some(name) = server_name(host) else { return };
        if names.get(&address).is_some_and(|known| known.by > by) {
            return;
        }
        if names.len() >= CAPACITY && !names.contains_key(&address) {
            names.clear();
        }
        names.insert(address, Named { name, by });
    }

    /// The name to ask the peer at this address for; `None` if there is none.
    pub(super) fn at(&self, address: &Address) -> Option<ServerName<'static>> {
        match (self, address) {
            (Whom::Named(name) | Whom::Endpoint(name), _) => Some(name.clone()),
            (Whom::Announced { names, .. }, Address::Tcp(address)) => {
                let known = names.get(address).map(|known| known.name.clone());
                Some(known.unwrap_or_else(|| ServerName::from(address.ip())))
            }
            (Whom::TheAddress, Address::Tcp(address)) => Some(ServerName::from(address.ip())),
            (Whom::TheAddress | Whom::Announced { .. }, _) => None,
        }
    }
}

/// A name that the configuration has, in or beside the section of these settings.
fn checked(text: &str, names: &Names) -> Result<ServerName<'static>, TlsError> {
    server_name(text).ok_or(TlsError::Name { setting: names.server_name })
}

/// Certificates have names without the dot that makes one absolute in DNS.
pub(super) fn server_name(text: &str) -> Option<ServerName<'static>> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ServerName::from(ip));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    ServerName::try_from(name.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterSeed;

    fn asked(whom: &Whom, address: &str) -> String {
        let address = Address::Tcp(address.parse().expect("an address"));
        whom.at(&address).expect("a name").to_str().into_owned()
    }

    fn cluster(seeds: &[&str], settled: Option<&str>) -> Whom {
        let config = Config::cluster(seeds.iter().map(|host| ClusterSeed::new(*host, 6379)));
        Whom::of(&config, settled).expect("names")
    }

    #[test]
    fn a_node_is_asked_for_what_it_is_announced_as() {
        let mut whom = cluster(&["10.0.0.9", "clustercfg.example."], None);
        let node = "10.0.0.1:6379".parse().expect("an address");
        assert_eq!(asked(&whom, "10.0.0.1:6379"), "10.0.0.1", "nobody knows better");
        whom.announce(node, "clustercfg.example.", Namer::Seed);
        assert_eq!(asked(&whom, "10.0.0.1:6379"), "clustercfg.example");
        whom.announce(node, "node-1.example", Namer::Peers);
        whom.announce(node, "clustercfg.example.", Namer::Seed);
        assert_eq!(
            (asked(&whom, "10.0.0.1:6379"), asked(&whom, "10.0.0.1:6380")),
            ("node-1.example".into(), "10.0.0.1".into())
        );
        whom.announce(node, "10.0.0.1", Namer::Peers);
        assert_eq!(asked(&whom, "10.0.0.1:6379"), "10.0.0.1");
        whom.announce(node, "no name at all", Namer::Peers);
        assert_eq!(asked(&whom, "10.0.0.1:6379"), "10.0.0.1");
    }

    #[test]
    fn a_name_that_is_set_goes_before_everything() {
        let mut whom = cluster(&["clustercfg.example"], Some("common.example"));
        whom.announce("10.0.0.1:6379".parse().expect("an address"), "node-1.example", Namer::Peers);
        assert_eq!(asked(&whom, "10.0.0.1:6379"), "common.example");
        assert!(whom.seeds().is_empty());
    }

    #[test]
    fn replicas_are_asked_for_what_they_are_announced_as_unless_a_name_is_set() {
        let replica = "10.0.0.2:6379".parse().expect("an address");
        let told = |settled: Option<&str>, reader: Option<&str>| {
            let primary = Whom::of(&Config::new("primary.example.", 6379), settled).expect("a name");
            let mut whom = primary.of_replicas(reader).expect("they are others");
            let before = asked(&whom, "10.0.0.2:6379");
            whom.announce(replica, "replica.example", Namer::Peers);
            assert_eq!(asked(&primary, "10.0.0.2:6379"), settled.unwrap_or("primary.example"));
            (before, asked(&whom, "10.0.0.2:6379"))
        };
        let ours = |before: &str, after: &str| (before.to_owned(), after.to_owned());
        assert_eq!(told(None, None), ours("10.0.0.2", "replica.example"));
        assert_eq!(told(None, Some("reader.example.")), ours("reader.example", "reader.example"));
        assert_eq!(told(Some("common.example"), Some("reader.example")), ours("common.example", "common.example"));
        assert!(cluster(&["10.0.0.9"], None).of_replicas(None).is_none());
    }

    #[test]
    fn a_name_that_is_none_is_told_with_the_setting_for_another() {
        let refused = |whom: Result<Whom, TlsError>| whom.expect_err("no certificate can have it").to_string();
        for whom in [Whom::of(&Config::default(), Some("a:1")), Whom::of(&Config::new("a:1", 6379), None)] {
            let error = refused(whom);
            assert!(error.ends_with(": set tls.server_name"), "{error}");
        }
        let error = refused(Whom::of_sentinels(Some("a:1")));
        assert!(error.ends_with(": set endpoint.tls.server_name"), "{error}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut whom = cluster(&["10.0.0.9"], None);
        for number in 0..=CAPACITY {
            let place = SocketAddr::from(([10, 1, (number >> 8) as u8, number as u8], 6379));
            whom.announce(place, "node.example", Namer::Peers);
        }
        let Whom::Announced { names, .. } = &whom else { panic!("a cluster") };
        assert!(names.len() <= CAPACITY, "{}", names.len());
        assert_eq!(asked(&whom, "10.0.0.9:6379"), "10.0.0.9", "an address has no other name");
    }
}
