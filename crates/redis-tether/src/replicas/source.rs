//! Who the replicas are: the addresses of a reader endpoint, what sentinels or the cluster say, or what the primary itself tells. The
//! keeper asks; whether they are what is said of them, each dial finds out at the node.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::time::{Instant, timeout};

use crate::cluster::{Layout, ShardSource, SurveyError};
use crate::config::Endpoint;
use crate::control::Control;
use crate::dial::verify::VerifyLevel;
use crate::dial::wanted::Wanted;
use crate::ledger::FlightKind;
use crate::question::{Trouble, text};
use crate::resolve::{Query, Resolve, ResolveError};
use crate::sentinel::{SentinelError, Sentinels};

/// More replicas are not connected to: no deployment has as many, but an answer may say so.
const MOST: usize = 64;

/// Where one replica is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    fn is_at(&self, addr: SocketAddr) -> bool {
        self.port == addr.port() && self.host.parse() == Ok(addr.ip())
    }
}

impl From<SocketAddr> for Place {
    fn from(addr: SocketAddr) -> Place {
        Place { host: addr.ip().to_string(), port: addr.port() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Endpoint::tcp(&*self.host, self.port).fmt(f)
    }
}

/// Why nobody could say.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("replicas.host: {0}")]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Sentinel(#[from] SentinelError),
    #[error(transparent)]
    Cluster(#[from] SurveyError),
    #[error("there is no link to the primary, which would tell them")]
    NoPrimary,
    #[error("the primary does not tell of its replicas: allow ROLE or INFO, or set replicas.host to where they are")]
    NotTold,
    #[error("a blocking command is in the way of asking the primary")]
    Blocked,
    #[error("asking who they are timed out")]
    TimedOut,
}

impl SourceError {
    /// Of what asking came to.
    pub(super) fn trouble(error: Option<&SourceError>) -> Trouble {
        let is_for_people = |error: &SourceError| match error {
            SourceError::NotTold => true,
            SourceError::Sentinel(error) => error.is_for_people(),
            SourceError::Cluster(error) => error.is_for_people(),
            SourceError::Resolve(_) | SourceError::NoPrimary | SourceError::Blocked | SourceError::TimedOut => false,
        };
        Trouble::of(error, is_for_people)
    }
}

/// Where to ask, and what was said of late.
pub(super) struct Source {
    whom: Whom,
    recent: Recent,
}

enum Whom {
    /// A name whose addresses are replicas.
    Reader {
        host: String,
        port: u16,
        resolver: Arc<dyn Resolve>,
    },
    Sentinels(Box<Sentinels>),
    Shard {
        source: Arc<ShardSource>,
        /// Whose news have been waited for.
        known: Option<Arc<Layout>>,
        /// Of the shard, when this was asked last.
        primary: Option<(String, u16)>,
    },
    Primary,
}

impl Source {
    pub(super) fn of(control: &Control) -> Source {
        Source { whom: Whom::of(control), recent: Recent::new(control.config.resolve.swap_budget) }
    }

    /// What a link to one of them must lead to.
    pub(super) fn wanted(&self) -> Wanted {
        match self.whom {
            Whom::Shard { .. } => Wanted::ReplicaOfShard,
            Whom::Reader { .. } | Whom::Sentinels(_) | Whom::Primary => Wanted::Replica,
        }
    }

    /// Asks, for at most as long as a dial may take. Cancel safe. `serves` says whether a replica that is known serves.
    pub(super) async fn ask(
        &mut self,
        control: &Control,
        serves: impl Fn(&Place) -> bool,
    ) -> Result<Vec<Place>, SourceError> {
        let max_age = control.config.resolve.fast_interval;
        let asked = timeout(control.config.dial.timeout, async {
            Ok(match &mut self.whom {
                Whom::Reader { host, port, resolver } => {
                    let addresses = named(&**resolver, Query::new(host.as_str(), *port).with_max_age(max_age)).await?;
                    self.recent.joined_by(addresses, serves)
                }
                // They forget nobody: whom they do not name is not well.
                Whom::Sentinels(sentinels) => places(sentinels.replicas(max_age).await?),
                Whom::Shard { source, primary, .. } => {
                    let told = source.replicas()?;
                    if primary.as_ref() != Some(&told.primary) {
                        // Who followed another one may have other data.
                        self.recent.forget();
                        *primary = Some(told.primary);
                    }
                    let others = places(told.others);
                    self.recent.joined_by(places(told.replicas), |place| serves(place) && !others.contains(place))
                }
                // Nobody knows better who follows it.
                Whom::Primary => ask_primary(control).await?,
            })
        });
        let mut found = asked.await.unwrap_or(Err(SourceError::TimedOut))?;
        // Between two of its checks the primary may still be taken for the replica that it was.
        let primary = control.gate().link().and_then(|link| match link.address() {
            redis_tether_core::Address::Tcp(addr) => Some(*addr),
            _ => None,
        });
        found.retain(|place| primary.is_none_or(|addr| !place.is_at(addr)));
        found.sort_unstable();
        found.dedup();
        found.truncate(MOST);
        Ok(found)
    }

