//! The nodes of a cluster and its seeds, as those who are asked who has which slots: finding them, asking one or several, and what
//! those come to. Whom to believe, the core decides; when they are asked, and what becomes of it, is the surveyor's.

use std::collections::BTreeMap;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis_tether_core::cluster::{Testimony, believed, has_majority};
use tokio::time::timeout;

use super::error::SurveyError;
use super::layout::Layout;
use super::testimony;
use crate::config::{ClusterEndpoint, ClusterSeed, Config};
use crate::control::Brought;
use crate::credentials::keyring::Keyring;
use crate::dial::Connector;
use crate::question::{Canvass, Hearing, Line, failed};
use crate::resolve::{Query, Resolve, ResolveError};

/// So many of the known nodes are asked at a time. Most of them are right, and a cluster may have a thousand.
const NODES_ASKED: usize = 6;

/// So many addresses of each seed are.
const ADDRESSES_ASKED: usize = 3;

/// A node whose name takes longer to resolve is passed over, this time. Seeds are waited for as long as a node that is asked: without
/// them nobody may be found.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(250);

/// See the head of this file.
pub(super) struct Nodes {
    config: Arc<Config>,
    endpoint: ClusterEndpoint,
    connector: Connector,
    keyring: Keyring,
    resolver: Arc<dyn Resolve>,
    /// Whose turn it is to be asked.
    turn: AtomicUsize,
}

/// The connections that are kept from survey to survey.
pub(super) type Lines = BTreeMap<SocketAddr, Line>;

/// What a node says, and the connection over which it said so.
type Told = (Testimony, Line);

/// What several come to.
pub(super) struct Belief {
    pub(super) testimony: Testimony,
    pub(super) is_told_by_most: bool,
}

impl Nodes {
    pub(super) fn new(
        config: Arc<Config>,
        endpoint: ClusterEndpoint,
        brought: &Brought,
        keyring: Keyring,
        turn: usize,
    ) -> Nodes {
        let (connector, resolver) = (brought.connector.clone(), brought.resolver.clone());
        Nodes { config, endpoint, connector, keyring, resolver, turn: AtomicUsize::new(turn) }
    }

    /// What a node that is known says, if there is a connection to one.
    pub(super) async fn ask_one(&self, lines: &mut Lines) -> Option<Testimony> {
        let (at, line) = lines.pop_first()?;
        let (testimony, line) = self.question(at, Some(line)).await.ok()?;
        lines.insert(at, line);
        Some(testimony)
    }

    /// Asks some of those that are known, and all seeds. The lines to those who answer are kept, and no others.
    pub(super) async fn ask_around(&self, known: &Layout, lines: &mut Lines) -> Result<Belief, SurveyError> {
        let max_age = self.config.resolve.fast_interval;
        let mut kept = mem::take(lines);
        let mut canvass = Canvass::new(|at| self.question(at, kept.remove(&at)));
        for (host, port) in self.to_ask(known) {
            let places = self.locate_node(Query::new(&host, port).with_max_age(max_age));
            canvass.look_up(self.some_of(places, 1, LOOKUP_PATIENCE));
        }
        for seed in &self.endpoint.seeds {
            let places = self.locate_seed(Query::new(&seed.host, seed.port).with_max_age(max_age));
            canvass.look_up(self.some_of(places, ADDRESSES_ASKED, self.config.dial.connect_timeout));
        }
        let hearing = canvass.until(is_told_by_most).await;
        let is_told_by_most = is_told_by_most(&hearing);
        let best = believed(testimonies(&hearing));
        let (told, errors) = hearing.into_parts();
        *lines = told.into_iter().map(|(at, (_, line))| (at, line)).collect();
        let testimony = best.ok_or_else(|| SurveyError::of_all(errors))?;
        Ok(Belief { testimony, is_told_by_most })
    }

