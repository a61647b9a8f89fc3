//! Holds a schedule to the invariants, from outside: by the events that the tether sent, by what callers were told, and by
//! what servers and network have seen. It knows nothing of the tether's inside, and changes nothing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use redis_tether::{Address, Epoch, Event, Outcome, Role};

use crate::callers::{Call, Fate, Kind};
use crate::faults::Stall;
use crate::world::{World, address};

/// What is wrong, for people.
pub(crate) type Verdict = Result<(), String>;

/// What a late timer is granted, at a time, so that what waits in the sockets is read first. As the library documents.
const GRACE: Duration = Duration::from_millis(250);

/// tokio's timers fire on whole milliseconds, and a wait may be made of a few of them.
const ROUNDING: Duration = Duration::from_millis(5);

/// The least distance of two rounds of attempts, from the defaults: half of the first delay of the quicker lane.
const FLOOR: Duration = Duration::from_millis(10);

/// How often a dial may ask again with less, as the library documents.
const LOWERED_EVERY: Duration = Duration::from_secs(1);

/// Watches the events as they come.
#[derive(Default)]
pub(crate) struct EventJudge {
    current: Option<Epoch>,
    /// Replaced by `current`; its retirement is owed in the same breath.
    owed: Option<(Duration, Epoch)>,
    published: Option<Epoch>,
    dialled: Option<Epoch>,
    /// Those whose attempt has begun and not failed.
    attempts: BTreeMap<Epoch, Address>,
    last_dial: BTreeMap<String, Duration>,
    /// Attempts so far, by address.
    dials: BTreeMap<Address, u64>,
    /// When the published link last became unfit to serve: the attempt that follows is made at once.
    unfit_at: Option<Duration>,
    pub(crate) stopped: bool,
    pub(crate) connections: Vec<(Duration, Address)>,
}

