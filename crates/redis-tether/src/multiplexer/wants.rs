//! What a request waits for: one reply, or those of a pipeline put together as redis-rs puts them together.

use redis::{ServerError, Value};

use super::aborted::Aborted;
use super::call::{Failure, Outcome};

pub(crate) enum Wants {
    One,
    Many(Box<Many>),
}

/// The replies of a pipeline.
pub(crate) struct Many {
    skipped: usize,
    count: usize,
    is_transaction: bool,
    seen: usize,
    values: Vec<Value>,
    errors: Vec<(usize, ServerError)>,
    refusal: Option<ServerError>,
}

impl Wants {
    /// `count` replies after the first `skipped`, which in a transaction tell of errors all the same: then it was not run.
    pub(crate) fn many(skipped: usize, count: usize, is_transaction: bool) -> Wants {
        let (values, errors) = (Vec::new(), Vec::new());
        Wants::Many(Box::new(Many { skipped, count, is_transaction, seen: 0, values, errors, refusal: None }))
    }

    /// Takes the next reply. What it comes to, if it was the last one.
    pub(super) fn take(&mut self, value: Value) -> Option<Outcome> {
        match self {
            Wants::One => Some(Ok(value)),
            Wants::Many(many) => many.take(value),
        }
    }
}

impl Many {
    fn take(&mut self, value: Value) -> Option<Outcome> {
        self.seen += 1;
        match (value, self.seen <= self.skipped) {
            (Value::ServerError(error), true) if self.is_transaction => self.note(error),
            (_, true) => {}
            (value, false) => self.values.push(value),
        }
        (self.seen >= self.skipped.saturating_add(self.count)).then(|| self.outcome())
    }

    /// The first reply is that to `MULTI`, which is no command of the caller's.
    fn note(&mut self, error: ServerError) {
        match self.seen.checked_sub(2) {
            Some(index) => self.errors.push((index, error)),
            None => self.refusal = Some(error),
        }
    }

    fn outcome(&mut self) -> Outcome {
        if let Some(refusal) = self.refusal.take() {
            return Err(Failure::Unbegun(refusal));
        }
        if self.errors.is_empty() {
            return Ok(Value::Array(std::mem::take(&mut self.values)));
        }
        Err(Failure::Aborted(Aborted::new(self.skipped.saturating_sub(1), std::mem::take(&mut self.errors))))
    }
}
