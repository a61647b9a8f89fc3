//! The rules, as a function of what callers were told and what servers executed. It asks nobody, waits for nothing and knows
//! no faults: how much was lost shows by the branches of the history that it is given.
//!
//! A history is a tree. The trunk is what the last primary holds, which it has executed itself or had from the primary
//! before it. A branch is what another server executed that the trunk does not have: its replica was promoted without it.
//! So every execution that a client has caused is in the tree exactly once, and its copies are not.

use std::collections::BTreeMap;
use std::fmt;

use redis_tether::Outcome;
use redis_tether_tests::fate::{Fate, Promise};

use crate::calls::{COUNTERS, Call, Id, Shape};

/// So many violations are spelled out.
const SPELLED_OUT: usize = 10;

/// What was executed on one branch of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) ids: Vec<Id>,
    /// How often each counter was counted up.
    pub(crate) counted: [i64; COUNTERS],
}

/// Everything that servers executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) trunk: Branch,
    pub(crate) branches: Vec<Branch>,
}

/// What a run without violations has met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: usize,
    pub(crate) done: usize,
    pub(crate) ambiguous: usize,
    /// Those of them that were executed, at least in part.
    pub(crate) ambiguous_executed: usize,
    pub(crate) not_sent: usize,
    pub(crate) refused: usize,
    /// Pipelines of which some parts were refused.
    pub(crate) part_refused: usize,
    pub(crate) dropped: usize,
    /// Ids whose execution was acknowledged, and which only a branch has.
    pub(crate) lost: usize,
}

/// Holds the calls against the history. What is wrong comes back as lines for people.
pub(crate) fn judge(calls: &[Call], history: &History) -> Result<Counts, String> {
    let executions = Executions::of(history);
    let mut wrong = Vec::new();
    let mut counts = Counts::default();
    let mut known = 0;
    for call in calls {
        if let Err(what) = judge_call(call, &executions) {
            wrong.push(format!("{what}: {call:?}"));
        }
        counts.add(call, &executions);
        known += (0..call.shape.ids()).map(|part| executions.of_id(call.id(part)).len()).sum::<usize>();
    }
    let all: usize = executions.places.values().map(Vec::len).sum();
    if known != all {
        wrong.push(format!("{} of {all} executions are of ids that nobody has sent", all - known));
    }
    wrong.extend((0..COUNTERS).filter_map(|counter| judge_counter(counter, calls, history).err()));
    if wrong.is_empty() {
        return Ok(counts);
    }
    let (number, shown) = (wrong.len(), wrong[..wrong.len().min(SPELLED_OUT)].join("\n"));
    Err(format!("{number} violations, the first of which are\n{shown}"))
}

/// Where an execution is found: the trunk, or a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Trunk,
    Branch(usize),
}

struct Executions {
    places: BTreeMap<Id, Vec<Place>>,
}

impl Executions {
    fn of(history: &History) -> Executions {
        let mut places: BTreeMap<Id, Vec<Place>> = BTreeMap::new();
        let trunk = history.trunk.ids.iter().map(|id| (Place::Trunk, id));
        let branches = history.branches.iter().enumerate();
        let branches = branches.flat_map(|(index, branch)| branch.ids.iter().map(move |id| (Place::Branch(index), id)));
        for (place, id) in trunk.chain(branches) {
            places.entry(*id).or_default().push(place);
        }
        Executions { places }
    }

    fn of_id(&self, id: Id) -> &[Place] {
        self.places.get(&id).map_or(&[], Vec::as_slice)
    }
}

fn judge_call(call: &Call, executions: &Executions) -> Result<(), String> {
    let ids = call.shape.ids();
    // What executes nothing must at least be told something that makes sense.
    call.fate.promise(call.shape.parts(), 0)?;
    for part in 0..ids {
        let promise = call.fate.promise(call.shape.parts(), part)?;
        let places = executions.of_id(call.id(part));
        match (promise, places.len()) {
            (_, 2..) => return Err(format!("part {part} was executed more than once ({places:?})")),
            (Promise::Executed, 0) => return Err(format!("part {part} was acknowledged, and no server executed it")),
            (Promise::NotExecuted, 1) => {
                return Err(format!("part {part} was reported as not executed, and was ({places:?})"));
            }
            (Promise::Executed | Promise::Unknown, _) | (Promise::NotExecuted, 0) => {}
        }
    }
    let first = executions.of_id(call.id(0));
    let is_whole = (1..ids).all(|part| executions.of_id(call.id(part)) == first);
    if matches!(call.shape, Shape::Transaction(_) | Shape::Script(_)) && !is_whole {
        return Err("it was executed in part".to_owned());
    }
    Ok(())
}

