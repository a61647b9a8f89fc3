//! Room for what waits elsewhere than at a gate: for the slots of a cluster to be known, or for a replica to serve. So many commands
//! have it, and so many bytes of them; the gate, which also knows who is next, counts for itself. Whoever has somewhere to go at last
//! gets there through a turnstile (`turnstile.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use crate::config::CommandSettings;
use crate::shared::Shared;
use crate::stats::Counters;
use crate::turnstile::Turn;

/// See the head of this file.
pub(crate) struct Room {
    held: AtomicUsize,
    bytes: AtomicUsize,
    counters: Arc<Counters>,
}

/// Somebody's part of the room, until it is dropped.
pub(crate) struct Held {
    room: Arc<Room>,
    bytes: usize,
    is_let_go: AtomicBool,
}

impl Room {
    /// Who is held there, and let go, is counted here.
    pub(crate) fn new(counters: Arc<Counters>) -> Arc<Room> {
        Arc::new(Room { held: AtomicUsize::new(0), bytes: AtomicUsize::new(0), counters })
    }

    /// For a command of this size, if there is any.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize, most: &CommandSettings) -> Option<Held> {
        let (held_before, bytes_before, held) = self.add(bytes);
        let is_enough = held_before < most.max_held && bytes_before.saturating_add(bytes) <= most.max_held_bytes;
        is_enough.then_some(held).inspect(|_| self.counters.held.increment())
    }

    /// For one that had its room somewhere else until now: it is not to be without for want of any.
    pub(crate) fn keep(self: &Arc<Self>, bytes: usize) -> Held {
        let (.., held) = self.add(bytes);
        self.counters.held.increment();
        held
    }

    fn add(self: &Arc<Self>, bytes: usize) -> (usize, usize, Held) {
        let held_before = self.held.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (held_before, bytes_before, Held { room: Arc::clone(self), bytes, is_let_go: AtomicBool::new(false) })
    }

    /// How many commands wait now.
    pub(crate) fn held_now(&self) -> u64 {
        self.held.load(Ordering::Relaxed) as u64
    }

    #[cfg(test)]
    pub(crate) fn bytes_now(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if *self.is_let_go.get_mut() {
            self.room.counters.released.increment();
        }
        self.room.held.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whether a command is held beside a gate, or was before: then it goes nowhere without its turn, however often it is sent on.
#[derive(Clone, Default)]
pub(crate) enum Stay {
    #[default]
    Never,
    /// Pieces of one command have it together.
    Now(Arc<Held>),
    Before,
}

impl Stay {
    /// It is held from now on.
    pub(crate) fn begin(&mut self, held: Held) {
        *self = Stay::Now(Arc::new(held));
    }

    /// It is held no more.
    pub(crate) fn end(&mut self) {
        if let Stay::Now(_) = self {
            *self = Stay::Before;
        }
    }

    /// It is held no more, since it has somewhere to go.
    fn let_go(&mut self) {
        if let Stay::Now(held) = self {
            held.is_let_go.store(true, Ordering::Relaxed);
        }
        self.end();
    }

    /// Ends where it goes to this tether, as soon as it may, or when it is due: then its turn had not come. `None` if there is nothing
    /// that others would have to wait for.
    pub(crate) async fn end_at(&mut self, shared: &Shared, due: Option<Instant>) -> Result<Option<Turn>, Elapsed> {
        // A gate that is not open has a queue of its own.
        let turn = match (shared.gate.is_open(), due) {
            (false, _) => Ok(None),
            (true, None) => Ok(Some(shared.turnstile.turn().await)),
            (true, Some(due)) => timeout_at(due, shared.turnstile.turn()).await.map(Some),
        };
        match &turn {
            Ok(_) => self.let_go(),
            Err(_) => self.end(),
        }
        turn
    }
}
