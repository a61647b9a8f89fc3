//! What a tether sees of the testkit: a resolver over its DNS, a transport over its network in memory.

use std::future::Future;
use std::io;
use std::pin::Pin;

use redis_tether::{Address, BoxedStream, Resolve, Transport, resolve_fn};
use redis_tether_testkit::{Dns, SimNet};

/// A resolver that asks this table.
#[must_use]
pub fn resolver(dns: &Dns) -> impl Resolve + use<> {
    let dns = dns.clone();
    resolve_fn(move |host, port| {
        let dns = dns.clone();
        async move { dns.lookup(&host, port).await }
    })
}

/// Connects through the network in memory.
#[derive(Clone, Debug)]
pub struct InMemory(pub SimNet);

impl Transport for InMemory {
    fn connect(&self, address: &Address) -> Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send>> {
        let net = self.0.clone();
        let address = match address {
            Address::Tcp(address) => Ok(*address),
            _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
        };
        Box::pin(async move {
            let stream = net.connect(address?).await?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }
}
