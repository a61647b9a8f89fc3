//! One call as its caller saw it, and the ids by which the judge finds its parts in the servers' data. Written by
//! `crowd.rs`, read by `judge.rs`; nothing here sends anything.

use std::fmt;
use std::str::FromStr;

use redis_tether_tests::fate::{Fate, Parts};

/// So many counters are shared by all callers.
pub(crate) const COUNTERS: usize = 4;

/// One call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) caller: u32,
    /// Of this caller's calls.
    pub(crate) number: u32,
    pub(crate) shape: Shape,
    pub(crate) fate: Fate,
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Shape {
    /// Appends one id.
    Push,
    /// Counts one up, and what it was answered, if it was.
    Count { counter: usize, answer: Option<i64> },
    /// Appends so many ids, each for itself.
    Pipeline(usize),
    /// Appends so many ids, all or none.
    Transaction(usize),
    /// The same.
    Script(usize),
    /// Changes nothing.
    Read,
}

impl Shape {
    /// So many ids it appends.
    pub(crate) fn ids(self) -> usize {
        match self {
            Shape::Push => 1,
            Shape::Pipeline(ids) | Shape::Transaction(ids) | Shape::Script(ids) => ids,
            Shape::Count { .. } | Shape::Read => 0,
        }
    }

    pub(crate) fn parts(self) -> Parts {
        match self {
            Shape::Pipeline(_) => Parts::Apart,
            _ => Parts::Together,
        }
    }
}

impl Call {
    pub(crate) fn id(&self, part: usize) -> Id {
        Id { caller: self.caller, number: self.number, part: u32::try_from(part).expect("few parts") }
    }
}

/// Names one part of one call, and nothing else in the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Id {
    pub(crate) caller: u32,
    pub(crate) number: u32,
    pub(crate) part: u32,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.caller, self.number, self.part)
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(word: &str) -> Result<Id, String> {
        let mut numbers = word.splitn(3, '-').map(|number| number.parse().map_err(|_| format!("no id: {word:?}")));
        let mut next = || numbers.next().unwrap_or_else(|| Err(format!("no id: {word:?}")));
        Ok(Id { caller: next()?, number: next()?, part: next()? })
    }
}

#[test]
fn an_id_reads_back() {
    let id = Id { caller: 1, number: 23, part: 4 };
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("1-2".parse::<Id>().is_err());
    assert!("1-2-x".parse::<Id>().is_err());
}
