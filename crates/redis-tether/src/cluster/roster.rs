//! What handles see of a cluster: the layout of its slots, with the tether of each shard. The supervisor shows a new one whenever
//! either changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::Layout;
use crate::tether::Tether;

pub(crate) struct Roster {
    pub(crate) layout: Arc<Layout>,
    /// Of the layout's shards, in the same order. A shard whose tether did not start has none for a moment.
    pub(crate) tethers: Vec<Option<Tether>>,
    pub(crate) has_ended: bool,
}

impl Roster {
    pub(crate) fn new(layout: Arc<Layout>, tethers: &BTreeMap<u32, Tether>) -> Roster {
        let of = |number: u32| tethers.get(&number).cloned();
        let tethers = layout.shards().iter().map(|shard| of(shard.number)).collect();
        Roster { layout, tethers, has_ended: false }
    }

    /// Of the shards that have slots: what a node without any does, is of no concern to commands but those that are sent there.
    pub(crate) fn with_slots(&self) -> impl Iterator<Item = Option<&Tether>> {
        let places = self.tethers.iter().enumerate().filter(|(place, _)| self.layout.has_slots(*place));
        places.map(|(_, tether)| tether.as_ref())
    }

    /// Before the first survey.
    pub(crate) fn empty() -> Roster {
        Roster { layout: Arc::new(Layout::unknown()), tethers: Vec::new(), has_ended: false }
    }

    /// Whether somebody has each slot, and everybody who has one a tether.
    pub(crate) fn is_whole(&self) -> bool {
        self.layout.uncovered_since().is_none() && self.with_slots().all(|tether| tether.is_some())
    }

    /// After the end.
    pub(crate) fn ended() -> Roster {
        Roster { has_ended: true, ..Roster::empty() }
    }
}
