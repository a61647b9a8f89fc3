//! Holds a schedule to the invariants, from outside: by the events that the tether sent, by what callers were told, and by
//! what servers and network have seen. It knows nothing of the tether's inside, and changes nothing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use redis_tether::{Address, Epoch, Event, Role};
use redis_tether_tests::fate::{Fate, Promise};
use redis_tether_tests::manner::Manner;

use crate::callers::{Call, Kind};
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

/// How long a reconnect by hand is owed: the swap budget of the defaults.
const WISH: Duration = Duration::from_secs(10);

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
    /// The reconnects by hand whose wish has had its attempt out of turn.
    granted: Vec<Duration>,
    /// Attempts so far, by address.
    dials: BTreeMap<Address, u64>,
    /// When the published link last became unfit to serve: the attempt that follows is made at once.
    unfit_at: Option<Duration>,
    pub(crate) stopped: bool,
    /// When commands were let through, and where to. The last one may still be open.
    served: Vec<Served>,
}

/// A stretch of time in which commands went to one address.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    address: Address,
    from: Duration,
    until: Option<Duration>,
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
            Event::Resumed { epoch, .. } => {
                let last = self.served.last().map(|served| served.address.clone());
                self.served.extend(last.map(|address| Served { address, from: at, until: None }));
                self.must_be_current(*epoch, event)
            }
            Event::Suspected { epoch, .. } | Event::Demoted { epoch, .. } => {
                self.serves_no_more(at);
                self.must_be_current(*epoch, event)
            }
            Event::Lost { epoch, .. } => {
                self.must_be_current(*epoch, event)?;
                self.serves_no_more(at);
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
            Some(last) if at < last + FLOOR && !by_hand && !is_first && !self.grants(at, reconnects) => {
                Err(format!("{address} was dialled at {last:?} and again at {at:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A reconnect by hand that found the link in doubt is made up for once the link serves again, whatever was dialled in
    /// the meantime. Once.
    fn grants(&mut self, at: Duration, reconnects: &[Duration]) -> bool {
        let is_owed = |asked: &&Duration| at <= **asked + WISH && !self.granted.contains(asked);
        let owed = reconnects.iter().find(is_owed).copied();
        self.granted.extend(owed);
        owed.is_some()
    }

    /// What the network saw, against what was announced: one connection an attempt. An attempt that was cancelled before
    /// its first turn makes none; one that a peer hung up on may ask less over up to three more, and whether TLS is spoken over a
    /// fourth, once a second.
    pub(crate) fn judge_dials(&self, world: &World) -> Verdict {
        for node in 0..world.nodes.len() {
            let dialled = world.net.dials(address(node));
            let announced = self.dials.get(&Address::Tcp(address(node))).copied().unwrap_or_default();
            let lowered = 4 * world
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
        self.close_served(at);
        self.served.push(Served { address: address.clone(), from: at, until: None });
        Ok(())
    }

    fn retired(&mut self, at: Duration, epoch: Epoch, event: &Event) -> Verdict {
        if self.owed.is_some_and(|(_, owed)| owed == epoch) {
            self.owed = None;
            return Ok(());
        }
        self.must_be_current(epoch, event)?;
        self.serves_no_more(at);
        self.current = None;
        Ok(())
    }

    fn serves_no_more(&mut self, at: Duration) {
        self.unfit_at = Some(at);
        self.close_served(at);
    }

    fn close_served(&mut self, at: Duration) {
        if let Some(last) = self.served.last_mut() {
            last.until.get_or_insert(at);
        }
    }

    /// When commands were let through, and where to.
    pub(crate) fn served(&self) -> Vec<Served> {
        self.served.clone()
    }

    fn must_be_current(&self, epoch: Epoch, event: &Event) -> Verdict {
        if self.current == Some(epoch) {
            return Ok(());
        }
        Err(format!("{event:?} while {:?} is the published one", self.current))
    }
}

/// Every call against what the servers executed, against when commands were let through, and against the time that it took.
pub(crate) fn judge_calls(world: &World, calls: &[Call], served: &[Served], stalls: &[Stall]) -> Verdict {
    let executions = executions(world);
    for call in calls {
        judge_executions(&executions, call)
            .and_then(|()| judge_sending(&executions, call, served, stalls))
            .and_then(|()| judge_time(call, stalls))
            .map_err(|wrong| format!("{wrong}: {call:?}"))?;
    }
    Ok(())
}

/// On which nodes each word was executed, once for each time.
type Executions = BTreeMap<Vec<u8>, Vec<usize>>;

fn executions(world: &World) -> Executions {
    let mut executions = Executions::new();
    let writes = world
        .nodes
        .iter()
        .enumerate()
        .flat_map(|(node, server)| server.writes().into_iter().map(move |write| (node, write)));
    for (node, write) in writes {
        // The word is the last argument of every command that the callers send.
        if let Some(word) = write.args.last() {
            executions.entry(word.clone()).or_default().push(node);
        }
    }
    executions
}

fn nodes_of<'a>(executions: &'a Executions, word: &str) -> &'a [usize] {
    executions.get(word.as_bytes()).map_or(&[], Vec::as_slice)
}

fn judge_executions(executions: &Executions, call: &Call) -> Verdict {
    for (part, word) in call.words.iter().enumerate() {
        let count = nodes_of(executions, word).len();
        let allowed = allowed(call, part)?;
        if !allowed.contains(&count) {
            return Err(format!("{word} was executed {count} times, and may have been {allowed:?} times"));
        }
    }
    let first = call.words.first().map_or(&[][..], |word| nodes_of(executions, word));
    let is_whole = call.words.iter().all(|word| nodes_of(executions, word) == first);
    if call.kind == Kind::Transaction && !is_whole {
        return Err("it was executed in part".to_owned());
    }
    Ok(())
}

/// What was executed was sent while its caller waited, and while commands were let through. What its caller dropped while
/// it was held is not sent when there is a link.
fn judge_sending(executions: &Executions, call: &Call, served: &[Served], stalls: &[Stall]) -> Verdict {
    for node in call.words.iter().flat_map(|word| nodes_of(executions, word)) {
        let may_have_sent = |served: &&Served| {
            // Where we stood still in between, the event may have been seen later than it happened.
            let stall = stalls.iter().find(|stall| (stall.from..=stall.from + stall.length).contains(&served.from));
            let from = stall.map_or(served.from, |stall| stall.from);
            let is_here = served.address == Address::Tcp(address(*node));
            is_here && from <= call.ended && served.until.is_none_or(|until| call.issued <= until)
        };
        if served.iter().find(may_have_sent).is_none() {
            return Err(format!("node {node} executed it, and meanwhile no command was let through to there"));
        }
    }
    Ok(())
}

/// How often this part may have been executed, by what the caller was told.
fn allowed(call: &Call, part: usize) -> Result<RangeInclusive<usize>, String> {
    let sent = match &call.fate {
        Fate::Failed(failure) => failure.times_sent,
        Fate::Done | Fate::Wrong(_) | Fate::Dropped => None,
    };
    let most = sent.map_or(call.most, |sent| call.most.min(sent as usize));
    Ok(match call.fate.promise(call.kind.parts(), part)? {
        Promise::Executed => 1..=most,
        // A server's own error speaks of the last sending, and of no earlier one.
        Promise::NotExecuted if sent.is_none() => 0..=most - 1,
        Promise::NotExecuted => 0..=0,
        Promise::Unknown => 0..=most,
    })
}

/// No call takes longer than its deadline, but for the time in which we stood still ourselves, or its caller looked away,
/// and what that grants.
fn judge_time(call: &Call, stalls: &[Stall]) -> Verdict {
    let met = stalls.iter().filter(|stall| stall.from <= call.ended && call.issued <= stall.from + stall.length);
    let stood_still: Duration = met.map(|stall| stall.length + GRACE).sum();
    let looked_away = match call.manner {
        Manner::LooksAwayFor(time) => time + GRACE,
        Manner::Awaits | Manner::GoesAwayAfter(_) => Duration::ZERO,
    };
    let allowance = stood_still + looked_away;
    let took = call.ended - call.issued;
    if took > call.deadline + allowance + ROUNDING {
        return Err(format!("took {took:?}, with a deadline of {:?} and {allowance:?} for stalls", call.deadline));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_tether::Outcome;
    use redis_tether_tests::fate::Failure;

    const SECOND: Duration = Duration::from_secs(1);

    /// A call of two parts between the first and the second second.
    fn call(kind: Kind, most: usize, fate: Fate) -> Call {
        let words = vec!["first".to_owned(), "second".to_owned()];
        let manner = Manner::Awaits;
        Call { kind, words, manner, issued: SECOND, ended: 2 * SECOND, deadline: SECOND, most, fate }
    }

    fn failed(outcome: Outcome, times_sent: Option<u32>) -> Fate {
        Fate::Failed(Failure { outcome: Some(outcome), refused: Vec::new(), times_sent, words: "words".to_owned() })
    }

    /// Both parts executed on these nodes.
    fn executed_on(nodes: &[usize]) -> Executions {
        ["first", "second"].map(|word| (word.as_bytes().to_vec(), nodes.to_vec())).into()
    }

    #[test]
    fn what_may_be_sent_again_may_be_executed_as_often_and_no_more() {
        let verdict = |most, fate, nodes: &[usize]| {
            judge_executions(&executed_on(nodes), &call(Kind::Pipeline, most, fate)).is_ok()
        };
        assert!(!verdict(1, Fate::Done, &[0, 1]));
        assert!(verdict(2, Fate::Done, &[0, 1]));
        assert!(!verdict(2, Fate::Done, &[0, 1, 1]));
        assert!(!verdict(3, failed(Outcome::Ambiguous, Some(1)), &[0, 1]), "it was sent once");
        assert!(!verdict(3, failed(Outcome::NotSent, Some(0)), &[0]));
        assert!(verdict(3, failed(Outcome::Refused, None), &[0, 0]), "the server speaks of the third sending");
        assert!(!verdict(1, failed(Outcome::Refused, None), &[0]));
    }

    #[test]
    fn a_transaction_runs_as_a_whole() {
        let mut executions = executed_on(&[0]);
        judge_executions(&executions, &call(Kind::Transaction, 1, Fate::Dropped)).expect("it ran");
        executions.remove("second".as_bytes());
        judge_executions(&executions, &call(Kind::Pipeline, 1, Fate::Dropped)).expect("a pipeline may run in part");
        judge_executions(&executions, &call(Kind::Transaction, 1, Fate::Dropped)).expect_err("half of it ran");
    }

    #[test]
    fn what_was_executed_was_sent_while_commands_were_let_through() {
        let sent = |node, from, until| {
            let served = Served { address: Address::Tcp(address(node)), from, until };
            judge_sending(&executed_on(&[0]), &call(Kind::Pipeline, 1, Fate::Dropped), &[served], &[]).is_ok()
        };
        assert!(sent(0, Duration::ZERO, None));
        assert!(sent(0, 2 * SECOND, None), "at the last moment");
        assert!(!sent(0, 3 * SECOND, None), "its caller was gone");
        assert!(!sent(0, Duration::ZERO, Some(SECOND / 2)), "it was not there yet");
        assert!(!sent(1, Duration::ZERO, None), "another node");
    }
}
