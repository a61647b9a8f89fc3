//! The same actors, links and handles as in production, over in-memory streams under tokio's paused clock: random schedules
//! of faults from printed seeds (`random.rs`), and each kind of fault exactly, in virtual time (`directed.rs`). No socket is
//! opened, nothing sleeps in real time, and the same seed takes the same course.

mod bounded;
mod callers;
mod faults;
mod fleet;
mod judge;
mod random;
mod schedule;
mod steady;
mod trace;
mod waiting;
mod world;
