//! A child that is started again whenever it ends: who it is, and how long it must wait if it keeps dying.

use std::time::Duration;

use ractor::{ActorCell, ActorRef, Message};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// A child that dies again within a second waits this long before its next start, doubling.
const CRASH_BACKOFF: Duration = Duration::from_millis(10);

/// And at most this long.
const CRASH_BACKOFF_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Child<M: Message> {
    actor: Option<ActorRef<M>>,
    started_at: Instant,
    crashes: u32,
    restart: Option<AbortOnDropHandle<()>>,
}

impl<M: Message> Child<M> {
    pub(super) fn none() -> Self {
        Child { actor: None, started_at: Instant::now(), crashes: 0, restart: None }
    }

    pub(super) fn is(&self, who: &ActorCell) -> bool {
        self.actor.as_ref().is_some_and(|actor| actor.get_id() == who.get_id())
    }

    pub(super) fn is_there(&self) -> bool {
        self.actor.is_some()
    }

    /// Whether it ended in order and will be started again, not at once.
    pub(super) fn is_awaited(&self) -> bool {
        self.restart.is_some() && self.crashes == 0
    }

    pub(super) fn started(&mut self, actor: ActorRef<M>) {
        self.actor = Some(actor);
        self.started_at = Instant::now();
        self.restart = None;
    }

    /// It ended in order.
    pub(super) fn ended(&mut self) {
        self.actor = None;
        self.crashes = 0;
    }

    /// It died of itself. How long to wait before it is started again: not at all, unless it keeps dying.
    pub(super) fn crashed(&mut self) -> Duration {
        self.actor = None;
        if self.started_at.elapsed() > CRASH_BACKOFF_LIMIT {
            self.crashes = 0;
        }
        self.crashes = self.crashes.saturating_add(1);
        match self.crashes {
            1 => Duration::ZERO,
            again => CRASH_BACKOFF.saturating_mul(1 << (again - 2).min(16)).min(CRASH_BACKOFF_LIMIT),
        }
    }

    /// It did not even start. How long to wait before that is tried again.
    pub(super) fn failed_to_start(&mut self) -> Duration {
        self.crashed().max(CRASH_BACKOFF)
    }

    /// `timer` will have it started again.
    pub(super) fn restarts_by(&mut self, timer: AbortOnDropHandle<()>) {
        self.restart = Some(timer);
    }

    pub(super) fn tell(&self, message: M) {
        if let Some(actor) = &self.actor {
            // An actor that is gone is being replaced, and told what it needs when it starts.
            let _ = actor.send_message(message);
        }
    }
}
