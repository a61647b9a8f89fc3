//! TLS for tests: certificates that are good, or bad in one way, and TLS in front of servers that were built without it.
//!
//! Everything is made as the test runs, so that nothing in a repository expires. [`Authority`] issues, [`TlsFiles`] keeps what a
//! server and a client show each other in files, where it can be renewed, and [`TlsFront`] takes TLS off for any TCP server.

mod authority;
mod files;
mod front;

pub use authority::{Authority, Issued, Validity};
pub(crate) use files::ServerFiles;
pub use files::TlsFiles;
pub use front::{ClientCertificates, TlsFront, acceptor};
