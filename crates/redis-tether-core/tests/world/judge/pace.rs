//! What the judge remembers of attempts, to hold them to the pacing: for each address when it was last tried, and how often
//! it rejected us. One book for the search that a tether depends on, one for the searches beside a fit link.

use std::collections::BTreeMap;
use std::time::Duration;

use redis_tether_core::recovery::{Effect, Event, Settings};
use redis_tether_core::{Address, FailureKind, Lane};

use super::Before;

/// After a reconnect by hand, what follows from it is not held to the pace: the wait for an answer, a round over several
/// addresses, and the attempts in it.
const ASKED_FOR: Duration = Duration::from_secs(8);

/// The attempts at one address since its pacing last began anew.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    pub last: Option<Duration>,
    rejections: u32,
    last_lane: Option<Lane>,
    /// When the second attempt began that was rejected: by then the first had been charged.
    charged_since: Duration,
}

pub type Book = BTreeMap<Address, Tried>;

impl Tried {
    pub fn failed(&mut self, now: Duration, kind: FailureKind) {
        if kind.lane() == Lane::Rejected {
            self.rejections += 1;
            if self.rejections == 2 {
                self.charged_since = self.last.unwrap_or(now);
            }
        }
        self.last_lane = Some(kind.lane());
    }

    /// It was let in. What it met before says nothing of the next attempt.
    pub fn succeeded(&mut self) {
        self.last_lane = None;
    }

    /// A search ended otherwise than by failing: what was rejected in its last round may not have been charged.
    pub fn discount(&mut self) {
        self.rejections = self.rejections.saturating_sub(1);
    }

    /// The least that lies between the start of the attempt at `last`, and the next at the same address.
    pub fn floor(&self, settings: &Settings, last: Duration) -> Duration {
        let pace = match self.last_lane {
            Some(Lane::Rejected) => &settings.pacing.rejected,
            // It may have been at the turn of another address of its round.
            _ => return settings.pacing.unreachable.first / 2,
        };
        let age = if self.rejections < 2 { Duration::ZERO } else { last.saturating_sub(self.charged_since) };
        pace.floor(pace.cap(self.rejections.saturating_sub(1), age))
    }
}

/// The searches beside a fit link.
#[derive(Default)]
pub struct Relocations {
    tried: Book,
    /// Since when each answer has named the link's address.
    named_since: Option<Duration>,
    asked_until: Duration,
}

impl Relocations {
    /// The link is another, or in doubt.
    pub fn interrupted(&mut self) {
        self.named_since = None;
        self.tried.values_mut().for_each(Tried::discount);
    }

    /// A person wants another link. The present one may be in doubt, and the other be looked for once it is fit again.
    pub fn asked(&mut self, settings: &Settings, now: Duration) {
        self.asked_until = now + settings.swap_interval + ASKED_FOR;
    }

    pub fn are_asked_for(&self, now: Duration) -> bool {
        now < self.asked_until
    }

    pub fn failed(&mut self, now: Duration, address: Address, kind: FailureKind) {
        self.tried.entry(address).or_default().failed(now, kind);
    }

    pub fn succeeded(&mut self, address: &Address) {
        self.tried.get_mut(address).into_iter().for_each(Tried::succeeded);
    }

    pub fn judge(&mut self, settings: &Settings, now: Duration, event: &Event, effects: &[Effect], before: &Before) {
        self.note(settings, now, event, before);
        if effects.iter().any(|effect| matches!(effect, Effect::Publish { .. })) || self.are_asked_for(now) {
            self.tried.clear();
        }
        for effect in effects {
            let Effect::Dial { address, .. } = effect else { continue };
            let tried = self.tried.entry(address.clone()).or_default();
            if let Some(last) = tried.last.replace(now) {
                let floor = tried.floor(settings, last);
                assert!(now >= last + floor, "a relocation to {address} {:?} after the last: {tried:?}", now - last);
            }
        }
    }

    fn note(&mut self, settings: &Settings, now: Duration, event: &Event, before: &Before) {
        match event {
            Event::Resolved { addresses } | Event::Moved { addresses } if !addresses.is_empty() => {
                let is_named = before.live.as_ref().is_some_and(|live| addresses.contains(&live.address));
                self.named_since = is_named.then(|| self.named_since.unwrap_or(now));
            }
            _ => {}
        }
        if self.named_since.is_some_and(|since| now >= since + settings.swap_interval) {
            self.tried.clear();
        }
    }
}
