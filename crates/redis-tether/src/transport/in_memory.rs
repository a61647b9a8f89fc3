//! The testkit's network in memory as a transport, for the unit tests of this crate.

use std::io;

use redis_tether_core::Address;
use redis_tether_testkit::SimNet;

use super::{BoxFuture, BoxedStream, Transport};

pub(crate) struct InMemory(pub(crate) SimNet);

impl Transport for InMemory {
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxedStream>> {
        let Address::Tcp(address) = address else { return Box::pin(async { Err(io::ErrorKind::Unsupported.into()) }) };
        let connecting = self.0.connect(*address);
        Box::pin(async move { Ok(Box::new(connecting.await?) as BoxedStream) })
    }
}
