//! What several of the tests beside it share. Each module is small and knows nothing of the tests that use it.

pub mod fakes;
pub mod fate;
pub mod load;
pub mod log;
pub mod manner;
pub mod pace;
pub mod report;
pub mod rig;
pub mod servers;
pub mod steady;
pub mod tls;
pub mod tokens;
pub mod watch;
pub mod writer;
