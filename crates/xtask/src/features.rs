//! The `features` step: every published crate compiled by itself, with no feature, with each one alone, and with all
//! of them. Inside the workspace features unify, so a crate that forgot to ask for one compiles there and nowhere else.

use crate::checks::CARGO_BOUND;
use crate::shell::{self, Failure, cargo};
use crate::workspace::{Package, Workspace};

/// Checks every combination, then says which of them failed.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for package in workspace.published() {
        for combination in combinations(&package.features) {
            if let Err(failure) = check_one(workspace, package, &combination) {
                failed.push(format!("{} {}: {failure}", package.name, describe(&combination)));
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} feature combination(s):\n  {}", failed.len(), failed.join("\n  "))))
}

/// Clippy rather than check: an import that only one combination uses is a warning, and only clippy can turn the
/// warnings of this crate into errors without rebuilding every dependency.
fn check_one(workspace: &Workspace, package: &Package, combination: &[&str]) -> Result<(), Failure> {
    let features = combination.join(",");
    let mut command = cargo(&["clippy", "--locked", "--package", &package.name, "--no-default-features"]);
    if !combination.is_empty() {
        command.args(["--features", &features]);
    }
    command.args(["--", "-D", "warnings"]).current_dir(workspace.root());
    shell::run(&mut command, CARGO_BOUND)
}

/// None, each alone, all together; without repetition when there are fewer than two features.
fn combinations(features: &[String]) -> Vec<Vec<&str>> {
    let all: Vec<&str> = features.iter().map(String::as_str).collect();
    let mut combinations = vec![Vec::new()];
    combinations.extend(all.iter().map(|&feature| vec![feature]));
    if all.len() > 1 {
        combinations.push(all);
    }
    combinations
}

fn describe(combination: &[&str]) -> String {
    match combination {
        [] => "without features".to_owned(),
        some => format!("with {}", some.join(" + ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(features: &[&str]) -> Vec<String> {
        features.iter().map(|&feature| feature.to_owned()).collect()
    }

    #[test]
    fn none_each_alone_and_all_together() {
        let features = names(&["a", "b", "c"]);
        let expected = [vec![], vec!["a"], vec!["b"], vec!["c"], vec!["a", "b", "c"]];
        assert_eq!(combinations(&features), expected);
    }

    #[test]
    fn nothing_is_checked_twice() {
        assert_eq!(combinations(&[]), [Vec::<&str>::new()]);
        assert_eq!(combinations(&names(&["a"])), [vec![], vec!["a"]]);
    }

    #[test]
    fn a_combination_reads_as_a_phrase() {
        assert_eq!(describe(&[]), "without features");
        assert_eq!(describe(&["a", "b"]), "with a + b");
    }
}
