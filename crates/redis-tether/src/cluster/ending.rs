//! How a cluster ends where `control/ending.rs`, which sees to that as for each tether, is not let run. The tethers of the shards see
//! to their own ends.

use super::Common;
use crate::control::ending::Ends;
use crate::tether::Tether;

/// Ends everything where nobody else does: the runtime stands still, and polls none of those who would.
pub(super) fn at_once(common: &Common) {
    let shown = common.rosters.borrow().clone();
    let tethers: Vec<Tether> = shown.tethers().cloned().chain(common.counts.ending()).collect();
    common.end();
    for tether in tethers {
        tether.control.end();
        tether.control.announce_end();
    }
    common.announce_end();
}

#[cfg(test)]
mod tests;
