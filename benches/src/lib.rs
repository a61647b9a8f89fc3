//! What the benches share: the clients that are compared, the rounds in which they take turns, the faults that they are put
//! through, the sections that the report is put together from.

pub mod chart;
pub mod contenders;
pub mod names;
pub mod peers;
pub mod recovery;
pub mod rounds;
pub mod section;
pub mod statistics;
pub mod valgrind;
