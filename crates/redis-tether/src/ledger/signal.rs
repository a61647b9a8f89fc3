//! A wake-up for those who wait for a condition on counters that many threads write. The ledger raises one when something is
//! outstanding and one when nothing is; the silence watch and drains wait for them.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Wakes those who wait for a condition. Raising it costs one load while nobody waits, since it is raised with every
/// command.
pub(super) struct Signal {
    parked: AtomicBool,
    notify: Notify,
}

impl Signal {
    pub(super) fn new() -> Signal {
        Signal { parked: AtomicBool::new(false), notify: Notify::new() }
    }

    /// To be called after the condition has come true, by a sequentially consistent write.
    pub(super) fn raise(&self) {
        if self.parked.load(Ordering::SeqCst) {
            self.parked.store(false, Ordering::SeqCst);
            self.notify.notify_waiters();
        }
    }

    /// Waits until the condition is true. It has to look by sequentially consistent reads.
    pub(super) async fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            // First in line (which a `Notified` is from its making), then visible, then one more look: whoever makes the
            // condition true after that look sees the flag, and whoever took the flag away before it wakes those in line.
            let notified = self.notify.notified();
            self.parked.store(true, Ordering::SeqCst);
            if condition() {
                return;
            }
            notified.await;
        }
    }
}
