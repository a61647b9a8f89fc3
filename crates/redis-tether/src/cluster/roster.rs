//! What handles see of a cluster: the layout of its slots, with the tether of each shard. The supervisor shows a new one whenever
//! either changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::{Layout, Number, Numbered};
use crate::tether::Tether;

pub(crate) struct Roster {
    pub(crate) layout: Arc<Layout>,
    /// Of the layout's shards. One whose tether did not start has none for a moment; one that has ended stays until another one is there.
    tethers: BTreeMap<Number, Tether>,
    pub(crate) has_ended: bool,
}

impl Roster {
    pub(crate) fn new(layout: Arc<Layout>, tethers: &BTreeMap<Number, Tether>) -> Roster {
        let of = |shard: &Numbered| Some((shard.number, tethers.get(&shard.number)?.clone()));
        let tethers = layout.shards().iter().filter_map(of).collect();
        Roster { layout, tethers, has_ended: false }
    }

    pub(crate) fn tether(&self, number: Number) -> Option<&Tether> {
        self.tethers.get(&number)
    }

    /// Whether it has a tether that was not shut down. One that was is started again.
    pub(crate) fn takes_commands(&self, number: Number) -> bool {
        self.tether(number).is_some_and(|tether| !tether.control.shared.gate.has_stopped())
    }

    pub(crate) fn tethers(&self) -> impl Iterator<Item = &Tether> {
        self.tethers.values()
    }

    /// Of the shards that have slots: what a node without any does, is of no concern to commands but those that are sent there.
    pub(crate) fn with_slots(&self) -> impl Iterator<Item = Option<&Tether>> {
        self.layout.numbers_with_slots().map(|number| self.tether(number))
    }

    /// Before the first survey.
    pub(crate) fn empty() -> Roster {
        Roster { layout: Arc::new(Layout::unknown()), tethers: BTreeMap::new(), has_ended: false }
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
