//! Real servers: `redis-server` and `valkey-server` processes that a test starts, breaks and repairs.
//!
//! [`Server`] is one process on a loopback address of its own, [`Deployment`] a primary with a replica, [`SentinelDeployment`]
//! three servers that three sentinels watch, [`ClusterDeployment`] three primaries and their replicas. They stay on this
//! machine (127.0.0.0/8 and ::1), keep everything in a temporary directory, and leave neither process nor file
//! behind when they are dropped. Nothing here installs a server; [`ServerBinary`] finds what is there.

mod address;
mod binary;
mod client;
mod cluster;
mod deployment;
mod error;
mod fault;
mod info;
mod process;
mod running;
mod secure;
mod sentinels;

pub(crate) use binary::candidates;
pub(crate) use process::Process;

pub use address::{allocate_addresses, free_common_port, free_port};
pub use binary::{ServerBinary, ServerKind};
pub use cluster::{Announced, ClusterDeployment};
pub use deployment::Deployment;
pub use error::ServerError;
pub use fault::Script;
pub use info::Info;
pub use process::ServerBuilder;
pub use running::Server;
pub use sentinels::{Announcements, SentinelDeployment};
