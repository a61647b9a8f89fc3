//! How callers wait for their answers. Some have no patience and drop the command, some start one and do not look for a
//! while; a command must be none the worse for either.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

/// How a caller waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// To the end.
    Awaits,
    /// For so long.
    GoesAwayAfter(Duration),
    /// Starts, does not look for so long, and then waits to the end.
    LooksAwayFor(Duration),
}

impl Manner {
    /// Waits for `sending` in this manner. `None` if the caller went away before there was an answer.
    pub async fn wait<T>(self, sending: impl Future<Output = T>) -> Option<T> {
        let mut sending = pin!(sending);
        match self {
            Manner::Awaits => Some(sending.await),
            Manner::GoesAwayAfter(patience) => tokio::select! {
                biased;
                answer = sending => Some(answer),
                () = sleep(patience) => None,
            },
            Manner::LooksAwayFor(time) => {
                let first = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await;
                if let Poll::Ready(answer) = first {
                    return Some(answer);
                }
                sleep(time).await;
                Some(sending.await)
            }
        }
    }
}