    /// Whether those who lost the one that is asked may be missing in what it says, though they are its replicas: it has just begun.
    pub(super) fn may_miss_orphans(&self) -> bool {
        matches!(self.whom, Whom::Primary)
    }

    /// Waits for news that somebody else finds out. Cancel safe.
    pub(super) async fn news(&mut self) {
        match &mut self.whom {
            Whom::Shard { source, known, .. } => source.surveyed(known).await,
            Whom::Reader { .. } | Whom::Sentinels(_) | Whom::Primary => std::future::pending().await,
        }
    }
}

impl Whom {
    fn of(control: &Control) -> Whom {
        let (config, resolver) = (&control.config, control.resolver.clone());
        if let Some(host) = &config.replicas.host {
            return Whom::Reader { host: host.clone(), port: config.replicas.port, resolver };
        }
        match (&config.endpoint, &control.shard) {
            (_, Some(shard)) => Whom::Shard { source: shard.clone(), known: None, primary: None },
            (Endpoint::Sentinel(endpoint), None) => {
                let turn = usize::from(control.fork_rng().u16(..));
                let entrance = control.sentinels.clone();
                Whom::Sentinels(Box::new(Sentinels::new(config.clone(), endpoint.clone(), entrance, resolver, turn)))
            }
            _ => Whom::Primary,
        }
    }
}

fn places(told: Vec<(String, u16)>) -> Vec<Place> {
    told.into_iter().map(|(host, port)| Place { host, port }).collect()
}

/// Those that were named of late. A resolver that rotates names one or the other each time; nodes of a cluster learn of a replica one
/// after another. So one that serves is kept for as long as a link to a primary would be that a name no longer has, and
/// one that does not serve goes at once.
struct Recent {
    keep_for: Duration,
    /// Since when each has not been named, if it has not.
    missed: BTreeMap<Place, Option<Instant>>,
}

impl Recent {
    fn new(keep_for: Duration) -> Recent {
        Recent { keep_for, missed: BTreeMap::new() }
    }

    fn forget(&mut self) {
        self.missed.clear();
    }

