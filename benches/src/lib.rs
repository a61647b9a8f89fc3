//! What the benches share: the clients that are compared, the rounds in which they take turns, the sections that the
//! report is put together from.

pub mod peers;
pub mod rounds;
pub mod section;
pub mod statistics;
