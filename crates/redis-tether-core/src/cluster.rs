//! What a cluster asks of its clients, decided: which slot a key has, where a command goes and what is made of several
//! answers, which answer about the slots is believed, and which shard of the present is which of the past. Pure, as everything
//! here: nobody is asked anything.

mod belief;
mod routing;
mod shards;
mod slot;

pub use belief::{Testimony, believed, has_majority, is_of_the_past};
pub use routing::{Merge, Piece, Route, route};
pub use shards::{Group, Node, successors};
pub use slot::{SLOTS, Slot};
