//! A list of addresses in the place of a name: for primaries and replicas that are known beforehand and in no DNS. A resolver
//! among others; which of the addresses is the primary is found out as ever, by asking them.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Query, Resolve, ResolveError};
use crate::transport::BoxFuture;

/// Every name means these addresses. Each keeps its port; one with port 0 gets that of the question. A literal IP address is its
/// own answer.
///
/// All of them are dialled, in this order and staggered, and the first one that is a primary is used; when it is one no more,
/// the others are looked at again.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use redis_tether::{Config, StaticResolver, Tether};
///
/// let nodes = StaticResolver::new(["10.0.0.1:6379".parse()?, "10.0.0.2:6380".parse()?]);
/// let tether = Tether::builder(Config::new("redis", 6379)).resolver(nodes).start().await?;
/// # let _ = tether;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticResolver {
    addresses: Arc<[SocketAddr]>,
}

impl StaticResolver {
    /// Answers with these, each once. With none, every answer is [`ResolveError::NoAddress`].
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> StaticResolver {
        let mut kept = Vec::new();
        for address in addresses {
            if !kept.contains(&address) {
                kept.push(address);
            }
        }
        StaticResolver { addresses: kept.into() }
    }
}

impl Resolve for StaticResolver {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        let answer = match query.literal() {
            Some(address) => Ok(vec![address]),
            None if self.addresses.is_empty() => Err(ResolveError::NoAddress { host: query.host }),
            None => Ok(with_port(&self.addresses, query.port)),
        };
        Box::pin(async move { answer })
    }
}

/// With the port of the question where an answer has none.
pub(super) fn with_port(addresses: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    let ported = addresses.iter().map(|address| match address.port() {
        0 => SocketAddr::new(address.ip(), port),
        _ => *address,
    });
    ported.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn every_name_means_the_list_and_literals_mean_themselves() {
        let (one, two) = (address("10.0.0.1:7001"), address("10.0.0.2:0"));
        let resolver = StaticResolver::new([one, two, one]);
        let found = resolver.resolve(Query::new("redis", 6379)).await;
        assert_eq!(found, Ok(vec![one, address("10.0.0.2:6379")]));
        assert_eq!(resolver.resolve(Query::new("::1", 1)).await, Ok(vec![address("[::1]:1")]));
        let empty = StaticResolver::new([]).resolve(Query::new("redis", 6379)).await;
        assert_eq!(empty, Err(ResolveError::NoAddress { host: "redis".to_owned() }));
    }
}
