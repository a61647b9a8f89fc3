//! From a name to addresses: the [`Resolve`] trait, the system's resolver as its default, and resolvers made of a closure. The
//! endpoint watcher and the dials ask; they bound the waiting themselves. Nothing here decides when to ask again.

#[cfg(feature = "hickory")]
mod hickory;
mod list;
mod lookups;
mod system;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[cfg(feature = "hickory")]
pub use self::hickory::HickoryResolver;
pub use self::list::StaticResolver;
pub use self::system::SystemResolver;

use crate::transport::BoxFuture;

/// A question to a resolver.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Query {
    /// The name, or a literal IP address without brackets. A trailing dot is kept.
    pub host: String,
    /// The port that the addresses are to carry.
    pub port: u16,
    /// How old an answer may be that was given to somebody else; zero asks anew. Default: zero.
    pub max_age: Duration,
    /// How long after the beginning of the last lookup of the name, whoever made it, the next may begin; who asks earlier
    /// waits. Default: zero.
    pub spacing: Duration,
    /// Takes an answer of any age as long as its time to live has not run out, from a resolver that knows it. A tether says so
    /// while its link serves, and never while it looks for another. Default: false.
    pub within_ttl: bool,
}

impl Query {
    /// Asks anew for `host`.
    pub fn new(host: impl Into<String>, port: u16) -> Query {
        Query { host: host.into(), port, max_age: Duration::ZERO, spacing: Duration::ZERO, within_ttl: false }
    }

    /// Takes an answer that is as old as this.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Query {
        self.max_age = max_age;
        self
    }

    /// Begins no lookup of the name sooner than this after the last one.
    #[must_use]
    pub fn with_spacing(mut self, spacing: Duration) -> Query {
        self.spacing = spacing;
        self
    }

    /// Takes an answer whose time to live has not run out.
    #[must_use]
    pub fn within_ttl(mut self) -> Query {
        self.within_ttl = true;
        self
    }

    pub(crate) fn with_lifetime(self, lifetime: Lifetime) -> Query {
        match lifetime {
            Lifetime::Kept => self.within_ttl(),
            Lifetime::Ignored => self,
        }
    }

    /// The answer to a host that is no name.
    fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// What the time to live of an answer is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lifetime {
    /// Nothing is asked anew before it has run out.
    Kept,
    /// Somebody has cause to ask all the same.
    Ignored,
}

/// Turns names into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `query.host`, at least one, in the order in which they should be tried. Each has `query.port`, or the
    /// port that the name itself gives it (an SRV record, a list).
    ///
    /// Callers bound the waiting and ask again, also while an earlier question is still open. Dropping the future must be
    /// harmless.
    ///
    /// # Errors
    /// Says why there is no address. No error is final: the same question may be answered the next time.
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>>;
}

/// Why a name has no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// There is no such name.
    #[error("no such host: {host}")]
    NotFound {
        /// The name.
        host: String,
    },
    /// The name exists and has no address.
    #[error("no address for host: {host}")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The resolver took longer than it allows itself.
    #[error("resolving {host} timed out")]
    TimedOut {
        /// The name.
        host: String,
    },
    /// The lookup failed.
    #[error("resolving {host} failed: {message}")]
    Failed {
        /// The name.
        host: String,
        /// What the resolver said.
        message: String,
    },
}

impl ResolveError {
    fn of(host: &str, error: &io::Error) -> ResolveError {
        let (host, message) = (host.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::NotFound => ResolveError::NotFound { host },
            io::ErrorKind::TimedOut => ResolveError::TimedOut { host },
            _ => ResolveError::Failed { host, message },
        }
    }
}

/// A resolver made of an async closure from host and port to addresses, as for tests or for a service registry.
///
/// A literal IP address is its own answer; the closure is asked for names alone, each time anew. An empty answer becomes
/// [`ResolveError::NoAddress`], an error of the kinds `NotFound` and `TimedOut` the error of that name.
///
/// ```
/// let resolver = redis_tether::resolve_fn(|_host, port| async move { Ok(vec![([127, 0, 0, 1], port).into()]) });
/// # let _ = resolver;
/// ```
pub fn resolve_fn<F, Fut>(lookup: F) -> impl Resolve
where
    F: Fn(String, u16) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    ResolveFn(lookup)
}

struct ResolveFn<F>(F);

impl<F, Fut> Resolve for ResolveFn<F>
where
    F: Fn(String, u16) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        if let Some(address) = query.literal() {
            return Box::pin(async move { Ok(vec![address]) });
        }
        let host = query.host;
        let lookup = (self.0)(host.clone(), query.port);
        Box::pin(async move {
            let addresses = lookup.await.map_err(|error| ResolveError::of(&host, &error))?;
            if addresses.is_empty() {
                return Err(ResolveError::NoAddress { host });
            }
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closure_resolves_names_and_literals_answer_themselves() {
        let resolver = resolve_fn(|host, port| async move {
            match host.as_str() {
                "redis" => Ok(vec![SocketAddr::from(([10, 0, 0, 7], port))]),
                "empty" => Ok(vec![]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        });
        let resolve = |host: &str| resolver.resolve(Query::new(host, 6379));
        assert_eq!(resolve("redis").await, Ok(vec!["10.0.0.7:6379".parse().expect("an address")]));
        assert_eq!(resolve("::1").await, Ok(vec!["[::1]:6379".parse().expect("an address")]));
        assert_eq!(resolve("empty").await, Err(ResolveError::NoAddress { host: "empty".into() }));
        assert_eq!(resolve("gone").await, Err(ResolveError::NotFound { host: "gone".into() }));
    }
}
