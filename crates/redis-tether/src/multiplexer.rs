//! Many callers on one connection: requests are queued by whoever sends them, a driver writes them together and hands out the
//! replies in order. redis-rs's encoding, replies and errors, and none of its tasks: what a request was to its link (on its way,
//! provably not yet, overdue) is known here by each request, and a request costs neither a channel nor a timer. It never
//! sends anything twice, and judges no reply.

mod aborted;
mod call;
mod driver;
mod need;
mod queue;
mod timekeeper;
mod wants;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use redis::{Pipeline, Value};
use tokio::runtime;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub(crate) use self::call::{Failure, News, Outcome};
pub(crate) use self::wants::Wants;

use self::call::Call;
use self::driver::Driver;
use self::queue::{NotQueued, Queue};
use self::timekeeper::Timekeeper;
use crate::ledger::LedgerStream;

/// Sends requests over one connection. Clones send over the same one. It does not keep the connection alive.
pub(crate) struct Multiplexer {
    line: Arc<Line>,
    /// Kept from request to request.
    call: Option<Arc<Call>>,
}

/// What senders, driver and timekeeper share.
struct Line {
    queue: Queue,
    timekeeper: Timekeeper,
    /// Where driver and timekeeper run.
    home: runtime::Id,
}

impl Line {
    fn new(home: runtime::Id) -> Line {
        Line { queue: Queue::default(), timekeeper: Timekeeper::new(), home }
    }

    /// Whether the caller runs where the timekeeper does. One without a runtime has no other timer.
    fn is_home(&self) -> bool {
        runtime::Handle::try_current().map_or(true, |here| here.id() == self.home)
    }
}

impl Multiplexer {
    /// Puts requests on `stream` from now on, driven by tasks of `tasks` until the handle is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(stream: LedgerStream, tasks: &TaskTracker) -> (Multiplexer, AbortOnDropHandle<()>) {
        let line = Arc::new(Line::new(runtime::Handle::current().id()));
        let driver = AbortOnDropHandle::new(tasks.spawn(Driver::new(stream, Arc::clone(&line))));
        // It ends with the driver.
        tasks.spawn(timekeeper::keep(Arc::clone(&line)));
        (Multiplexer { line, call: None }, driver)
    }

    /// Queues a request that is encoded by `encode` and due then, and says how to learn what becomes of it. `None` is never.
    pub(crate) fn send(&mut self, wants: Wants, due: Option<Instant>, encode: impl FnOnce(&mut Vec<u8>)) -> Sent<'_> {
        let Multiplexer { line, call } = self;
        let call = begin(call, due);
        let queued = line.queue.push(call, wants, encode);
        match &queued {
            Ok(_) => due.into_iter().for_each(|due| line.timekeeper.note(due)),
            Err(NotQueued::Closed) => call.finish(Err(Failure::NeverLeft)),
            Err(NotQueued::Empty) => call.finish(Err(Failure::Empty)),
        }
        Sent { line, call, due, number: queued.ok(), is_done: false }
    }

    /// Sends the commands of `pipeline`, which is no transaction, and waits for their replies. `None` if the link ended first.
    ///
    /// Has no deadline. Cancel safe: the replies are dropped when they come.
    pub(crate) async fn ask(&mut self, pipeline: &Pipeline) -> Option<Vec<Value>> {
        let mut sent = self.send(Wants::many(0, pipeline.len(), false), None, |bytes| encode_all(pipeline, bytes));
        match sent.news().await {
            News::Done(Ok(Value::Array(replies))) => Some(replies),
            News::Done(_) | News::Overdue => None,
        }
    }
}

/// The call that is kept, if it is free: one whose caller went away is the driver's until it is answered.
fn begin(kept: &mut Option<Arc<Call>>, due: Option<Instant>) -> &Arc<Call> {
    if !kept.as_ref().is_some_and(|call| call.begin(due)) {
        *kept = None;
    }
    kept.get_or_insert_with(|| Arc::new(Call::begun(due)))
}

/// Encodes commands one behind the other.
pub(crate) fn encode_all(pipeline: &Pipeline, bytes: &mut Vec<u8>) {
    pipeline.cmd_iter().for_each(|command| command.write_packed_command(bytes));
}

impl Clone for Multiplexer {
    fn clone(&self) -> Multiplexer {
        Multiplexer { line: Arc::clone(&self.line), call: None }
    }
}

impl fmt::Debug for Multiplexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplexer").finish_non_exhaustive()
    }
}

/// A request that was queued. Dropping it drops its reply; if the driver has not taken it by then, it is not sent.
#[must_use = "it is not waited for"]
pub(crate) struct Sent<'a> {
    line: &'a Line,
    call: &'a Arc<Call>,
    due: Option<Instant>,
    /// `None`: it was not queued.
    number: Option<u64>,
    is_done: bool,
}

impl Sent<'_> {
    /// Waits for what becomes of it. Cancel safe; not to be called again once it is done.
    pub(crate) async fn news(&mut self) -> News {
        match self.due.filter(|_| !self.line.is_home()) {
            None => self.told().await,
            // The runtime of the timekeeper may stand still, and that is not to keep a caller of another one waiting.
            Some(due) => {
                let told = Box::pin(timeout_at(due, self.told())).await;
                told.unwrap_or(News::Overdue)
            }
        }
    }

    fn told(&mut self) -> impl Future<Output = News> + Send {
        poll_fn(|cx| {
            let news = self.call.poll(cx);
            self.is_done |= matches!(&news, Poll::Ready(News::Done(_)));
            news
        })
    }

    /// Gives it up, and says whether none of it has left, nor will.
    pub(crate) fn take_back(mut self) -> bool {
        let Sent { line, call, .. } = self;
        let is_unsent = self.number.is_some_and(|number| line.queue.take_back(number, call));
        self.is_done |= is_unsent;
        is_unsent
    }

    /// It is due later than was said.
    pub(crate) fn put_off(&mut self, due: Instant) {
        self.due = Some(due);
        self.call.put_off(due);
        self.line.timekeeper.note(due);
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.is_done && self.call.leave() {
            self.line.queue.note_left();
        }
    }
}
