//! The callers: hundreds of tasks that send all kinds of commands through clones of shared handles at random moments. Some
//! go away before there is an answer, some start a command and do not look at it for a while. Each keeps a record of what
//! it was told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis_tether::Handle;
use redis_tether::redis::{Cmd, FromRedisValue, RedisError, Value, cmd, pipe};
use redis_tether_tests::fate::{Failure, Fate};
use redis_tether_tests::manner::Manner;
use redis_tether_tests::watch::{PATIENCE, within};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::calls::{COUNTERS, Call, Id, Shape};
use crate::history::{counter, list_of};

/// The longest pause of a caller between two calls.
const PAUSE: Duration = Duration::from_millis(120);

/// Appends ids to the lists that KEYS name. ARGV has each id with the command to append it by, and the answer is the first.
const SCRIPT: &str = "for i, key in ipairs(KEYS) do redis.call(ARGV[2 * i], key, ARGV[2 * i - 1]) end return ARGV[1]";

/// A pipeline of so many ids is a long one.
const LONG: usize = 50;

/// For how long a long pipeline waits in its middle, for replicas that are not there. In milliseconds, as the server wants it.
const REST: u64 = 15;

/// Callers at work.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<Call>>>,
}

impl Crowd {
    /// Starts so many callers for each of these handles.
    pub(crate) fn start(handles: &[Handle], callers_each: u32, rng: &mut fastrand::Rng) -> Crowd {
        let stop = Arc::new(AtomicBool::new(false));
        let all = handles.iter().flat_map(|handle| (0..callers_each).map(move |_| handle.clone()));
        let start = |(name, handle): (u32, Handle)| {
            let caller = Caller { name, handle, rng: rng.fork(), stop: stop.clone(), calls: Vec::new() };
            tokio::spawn(caller.run())
        };
        Crowd { callers: (0..).zip(all).map(start).collect(), stop }
    }

    /// Lets every caller see its last call through, and hands back all that they were told.
    pub(crate) async fn finish(self) -> Vec<Call> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for caller in self.callers {
            all.extend(within(PATIENCE, "the callers' last calls", caller).await.expect("no caller panics"));
        }
        all
    }
}

struct Caller {
    name: u32,
    handle: Handle,
    rng: fastrand::Rng,
    stop: Arc<AtomicBool>,
    calls: Vec<Call>,
}

impl Caller {
    async fn run(mut self) -> Vec<Call> {
        for number in 1.. {
            sleep(self.random_below(PAUSE)).await;
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let (shape, manner) = (self.shape(), self.manner());
            let mut call = Call { caller: self.name, number, shape, fate: Fate::Dropped };
            // Every call has a deadline, whatever happens to its link.
            let answer = manner.wait(send(&mut self.handle, call.clone()));
            if let Some((shape, fate)) = within(PATIENCE, "a call to end", answer).await {
                call = Call { shape, fate, ..call };
            }
            self.calls.push(call);
        }
        self.calls
    }

    fn shape(&mut self) -> Shape {
        // The long ones leave in several pieces and rest half-way, so that a cut or a demotion may come in between.
        let ids = if self.rng.u8(..16) == 0 { self.rng.usize(LONG..=8 * LONG) } else { self.rng.usize(2..=4) };
        match self.rng.u8(..12) {
            0..=2 => Shape::Push,
            3 | 4 => Shape::Count { counter: self.rng.usize(..COUNTERS), answer: None },
            5 | 6 => Shape::Pipeline(ids),
            7 | 8 => Shape::Transaction(ids),
            9 | 10 => Shape::Script(self.rng.usize(1..=2)),
            _ => Shape::Read,
        }
    }

