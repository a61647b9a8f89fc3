//! One request on its way, between its caller and the driver: what the caller waits for, and until when. A sender keeps one from
//! request to request, so that a request costs no allocation of ours.

use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use redis::{ServerError, Value};
use tokio::time::Instant;

use super::aborted::Aborted;
use crate::foreign;
use crate::lock::lock;

/// What becomes of a request.
pub(crate) type Outcome = Result<Value, Failure>;

/// A request without a reply.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was a transaction, and the queueing of some of its commands was refused.
    Aborted(Aborted),
    /// It was to be a transaction, and `MULTI` was refused.
    Unbegun(ServerError),
    /// The link is gone, and some of it may have left before.
    Lost,
    /// The link is gone, and provably none of it had left.
    NeverLeft,
    /// There was nothing to send.
    Empty,
}

/// What a caller is told.
#[derive(Debug)]
pub(crate) enum News {
    Done(Outcome),
    /// It is due and there is no reply. Told once, and again after it was put off.
    Overdue,
}

#[derive(Default)]
pub(super) struct Call {
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Vacant,
    Open(Open),
    Done(Outcome),
    /// The caller went away before the reply came.
    Left,
}

#[derive(Default)]
struct Open {
    caller: Option<Waker>,
    due: Option<Instant>,
    is_overdue: bool,
}

impl Call {
    /// One that has begun.
    pub(super) fn begun(due: Option<Instant>) -> Call {
        Call { state: Mutex::new(State::Open(Open { due, ..Open::default() })) }
    }

    /// Begins a request that is to be answered by `due`. `false` if an earlier one, whose caller went away, is not over yet.
    pub(super) fn begin(&self, due: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        let is_free = matches!(*state, State::Vacant);
        if is_free {
            *state = State::Open(Open { due, ..Open::default() });
        }
        is_free
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<News> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Open(open) if open.is_overdue => Poll::Ready(News::Overdue),
            State::Open(open) => {
                match &mut open.caller {
                    Some(caller) => caller.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Done(_) => match std::mem::take(&mut *state) {
                State::Done(outcome) => Poll::Ready(News::Done(outcome)),
                State::Vacant | State::Open(_) | State::Left => Poll::Pending,
            },
            // Over already: whoever asks again asked once too often, and waits for as long as it takes.
            State::Vacant | State::Left => Poll::Pending,
        }
    }

    /// It is due later than was said.
    pub(super) fn put_off(&self, due: Instant) {
        if let State::Open(open) = &mut *lock(&self.state) {
            (open.due, open.is_overdue) = (Some(due), false);
        }
    }

    /// The driver is done with it.
    pub(super) fn finish(&self, outcome: Outcome) {
        let mut state = lock(&self.state);
        let before = match &*state {
            State::Open(_) => std::mem::replace(&mut *state, State::Done(outcome)),
            State::Left => std::mem::take(&mut *state),
            State::Vacant | State::Done(_) => return,
        };
        drop(state);
        if let State::Open(Open { caller: Some(caller), .. }) = before {
            foreign::run("a caller's waker", || caller.wake());
        }
    }

    /// The caller is done with it. Says whether the driver is not.
    pub(super) fn leave(&self) -> bool {
        let mut state = lock(&self.state);
        let is_open = matches!(*state, State::Open(_));
        let before = std::mem::replace(&mut *state, if is_open { State::Left } else { State::Vacant });
        drop(state);
        drop(before);
        is_open
    }

    pub(super) fn is_left(&self) -> bool {
        matches!(*lock(&self.state), State::Left)
    }

    /// Whether it is overdue now and its caller has to be told, or else when it will be.
    pub(super) fn look(&self, now: Instant) -> Look {
        match &mut *lock(&self.state) {
            State::Open(open) if !open.is_overdue => match open.due {
                Some(due) if due <= now => {
                    open.is_overdue = true;
                    Look::Overdue(open.caller.take())
                }
                Some(due) => Look::Due(due),
                None => Look::Never,
            },
            _ => Look::Never,
        }
    }
}

/// What the timekeeper finds.
pub(super) enum Look {
    Overdue(Option<Waker>),
    Due(Instant),
    Never,
}
