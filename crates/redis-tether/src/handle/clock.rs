//! One command's time: a deadline that covers holding, sending again and the reply. It starts when it is first asked for,
//! and no timer exists before the first reason to wait, so a reply that is there at once costs none.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::command::Demand;
use crate::gate::Baton;
use crate::ledger::Ledger;
use crate::patience::Patience;
use crate::stats::Counters;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Clock {
    /// `None`: it takes as long as it takes, as the caller has asked of the server.
    limit: Option<Duration>,
    deadline: Duration,
    started: Option<Instant>,
    pub(crate) patience: Patience,
}

impl Clock {
    /// A blocking command's own timeout comes on top of the deadline.
    pub(crate) fn new(deadline: Duration, demand: Demand) -> Clock {
        let limit = match demand {
            Demand::Plain | Demand::Unshareable(_) => Some(deadline),
            Demand::Blocking(wait) | Demand::Acknowledgement(wait) => wait.map(|wait| wait.saturating_add(deadline)),
        };
        Clock { limit, deadline, started: None, patience: Patience::new(deadline) }
    }

    /// When the command is overdue. A limit that no clock reaches is none.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        let started = *self.started.get_or_insert_with(Instant::now);
        started.checked_add(self.limit?)
    }

    /// Whether the command is overdue before it was sent. That it comes late because this process stood still is no excuse
    /// here: nothing is lost by not sending it.
    pub(crate) fn is_overdue(&mut self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    /// Runs `sending`, the sending of a command that was entered in `ledger`, until there is a reply, the command is overdue or
    /// there will never be a reply. A timer that fires late because this process stood still is put off, so that a reply
    /// that waits in the socket is read first.
    ///
    /// The baton goes on after the first look, by which the command is queued. Where a blocking command keeps the server from
    /// answering, those behind it have their deadline after that.
    pub(super) async fn run<F: Future>(
        &mut self,
        sending: Pin<&mut F>,
        baton: Option<Baton>,
        ledger: &Ledger,
        counters: &Counters,
    ) -> Ran<F::Output> {
        let mut replying = pin!(reply(sending, ledger));
        let first = poll_fn(|cx| Poll::Ready(replying.as_mut().poll(cx))).await;
        drop(baton);
        if let Poll::Ready(ran) = first {
            return ran;
        }
        let Some(due) = self.due() else { return replying.await };
        let mut timer = pin!(sleep_until(due));
        loop {
            tokio::select! {
                biased;
                ran = replying.as_mut() => return ran,
                () = timer.as_mut() => {}
            }
            let after_blocking = ledger.blocked_until().and_then(|until| until.checked_add(self.deadline));
            let later = after_blocking.or_else(|| self.patience.put_off(timer.deadline(), counters));
            match later {
                Some(later) => timer.as_mut().reset(later),
                None => return Ran::Overdue,
            }
        }
    }
}

/// What came of running a command.
pub(super) enum Ran<T> {
    Reply(T),
    Overdue,
    /// The link is gone, and the command's reply with it.
    LinkGone,
}

/// How soon it is looked again whether a dead link's driver is gone. It is within moments.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

async fn reply<F: Future>(mut sending: Pin<&mut F>, ledger: &Ledger) -> Ran<F::Output> {
    let reply = poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(reply) => Poll::Ready(Some(reply)),
        Poll::Pending if ledger.is_dead() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match reply.await {
        Some(reply) => Ran::Reply(reply),
        // Boxed, so that a command does not carry the room for it.
        None => Box::pin(last_reply(sending, ledger)).await,
    }
}

/// Of a dead link. Its driver answers what is queued with an error when it goes; but a command that is queued at the same
/// moment, behind what it emptied, is answered by nobody, and nobody wakes its caller.
#[cold]
async fn last_reply<F: Future>(mut sending: Pin<&mut F>, ledger: &Ledger) -> Ran<F::Output> {
    loop {
        let is_final = ledger.is_released();
        tokio::select! {
            biased;
            reply = sending.as_mut() => return Ran::Reply(reply),
            () = std::future::ready(()), if is_final => return Ran::LinkGone,
            () = sleep(LOOK_AGAIN) => {}
        }
    }
}