fn judge_counter(counter: usize, calls: &[Call], history: &History) -> Result<(), String> {
    let (mut acknowledged, mut unknown) = (0, 0);
    let mut answers = Vec::new();
    for call in calls {
        let Shape::Count { counter: of, answer } = call.shape else { continue };
        if of != counter {
            continue;
        }
        answers.extend(answer);
        match call.fate.promise(call.shape.parts(), 0) {
            Ok(Promise::Executed) => acknowledged += 1,
            Ok(Promise::Unknown) => unknown += 1,
            Ok(Promise::NotExecuted) | Err(_) => {}
        }
    }
    let executed: i64 = history.branches.iter().chain([&history.trunk]).map(|branch| branch.counted[counter]).sum();
    if !(acknowledged..=acknowledged + unknown).contains(&executed) {
        return Err(format!(
            "counter {counter} was counted up {executed} times, with {acknowledged} acknowledged and {unknown} unknown"
        ));
    }
    let all = answers.len();
    answers.sort_unstable();
    answers.dedup();
    // A server that has lost what another counted gives the same answers again.
    if history.branches.is_empty() && answers.len() < all {
        return Err(format!("counter {counter} gave {} of its answers twice", all - answers.len()));
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, call: &Call, executions: &Executions) {
        let places = || (0..call.shape.ids()).flat_map(|part| executions.of_id(call.id(part)));
        self.calls += 1;
        match &call.fate {
            Fate::Done => {
                self.done += 1;
                self.lost += places().filter(|place| **place != Place::Trunk).count();
            }
            Fate::Failed(failure) => match failure.outcome {
                Some(Outcome::NotSent) => self.not_sent += 1,
                Some(Outcome::Refused) => self.refused += 1,
                _ if !failure.refused.is_empty() => self.part_refused += 1,
                _ => {
                    self.ambiguous += 1;
                    self.ambiguous_executed += usize::from(places().next().is_some());
                }
            },
            Fate::Dropped => self.dropped += 1,
            Fate::Wrong(_) => {}
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { calls, done, ambiguous, ambiguous_executed, not_sent, refused, part_refused, dropped, lost } =
            self;
        write!(
            f,
            "{calls} calls: {done} done, {ambiguous} ambiguous (of which {ambiguous_executed} executed), {not_sent} not sent, \
             {refused} refused, {part_refused} refused in part, {dropped} dropped; {lost} acknowledged ids lost by servers"
        )
    }
}

#[cfg(test)]
mod tests {
    use redis_tether_tests::fate::Failure;

    use super::*;

    fn call(number: u32, shape: Shape, fate: Fate) -> Call {
        Call { caller: 1, number, shape, fate }
    }

    fn failed(outcome: Outcome) -> Fate {
        failed_in(Some(outcome), &[])
    }

    fn failed_in(outcome: Option<Outcome>, refused: &[usize]) -> Fate {
        let (refused, words) = (refused.to_vec(), "words".to_owned());
        Fate::Failed(Failure { outcome, refused, times_sent: None, words })
    }

    fn ids(parts: &[(u32, u32)]) -> Vec<Id> {
        parts.iter().map(|(number, part)| Id { caller: 1, number: *number, part: *part }).collect()
    }

    fn trunk(parts: &[(u32, u32)]) -> History {
        History { trunk: Branch { ids: ids(parts), ..Branch::default() }, ..History::default() }
    }

    fn with_branch(history: History, parts: &[(u32, u32)]) -> History {
        History { branches: vec![Branch { ids: ids(parts), ..Branch::default() }], ..history }
    }

    fn refused(call: Call, history: &History, reason: &str) {
        let verdict = judge(&[call], history).expect_err(reason);
        assert!(verdict.contains(reason), "{verdict}");
    }

    #[test]
    fn what_keeps_the_rules_is_counted() {
        let calls = [
            call(1, Shape::Push, Fate::Done),
            call(2, Shape::Push, failed(Outcome::Ambiguous)),
            call(3, Shape::Push, failed(Outcome::Ambiguous)),
            call(4, Shape::Push, failed(Outcome::NotSent)),
            call(5, Shape::Pipeline(2), failed_in(Some(Outcome::Ambiguous), &[1])),
            call(6, Shape::Transaction(2), Fate::Done),
            call(7, Shape::Read, Fate::Dropped),
        ];
        let history = with_branch(trunk(&[(1, 0), (2, 0), (5, 0)]), &[(6, 0), (6, 1)]);
        let counts = judge(&calls, &history).expect("no violation");
        let expected = Counts {
            calls: 7,
            done: 2,
            ambiguous: 2,
            ambiguous_executed: 1,
            not_sent: 1,
            part_refused: 1,
            dropped: 1,
            lost: 2,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn nothing_runs_twice() {
        let twice = |history: &History| {
            refused(call(1, Shape::Push, failed(Outcome::Ambiguous)), history, "more than once");
        };
        twice(&trunk(&[(1, 0), (1, 0)]));
        twice(&with_branch(trunk(&[(1, 0)]), &[(1, 0)]));
    }

    #[test]
    fn what_was_acknowledged_was_executed() {
        refused(call(1, Shape::Script(1), Fate::Done), &trunk(&[]), "no server executed it");
    }

    #[test]
    fn what_was_reported_as_not_executed_was_not() {
        for outcome in [Outcome::NotSent, Outcome::Refused] {
            refused(call(1, Shape::Push, failed(outcome)), &trunk(&[(1, 0)]), "reported as not executed");
            refused(
                call(1, Shape::Push, failed(outcome)),
                &with_branch(trunk(&[]), &[(1, 0)]),
                "reported as not executed",
            );
        }
    }

    #[test]
    fn a_pipeline_that_was_refused_in_part_ran_but_for_that() {
        let fate = || failed_in(Some(Outcome::Ambiguous), &[1]);
        refused(call(1, Shape::Pipeline(2), fate()), &trunk(&[]), "no server executed it");
        refused(call(1, Shape::Pipeline(2), fate()), &trunk(&[(1, 0), (1, 1)]), "reported as not executed");
    }

    #[test]
    fn transactions_and_scripts_run_as_a_whole() {
        for shape in [Shape::Transaction(2), Shape::Script(2)] {
            refused(call(1, shape, Fate::Dropped), &trunk(&[(1, 1)]), "in part");
            let torn = with_branch(trunk(&[(1, 0)]), &[(1, 1)]);
            refused(call(1, shape, Fate::Dropped), &torn, "in part");
        }
        judge(&[call(1, Shape::Pipeline(2), Fate::Dropped)], &trunk(&[(1, 1)])).expect("a pipeline need not");
    }

    #[test]
    fn nobody_is_told_nonsense() {
        refused(call(1, Shape::Read, Fate::Wrong("of another".to_owned())), &trunk(&[]), "not that of this command");
        refused(call(1, Shape::Read, failed_in(None, &[])), &trunk(&[]), "nobody can tell");
    }

    #[test]
    fn nothing_is_there_that_nobody_sent() {
        refused(call(1, Shape::Push, Fate::Done), &trunk(&[(1, 0), (2, 0)]), "nobody has sent");
    }

    #[test]
    fn counters_keep_between_what_was_acknowledged_and_what_may_have_been() {
        let count = |number, answer, fate| call(number, Shape::Count { counter: 2, answer }, fate);
        let counted = |times| {
            let trunk = Branch { counted: [0, 0, times, 0], ..Branch::default() };
            History { trunk, ..History::default() }
        };
        let calls = [
            count(1, Some(1), Fate::Done),
            count(2, Some(2), Fate::Done),
            count(3, None, failed(Outcome::Ambiguous)),
            count(4, None, failed(Outcome::NotSent)),
        ];
        judge(&calls, &counted(2)).expect("the ambiguous one was not executed");
        judge(&calls, &counted(3)).expect("the ambiguous one was");
        judge(&calls, &counted(1)).expect_err("an acknowledged one is lost");
        judge(&calls, &counted(4)).expect_err("one ran twice");
        let mut on_two = counted(1);
        on_two.branches.push(Branch { counted: [0, 0, 2, 0], ..Branch::default() });
        judge(&calls, &on_two).expect("two histories together");

        let same = [count(1, Some(1), Fate::Done), count(2, Some(1), Fate::Done)];
        judge(&same, &counted(2)).expect_err("the same answer for both");
        let mut on_two = counted(1);
        on_two.branches.push(Branch { counted: [0, 0, 1, 0], ..Branch::default() });
        judge(&same, &on_two).expect("each from a server that knows nothing of the other");
    }
}
