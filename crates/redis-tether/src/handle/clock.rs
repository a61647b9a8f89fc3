//! One command's time: a deadline that covers holding, sending again and the reply. It starts when it is first asked for,
//! and no timer exists before the first reason to wait, so a reply that is there at once costs none.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::command::Demand;
use crate::gate::Baton;
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

    /// Runs `future` until the command is overdue: `None` then. A timer that fires late because this process stood still
    /// is put off, so that a reply that waits in the socket is read first.
    ///
    /// The baton goes on after the first look at the future, by which the command is queued.
    ///
    /// `blocked_until` says until when a blocking command keeps the server from answering, if one does: those behind it have
    /// their deadline after that.
    pub(crate) async fn run<F: Future>(
        &mut self,
        mut future: Pin<&mut F>,
        baton: Option<Baton>,
        blocked_until: impl Fn() -> Option<Instant>,
        counters: &Counters,
    ) -> Option<F::Output> {
        let first = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        drop(baton);
        if let Poll::Ready(output) = first {
            return Some(output);
        }
        let Some(due) = self.due() else { return Some(future.await) };
        let mut timer = pin!(sleep_until(due));
        loop {
            tokio::select! {
                biased;
                output = future.as_mut() => return Some(output),
                () = timer.as_mut() => {}
            }
            let after_blocking = blocked_until().and_then(|until| until.checked_add(self.deadline));
            let later = match after_blocking {
                Some(later) => later,
                None => self.patience.put_off(timer.deadline(), counters)?,
            };
            timer.as_mut().reset(later);
        }
    }
}
