//! The operating system's resolver, `getaddrinfo`, made fit for asking often: one lookup per name at a time in the whole
//! process, on a thread of its own.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::LazyLock;

use super::lookups::{Failure, Lookups};
use super::{Query, Resolve, ResolveError};
use crate::transport::BoxFuture;

/// Shared by all tethers of the process: a name that a thousand of them follow is asked for as often as if there were one.
static LOOKUPS: LazyLock<Lookups> = LazyLock::new(|| Lookups::blocking(getaddrinfo));

/// The operating system's resolver: hosts file, DNS, and whatever else the system is set up to ask. The default.
///
/// All instances share their work. There is at most one lookup in flight per name and process, which everybody who asks for
/// the name meanwhile joins, and an answer is shared with whoever takes one of its age. Errors are shared with those who
/// waited for them and are never kept.
///
/// A lookup cannot be cancelled: a resolver that does not answer holds one thread per name until it does. These are threads
/// of their own and not the runtime's, so that a runtime can be dropped meanwhile.
#[derive(Clone, Copy, Default, Debug)]
#[non_exhaustive]
pub struct SystemResolver;

impl SystemResolver {
    /// The system's resolver.
    #[must_use]
    pub fn new() -> SystemResolver {
        SystemResolver
    }

    /// How many lookups this process has begun since it started, for all names and tethers together: what its DNS servers
    /// see of it, or a cache before them. Literal addresses and shared answers are none.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        LOOKUPS.begun()
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        LOOKUPS.resolve(query)
    }
}

/// Blocks for as long as the system takes.
fn getaddrinfo(host: &str) -> Result<Vec<SocketAddr>, Failure> {
    match (host, 0).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(failure(&error)),
    }
}

/// The standard library keeps getaddrinfo's code to itself and gives its text; these are those of glibc, musl and macOS.
/// A text that is not among them loses only the finer name of the error.
fn failure(error: &io::Error) -> Failure {
    const NOT_FOUND: [&str; 3] =
        ["Name or service not known", "Name does not resolve", "nodename nor servname provided"];
    const NO_ADDRESS: [&str; 2] = ["No address associated with", "Name has no usable address"];
    let text = error.to_string();
    let says = |words: &&str| text.contains(*words);
    if error.kind() == io::ErrorKind::NotFound || NOT_FOUND.iter().any(says) {
        Failure::NotFound
    } else if NO_ADDRESS.iter().any(says) {
        Failure::NoAddress
    } else {
        Failure::Other(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_localhost_and_literals() {
        let resolver = SystemResolver::new();
        let found = resolver.resolve(Query::new("localhost", 6379)).await.expect("localhost resolves");
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 6379), "{found:?}");
        let literal = resolver.resolve(Query::new("127.0.0.9", 1)).await;
        assert_eq!(literal, Ok(vec!["127.0.0.9:1".parse().expect("an address")]));
    }

    #[test]
    fn the_errors_of_getaddrinfo_have_names() {
        let failure = |text: &str| failure(&io::Error::other(format!("failed to lookup address information: {text}")));
        assert_eq!(failure("Name or service not known"), Failure::NotFound);
        assert_eq!(failure("No address associated with hostname"), Failure::NoAddress);
        assert!(matches!(failure("Temporary failure in name resolution"), Failure::Other(_)));
    }
}
