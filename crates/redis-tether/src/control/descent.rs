//! Asks the server of a fresh link which history it holds, once, and tells where that does not go on from the one before: data
//! that was confirmed is gone, and only somebody who knows what it was can tell what follows. A courtesy: a server that denies
//! `INFO` or does not know it is as good as any, and one that hangs up on it is not asked for long. Runs beside the probe.

use std::sync::Mutex;
use std::time::Duration;

use redis::Pipeline;
use tokio::time::{Instant, sleep};

use super::Control;
use super::renewal::BLOCKED_FOR;
use crate::dial::verify::VerifyLevel;
use crate::dial::wanted::Wanted;
use crate::event::Event;
use crate::ledger::{FlightKind, Ledger, LinkEnd};
use crate::lineage::Lineage;
use crate::link::Link;
use crate::lock::lock;

/// So many links in a row that end upon the question, and it is not put again for a while.
const UNANSWERED: u32 = 2;

/// That while, from the last of them on: each may have ended over something else, as a slow script in front of the question. A peer that
/// does hang up on it costs no more than one link in as long.
const PUT_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// What is remembered from link to link.
#[derive(Default)]
pub(super) struct Descent(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    last: Option<Lineage>,
    /// So many links in a row have ended upon it, the last of them then.
    unanswered: u32,
    ended_at: Option<Instant>,
}

impl Descent {
    fn may_ask(&self) -> bool {
        let memory = lock(&self.0);
        memory.unanswered < UNANSWERED || memory.ended_at.is_none_or(|ended_at| ended_at.elapsed() >= PUT_AGAIN_AFTER)
    }

    /// Takes note of this one, and says whether it does not go on from the one before.
    fn is_broken_by(&self, lineage: &Lineage) -> bool {
        let before = lock(&self.0).last.replace(lineage.clone());
        before.is_some_and(|before| !lineage.descends_from(&before))
    }
}

/// The question, from when it is put until it is answered or the link is no longer of interest.
struct Question<'a> {
    descent: &'a Descent,
    link: &'a Ledger,
    is_answered: bool,
}

impl Drop for Question<'_> {
    /// In vain only where the peer ended the link over it: a link that was replaced, or whose probe ended, may have been answered yet.
    fn drop(&mut self) {
        let mut memory = lock(&self.descent.0);
        if self.is_answered {
            memory.unanswered = 0;
        } else if self.link.end().is_some_and(is_of_the_peer) {
            memory.unanswered = memory.unanswered.saturating_add(1);
            memory.ended_at = Some(Instant::now());
        }
    }
}

/// Silence included: a peer that says nothing more after the question would cost one link after the other.
fn is_of_the_peer(end: &LinkEnd) -> bool {
    !matches!(end, LinkEnd::Retired | LinkEnd::DriverGone)
}

/// Asks the server of `link`, if it stands such questions, and tells what follows. Ends with the link at the latest.
pub(super) async fn look(control: &Control, link: &Link) {
    // The proxies that lower levels are for hang up on what they do not know.
    // A replica takes over the history of whoever it follows, and loses nothing of an application's by that.
    if control.wanted != Wanted::Primary || link.verify_level() <= VerifyLevel::Ping || !control.descent.may_ask() {
        return;
    }
    let lineage = tokio::select! {
        biased;
        () = link.ledger().over() => None,
        lineage = ask(&control.descent, link) => lineage,
    };
    if let Some(lineage) = lineage
        && control.descent.is_broken_by(&lineage)
    {
        let (epoch, address) = (link.epoch(), link.address().clone());
        control.board.send(Event::LineageChanged { epoch, address, is_empty: lineage.is_empty() });
    }
}

async fn ask(descent: &Descent, link: &Link) -> Option<Lineage> {
    // Commands that were held come before the first question, and one of them may block.
    while link.ledger().blocked() {
        sleep(BLOCKED_FOR).await;
    }
    let mut sections = Pipeline::with_capacity(4);
    for section in ["server", "stats", "replication", "keyspace"] {
        sections.cmd("INFO").arg(section);
    }
    let mut question = Question { descent, link: link.ledger(), is_answered: false };
    let (mut multiplexer, mut flight) = (link.multiplexer(), link.ledger().begin(FlightKind::Plain));
    let replies = multiplexer.ask(&sections).await?;
    question.is_answered = true;
    flight.answered();
    Lineage::read(&replies)
}

#[cfg(test)]
mod tests;
