//! What outlives an incarnation. The machine is replaced after too many failures, or when its actor dies; epochs, pacing
//! and the budget for moves must go on as if it had not been, or a crash loop would be a way around them.

use std::time::Duration;

use super::search::Paced;
use super::settings::Settings;
use super::suspect::Suspicion;
use crate::pacing::Pacing;
use crate::{Address, Epoch, FailureKind, Lane, name_the_same};

/// So many addresses are remembered as tried. A name with more of them loses only the memory of the oldest.
const TRIED_LIMIT: usize = 16;

/// What a fresh incarnation takes over from the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    next_epoch: Epoch,
    pub(super) pacing: Pacing,
    tried: Vec<Tried>,
    pub(super) known: Vec<Address>,
    /// Those of the known that have not been tried since the resolver began to name them.
    news: Vec<Address>,
    pub(super) held: Option<Held>,
    pub(super) down_since: Option<Duration>,
    /// Since when the present link serves, until its loss has been charged to the pacing.
    fit_since: Option<Duration>,
    pub(super) failed_rounds: u32,
    pub(super) last_swap: Option<Duration>,
    /// The pace of the searches beside a fit link. What they meet says nothing about that link, so it is not the tether's;
    /// and it outlives each of them, or a name whose answers rotate would begin it anew with every answer.
    pub(super) relocations: Pacing,
    pub(super) side_dial_not_before: Duration,
    /// When somebody asked for a new link, until one is published or has been tried for in vain.
    pub(super) reconnect_asked: Option<Duration>,
    pin: Pin,
}

