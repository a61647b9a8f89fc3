//! The notice board of one tether: the status that it shows and the events that it sends. The control actors write it,
//! applications read it. It never blocks, and a reader who is slow or gone costs nothing but its own events.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::event::Event;
use crate::status::{Phase, Status};

/// So many events a slow subscriber may lag behind before it loses the oldest, and is told how many.
const EVENT_BACKLOG: usize = 256;

type Forward = Box<dyn Fn(&Event) -> bool + Send>;

pub(crate) struct Board {
    status: watch::Sender<Status>,
    events: broadcast::Sender<Event>,
    forwards: Mutex<Vec<Forward>>,
}

impl Board {
    pub(crate) fn new(endpoint: Arc<str>) -> Self {
        Board {
            status: watch::Sender::new(Status::connecting(endpoint)),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            forwards: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Hands every later event to `forward`, until it says that its receiver is gone.
    pub(crate) fn forward(&self, forward: impl Fn(&Event) -> bool + Send + 'static) {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(forward));
    }

    pub(crate) fn send(&self, event: Event) {
        tracing::debug!(?event, "tether");
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner).retain(|forward| forward(&event));
        // Nobody listening is no failure.
        let _ = self.events.send(event);
    }

    /// Changes the status, and wakes those who watch it if that made a difference. A stopped tether stays stopped.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            if status.phase == Phase::Stopped {
                return false;
            }
            let before = status.clone();
            change(status);
            if status.phase != before.phase {
                status.since = tokio::time::Instant::now();
            }
            *status != before
        });
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}
