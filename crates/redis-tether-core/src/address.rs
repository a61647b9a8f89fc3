//! Where a dial goes: what resolving an endpoint yields. An endpoint is a name, which may mean another address tomorrow;
//! an address is what it means now.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// One concrete place that a dial can go to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a unix domain socket.
    Unix(PathBuf),
}

/// Whether two answers of a resolver name the same addresses, in whatever order and however often.
#[must_use]
pub fn name_the_same(one: &[Address], other: &[Address]) -> bool {
    let is_within = |some: &[Address], all: &[Address]| some.iter().all(|address| all.contains(address));
    is_within(one, other) && is_within(other, one)
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