    /// The seed where it is the only one, and where its name leads; `None` also if that cannot be found out now.
    pub(super) async fn lone_seed(&self) -> Option<(&ClusterSeed, Vec<SocketAddr>)> {
        let [seed] = self.endpoint.seeds.as_slice() else { return None };
        let query = Query::new(&seed.host, seed.port).with_max_age(self.config.resolve.fast_interval);
        let limit = self.config.dial.connect_timeout;
        let places = self.some_of(self.locate(query), ADDRESSES_ASKED, limit).await.ok()?;
        Some((seed, places))
    }

    /// Where the node is now that a cluster announces so.
    pub(super) async fn locate_node(&self, query: Query) -> Result<Vec<SocketAddr>, SurveyError> {
        let host = query.host.clone();
        let places = self.locate(query).await?;
        places.iter().for_each(|place| self.connector.announce(*place, &host));
        Ok(places)
    }

    async fn locate_seed(&self, query: Query) -> Result<Vec<SocketAddr>, SurveyError> {
        let host = query.host.clone();
        let places = self.locate(query).await?;
        places.iter().for_each(|place| self.connector.announce_listed(*place, &host));
        Ok(places)
    }

    /// Where a host is now.
    async fn locate(&self, query: Query) -> Result<Vec<SocketAddr>, SurveyError> {
        if let Ok(ip) = query.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, query.port)]);
        }
        let host = query.host.clone();
        let found = self.resolver.resolve(query).await?;
        if found.is_empty() {
            return Err(ResolveError::NoAddress { host }.into());
        }
        Ok(found)
    }

    /// Some of the nodes that are known, others each time.
    fn to_ask(&self, known: &Layout) -> Vec<(String, u16)> {
        let nodes = known.shards().iter().flat_map(|shard| shard.group.nodes());
        let mut nodes: Vec<_> = nodes.map(|node| (node.host.clone(), node.port)).collect();
        if nodes.len() > NODES_ASKED {
            let turn = self.turn.fetch_add(NODES_ASKED, Ordering::Relaxed) % nodes.len();
            nodes.rotate_left(turn);
            nodes.truncate(NODES_ASKED);
        }
        nodes
    }

    /// Some of these places of a host, others each time.
    async fn some_of(
        &self,
        places: impl Future<Output = Result<Vec<SocketAddr>, SurveyError>>,
        most: usize,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, SurveyError> {
        let mut places = timeout(limit, places).await.map_err(|_| SurveyError::TimedOut)??;
        if places.len() > most {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % places.len();
            places.rotate_left(turn);
            places.truncate(most);
        }
        Ok(places)
    }

    /// Asks the node at this address, over the connection that was kept if that still works.
    async fn question(&self, at: SocketAddr, kept: Option<Line>) -> Result<Told, SurveyError> {
        let limit = self.config.dial.connect_timeout;
        let answer = async {
            let kept = match kept {
                Some(mut line) => line.ask(&testimony::questions()).await.ok().map(|replies| (replies, line)),
                None => None,
            };
            let (replies, line) = match kept {
                Some(answered) => answered,
                None => {
                    let mut line = self.open(at).await?;
                    (line.ask(&testimony::questions()).await?, line)
                }
            };
            Ok((testimony::read(at, replies)?, line))
        };
        timeout(limit, answer).await.unwrap_or_else(|_| Err(failed::timed_out(&at.into(), limit).into()))
    }

    async fn open(&self, at: SocketAddr) -> Result<Line, SurveyError> {
        Ok(Line::open_signed_in(&self.connector, at.into(), &self.keyring).await?)
    }
}

fn testimonies(hearing: &Hearing<Told, SurveyError>) -> impl Iterator<Item = &Testimony> {
    hearing.answers().map(|(testimony, _)| testimony)
}

/// Whether what the others say would change nothing.
fn is_told_by_most(hearing: &Hearing<Told, SurveyError>) -> bool {
    has_majority(testimonies(hearing), hearing.size())
}
