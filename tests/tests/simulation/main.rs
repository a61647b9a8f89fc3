//! The same actors, links and handles as in production, over in-memory streams under tokio's paused clock: random schedules
//! of faults from printed seeds (`random.rs`), and each kind of fault exactly in virtual time: what must recover within its
//! bound (`bounded.rs`), silence that is hard to notice (`mute.rs`), what must leave a link alone (`steady.rs`), commands
//! that wait (`waiting.rs`), control actors that die (`actors.rs`), and a fleet (`fleet.rs`). No socket is opened, nothing
//! sleeps in real time, and the same seed takes the same course.

// What a run has measured is printed for people.
#![allow(clippy::print_stdout)]

mod actors;
mod bounded;
mod callers;
mod faults;
mod fleet;
mod judge;
mod mute;
mod random;
mod schedule;
mod scissors;
mod steady;
mod trace;
mod waiting;
mod world;
