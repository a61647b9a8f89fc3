//! The watch over one link's silence: bytes are outstanding, and nothing has been read for a while. It sleeps while
//! nothing is outstanding, so an idle link costs nothing. It reports again and again while the silence lasts; whoever
//! hears it keeps count.

use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::recovery::Settings;
use tokio::time::{Instant, sleep_until};

use crate::ledger::Ledger;

/// Runs until the link is dead. `window` is the silence that counts; `report` is told how long it has lasted.
pub(crate) async fn watch(ledger: Arc<Ledger>, window: Duration, report: impl Fn(Duration) + Send) {
    while !ledger.is_dead() {
        ledger.busy().await;
        let due = Instant::now() + remaining(&ledger, window);
        sleep_until(due).await;
        if due.elapsed() >= Settings::STALL {
            // We slept longer than we meant to, and so may those who read the socket have: the verdict is void, and the
            // window starts again after they had their turn.
            sleep_until(Instant::now() + window).await;
        }
        match ledger.silent_for(Instant::now()) {
            Some(silent_for) if silent_for >= window => {
                report(silent_for);
                sleep_until(Instant::now() + window).await;
            }
            _ => {}
        }
    }
}

/// How long until the present silence would count. A silence that a blocking command explains starts to count later.
fn remaining(ledger: &Ledger, window: Duration) -> Duration {
    let silent_for = ledger.silent_for(Instant::now()).unwrap_or_default();
    window.saturating_sub(silent_for).max(Duration::from_millis(1))
}
