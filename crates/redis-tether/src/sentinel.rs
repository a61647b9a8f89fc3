//! Sentinels as the source of what an endpoint means: asking several of them for the primary's address, and listening to them
//! for news. The endpoint watcher runs both, in tasks of its own; nothing here decides when to ask, and nothing here checks what
//! a sentinel says beyond what others say: whether a primary answers there, the dial finds out on the node itself.

mod claims;
mod error;
mod inquiry;
mod listener;
mod replicas;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_tether_core::Address;
use tokio::time::{Instant, timeout};

pub(crate) use self::error::SentinelError;
pub(crate) use self::inquiry::{Inquiry, Word};
pub(crate) use self::listener::News;

use self::claims::Claim;
use self::listener::Ear;
use crate::config::{Config, SentinelEndpoint, SentinelNode};
use crate::credentials::keyring::Keyring;
use crate::dial::Connector;
use crate::lock::lock;
use crate::question::Line;
use crate::resolve::{Lifetime, Query, Resolve, ResolveError};

/// A name that takes longer to resolve is asked for where it led before: a resolver that is slow during an outage is no
/// reason to ask nobody.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(250);

/// How sentinels are met, which may differ from how servers are.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) connector: Connector,
    /// What each connection to one of them signs in with.
    pub(crate) keyring: Arc<Keyring>,
}

/// The sentinels of one endpoint.
pub(crate) struct Sentinels {
    config: Arc<Config>,
    endpoint: SentinelEndpoint,
    entrance: Entrance,
    resolver: Arc<dyn Resolve>,
    memory: Mutex<Memory>,
}

/// What is remembered from one use to the next.
struct Memory {
    /// Where each node's name led last.
    places: Vec<Vec<SocketAddr>>,
    /// The best claim so far.
    standing: Option<Claim>,
    /// Whose turn it is to be asked alone, or listened to.
    turn: usize,
    /// Who is listened to.
    ears: BTreeMap<SocketAddr, Ear>,
    /// Who could not be listened to, and when.
    failed_at: BTreeMap<SocketAddr, Instant>,
}

impl Sentinels {
    /// `turn` says who is asked first, so that a fleet does not ask one and the same.
    pub(crate) fn new(
        config: Arc<Config>,
        endpoint: SentinelEndpoint,
        entrance: Entrance,
        resolver: Arc<dyn Resolve>,
        turn: usize,
    ) -> Self {
        let places = vec![Vec::new(); endpoint.nodes.len()];
        let memory = Memory { places, standing: None, turn, ears: BTreeMap::new(), failed_at: BTreeMap::new() };
        Sentinels { config, endpoint, entrance, resolver, memory: Mutex::new(memory) }
    }

    fn nodes(&self) -> &[SentinelNode] {
        &self.endpoint.nodes
    }

    /// The next node in turn, and how many turns there were.
    fn take_turn(&self) -> (usize, usize) {
        let mut memory = lock(&self.memory);
        let turn = memory.turn;
        memory.turn = turn.wrapping_add(1);
        (turn % self.nodes().len().max(1), turn)
    }

    /// Each address of each of them, those whose turn it is first.
    async fn all_in_turn(&self, max_age: Duration) -> (Vec<SocketAddr>, Vec<SentinelError>) {
        let (first, _) = self.take_turn();
        let (mut places, mut errors) = (Vec::new(), Vec::new());
        for step in 0..self.nodes().len() {
            match self.find((first + step) % self.nodes().len(), max_age, Lifetime::Ignored).await {
                Ok(found) => places.extend(found),
                Err(error) => errors.push(error),
            }
        }
        (places, errors)
    }

    /// Where this node is now. One name may stand for several sentinels.
    async fn find(&self, node: usize, max_age: Duration, lifetime: Lifetime) -> Result<Vec<SocketAddr>, SentinelError> {
        let SentinelNode { host, port, .. } = &self.nodes()[node];
        let query = Query::new(host, *port).with_max_age(max_age).with_lifetime(lifetime);
        let mut lookup = self.resolver.resolve(query);
        let answer = match timeout(LOOKUP_PATIENCE, &mut lookup).await {
            Ok(answer) => answer,
            Err(_) if self.places(node).is_empty() => {
                let late = timeout(self.limit(), lookup).await;
                late.unwrap_or_else(|_| Err(ResolveError::TimedOut { host: host.clone() }))
            }
            Err(_) => Err(ResolveError::TimedOut { host: host.clone() }),
        };
        match answer {
            Ok(places) if !places.is_empty() => {
                places.iter().for_each(|place| self.entrance.connector.announce_listed(*place, host));
                lock(&self.memory).places[node].clone_from(&places);
                Ok(places)
            }
            answer => {
                let before = self.places(node);
                let error = answer.err().unwrap_or_else(|| ResolveError::NoAddress { host: host.clone() });
                if before.is_empty() { Err(SentinelError::NotFound(error)) } else { Ok(before) }
            }
        }
    }

    fn places(&self, node: usize) -> Vec<SocketAddr> {
        lock(&self.memory).places[node].clone()
    }

    /// How long one sentinel may take to be connected to and to answer.
    fn limit(&self) -> Duration {
        self.config.dial.connect_timeout
    }

    /// A connection to the sentinel at this address, signed in.
    async fn open(&self, at: SocketAddr) -> Result<Line, SentinelError> {
        let Entrance { connector, keyring } = &self.entrance;
        Ok(Line::open_signed_in(connector, Address::Tcp(at), keyring).await?)
    }

    /// What an announced host means. Sentinels announce addresses, or with `announce-hostnames` names.
    async fn locate(
        &self,
        claim: &Claim,
        max_age: Duration,
        lifetime: Lifetime,
    ) -> Result<Vec<Address>, SentinelError> {
        if let Ok(ip) = claim.host.parse::<IpAddr>() {
            return Ok(vec![Address::Tcp(SocketAddr::new(ip, claim.port))]);
        }
        let query = Query::new(&claim.host, claim.port).with_max_age(max_age).with_lifetime(lifetime);
        let found = self.resolver.resolve(query).await;
        match found {
            Ok(found) if !found.is_empty() => Ok(found.into_iter().map(Address::Tcp).collect()),
            Ok(_) => Err(SentinelError::NotLocated(ResolveError::NoAddress { host: claim.host.clone() })),
            Err(error) => Err(SentinelError::NotLocated(error)),
        }
    }
}