impl EventJudge {
    pub(crate) fn see(&mut self, at: Duration, event: &Event, reconnects: &[Duration]) -> Verdict {
        if self.stopped {
            return Err(format!("{event:?} after the end"));
        }
        if let Some((since, epoch)) = self.owed
            && !matches!(event, Event::Retired { epoch: retired, .. } if *retired == epoch)
        {
            return Err(format!("{epoch} was replaced at {since:?} and not retired in the same breath, but {event:?}"));
        }
        match event {
            Event::Dialling { epoch, address, .. } => self.dialling(at, *epoch, address, reconnects),
            Event::DialFailed { epoch, address, .. } => match self.attempts.remove(epoch) {
                Some(begun) if begun == *address => Ok(()),
                other => Err(format!("attempt {epoch} at {address} failed, which was {other:?}")),
            },
            Event::Connected { epoch, address, role, .. } => self.connected(at, *epoch, address, *role),
            Event::Resumed { epoch, .. } => self.must_be_current(*epoch, event),
            Event::Suspected { epoch, .. } | Event::Demoted { epoch, .. } => {
                self.unfit_at = Some(at);
                self.must_be_current(*epoch, event)
            }
            Event::Lost { epoch, .. } => {
                self.must_be_current(*epoch, event)?;
                self.unfit_at = Some(at);
                self.current = None;
                Ok(())
            }
            Event::Retired { epoch, .. } => self.retired(at, *epoch, event),
            Event::Stopped => {
                self.stopped = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn dialling(&mut self, at: Duration, epoch: Epoch, address: &Address, reconnects: &[Duration]) -> Verdict {
        if self.dialled.is_some_and(|last| last >= epoch) {
            return Err(format!("attempt {epoch} after {:?}", self.dialled));
        }
        self.dialled = Some(epoch);
        self.attempts.insert(epoch, address.clone());
        *self.dials.entry(address.clone()).or_default() += 1;
        let last = self.last_dial.insert(address.to_string(), at);
        let by_hand = reconnects.iter().any(|asked| *asked <= at && at <= *asked + FLOOR);
        let is_first = self.unfit_at.is_some_and(|unfit| last.is_some_and(|last| last <= unfit));
        match last {
            Some(last) if at < last + FLOOR && !by_hand && !is_first => {
                Err(format!("{address} was dialled at {last:?} and again at {at:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What the network saw, against what was announced: one connection an attempt. An attempt that was cancelled before
    /// its first turn makes none; one that a peer hung up on may ask less over up to three more, once a second.
    pub(crate) fn judge_dials(&self, world: &World) -> Verdict {
        for node in 0..world.nodes.len() {
            let dialled = world.net.dials(address(node));
            let announced = self.dials.get(&Address::Tcp(address(node))).copied().unwrap_or_default();
            let lowered = 3 * world
                .net
                .dial_times(address(node))
                .iter()
                .fold((0, None), |(count, last), at| match last {
                    Some(last) if *at < last + LOWERED_EVERY => (count, Some(last)),
                    _ => (count + 1, Some(*at)),
                })
                .0;
            if dialled > announced + lowered {
                return Err(format!(
                    "node {node} was dialled {dialled} times, and {announced} attempts were announced"
                ));
            }
        }
        Ok(())
    }

    fn connected(&mut self, at: Duration, epoch: Epoch, address: &Address, role: Role) -> Verdict {
        if self.published.is_some_and(|last| last >= epoch) {
            return Err(format!("{epoch} was published after {:?}", self.published));
        }
        if self.attempts.remove(&epoch).as_ref() != Some(address) {
            return Err(format!("{epoch} at {address} was published and is no attempt that was under way"));
        }
        if role == Role::Replica {
            return Err(format!("{epoch} at {address} was published and is a replica"));
        }
        self.published = Some(epoch);
        self.owed = self.current.replace(epoch).map(|old| (at, old));
        self.connections.push((at, address.clone()));
        Ok(())
    }

    fn retired(&mut self, at: Duration, epoch: Epoch, event: &Event) -> Verdict {
        if self.owed.is_some_and(|(_, owed)| owed == epoch) {
            self.owed = None;
            return Ok(());
        }
        self.must_be_current(epoch, event)?;
        self.unfit_at = Some(at);
        self.current = None;
        Ok(())
    }

    fn must_be_current(&self, epoch: Epoch, event: &Event) -> Verdict {
        if self.current == Some(epoch) {
            return Ok(());
        }
        Err(format!("{event:?} while {:?} is the published one", self.current))
    }
}

/// Every call against what the servers executed, and against the time that it took.
pub(crate) fn judge_calls(world: &World, calls: &[Call], stalls: &[Stall]) -> Verdict {
    let executions = executions(world);
    for call in calls {
        judge_executions(&executions, call)
            .and_then(|()| judge_time(call, stalls))
            .map_err(|wrong| format!("{wrong}: {call:?}"))?;
    }
    Ok(())
}

/// How often each word was executed, all servers together.
fn executions(world: &World) -> BTreeMap<Vec<u8>, usize> {
    let mut executions = BTreeMap::new();
    for write in world.nodes.iter().flat_map(|node| node.writes()) {
        // The word is the last argument of every command that the callers send.
        if let Some(word) = write.args.last() {
            *executions.entry(word.clone()).or_default() += 1;
        }
    }
    executions
}

fn judge_executions(executions: &BTreeMap<Vec<u8>, usize>, call: &Call) -> Verdict {
    for (part, word) in call.words.iter().enumerate() {
        let count = executions.get(word.as_bytes()).copied().unwrap_or_default();
        let allowed = allowed(call, part)?;
        if !allowed.contains(&count) {
            return Err(format!("{word} was executed {count} times, and may have been {allowed:?} times"));
        }
    }
    Ok(())
}

/// How often this part may have been executed, by what the caller was told.
fn allowed(call: &Call, part: usize) -> Result<RangeInclusive<usize>, String> {
    match &call.fate {
        Fate::Done => Ok(1..=1),
        Fate::Wrong(_) => Err("the answer is not that of a first execution".to_owned()),
        // All of it: a transaction of which one part was refused runs not at all.
        Fate::Failed(Some(Outcome::NotSent | Outcome::Refused), ..) => Ok(0..=0),
        // Each part of a pipeline is on its own, and was answered.
        Fate::Failed(Some(_), refused, _) if call.kind == Kind::Pipeline && !refused.is_empty() => {
            if refused.contains(&part) { Ok(0..=0) } else { Ok(1..=1) }
        }
        Fate::Dropped | Fate::Failed(Some(_), ..) => Ok(0..=1),
        Fate::Failed(None, ..) => Err("nobody can tell whether it was executed".to_owned()),
    }
}

/// No call takes longer than its deadline, but for the time in which we stood still ourselves and what that grants.
fn judge_time(call: &Call, stalls: &[Stall]) -> Verdict {
    let met = stalls.iter().filter(|stall| stall.from <= call.ended && call.issued <= stall.from + stall.length);
    let allowance: Duration = met.map(|stall| stall.length + GRACE).sum();
    let took = call.ended - call.issued;
    if took > call.deadline + allowance + ROUNDING {
        return Err(format!("took {took:?}, with a deadline of {:?} and {allowance:?} for stalls", call.deadline));
    }
    Ok(())
}

/// The verdict on a call of three parts, of which the middle one was refused and those in `executed` were executed.
fn on_refusal(kind: Kind, outcome: Outcome, executed: &[usize]) -> Verdict {
    let words: Vec<String> = (0..3).map(|part| format!("word-{part}")).collect();
    let executions = executed.iter().map(|part| (words[*part].clone().into_bytes(), 1)).collect();
    let fate = Fate::Failed(Some(outcome), vec![1], "refused".to_owned());
    let (issued, ended, deadline) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    judge_executions(&executions, &Call { kind, words, issued, ended, deadline, fate })
}

#[test]
fn a_refused_transaction_runs_not_at_all() {
    on_refusal(Kind::Transaction, Outcome::Refused, &[]).expect("none ran");
    on_refusal(Kind::Transaction, Outcome::Refused, &[0]).expect_err("one ran");
    // `MULTI` itself may have been refused, and then it was none.
    on_refusal(Kind::Transaction, Outcome::Ambiguous, &[0, 2]).expect("they may have run");
}

#[test]
fn a_pipeline_runs_but_for_what_was_refused() {
    on_refusal(Kind::Pipeline, Outcome::Ambiguous, &[0, 2]).expect("those that were not refused ran");
    on_refusal(Kind::Pipeline, Outcome::Ambiguous, &[0]).expect_err("one was answered and did not run");
    on_refusal(Kind::Pipeline, Outcome::Ambiguous, &[0, 1, 2]).expect_err("the refused one ran");
}