    fn manner(&mut self) -> Manner {
        match self.rng.u8(..32) {
            0..=3 => Manner::GoesAwayAfter(self.random_below(Duration::from_millis(3))),
            4..=6 => Manner::GoesAwayAfter(self.random_below(Duration::from_millis(400))),
            7 | 8 => Manner::LooksAwayFor(self.random_below(Duration::from_millis(100))),
            9 => Manner::LooksAwayFor(self.random_below(Duration::from_secs(3))),
            _ => Manner::Awaits,
        }
    }

    fn random_below(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.rng.f64())
    }
}

/// Sends it, and says what its caller was told.
async fn send(handle: &mut Handle, call: Call) -> (Shape, Fate) {
    let ids: Vec<Id> = (0..call.shape.ids()).map(|part| call.id(part)).collect();
    let fate = match call.shape {
        Shape::Push => fate(push(ids[0]).query_async(handle).await, |length: i64| length > 0),
        Shape::Count { counter: which, .. } => {
            let answer: Result<i64, RedisError> = cmd("INCR").arg(counter(which)).query_async(handle).await;
            let shape = Shape::Count { counter: which, answer: answer.as_ref().ok().copied() };
            return (shape, fate(answer, |count| count > 0));
        }
        Shape::Pipeline(_) => {
            let rest = (ids.len() >= LONG).then_some(ids.len() / 2);
            let mut pipe = pipe();
            for (part, id) in ids.iter().enumerate() {
                if rest == Some(part) {
                    pipe.cmd("WAIT").arg(9).arg(REST).ignore();
                }
                pipe.add_command(push(*id));
            }
            without_rest(
                fate(pipe.query_async(handle).await, |lengths: Vec<Value>| are_lengths(&lengths, ids.len())),
                rest,
            )
        }
        Shape::Transaction(_) => {
            let mut pipe = pipe();
            pipe.atomic();
            for id in &ids {
                pipe.add_command(push(*id));
            }
            fate(pipe.query_async(handle).await, |lengths: Vec<Value>| are_lengths(&lengths, ids.len()))
        }
        Shape::Script(_) => {
            let own = ids[0].to_string();
            fate(script(&ids).query_async(handle).await, |answer: String| answer == own)
        }
        Shape::Read => {
            let own = call.id(0).to_string();
            fate(cmd("ECHO").arg(&own).query_async(handle).await, |answer: String| answer == own)
        }
    };
    (call.shape, fate)
}

/// As they come, so that a reply too few shows.
fn are_lengths(replies: &[Value], ids: usize) -> bool {
    replies.len() == ids && replies.iter().all(|reply| matches!(reply, Value::Int(1..)))
}

/// The commands that were refused are counted with the rest among them; the parts are without.
fn without_rest(fate: Fate, rest: Option<usize>) -> Fate {
    match (fate, rest) {
        (Fate::Failed(Failure { mut refused, outcome, times_sent, words }), Some(rest)) => {
            refused.retain(|command| *command != rest);
            refused.iter_mut().filter(|command| **command > rest).for_each(|command| *command -= 1);
            Fate::Failed(Failure { refused, outcome, times_sent, words })
        }
        (fate, _) => fate,
    }
}

fn push(id: Id) -> Cmd {
    let list = list_of(id);
    let mut push = cmd(list.command);
    push.arg(list.key).arg(id.to_string());
    push
}

fn script(ids: &[Id]) -> Cmd {
    let mut eval = cmd("EVAL");
    eval.arg(SCRIPT).arg(ids.len());
    for id in ids {
        eval.arg(list_of(*id).key);
    }
    for id in ids {
        eval.arg(id.to_string()).arg(list_of(*id).command);
    }
    eval
}

fn fate<T: FromRedisValue + Clone + fmt::Debug>(
    answer: Result<T, RedisError>,
    is_right: impl FnOnce(T) -> bool,
) -> Fate {
    match answer {
        Ok(answer) if is_right(answer.clone()) => Fate::Done,
        Ok(answer) => Fate::Wrong(format!("{answer:?}")),
        Err(error) => Fate::of(&error),
    }
}
