//! The decisions of redis-tether, and nothing else: no tokio, no actors, no I/O, no clock and no global random numbers.
//! Time is passed in, randomness is passed in, and what is decided comes out as effects that the actors of `redis-tether`
//! carry out. Applications use `redis-tether`; this crate is its inside.

mod address;
mod bounds;
pub mod cluster;
mod epoch;
mod failure;
pub mod pacing;
pub mod recovery;
pub mod reply;
mod role;

pub use address::{Address, name_the_same};
pub use bounds::{DialFigures, ProbeFigures, RecoveryBounds, ResolveFigures, recovery_bounds};
pub use epoch::Epoch;
pub use failure::{FailureKind, Lane};
pub use role::Role;
