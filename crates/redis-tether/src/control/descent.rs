//! Asks the server of a fresh link which history it holds, once, and tells where that does not go on from the one before: data
//! that was confirmed is gone, and only somebody who knows what it was can tell what follows. A courtesy: a server that denies
//! `INFO` or does not know it is as good as any, and one that hangs up on it is not asked for long. Runs beside the probe.

use std::sync::Mutex;

use redis::Pipeline;
use redis_tether_core::Epoch;
use tokio::time::{Instant, timeout};

use super::Control;
use crate::dial::verify::VerifyLevel;
use crate::dial::wanted::Wanted;
use crate::event::Event;
use crate::ledger::FlightKind;
use crate::lineage::Lineage;
use crate::link::Link;
use crate::lock::lock;

/// So many links in a row that end upon the question, and it is not put again.
const UNANSWERED: u32 = 2;

/// What is remembered from link to link.
#[derive(Default)]
pub(super) struct Descent(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    last: Option<Known>,
    unanswered: u32,
}

/// What was last told, over which link, and when that server was last heard.
struct Known {
    lineage: Lineage,
    epoch: Epoch,
    heard: Instant,
}

impl Descent {
    /// Whether to ask. Whoever may has asked in vain until it [hears](Descent::heard).
    fn may_ask(&self) -> bool {
        let mut memory = lock(&self.0);
        let may_ask = memory.unanswered < UNANSWERED;
        memory.unanswered += u32::from(may_ask);
        may_ask
    }

    fn heard(&self) {
        lock(&self.0).unanswered = 0;
    }

    /// Takes note of this one, and gives the one before if this does not go on from it.
    fn broken_by(&self, lineage: &Lineage, epoch: Epoch) -> Option<Lineage> {
        let now = Instant::now();
        let before = lock(&self.0).last.replace(Known { lineage: lineage.clone(), epoch, heard: now })?;
        let unheard = now.saturating_duration_since(before.heard);
        (!lineage.descends_from(&before.lineage, unheard)).then_some(before.lineage)
    }

    fn heard_last(&self, epoch: Epoch, heard: Instant) {
        if let Some(known) = lock(&self.0).last.as_mut().filter(|known| known.epoch == epoch) {
            known.heard = known.heard.max(heard);
        }
    }
}

/// Takes note of when a link's server was last heard, when it is dropped with the link.
pub(super) struct Hearing<'a> {
    descent: &'a Descent,
    link: &'a Link,
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        if let Some(heard) = self.link.ledger().last_read() {
            self.descent.heard_last(self.link.epoch(), heard);
        }
    }
}

/// Asks the server of `link`, if it stands such questions, and tells what follows. What is returned is to be kept for as long as the
/// link serves.
pub(super) async fn look<'a>(control: &'a Control, link: &'a Link) -> Hearing<'a> {
    let hearing = Hearing { descent: &control.descent, link };
    // The proxies that lower levels are for hang up on what they do not know.
    // A replica takes over the history of whoever it follows, and loses nothing of an application's by that.
    if control.wanted != Wanted::Primary || link.verify_level() <= VerifyLevel::Ping || !control.descent.may_ask() {
        return hearing;
    }
    if let Some(lineage) = ask(control, link).await
        && control.descent.broken_by(&lineage, link.epoch()).is_some()
    {
        let (epoch, address) = (link.epoch(), link.address().clone());
        control.board.send(Event::LineageChanged { epoch, address, is_empty: lineage.is_empty() });
    }
    hearing
}

async fn ask(control: &Control, link: &Link) -> Option<Lineage> {
    let mut sections = Pipeline::with_capacity(3);
    for section in ["server", "replication", "keyspace"] {
        sections.cmd("INFO").arg(section);
    }
    let (mut multiplexer, mut flight) = (link.multiplexer(), link.ledger().begin(FlightKind::Plain));
    let replies = timeout(control.config.dial.timeout, multiplexer.ask(&sections)).await.ok()??;
    flight.answered();
    drop(flight);
    control.descent.heard();
    Lineage::read(&replies)
}
