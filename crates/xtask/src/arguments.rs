//! The command line of `cargo xtask`, parsed into a [`Chore`]. Called by `main` once; it never runs anything, and it
//! never guesses: what it does not know it names, together with what it does.

use std::fmt;

use crate::bench::{Extent, Order};
use crate::checks::Step;

/// What a person sees who asks for help, or who asked for something unknown.
pub(crate) const USAGE: &str = "\
usage: cargo xtask <chore>

  test [--only STEP,STEP...]   every check in one command; the first that fails stops it
                               steps: servers, fmt, clippy, test, doc, features
                               (test brings servers along, which it needs)
  bench [--quick] [NAME...]    the benches (of benches/, all unless some are named), in release, and their report,
                               target/bench/report.md; --quick measures less
  servers                      find or install redis-server and valkey-server 9, print their environment variables
  deny                         licences, advisories, duplicate and foreign dependencies (installs cargo-deny if needed)
  help                         this text";

/// One thing that can be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// The checks, in their fixed order.
    Test(Vec<Step>),
    /// The benches, and their report.
    Bench(Order),
    /// Only provide the servers.
    Servers,
    /// Check the dependencies.
    Deny,
    /// Print [`USAGE`].
    Help,
}

/// Why the arguments were refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    NoChore,
    UnknownChore(String),
    UnexpectedArgument { chore: &'static str, argument: String },
    MissingSteps,
    RepeatedOnly,
    UnknownStep(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChore => write!(f, "no chore given"),
            Self::UnknownChore(chore) => write!(f, "unknown chore '{chore}'"),
            Self::UnexpectedArgument { chore, argument } => {
                write!(f, "'{chore}' does not take '{argument}'")
            }
            Self::MissingSteps => write!(f, "--only needs at least one step, as in --only fmt,clippy"),
            Self::RepeatedOnly => write!(f, "--only may be given once; separate the steps by commas"),
            Self::UnknownStep(step) => {
                write!(f, "unknown step '{step}'; the steps are {}", Step::names())
            }
        }
    }
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Chore, Problem> {
    let mut arguments = arguments.into_iter();
    let chore = arguments.next().ok_or(Problem::NoChore)?;
    match chore.as_str() {
        "test" => Ok(Chore::Test(parse_steps(arguments)?)),
        "bench" => Ok(Chore::Bench(parse_order(arguments)?)),
        "servers" => nothing_more("servers", arguments).map(|()| Chore::Servers),
        "deny" => nothing_more("deny", arguments).map(|()| Chore::Deny),
        "help" | "--help" | "-h" => Ok(Chore::Help),
        _ => Err(Problem::UnknownChore(chore)),
    }
}

fn parse_steps(mut arguments: impl Iterator<Item = String>) -> Result<Vec<Step>, Problem> {
    let mut chosen: Option<Vec<Step>> = None;
    while let Some(argument) = arguments.next() {
        let list = match argument.strip_prefix("--only") {
            Some("") => arguments.next().ok_or(Problem::MissingSteps)?,
            Some(rest) if rest.starts_with('=') => rest[1..].to_owned(),
            _ => return Err(Problem::UnexpectedArgument { chore: "test", argument }),
        };
        if chosen.replace(parse_list(&list)?).is_some() {
            return Err(Problem::RepeatedOnly);
        }
    }
    Ok(in_order(&chosen.unwrap_or_else(|| Step::ALL.to_vec())))
}

fn parse_list(list: &str) -> Result<Vec<Step>, Problem> {
    if list.is_empty() {
        return Err(Problem::MissingSteps);
    }
    list.split(',').map(|name| Step::named(name).ok_or_else(|| Problem::UnknownStep(name.to_owned()))).collect()
}

/// The steps always run in one order, each once, whatever order they were named in; the tests never run without the
/// servers they need.
fn in_order(chosen: &[Step]) -> Vec<Step> {
    let wanted = |step: &Step| chosen.contains(step) || (*step == Step::Servers && chosen.contains(&Step::Test));
    Step::ALL.into_iter().filter(wanted).collect()
}

/// Which benches there are is for the workspace to say; here a name is a name.
fn parse_order(arguments: impl Iterator<Item = String>) -> Result<Order, Problem> {
    let mut order = Order { extent: Extent::Full, names: Vec::new() };
    for argument in arguments {
        match argument.as_str() {
            "--quick" => order.extent = Extent::Quick,
            option if option.starts_with('-') => {
                return Err(Problem::UnexpectedArgument { chore: "bench", argument });
            }
            _ => order.names.push(argument),
        }
    }
    Ok(order)
}

fn nothing_more(chore: &'static str, mut arguments: impl Iterator<Item = String>) -> Result<(), Problem> {
    match arguments.next() {
        None => Ok(()),
        Some(argument) => Err(Problem::UnexpectedArgument { chore, argument }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Chore, Problem> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn test_alone_means_every_step_in_order() {
        assert_eq!(parsed("test"), Ok(Chore::Test(Step::ALL.to_vec())));
    }

    #[test]
    fn chosen_steps_run_once_and_in_the_fixed_order() {
        let expected = Ok(Chore::Test(vec![Step::Fmt, Step::Features]));
        assert_eq!(parsed("test --only features,fmt,fmt"), expected);
        assert_eq!(parsed("test --only=features,fmt"), expected);
    }

    #[test]
    fn the_tests_bring_the_servers_along() {
        assert_eq!(parsed("test --only test"), Ok(Chore::Test(vec![Step::Servers, Step::Test])));
    }

    #[test]
    fn benches_are_named_and_may_be_quick() {
        let order = |extent, names: &[&str]| {
            Ok(Chore::Bench(Order { extent, names: names.iter().map(|&name| name.to_owned()).collect() }))
        };
        assert_eq!(parsed("bench"), order(Extent::Full, &[]));
        assert_eq!(parsed("bench --quick"), order(Extent::Quick, &[]));
        assert_eq!(parsed("bench actors --quick hot_path"), order(Extent::Quick, &["actors", "hot_path"]));
    }

    #[test]
    fn the_other_chores_are_known() {
        assert_eq!(parsed("servers"), Ok(Chore::Servers));
        assert_eq!(parsed("deny"), Ok(Chore::Deny));
        assert_eq!(parsed("--help"), Ok(Chore::Help));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let refused = [
            ("", "no chore given"),
            ("tset", "unknown chore 'tset'"),
            ("test --fast", "'test' does not take '--fast'"),
            ("test --only", "--only needs at least one step"),
            ("test --only=", "--only needs at least one step"),
            ("test --only fmt,lint", "unknown step 'lint'; the steps are servers, fmt,"),
            ("test --only fmt --only doc", "--only may be given once"),
            ("test --onlyfmt", "'test' does not take '--onlyfmt'"),
            ("bench --fast", "'bench' does not take '--fast'"),
            ("servers now", "'servers' does not take 'now'"),
        ];
        for (line, message) in refused {
            let problem = parsed(line).expect_err(line).to_string();
            assert!(problem.starts_with(message), "{line:?}: {problem}");
        }
    }

    #[test]
    fn the_usage_names_every_step() {
        assert!(USAGE.contains(&Step::names()));
    }
}
