//! Room for what waits elsewhere than at a gate: for the slots of a cluster to be known, or for a replica to serve. So many commands
//! have it, and so many bytes of them; the gate, which also knows who is next, counts for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::CommandSettings;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Room {
    held: AtomicUsize,
    bytes: AtomicUsize,
}

/// Somebody's part of the room, until it is dropped.
pub(crate) struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// For a command of this size, if there is any.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize, most: &CommandSettings) -> Option<Held> {
        let held_before = self.held.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { room: Arc::clone(self), bytes };
        let is_enough = held_before < most.max_held && bytes_before.saturating_add(bytes) <= most.max_held_bytes;
        is_enough.then_some(held)
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
        self.room.held.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
