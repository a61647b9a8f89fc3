//! Tasks that report back to the actor that began them. A handler never awaits I/O; it begins a task, and the task's end
//! comes back as a message, even where the work panicked. Every task of a tether is tracked, the actors' own ones included:
//! a tether has ended when the last of them has.

use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::foreign;

/// Runs `work`; whatever becomes of it, `done` hears: its outcome, or `None` if it panicked. Dropping the handle ends both.
pub(crate) fn reporting<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl Future<Output = T> + Send + 'static,
    done: impl FnOnce(Option<T>) + Send + 'static,
) -> AbortOnDropHandle<()> {
    // Boxed, since whatever is moved into a future before it is polled has its place there twice.
    let work = foreign::caught(Box::pin(work));
    AbortOnDropHandle::new(tasks.spawn(async move { done(work.await) }))
}

/// Calls `done` at `at`, unless the handle is dropped before.
pub(crate) fn at(tasks: &TaskTracker, at: Instant, done: impl FnOnce() + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tasks.spawn(async move {
        // A timer that is due already would still wait for the clock's next whole millisecond.
        if at > Instant::now() {
            sleep_until(at).await;
        }
        done();
    }))
}

/// Calls `done` after `delay`, unless the handle is dropped before.
pub(crate) fn after(
    tasks: &TaskTracker,
    delay: Duration,
    done: impl FnOnce() + Send + 'static,
) -> AbortOnDropHandle<()> {
    at(tasks, Instant::now() + delay, done)
}

/// Starts an actor under `above`, and counts it among the tasks until it has ended: ractor spawns its task, and tells of its
/// end before that is over.
pub(crate) async fn spawn_child<A: Actor>(
    tasks: &TaskTracker,
    actor: A,
    args: A::Arguments,
    above: ActorCell,
) -> Result<ActorRef<A::Msg>, SpawnErr> {
    // On the heap for as long as it takes: an actor with room for it in its own future would keep that for as long as it lives.
    let (child, task) = Box::pin(Actor::spawn_linked(None, actor, args, above)).await?;
    tasks.spawn(async move {
        // However it ended.
        let _ = task.await;
    });
    Ok(child)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_due_at_once_is_done_at_once() {
        // Between two ticks of the clock.
        tokio::time::advance(Duration::from_micros(300)).await;
        let (tasks, began) = (TaskTracker::new(), Instant::now());
        let (sender, done) = oneshot::channel();
        let _timer = at(&tasks, began, move || {
            let _ = sender.send(());
        });
        done.await.expect("the timer is kept");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    /// Panics when it is dropped.
    struct Brittle;

    impl Drop for Brittle {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "dropped");
        }
    }

    async fn reported<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (sender, done) = oneshot::channel();
        let _task = reporting(&TaskTracker::new(), work, move |outcome| {
            let _ = sender.send(outcome);
        });
        done.await.expect("the task is kept")
    }

    #[tokio::test]
    async fn whatever_becomes_of_the_work_is_reported() {
        assert_eq!(reported(async { 7 }).await, Some(7));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("while it is polled");
        };
        assert_eq!(reported::<()>(panics).await, None);
        let brittle = Brittle;
        let panics = poll_fn(move |_| {
            let _ = &brittle;
            Poll::Ready(())
        });
        assert_eq!(reported(panics).await, None, "while it is dropped");
    }
}
