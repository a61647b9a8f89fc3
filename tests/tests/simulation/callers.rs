//! Applications: tasks that send commands through handles at random moments, sometimes drop them half-way, and keep a
//! record of what they were told. Each command carries a word that no other has, so that the servers' logs say how often it
//! was executed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis_tether::redis::{RedisError, Value, cmd, pipe};
use redis_tether::{Handle, Outcome, OutcomeExt};
use tokio::time::Instant;

use crate::trace::Trace;

/// One command, or pipeline, as its caller saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    /// The words by which the parts of it are found in the servers' logs.
    pub(crate) words: Vec<String>,
    pub(crate) issued: Duration,
    pub(crate) ended: Duration,
    pub(crate) deadline: Duration,
    pub(crate) fate: Fate,
}

/// What its caller was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Done,
    /// It was done, and the reply was not that of a first execution.
    Wrong(String),
    /// The outcome, and the parts that servers gave an error for.
    Failed(Option<Outcome>, Vec<usize>, String),
    /// The caller went away before there was an answer.
    Dropped,
}

/// The records of all callers of a schedule.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Calls {
    pub(crate) fn all(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, call: Call) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

/// One caller.
pub(crate) struct Caller {
    pub(crate) name: usize,
    pub(crate) handle: Handle,
    pub(crate) rng: fastrand::Rng,
    pub(crate) trace: Trace,
    pub(crate) calls: Calls,
    /// The longest pause between two commands.
    pub(crate) pause: Duration,
    /// What `handle` was given.
    pub(crate) deadline: Duration,
}

/// What callers send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Set,
    Push,
    Increment,
    Pipeline,
    Transaction,
}

impl Caller {
    /// Sends commands until `until`, and sees the last one through.
    pub(crate) async fn run(mut self, until: Instant) {
        let mut number = 0;
        while Instant::now() < until {
            tokio::time::sleep(self.random_below(self.pause)).await;
            number += 1;
            self.call(number).await;
        }
    }

    async fn call(&mut self, number: usize) {
        let kind = [Kind::Set, Kind::Push, Kind::Increment, Kind::Pipeline, Kind::Transaction][self.rng.usize(..5)];
        let word = format!("w{}-{number}", self.name);
        let parts = if matches!(kind, Kind::Pipeline | Kind::Transaction) { 3 } else { 1 };
        let words: Vec<String> = (0..parts).map(|part| format!("{word}-{part}")).collect();
        let patience = match self.rng.u8(..8) {
            0 => Some(self.random_below(Duration::from_millis(5))),
            1 => Some(self.random_below(Duration::from_secs(3))),
            _ => None,
        };
        let issued = self.trace.now();
        let fate = match patience {
            None => send(&mut self.handle, kind, &words).await,
            Some(patience) => tokio::select! {
                biased;
                fate = send(&mut self.handle, kind, &words) => fate,
                () = tokio::time::sleep(patience) => Fate::Dropped,
            },
        };
        if fate != Fate::Done {
            self.trace.note(format!("{word} {kind:?} of {:.3}s: {fate:?}", issued.as_secs_f64()));
        }
        let (ended, deadline) = (self.trace.now(), self.deadline);
        self.calls.add(Call { kind, words, issued, ended, deadline, fate });
    }

    fn random_below(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.rng.f64())
    }
}

async fn send(handle: &mut Handle, kind: Kind, words: &[String]) -> Fate {
    let word = &words[0];
    match kind {
        Kind::Set => judge(cmd("SET").arg("key").arg(word).query_async(handle).await, &[Value::Okay]),
        // Nobody else writes to this list or counter, so that a first execution answers with one.
        Kind::Push => judge(cmd("LPUSH").arg(list(word)).arg(word).query_async(handle).await, &[Value::Int(1)]),
        Kind::Increment => judge(cmd("INCR").arg(word).query_async(handle).await, &[Value::Int(1)]),
        Kind::Pipeline | Kind::Transaction => {
            let mut pipe = pipe();
            if matches!(kind, Kind::Transaction) {
                pipe.atomic();
            }
            for word in words {
                pipe.cmd("INCR").arg(word);
            }
            let answers: Result<Vec<Value>, RedisError> = pipe.query_async(handle).await;
            match answers {
                Ok(answers) if answers.iter().all(|answer| *answer == Value::Int(1)) => Fate::Done,
                Ok(answers) => Fate::Wrong(format!("{answers:?}")),
                Err(error) => failed(&error),
            }
        }
    }
}

fn list(word: &str) -> String {
    format!("list-of-{word}")
}

fn judge(answer: Result<Value, RedisError>, first: &[Value]) -> Fate {
    match answer {
        Ok(answer) if first.contains(&answer) => Fate::Done,
        Ok(answer) => Fate::Wrong(format!("{answer:?}")),
        Err(error) => failed(&error),
    }
}

fn failed(error: &RedisError) -> Fate {
    let refused = match error.command_error() {
        Some(_) => Vec::new(),
        None => error
            .clone()
            .into_server_errors()
            .into_iter()
            .flat_map(|all| all.iter().map(|(part, _)| *part).collect::<Vec<_>>())
            .collect(),
    };
    Fate::Failed(error.outcome(), refused, error.to_string())
}
