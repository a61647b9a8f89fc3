//! Applications: tasks that send commands through handles at random moments, sometimes drop them half-way, and keep a
//! record of what they were told. Each command carries a word that no other has, so that the servers' logs say how often it
//! was executed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis_tether::Handle;
use redis_tether::redis::{Cmd, RedisError, Value, cmd, pipe};
use redis_tether_tests::fate::{Fate, Parts};
use redis_tether_tests::manner::Manner;
use tokio::time::Instant;

use crate::trace::Trace;

/// One command, or pipeline, as its caller saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    /// The words by which the parts of it are found in the servers' logs.
    pub(crate) words: Vec<String>,
    pub(crate) manner: Manner,
    pub(crate) issued: Duration,
    pub(crate) ended: Duration,
    pub(crate) deadline: Duration,
    /// So often may it have been executed at most.
    pub(crate) most: usize,
    pub(crate) fate: Fate,
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
    /// So often may one of its commands be executed: once, unless the handle was told to send again.
    pub(crate) most: usize,
}

/// What callers send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Set,
    Push,
    Increment,
    Pipeline,
    Transaction,
    /// Changes nothing.
    Read,
}

impl Kind {
    const ALL: [Kind; 6] = [Kind::Set, Kind::Push, Kind::Increment, Kind::Pipeline, Kind::Transaction, Kind::Read];

    pub(crate) fn parts(self) -> Parts {
        if self == Kind::Pipeline { Parts::Apart } else { Parts::Together }
    }
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
        let kind = Kind::ALL[self.rng.usize(..Kind::ALL.len())];
        let word = format!("w{}-{number}", self.name);
        let parts = match kind {
            Kind::Pipeline | Kind::Transaction => 3,
            Kind::Set | Kind::Push | Kind::Increment => 1,
            Kind::Read => 0,
        };
        let words: Vec<String> = (0..parts).map(|part| format!("{word}-{part}")).collect();
        let manner = self.manner();
        let issued = self.trace.now();
        let fate = manner.wait(send(&mut self.handle, kind, &words, self.most)).await.unwrap_or(Fate::Dropped);
        if fate != Fate::Done {
            self.trace.note(format!("{word} {kind:?} of {:.3}s: {fate:?}", issued.as_secs_f64()));
        }
        let (ended, deadline, most) = (self.trace.now(), self.deadline, self.most);
        self.calls.add(Call { kind, words, manner, issued, ended, deadline, most, fate });
    }

    fn manner(&mut self) -> Manner {
        match self.rng.u8(..16) {
            0 | 1 => Manner::GoesAwayAfter(self.random_below(Duration::from_millis(5))),
            2 | 3 => Manner::GoesAwayAfter(self.random_below(Duration::from_secs(3))),
            4 => Manner::LooksAwayFor(self.random_below(Duration::from_secs(3))),
            _ => Manner::Awaits,
        }
    }

    fn random_below(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.rng.f64())
    }
}

async fn send(handle: &mut Handle, kind: Kind, words: &[String], most: usize) -> Fate {
    match kind {
        Kind::Set => told(cmd("SET").arg("key").arg(&words[0]).query_async(handle).await, |answer: &Value| {
            *answer == Value::Okay
        }),
        Kind::Push => told(push(&words[0]).query_async(handle).await, |answer| is_count(answer, most)),
        Kind::Increment => told(increment(&words[0]).query_async(handle).await, |answer| is_count(answer, most)),
        Kind::Pipeline | Kind::Transaction => {
            let mut pipe = pipe();
            if kind == Kind::Transaction {
                pipe.atomic();
            }
            // Different ones, so that some of them may be refused and the others not.
            pipe.add_command(increment(&words[0])).add_command(push(&words[1])).add_command(increment(&words[2]));
            let are_counts = |answers: &Vec<Value>| {
                answers.len() == words.len() && answers.iter().all(|answer| is_count(answer, most))
            };
            told(pipe.query_async(handle).await, are_counts)
        }
        Kind::Read => told(cmd("GET").arg("nothing").query_async(handle).await, |answer: &Value| *answer == Value::Nil),
    }
}

fn increment(word: &str) -> Cmd {
    let mut increment = cmd("INCR");
    increment.arg(word);
    increment
}

fn push(word: &str) -> Cmd {
    let mut push = cmd("LPUSH");
    push.arg(format!("list-of-{word}")).arg(word);
    push
}

/// Nobody else writes to this list or counter, so that a first execution answers with one.
fn is_count(answer: &Value, most: usize) -> bool {
    matches!(answer, Value::Int(count) if (1..=most).contains(&usize::try_from(*count).unwrap_or_default()))
}

fn told<T: fmt::Debug>(answer: Result<T, RedisError>, is_right: impl FnOnce(&T) -> bool) -> Fate {
    match answer {
        Ok(answer) if is_right(&answer) => Fate::Done,
        Ok(answer) => Fate::Wrong(format!("{answer:?}")),
        Err(error) => Fate::of(&error),
    }
}
