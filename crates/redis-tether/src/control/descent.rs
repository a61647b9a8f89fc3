//! Asks the server of a fresh link which history it holds, once, and tells where that does not go on from the one before: data
//! that was confirmed is gone, and only somebody who knows what it was can tell what follows. A courtesy: a server that denies
//! `INFO` or does not know it is as good as any, and one that hangs up on it is not asked for long. Runs beside the probe.

use std::sync::Mutex;

use redis::Pipeline;
use tokio::time::timeout;

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
    last: Option<Lineage>,
    unanswered: u32,
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

    /// Takes note of this one, and says whether it does not go on from the one before.
    fn is_broken_by(&self, lineage: &Lineage) -> bool {
        let before = lock(&self.0).last.replace(lineage.clone());
        before.is_some_and(|before| !lineage.descends_from(&before))
    }
}

/// Asks the server of `link`, if it stands such questions, and tells what follows.
pub(super) async fn look(control: &Control, link: &Link) {
    // The proxies that lower levels are for hang up on what they do not know.
    // A replica takes over the history of whoever it follows, and loses nothing of an application's by that.
    if control.wanted != Wanted::Primary || link.verify_level() <= VerifyLevel::Ping || !control.descent.may_ask() {
        return;
    }
    if let Some(lineage) = ask(control, link).await
        && control.descent.is_broken_by(&lineage)
    {
        let (epoch, address) = (link.epoch(), link.address().clone());
        control.board.send(Event::LineageChanged { epoch, address, is_empty: lineage.is_empty() });
    }
}

async fn ask(control: &Control, link: &Link) -> Option<Lineage> {
    let mut sections = Pipeline::with_capacity(4);
    for section in ["server", "stats", "replication", "keyspace"] {
        sections.cmd("INFO").arg(section);
    }
    let (mut multiplexer, mut flight) = (link.multiplexer(), link.ledger().begin(FlightKind::Plain));
    let replies = timeout(control.config.dial.timeout, multiplexer.ask(&sections)).await.ok()??;
    flight.answered();
    drop(flight);
    control.descent.heard();
    Lineage::read(&replies)
}
