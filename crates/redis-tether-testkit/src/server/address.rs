//! Loopback addresses and ports that nobody else uses.
//!
//! On Linux all of 127.0.0.0/8 is this machine, so every server gets an address of its own: two nodes may then have the
//! same port, as those behind one DNS name do, and a test that restarts a server finds its address free. Elsewhere
//! only 127.0.0.1 may exist; one server at a time still works there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports are taken from below the range from which kernels choose those of outgoing connections (32768 on Linux), so that
/// no client is in the way of a server that restarts.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 20_000;
/// Addresses and ports that are tried before giving up.
const TRIES: u32 = 200;

/// Counts addresses and ports handed out by this process.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// So many different loopback addresses with one common port, free on all of them at the time of the call.
///
/// No two calls return the same address, and those of several test processes at the same time differ as well.
///
/// # Errors
/// `AddrNotAvailable` where the machine has only one loopback address and several are wanted; `AddrInUse` when no
/// common free port was found.
pub fn allocate_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let mut ips: Vec<IpAddr> = (0..count).map(|_| next_ip()).collect();
    if let [only] = ips.as_mut_slice()
        && !exists(*only)
    {
        *only = Ipv4Addr::LOCALHOST.into();
    }
    let port = common_port(&ips)?;
    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// As many other loopback addresses, on which this port is free at the time of the call.
///
/// # Errors
/// As [`allocate_addresses`].
pub(super) fn allocate_at_port(count: usize, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::with_capacity(count);
    for _ in 0..TRIES {
        let addr = SocketAddr::new(next_ip(), port);
        match TcpListener::bind(addr) {
            Ok(_) => found.push(addr),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
        if found.len() == count {
            return Ok(found);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// A port that is free on this address at the time of the call.
///
/// # Errors
/// Those of binding the address; `AddrInUse` when none was found.
pub fn free_port(ip: IpAddr) -> io::Result<u16> {
    common_port(&[ip])
}

/// A port that is free on all of these addresses at the time of the call: another one than that of
/// [`allocate_addresses`], for servers that have two.
///
/// # Errors
/// As [`free_port`].
pub fn free_common_port(addrs: &[SocketAddr]) -> io::Result<u16> {
    let ips: Vec<IpAddr> = addrs.iter().map(SocketAddr::ip).collect();
    common_port(&ips)
}

fn common_port(ips: &[IpAddr]) -> io::Result<u16> {
    for _ in 0..TRIES {
        let port = next_port();
        match ips.iter().try_for_each(|ip| TcpListener::bind((*ip, port)).map(drop)) {
            Ok(()) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn exists(ip: IpAddr) -> bool {
    TcpListener::bind((ip, 0)).is_ok()
}

/// Spreads processes by their id and calls by the counter over 127.1.0.0 to 127.254.255.255, which leaves alone
/// 127.0.0.0/16, where people and distributions put things.
fn next_ip() -> IpAddr {
    let place = spread();
    let second = 1 + place / (256 * 254) % 254;
    let third = place / 254 % 256;
    let last = 1 + place % 254;
    // Each is below 256 by construction.
    IpAddr::from([127, second as u8, third as u8, last as u8])
}

fn next_port() -> u16 {
    // Below PORTS by construction.
    FIRST_PORT + (spread() % u32::from(PORTS)) as u16
}

/// The next place in this process's sequence; sequences of neighbouring process ids start far apart.
fn spread() -> u32 {
    let start = std::process::id().wrapping_mul(2_654_435_761);
    start.wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_share_a_port() {
        let first = allocate_addresses(3).expect("three loopback addresses");
        let second = allocate_addresses(3).expect("three more");
        assert!(first.iter().all(|addr| addr.ip().is_loopback() && addr.port() == first[0].port()));
        let mut all = [first, second].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_free_port_can_be_bound() {
        for ip in [IpAddr::from([127, 0, 0, 1]), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)] {
            if exists(ip) {
                let port = free_port(ip).expect("one is free");
                TcpListener::bind((ip, port)).expect("still free");
            }
        }
    }
}
