//! The watch over one link's silence. It reports while the peer has owed a word for too long, again and again; whoever
//! hears it keeps count. Where commands are outstanding, nothing is owed for all that the bytes tell, and nothing is read,
//! it asks for a probe: only the peer's answer can tell a caller who does not look at a reply from a reply that never
//! came. It sleeps while neither is the case, so an idle link costs nothing.

use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::recovery::Settings;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ledger::Ledger;

/// Runs until the link is dead. `window` is the silence that counts; `answered` tells that there may be nothing more to look
/// out for, `report` is told how long it has lasted, and `ask` is to have the peer probed.
pub(crate) async fn watch(
    ledger: Arc<Ledger>,
    window: Duration,
    answered: &Notify,
    ask: impl Fn() + Send,
    report: impl Fn(Duration) + Send,
) {
    let mut busy_since = Instant::now();
    while !ledger.is_dead() {
        if !ledger.is_busy() {
            ledger.busy().await;
            busy_since = Instant::now();
            continue;
        }
        tokio::select! {
            biased;
            () = sleep_in_time(due(&ledger, busy_since, window), window) => {}
            () = answered.notified() => continue,
        }
        if let Some(silent_for) = ledger.found_silent(window) {
            report(silent_for);
        } else if is_doubtful(&ledger, busy_since, window) {
            ask();
        } else {
            continue;
        }
        sleep(window).await;
    }
}

/// Sleeps until `due`. Whoever slept for longer than it meant to belongs to a process that stood still, and so may those who
/// read the socket: its verdict would be void, so it sleeps for one more window after they had their turn. But not for
/// ever, for a process that never keeps up must come to a verdict, too.
async fn sleep_in_time(mut due: Instant, window: Duration) {
    for _ in 0..Settings::VOID_VERDICTS {
        sleep_until(due).await;
        if due.elapsed() < Settings::STALL {
            return;
        }
        due = Instant::now() + window;
    }
    sleep_until(due).await;
}

/// When the present silence would count. One that a blocking command explains is looked at again after a window.
fn due(ledger: &Ledger, busy_since: Instant, window: Duration) -> Instant {
    let now = Instant::now();
    let since = ledger.silent_since(now).or_else(|| ledger.unanswered_since(busy_since, now)).unwrap_or(now);
    (since + window).max(now + Duration::from_millis(1))
}

/// Whether outstanding commands have been in doubt for as long as the window, and nothing was read. Where a word is owed there
/// is no doubt.
fn is_doubtful(ledger: &Ledger, busy_since: Instant, window: Duration) -> bool {
    let now = Instant::now();
    let is_quiet = |since| now.saturating_duration_since(since) >= window;
    ledger.is_in_doubt()
        && ledger.silent_since(now).is_none()
        && ledger.unanswered_since(busy_since, now).is_some_and(is_quiet)
}

#[cfg(test)]
mod tests;
