//! What tests of anything that talks to Redis or Valkey need: servers that fail on request, a DNS that moves, a network
//! that breaks.
//!
//! It is made for the tests of redis-tether and of applications that use it, but knows nothing of either: any client
//! can be tested with it.
//!
//! | what | when |
//! |---|---|
//! | [`FakeServer`] | a fault at an exact moment; counting what was executed; no server installed |
//! | [`FakeSentinel`] | a sentinel that says what the test wants: the truth, a lie, or nothing |
//! | [`SimNet`] | whole systems in memory under tokio's paused clock, the same at every run |
//! | [`Server`], [`Deployment`], [`SentinelDeployment`], [`ClusterDeployment`] | the real thing: `redis-server` and `valkey-server` processes, killed, frozen, promoted |
//! | [`Gateway`] | the proxies that people put before servers: twemproxy, HAProxy, Envoy |
//! | [`Proxy`] | a network that breaks between a client and any TCP server |
//! | [`tls`] | certificates, good and bad, and TLS in front of any server |
//! | [`Dns`] | answers that move, rotate, fail or hang |
//! | [`DnsServer`] | the same for resolvers that send packets: TTLs, SRV, CNAME, SERVFAIL, silence, lies |
//! | [`scenario`] | the failures of a primary, played against any client and measured |
//!
//! Everything runs on tokio and goes by tokio's clock. Whatever is started ends with its handle: no process, socket or
//! directory outlives the test. Waits have a limit and say what they waited for ([`TimedOut`]).

mod directory;
pub mod dns;
pub mod fake;
pub mod gateway;
pub mod net;
pub mod proxy;
mod resp;
pub mod scenario;
mod sentinel;
pub mod server;
pub mod tls;
mod wait;

pub use dns::{Dns, DnsServer, Srv};
pub use fake::{FakeListener, FakeServer};
pub use gateway::{Gateway, GatewayBinary, GatewayKind};
pub use net::{SimNet, SimStream};
pub use proxy::Proxy;
pub use resp::{Protocol, Reply};
pub use sentinel::FakeSentinel;
pub use server::{ClusterDeployment, Deployment, SentinelDeployment, Server, ServerBinary, ServerError, ServerKind};
pub use tls::{Authority, TlsFiles, TlsFront};
pub use wait::{TimedOut, WAIT_LIMIT};

/// The example of the README, compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