/// Why the present link takes no commands though it has not been retired: a fresh incarnation must not hand it any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Suspect(Suspicion),
    Demoted(Epoch),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tried {
    address: Address,
    at: Duration,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    UnderWay {
        has_hung: bool,
    },
    /// It timed out, or was waited for in vain until it was cancelled.
    Hung,
    Answered,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pin {
    Off,
    /// Pinned before there was an address: the first one that is published will be it.
    Next,
    To(Address),
}

impl Standing {
    fn has_hung(self) -> bool {
        matches!(self, Standing::Hung | Standing::UnderWay { has_hung: true })
    }
}

impl Memory {
    /// Of a tether that has just been started, at time zero.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Memory {
            next_epoch: Epoch::FIRST,
            pacing: Pacing::new(settings.pacing),
            tried: Vec::new(),
            known: Vec::new(),
            news: Vec::new(),
            held: None,
            down_since: Some(Duration::ZERO),
            fit_since: None,
            failed_rounds: 0,
            last_swap: None,
            relocations: Pacing::new(settings.pacing),
            side_dial_not_before: Duration::ZERO,
            reconnect_asked: None,
            pin: Pin::Off,
        }
    }

    /// Whether this is the last answer that it was told, in whatever order.
    #[must_use]
    pub fn knows(&self, answer: &[Address]) -> bool {
        name_the_same(&self.known, answer)
    }

    /// Whether one more answer like this changes nothing while a link to `present` serves: it is the last one to the letter
    /// and names that address, nobody waits for one, and looking elsewhere in vain is forgotten.
    #[must_use]
    pub fn expects(&self, answer: &[Address], present: &Address) -> bool {
        let is_the_last_one = self.known == answer && answer.contains(present);
        is_the_last_one && self.reconnect_asked.is_none() && self.relocations.is_at_rest()
    }

    pub(super) fn take_epoch(&mut self) -> Epoch {
        let epoch = self.next_epoch;
        self.next_epoch = epoch.next();
        epoch
    }

    /// What the endpoint means now. A resolver may name an address twice.
    pub(super) fn note_answer(&mut self, answer: &[Address]) {
        let mut addresses: Vec<Address> = Vec::with_capacity(answer.len());
        for address in answer {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let is_news = |address: &&Address| self.news.contains(address) || !self.known.contains(address);
        self.news = addresses.iter().filter(is_news).cloned().collect();
        self.known = addresses;
    }

    /// Where an attempt may go, those that did not answer last time last.
    pub(super) fn candidates(&self) -> Vec<Address> {
        if let Pin::To(address) = &self.pin {
            return vec![address.clone()];
        }
        let mut addresses = self.known.clone();
        addresses.sort_by_key(|address| self.is_slow(address));
        addresses
    }

    fn is_slow(&self, address: &Address) -> bool {
        self.tried.iter().any(|tried| tried.standing != Standing::Answered && tried.address == *address)
    }

    pub(super) fn allows(&self, address: &Address) -> bool {
        match &self.pin {
            Pin::To(pinned) => pinned == address,
            Pin::Off | Pin::Next => true,
        }
    }

    /// The news among them. One that was tried so recently has to wait, or a resolver that changes its answers would be a
    /// way around the pacing.
    pub(super) fn fresh(&self, now: Duration, fresh_after: Duration) -> Vec<Address> {
        let is_recent = |address: &Address| {
            self.tried.iter().any(|tried| tried.address == *address && now.saturating_sub(tried.at) < fresh_after)
        };
        let is_fresh = |address: &Address| self.news.contains(address) && !is_recent(address);
        self.candidates().into_iter().filter(is_fresh).collect()
    }

    pub(super) fn note_try(&mut self, address: &Address, at: Duration) {
        self.news.retain(|news| news != address);
        let has_hung = self.tried.iter().any(|tried| tried.address == *address && tried.standing.has_hung());
        self.tried.retain(|tried| tried.address != *address);
        if self.tried.len() == TRIED_LIMIT {
            self.tried.remove(0);
        }
        self.tried.push(Tried { address: address.clone(), at, standing: Standing::UnderWay { has_hung } });
    }

    pub(super) fn note_outcome(&mut self, address: &Address, failure: Option<FailureKind>) {
        let hung = failure == Some(FailureKind::TimedOut);
        self.set_standing(address, if hung { Standing::Hung } else { Standing::Answered });
    }

    /// The attempt there was cancelled at `now`. One that has had less than `patience` is no worse for it: what put it last
    /// would put it behind those that do hang.
    pub(super) fn note_abandoned(&mut self, address: &Address, now: Duration, patience: Duration) {
        let Some(tried) = self.tried.iter_mut().find(|tried| tried.address == *address) else { return };
        let has_hung = tried.standing.has_hung() || now >= tried.at + patience;
        tried.standing = if has_hung { Standing::Hung } else { Standing::Answered };
    }

    fn set_standing(&mut self, address: &Address, standing: Standing) {
        if let Some(tried) = self.tried.iter_mut().find(|tried| tried.address == *address) {
            tried.standing = standing;
        }
    }

    /// A fresh incarnation begins. Attempts that the one before neither saw end nor cancelled were lost with it, in a
    /// panic; they count as failed, or incarnations that die over and over would dial as often.
    pub(super) fn note_interrupted(&mut self, now: Duration, paced: Paced, rng: &mut fastrand::Rng) {
        let mut any = false;
        for tried in self.tried.iter_mut().filter(|tried| matches!(tried.standing, Standing::UnderWay { .. })) {
            tried.standing = Standing::Hung;
            any = true;
        }
        if any {
            self.pacing_mut(paced).failed(now, Lane::Rejected, rng);
        }
    }

    pub(super) fn pacing(&self, paced: Paced) -> &Pacing {
        match paced {
            Paced::Together => &self.pacing,
            Paced::Alone => &self.relocations,
        }
    }

    pub(super) fn pacing_mut(&mut self, paced: Paced) -> &mut Pacing {
        match paced {
            Paced::Together => &mut self.pacing,
            Paced::Alone => &mut self.relocations,
        }
    }

    /// Pins to the present address; without one, to where it was pinned before, or else to the next that is published.
    pub(super) fn pin(&mut self, present: Option<&Address>) {
        match present {
            Some(address) => self.pin = Pin::To(address.clone()),
            None if self.pin == Pin::Off => self.pin = Pin::Next,
            None => {}
        }
    }

    pub(super) fn unpin(&mut self) {
        self.pin = Pin::Off;
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pin != Pin::Off
    }

    pub(super) fn note_published(&mut self, address: &Address, now: Duration) {
        self.reconnect_asked = None;
        if self.pin == Pin::Next {
            self.pin = Pin::To(address.clone());
        }
        self.note_fit(now);
    }

    /// A link takes commands (again), and is fit to since then.
    pub(super) fn note_fit(&mut self, since: Duration) {
        self.held = None;
        self.down_since = None;
        self.failed_rounds = 0;
        self.fit_since = Some(since);
    }

    /// The link serves no more. Its loss is charged once, however it shows itself: refused, ended, replaced, or gone while
    /// no incarnation was there to see it.
    pub(super) fn note_lost(&mut self, now: Duration, rng: &mut fastrand::Rng) {
        self.down_since.get_or_insert(now);
        if let Some(since) = self.fit_since.take() {
            self.pacing.lost(since, now, rng);
        }
    }
}
