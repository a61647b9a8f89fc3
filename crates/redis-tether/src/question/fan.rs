//! Several waits at once, in one task: their outcomes as they come, no more of them under way than is polite. Dropping the fan
//! drops them all, so that nothing outlives the task that asked.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use crate::transport::BoxFuture;

/// At most so many are asked at the same time.
const ABREAST: usize = 8;

pub(crate) struct Fan<'a, T> {
    waiting: VecDeque<BoxFuture<'a, T>>,
    under_way: Vec<BoxFuture<'a, T>>,
    abreast: usize,
}

impl<'a, T> Fan<'a, T> {
    pub(crate) fn new() -> Self {
        Fan::wide(ABREAST)
    }

    /// So many abreast.
    pub(crate) fn wide(abreast: usize) -> Self {
        Fan { waiting: VecDeque::new(), under_way: Vec::new(), abreast }
    }

    pub(crate) fn add(&mut self, work: impl Future<Output = T> + Send + 'a) {
        self.waiting.push_back(Box::pin(work));
    }

    /// The next outcome; `None` when there is none to come. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| {
            while self.under_way.len() < self.abreast
                && let Some(work) = self.waiting.pop_front()
            {
                self.under_way.push(work);
            }
            if self.under_way.is_empty() {
                return Poll::Ready(None);
            }
            let mut works = self.under_way.iter_mut().enumerate();
            let done = works.find_map(|(index, work)| match work.as_mut().poll(cx) {
                Poll::Ready(outcome) => Some((index, outcome)),
                Poll::Pending => None,
            });
            let Some((index, outcome)) = done else { return Poll::Pending };
            drop(self.under_way.remove(index));
            Poll::Ready(Some(outcome))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn outcomes_come_as_they_are_ready_and_never_too_many_at_once() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut fan = Fan::new();
        for n in 0..20 {
            let (now, most) = (now.clone(), most.clone());
            fan.add(async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                sleep(Duration::from_millis(100 - n)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                n
            });
        }
        let mut came = Vec::new();
        while let Some(n) = fan.next().await {
            came.push(n);
        }
        assert_eq!(came[0], 7, "the quickest of the first eight");
        came.sort_unstable();
        assert_eq!(came, (0..20).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::Relaxed), ABREAST);
    }
}
