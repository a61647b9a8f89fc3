//! What a caller was told of a command, for judges that hold it against what the servers executed. It says what each answer
//! promises, and nothing about what really happened.

use redis_tether::redis::RedisError;
use redis_tether::{CommandError, Outcome, OutcomeExt};

/// What the caller was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was done.
    Done,
    /// It was done, and the reply is not the one that it should have.
    Wrong(String),
    /// It failed.
    Failed(Failure),
    /// The caller went away before there was an answer.
    Dropped,
}

/// What the error said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its outcome.
    pub outcome: Option<Outcome>,
    /// The parts that a server gave an error for.
    pub refused: Vec<usize>,
    /// How often it had been sent, where the tether says so.
    pub times_sent: Option<u32>,
    /// The error itself.
    pub words: String,
}

/// How the parts of one call belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parts {
    /// Each is executed or refused for itself: a pipeline.
    Apart,
    /// All or none: a transaction, a script, a lone command.
    Together,
}

/// What that says about one part of the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promise {
    /// It was executed.
    Executed,
    /// It was not executed, and will not be.
    NotExecuted,
    /// Nothing.
    Unknown,
}

impl Fate {
    /// That of a command that failed.
    #[must_use]
    pub fn of(error: &RedisError) -> Fate {
        let refused = match error.command_error() {
            Some(_) => Vec::new(),
            None => error
                .clone()
                .into_server_errors()
                .into_iter()
                .flat_map(|all| all.iter().map(|(part, _)| *part).collect::<Vec<_>>())
                .collect(),
        };
        let times_sent = error.command_error().map(CommandError::times_sent);
        Fate::Failed(Failure { outcome: error.outcome(), refused, times_sent, words: error.to_string() })
    }

    /// What it promises about this part.
    ///
    /// # Errors
    /// Where the caller was told something that it should never be told.
    pub fn promise(&self, parts: Parts, part: usize) -> Result<Promise, String> {
        match self {
            Fate::Done => Ok(Promise::Executed),
            Fate::Wrong(reply) => Err(format!("the reply is not that of this command: {reply}")),
            Fate::Failed(failure) => failure.promise(parts, part),
            Fate::Dropped => Ok(Promise::Unknown),
        }
    }
}

impl Failure {
    fn promise(&self, parts: Parts, part: usize) -> Result<Promise, String> {
        match self.outcome {
            // All of it: a transaction of which one part was refused runs not at all.
            Some(Outcome::NotSent | Outcome::Refused) => Ok(Promise::NotExecuted),
            // Each part was answered.
            Some(_) if parts == Parts::Apart && !self.refused.is_empty() => {
                Ok(if self.refused.contains(&part) { Promise::NotExecuted } else { Promise::Executed })
            }
            Some(_) => Ok(Promise::Unknown),
            None => Err(format!("nobody can tell whether it was executed: {}", self.words)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call is told to promise about its parts, of which the middle one was refused.
    fn promises(parts: Parts, outcome: Outcome) -> Vec<Promise> {
        let words = "refused".to_owned();
        let fate = Fate::Failed(Failure { outcome: Some(outcome), refused: vec![1], times_sent: None, words });
        (0..3).map(|part| fate.promise(parts, part).expect("a promise")).collect()
    }

    #[test]
    fn a_refused_transaction_runs_not_at_all() {
        assert_eq!(promises(Parts::Together, Outcome::Refused), [Promise::NotExecuted; 3]);
        // `MULTI` itself may have been refused, and then it was none.
        assert_eq!(promises(Parts::Together, Outcome::Ambiguous), [Promise::Unknown; 3]);
    }

    #[test]
    fn a_pipeline_runs_but_for_what_was_refused() {
        let expected = [Promise::Executed, Promise::NotExecuted, Promise::Executed];
        assert_eq!(promises(Parts::Apart, Outcome::Ambiguous), expected);
    }
}