    /// Those that are named now, and of the others those that are kept: `stays` says whether one that is known may be.
    fn joined_by(&mut self, now_named: Vec<Place>, stays: impl Fn(&Place) -> bool) -> Vec<Place> {
        let now = Instant::now();
        self.missed.retain(|place, missed| {
            let since = *missed.get_or_insert(now);
            now.duration_since(since) < self.keep_for && stays(place)
        });
        self.missed.extend(now_named.into_iter().map(|place| (place, None)));
        self.missed.keys().cloned().collect()
    }
}

async fn named(resolver: &dyn Resolve, query: Query) -> Result<Vec<Place>, ResolveError> {
    let host = query.host.clone();
    let found = resolver.resolve(query).await?;
    if found.is_empty() {
        return Err(ResolveError::NoAddress { host });
    }
    Ok(found.into_iter().map(Place::from).collect())
}

/// Over the link that is there: a question more costs it nothing.
async fn ask_primary(control: &Control) -> Result<Vec<Place>, SourceError> {
    let link = control.gate().link().filter(|_| control.gate().is_open()).ok_or(SourceError::NoPrimary)?;
    // The proxies that lower levels are for hang up on what they do not know.
    if link.verify_level() <= VerifyLevel::Ping {
        return Err(SourceError::NotTold);
    }
    // It would delay the answer, and those who asked for that link would wait for nothing.
    if link.ledger().blocked() {
        return Err(SourceError::Blocked);
    }
    let mut questions = Pipeline::with_capacity(2);
    questions.cmd("ROLE");
    questions.cmd("INFO").arg("replication");
    let (mut multiplexer, mut flight) = (link.multiplexer(), link.ledger().begin(FlightKind::Plain));
    drop(link);
    let replies = multiplexer.ask(&questions).await.ok_or(SourceError::NoPrimary)?;
    flight.answered();
    drop(flight);
    let by_role = replies.first().and_then(of_role);
    by_role.or_else(|| of_info(text(replies.get(1)?)?)).ok_or(SourceError::NotTold)
}

/// `master`, an offset, and of each replica that is up with it the address, the port and an offset.
fn of_role(reply: &Value) -> Option<Vec<Place>> {
    let Value::Array(fields) = reply else { return None };
    let [word, _, Value::Array(replicas)] = fields.as_slice() else { return None };
    text(word).filter(|word| *word == "master")?;
    let place = |replica: &Value| {
        let Value::Array(fields) = replica else { return None };
        let (host, port) = (text(fields.first()?)?, text(fields.get(1)?)?.parse().ok()?);
        known(host, port)
    };
    Some(replicas.iter().filter_map(place).collect())
}

/// `slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0`, a line for each.
fn of_info(info: &str) -> Option<Vec<Place>> {
    let is_primary = info.lines().any(|line| line.trim_end() == "role:master");
    let place = |line: &str| {
        let (number, fields) = line.strip_prefix("slave")?.split_once(':')?;
        number.parse::<u32>().ok()?;
        let field = |name: &str| fields.trim_end().split(',').find_map(|field| field.strip_prefix(name));
        field("state=").filter(|state| *state == "online")?;
        known(field("ip=")?, field("port=")?.parse().ok()?)
    };
    is_primary.then(|| info.lines().filter_map(place).collect())
}

fn known(host: &str, port: u16) -> Option<Place> {
    (!host.is_empty() && port != 0).then(|| Place { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::resolve_fn;

    fn parsed(reply: &str) -> Value {
        redis::parse_redis_value(reply.as_bytes()).expect("a reply")
    }

    fn hosts(places: Option<Vec<Place>>) -> Option<Vec<String>> {
        places.map(|places| places.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_primary_tells_of_its_replicas_by_role() {
        let replica = "*3\r\n$8\r\n10.0.0.2\r\n$4\r\n6380\r\n$1\r\n7\r\n";
        let unknown = "*3\r\n$0\r\n\r\n$4\r\n6380\r\n$1\r\n7\r\n";
        let reply = parsed(&format!("*3\r\n$6\r\nmaster\r\n:7\r\n*2\r\n{replica}{unknown}"));
        assert_eq!(hosts(of_role(&reply)), Some(vec!["10.0.0.2:6380".to_owned()]));
        for other in ["*3\r\n$5\r\nslave\r\n:7\r\n*0\r\n", "-NOPERM no\r\n", "*0\r\n", "+OK\r\n"] {
            assert_eq!(of_role(&parsed(other)), None, "{other:?}");
        }
    }

    #[test]
    fn or_by_info_and_only_of_those_that_are_up_with_it() {
        let info = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
                    slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\n\
                    slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\nslave_x:1\r\n";
        assert_eq!(hosts(of_info(info)), Some(vec!["10.0.0.2:6379".to_owned()]));
        assert_eq!(of_info("role:slave\r\n"), None);
        assert_eq!(of_info(""), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_named_any_more_is_kept_for_a_while_if_it_serves_and_goes_at_once_if_not() {
        let keep_for = Duration::from_secs(10);
        let mut recent = Recent::new(keep_for);
        let mut ask = |last: u8, serves: bool| {
            let found = recent.joined_by(vec![Place::from(SocketAddr::from(([10, 0, 0, last], 6379)))], |_| serves);
            found.into_iter().map(|place| place.host).collect::<Vec<_>>()
        };
        assert_eq!(ask(1, true), ["10.0.0.1"]);
        tokio::time::advance(keep_for).await;
        assert_eq!(ask(2, true), ["10.0.0.1", "10.0.0.2"], "rotated, however long ago it was asked before");
        tokio::time::advance(keep_for).await;
        assert_eq!(ask(2, true), ["10.0.0.2"], "moved, and long enough ago");
        assert_eq!(ask(3, false), ["10.0.0.3"], "moved, and what was before does not serve");
    }

    #[tokio::test]
    async fn a_name_without_addresses_names_nobody() {
        let nobody = resolve_fn(|_, _| async { Ok(Vec::new()) });
        let error = named(&nobody, Query::new("ro", 6379)).await.expect_err("no address");
        assert!(matches!(error, ResolveError::NoAddress { host } if host == "ro"));
    }
}
