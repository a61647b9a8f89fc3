//! A resolver that speaks DNS itself, by hickory: it knows how long an answer is good for, and what SRV records say. Answers are
//! shared and kept by [`Lookups`]; hickory's own cache is off, so that whoever must know asks the name servers.

mod files;
mod service;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::files::Files;
use super::lookups::{Failure, Found, Lookups, Task};
use super::{Query, Resolve, ResolveError};
use crate::lock::lock;
use crate::transport::BoxFuture;

/// Answers are good for at least this long while all is well, whatever their TTL: less than a tether waits between lookups, and
/// long enough that a thousand tethers of a name ask once a second between them.
const TTL_FLOOR: Duration = Duration::from_secs(1);

/// And for at most this long: a name server that is wrong about the TTL is found out within a minute.
const TTL_CEILING: Duration = Duration::from_secs(60);

/// A lookup with all its names, attempts and targets takes at most this long: less than those who ask wait, so that they hear why.
const LOOKUP_LIMIT: Duration = Duration::from_secs(4);

/// DNS, asked as the system is set up to, with TTLs and SRV records.
///
/// Name servers, search domains, `ndots` and the number of attempts come from `/etc/resolv.conf`, and `/etc/hosts` goes before
/// DNS; both are read again when they change. An attempt takes at most a second, whatever `resolv.conf` says, and a lookup four. What
/// else `nsswitch.conf` may name (mDNS, LDAP) and the variables `LOCALDOMAIN` and `RES_OPTIONS` are the system's resolver's alone.
///
/// - **While a link serves**, nothing is asked before the TTL has run out, which is taken as 1 s at least and 60 s at most: a move
///   of a healthy primary is noticed later by as much than [`recovery_bounds`](crate::Config::recovery_bounds) says.
/// - **While none serves**, or somebody has cause to ask, the TTL counts for nothing, here; a caching name server has its own.
/// - **Services.** A name that begins as `_redis._tcp.` does is asked for its SRV records (Kubernetes: the headless service's
///   `_port._tcp.service.namespace.svc.cluster.local`), and with [`services`](Self::services) every name is (Consul:
///   `redis.service.consul`). Their targets' addresses are tried by priority, then by weight, heaviest first, with the ports of the
///   records; the endpoint's port counts for nothing. Targets that have no address are left out. Over TLS such a name is nobody's:
///   [`tls.server_name`](crate::TlsSettings::server_name) is needed.
///
/// Clones share their work: one lookup for a name at a time, and answers to whoever takes one of their age. A lookup that nobody waits
/// for any more ends, and leaves no task and no socket; so does one whose resolver is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use redis_tether::{Config, HickoryResolver, Tether};
///
/// let config = Config::new("_redis._tcp.redis.default.svc.cluster.local", 6379);
/// let tether = Tether::builder(config).resolver(HickoryResolver::new()).start().await?;
///
/// let consul = HickoryResolver::new().name_servers(["127.0.0.1:8600".parse()?]).services();
/// let tether = Tether::builder(Config::new("redis.service.consul", 6379)).resolver(consul).start().await?;
/// # let _ = tether;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HickoryResolver {
    settings: Settings,
    lookups: Lookups,
}

#[derive(Clone, Debug)]
struct Settings {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    /// In place of those in `resolv_conf`.
    name_servers: Option<Vec<SocketAddr>>,
    services: Services,
}

/// Which names are asked for their SRV records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Services {
    /// Those that can be nothing else.
    ByName,
    All,
}

impl HickoryResolver {
    /// Asks as the system is set up to. Nothing is read before the first lookup, which tells what is wrong.
    #[must_use]
    pub fn new() -> HickoryResolver {
        HickoryResolver::of(Settings {
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: PathBuf::from("/etc/hosts"),
            name_servers: None,
            services: Services::ByName,
        })
    }

    /// Asks these name servers in place of the system's, over UDP, and TCP where that is too small. All else stays.
    #[must_use]
    pub fn name_servers(self, name_servers: impl IntoIterator<Item = SocketAddr>) -> HickoryResolver {
        HickoryResolver::of(Settings { name_servers: Some(name_servers.into_iter().collect()), ..self.settings })
    }

    /// Reads these in place of `/etc/resolv.conf` and `/etc/hosts`. A file that is not there is empty.
    #[must_use]
    pub fn files(self, resolv_conf: impl Into<PathBuf>, hosts: impl Into<PathBuf>) -> HickoryResolver {
        HickoryResolver::of(Settings { resolv_conf: resolv_conf.into(), hosts: hosts.into(), ..self.settings })
    }

    /// Asks for the SRV records of every name, not only of those that begin as `_redis._tcp.` does.
    #[must_use]
    pub fn services(self) -> HickoryResolver {
        HickoryResolver::of(Settings { services: Services::All, ..self.settings })
    }

    /// How many lookups were begun, for all names and clones together. Literal addresses and shared answers are none; search domains,
    /// both families of addresses and the targets of a service are within one.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.lookups.begun()
    }

    fn of(settings: Settings) -> HickoryResolver {
        let engine = Arc::new(Engine { files: Files::new(settings.clone()), services: settings.services });
        let tasks = Mutex::new(JoinSet::new());
        let lookups = Lookups::begun_by(move |task| {
            let mut tasks = lock(&tasks);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(look_up(engine.clone(), task));
        });
        HickoryResolver { settings, lookups: lookups.ending_within(LOOKUP_LIMIT) }
    }
}

impl Default for HickoryResolver {
    fn default() -> Self {
        HickoryResolver::new()
    }
}

impl fmt::Debug for HickoryResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HickoryResolver").field(&self.settings).finish()
    }
}

impl Resolve for HickoryResolver {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        self.lookups.resolve(query)
    }
}

/// What lookups are made with.
struct Engine {
    files: Files,
    services: Services,
}

/// Should it panic, the task says so as it goes down.
async fn look_up(engine: Arc<Engine>, task: Task) {
    let found = tokio::select! {
        biased;
        found = timeout(LOOKUP_LIMIT, engine.find(task.host())) => found.unwrap_or(Err(Failure::TimedOut)),
        () = task.is_abandoned() => return,
    };
    task.end(found);
}

impl Engine {
    async fn find(&self, host: &str) -> Result<Found, Failure> {
        let resolver = self.files.resolver()?;
        let found = match self.services {
            Services::ByName if !service::is_named_as_one(host) => addresses(&resolver, host).await?,
            _ => service::places(&resolver, host).await?,
        };
        Ok(Found { ttl: found.ttl.clamp(TTL_FLOOR, TTL_CEILING), ..found })
    }
}

/// The addresses of a name, of both families.
async fn addresses(resolver: &TokioResolver, host: &str) -> Result<Found, Failure> {
    let answer = resolver.lookup_ip(host).await.map_err(failure)?;
    let addresses = answer.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
    Ok(Found { addresses, ttl: left(answer.valid_until()) })
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn failure(error: NetError) -> Failure {
    match &error {
        NetError::Timeout => Failure::TimedOut,
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Failure::NotFound,
            ResponseCode::NoError => Failure::NoAddress,
            code => Failure::Other(format!("the name server says: {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Failure::Other(format!("the name server says: {code}")),
        _ => Failure::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
