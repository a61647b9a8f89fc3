//! Where the scans of one handle go on. A cursor means something to the server alone that gave it, so a scan stays where it began:
//! each by what it scans, so that one of a hash's fields takes nothing from that of the keys which it is nested in.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::shared::Shared;

/// So many scans one handle may have under way. Of more, the oldest is forgotten, and cannot go on.
const MOST: usize = 64;

/// What a command that is a scan asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Scan {
    pub(super) of: Scanned,
    pub(super) step: Step,
}

/// The keys, or the elements of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Scanned {
    /// Of the command.
    pub(super) name: String,
    pub(super) key: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Begins,
    GoesOn,
}

#[derive(Clone)]
pub(super) enum ScanAt {
    Replica(Arc<Shared>),
    Primary,
}

impl ScanAt {
    fn is_same(&self, other: &ScanAt) -> bool {
        match (self, other) {
            (ScanAt::Replica(one), ScanAt::Replica(other)) => Arc::ptr_eq(one, other),
            (ScanAt::Primary, ScanAt::Primary) => true,
            _ => false,
        }
    }
}

/// Those that are under way, the oldest first.
#[derive(Clone, Default)]
pub(super) struct Scans(VecDeque<UnderWay>);

#[derive(Clone)]
struct UnderWay {
    of: Scanned,
    at: ScanAt,
    /// How many scan the same by turns.
    count: u32,
}

/// Where a request with scans in it has to go.
pub(super) enum Bound {
    Anywhere,
    /// Where another scan of the same is under way, as long as that serves.
    Rather(ScanAt),
    /// What goes on can do so nowhere else.
    Only(ScanAt),
    /// It began nowhere that is known, or at several.
    Lost,
}

impl Scans {
    pub(super) fn bound(&self, scans: &[Scan]) -> Bound {
        let mut bound = Bound::Anywhere;
        for scan in scans {
            let at = self.0.iter().find(|known| known.of == scan.of).map(|known| known.at.clone());
            bound = match (scan.step, at, bound) {
                (Step::GoesOn, None, _) => return Bound::Lost,
                (Step::GoesOn, Some(at), Bound::Only(other)) if !at.is_same(&other) => return Bound::Lost,
                (Step::GoesOn, Some(at), _) => Bound::Only(at),
                (Step::Begins, Some(at), Bound::Anywhere) => Bound::Rather(at),
                (Step::Begins, _, bound) => bound,
            };
        }
        bound
    }

    /// These were answered there. `leads_on` says whether there is more to come; `None` where the answer is none of a scan.
    pub(super) fn answered(&mut self, scans: &[Scan], at: &ScanAt, leads_on: Option<bool>) {
        for scan in scans {
            let known = self.0.iter().position(|known| known.of == scan.of);
            let known = known.and_then(|place| self.0.remove(place)).filter(|known| known.at.is_same(at));
            let count = known.map_or(0, |known| known.count);
            let count = match (scan.step, leads_on) {
                (Step::Begins, Some(true)) => count.saturating_add(1),
                (Step::GoesOn, Some(false)) => count.saturating_sub(1),
                (Step::Begins | Step::GoesOn, _) => count,
            };
            if count > 0 {
                self.0.push_back(UnderWay { of: scan.of.clone(), at: at.clone(), count });
            }
        }
        while self.0.len() > MOST {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::rig::Rig;

    fn scan(key: &str, step: Step) -> Vec<Scan> {
        vec![Scan { of: Scanned { name: "HSCAN".to_owned(), key: Some(key.as_bytes().to_vec()) }, step }]
    }

    #[tokio::test]
    async fn a_scan_goes_on_where_it_began_and_nowhere_else() {
        let (mut scans, at) = (Scans::default(), ScanAt::Replica(Rig::new().shared));
        let is_only = |bound: Bound, at: &ScanAt| matches!(bound, Bound::Only(only) if only.is_same(at));
        assert!(matches!(scans.bound(&scan("a", Step::GoesOn)), Bound::Lost), "it has not begun");
        scans.answered(&scan("a", Step::Begins), &at, Some(true));
        scans.answered(&scan("b", Step::Begins), &ScanAt::Primary, Some(true));
        assert!(is_only(scans.bound(&scan("a", Step::GoesOn)), &at));
        assert!(is_only(scans.bound(&scan("b", Step::GoesOn)), &ScanAt::Primary), "each by itself");
        let both = [scan("c", Step::Begins), scan("b", Step::GoesOn)].concat();
        assert!(is_only(scans.bound(&both), &ScanAt::Primary), "whatever comes before it");
        let apart = [scan("a", Step::GoesOn), scan("b", Step::GoesOn)].concat();
        assert!(matches!(scans.bound(&apart), Bound::Lost), "no server has both");

        // A second one of the same stays there until both are through; then the next may begin elsewhere.
        assert!(matches!(scans.bound(&scan("a", Step::Begins)), Bound::Rather(_)));
        scans.answered(&scan("a", Step::Begins), &at, Some(true));
        scans.answered(&scan("a", Step::GoesOn), &at, Some(false));
        assert!(is_only(scans.bound(&scan("a", Step::GoesOn)), &at));
        scans.answered(&scan("a", Step::GoesOn), &at, Some(false));
        assert!(matches!(scans.bound(&scan("a", Step::Begins)), Bound::Anywhere));
    }

    #[tokio::test]
    async fn scans_that_are_never_ended_fill_no_memory() {
        let mut scans = Scans::default();
        for number in 0..MOST + 10 {
            scans.answered(&scan(&number.to_string(), Step::Begins), &ScanAt::Primary, Some(true));
        }
        assert_eq!(scans.0.len(), MOST);
        assert!(matches!(scans.bound(&scan("0", Step::GoesOn)), Bound::Lost), "rather than wrong");
    }
}
