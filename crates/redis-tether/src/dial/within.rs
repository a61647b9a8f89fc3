//! Bounding a wait by a timer that may itself be late.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::patience::Patience;

/// What `future` yields within `limit`, or `None`. If the timer is late, the future is granted one moment more.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut timer = pin!(sleep_until(Instant::now() + limit));
    // Once, however short the limit.
    let mut patience = Patience::new(Duration::ZERO);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return Some(output),
            () = &mut timer => {}
        }
        let later = patience.later(timer.deadline())?;
        timer.as_mut().reset(later);
    }
}
