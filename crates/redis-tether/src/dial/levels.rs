//! How much each address may be asked. Some proxies hang up on commands they do not know; with `verify = auto` the dialer
//! then asks less, and once it is sure of that it remembers here what went well, so that the next dial does not begin with
//! being hung up on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use redis_tether_core::Address;
use tokio::time::Instant;

use super::verify::VerifyLevel;
use crate::config::Verify;
use crate::lock::lock;

/// For how long a lower level is kept. After that a dial asks in full again: a crash in the middle of the question looks like
/// a refusal, and a proxy may have been replaced.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// How often an address may be met with lower and lower questions within one dial. A balancer without a backend hangs up on
/// everything; it should see the dials that pacing allows and hardly one more.
const LOWERED_EVERY: Duration = Duration::from_secs(1);

/// How many addresses are remembered: more than a name ever has at one time.
const CAPACITY: usize = 64;

/// Where a peer hung up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Setup,
    Verify,
    /// After it had passed.
    Done,
}

pub(super) struct Levels {
    mode: Verify,
    known: Mutex<BTreeMap<Address, Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    learned: Option<(VerifyLevel, Instant)>,
    lowered: Option<Instant>,
    touched: Instant,
}

impl Levels {
    pub(super) fn new(mode: Verify) -> Levels {
        Levels { mode, known: Mutex::new(BTreeMap::new()) }
    }

    /// The level that a dial of `address` begins at. It asks at least whether the peer is alive: only one that hangs up on that,
    /// too, is taken without an answer.
    pub(super) fn at(&self, address: &Address) -> VerifyLevel {
        match self.mode {
            Verify::Hello => VerifyLevel::Hello,
            Verify::Role => VerifyLevel::Role,
            Verify::Ping => VerifyLevel::Ping,
            Verify::None => VerifyLevel::None,
            Verify::Auto => self.learned(address).map_or(VerifyLevel::Hello, |level| level.max(VerifyLevel::Ping)),
        }
    }

    /// Whether the peer is known to stand no more than `level`.
    pub(super) fn has_learned(&self, address: &Address, level: VerifyLevel) -> bool {
        self.learned(address).is_some_and(|learned| learned <= level)
    }

    fn learned(&self, address: &Address) -> Option<VerifyLevel> {
        let learned = self.lock().get(address).and_then(|known| known.learned);
        learned.filter(|(_, when)| when.elapsed() < KEPT_FOR).map(|(level, _)| level)
    }

    /// The level to try next, with a fresh connection, when the peer hung up on this one.
    pub(super) fn below(&self, level: VerifyLevel, stage: Stage) -> Option<VerifyLevel> {
        match (self.mode, stage, level) {
            (Verify::Auto, Stage::Verify, VerifyLevel::Hello) => Some(VerifyLevel::Role),
            (Verify::Auto, Stage::Verify, VerifyLevel::Role) => Some(VerifyLevel::Ping),
            (Verify::Auto, Stage::Verify, VerifyLevel::Ping) => Some(VerifyLevel::None),
            // The next level that says less in the setup, too.
            (Verify::Auto, Stage::Setup, VerifyLevel::Hello | VerifyLevel::Role) => Some(VerifyLevel::Ping),
            _ => None,
        }
    }

    /// Whether a dial of `address` may ask less now; says so at most once in [`LOWERED_EVERY`].
    pub(super) fn may_lower(&self, address: &Address) -> bool {
        let now = Instant::now();
        self.update(address, now, |known| {
            let may = known.lowered.is_none_or(|when| now.saturating_duration_since(when) >= LOWERED_EVERY);
            if may {
                known.lowered = Some(now);
            }
            may
        })
    }

    /// `address` passed at `level`, having hung up twice on more, or not known it.
    pub(super) fn learn(&self, address: &Address, level: VerifyLevel) {
        let now = Instant::now();
        self.update(address, now, |known| known.learned = Some((level, now)));
    }

    fn update<T>(&self, address: &Address, now: Instant, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.lock();
        if known.len() >= CAPACITY && !known.contains_key(address) {
            forget_oldest(&mut known);
        }
        let entry = known.entry(address.clone()).or_insert(Known { learned: None, lowered: None, touched: now });
        entry.touched = now;
        change(entry)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, Known>> {
        lock(&self.known)
    }
}

fn forget_oldest(known: &mut BTreeMap<Address, Known>) {
    let oldest = known.iter().min_by_key(|(_, entry)| entry.touched).map(|(address, _)| address.clone());
    if let Some(address) = oldest {
        known.remove(&address);
    }
}
