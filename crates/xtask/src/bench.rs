//! `cargo xtask bench`: runs the benches one after another, in release and with the servers that the tests use, and puts the
//! sections that they leave together into one report. One that fails is named in the report and fails the chore at the
//! end; the others run all the same. Called by `main`. It measures nothing itself.

mod machine;
mod report;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use self::machine::{Machine, QUESTION_BOUND};
use self::report::{Report, Section};
use crate::checks::CARGO_BOUND;
use crate::servers::{self, Product};
use crate::shell::{self, Failure, cargo};
use crate::valgrind;
use crate::workspace::Workspace;

/// Bounds one bench. The longest takes a quarter of an hour, or `recovery` an hour where clients are played one after another.
const BENCH_BOUND: Duration = Duration::from_secs(3 * 60 * 60);

/// Those that count by valgrind.
const COUNTING: [&str; 2] = ["instructions", "actors"];

/// How the report goes on, since cargo tells them by the alphabet. One that is not here comes at the end.
const READING_ORDER: [&str; 4] = ["hot_path", "instructions", "recovery", "actors"];

/// What is to be measured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) extent: Extent,
    /// Of the benches; all of them where there is none.
    pub(crate) names: Vec<String>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Full,
    /// What the benches make of `--quick`.
    Quick,
}

impl Order {
    /// As it is typed.
    fn line(&self) -> String {
        let mut words = vec!["cargo xtask bench"];
        words.extend((self.extent == Extent::Quick).then_some("--quick"));
        words.extend(self.names.iter().map(String::as_str));
        words.join(" ")
    }
}

/// One bench of the workspace.
#[derive(Debug, PartialEq, Eq)]
struct Bench {
    package: String,
    name: String,
}

/// Runs what is ordered, and writes the report.
pub(crate) fn run(order: &Order) -> Result<(), Failure> {
    let workspace = Workspace::read()?;
    let benches = chosen(&order.names, workspace.benches().map(|(package, name)| (package.name.as_str(), name)))?;
    let servers = servers::provide(&workspace, &Product::SERVERS)?;
    servers.print();
    let counts = benches.iter().any(|bench| COUNTING.contains(&bench.name.as_str()));
    let valgrind = if counts { Some(valgrind::provide()?) } else { None };
    // Of what is built, whatever is changed while it runs.
    let revision = revision(&workspace);
    build(&workspace, &benches)?;

    let directory = workspace.target().join("bench");
    fs::create_dir_all(&directory).map_err(|error| failed("making", &directory, &error))?;
    let mut sections = Vec::new();
    for bench in &benches {
        let file = section_of(&directory, bench);
        forget(&file)?;
        let mut command = cargo(&["bench", "--locked", "--package", &bench.package, "--bench", &bench.name, "--"]);
        command.args((order.extent == Extent::Quick).then_some("--quick"));
        command.current_dir(workspace.root()).envs(servers.environment()).env("BENCH_DIR", &directory);
        let ran = shell::run(&mut command, BENCH_BOUND).map_err(|failure| failure.to_string());
        let outcome = ran.and_then(|()| fs::read_to_string(&file).map_err(|_| "it left no section".to_owned()));
        sections.push(Section { bench: bench.name.clone(), outcome });
    }
    let machine = Machine::read(servers.versions().into_iter().chain(valgrind).collect());
    let clients = clients(&workspace, &benches);
    let report = Report { command: order.line(), revision, machine, clients, sections };
    let file = directory.join("report.md");
    fs::write(&file, report.to_string()).map_err(|error| failed("writing", &file, &error))?;
    eprintln!("\nthe report is in {}", file.display());
    match report.failed().as_slice() {
        [] => Ok(()),
        failed => Err(Failure::new(format!("these benches failed: {}", failed.join(", ")))),
    }
}

/// Those of the workspace's benches that were named, each once and in the order of the report.
fn chosen<'a>(names: &[String], all: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Vec<Bench>, Failure> {
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, bench)| READING_ORDER.iter().position(|name| name == bench).unwrap_or(READING_ORDER.len()));
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|(_, bench)| bench == name)) {
        let known: Vec<_> = all.iter().map(|(_, bench)| *bench).collect();
        return Err(Failure::new(format!("unknown bench '{unknown}'; the benches are {}", known.join(", "))));
    }
    let is_wanted = |bench: &str| names.is_empty() || names.iter().any(|name| name == bench);
    let wanted = all.into_iter().filter(|(_, bench)| is_wanted(bench));
    Ok(wanted.map(|(package, name)| Bench { package: package.to_owned(), name: name.to_owned() }).collect())
}

/// Builds them all before the first one runs: what does not compile shows at once, and no compiler runs beside a bench.
fn build(workspace: &Workspace, benches: &[Bench]) -> Result<(), Failure> {
    for bench in benches {
        let mut command =
            cargo(&["bench", "--locked", "--no-run", "--package", &bench.package, "--bench", &bench.name]);
        shell::run(command.current_dir(workspace.root()), CARGO_BOUND)?;
    }
    Ok(())
}

/// Where a bench leaves its section.
fn section_of(directory: &Path, bench: &Bench) -> PathBuf {
    directory.join(format!("{}.md", bench.name))
}

/// Removes what an earlier run has left, so that it is not taken for this one's.
fn forget(file: &Path) -> Result<(), Failure> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", file, &error)),
        _ => Ok(()),
    }
}

/// The commit that is checked out, and whether anything was changed since.
fn revision(workspace: &Workspace) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--exclude", "*", "--dirty=, changed since"]).current_dir(workspace.root());
    shell::read(&mut git, QUESTION_BOUND).ok().map(|told| told.trim().to_owned()).filter(|told| !told.is_empty())
}

/// The versions of the clients that are compared: whatever the benches' packages depend on that came from a registry.
fn clients(workspace: &Workspace, benches: &[Bench]) -> Vec<String> {
    let mut packages: Vec<&str> = benches.iter().map(|bench| bench.package.as_str()).collect();
    packages.dedup();
    let trees = packages.into_iter().filter_map(|package| {
        let mut tree = cargo(&["tree", "--locked", "--package", package, "--depth", "1", "--edges", "normal"]);
        tree.args(["--prefix", "none", "--format", "{p}"]).current_dir(workspace.root());
        // The report stands without them.
        shell::read(&mut tree, CARGO_BOUND).ok()
    });
    trees.flat_map(|tree| report::clients_in(&tree)).collect()
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn chosen_of(wanted: &[&str]) -> Result<Vec<String>, String> {
        let all = [("more", "size"), ("benches", "actors"), ("benches", "hot_path"), ("more", "time")];
        let chosen = chosen(&names(wanted), all.into_iter()).map_err(|failure| failure.to_string())?;
        Ok(chosen.into_iter().map(|bench| format!("{}/{}", bench.package, bench.name)).collect())
    }

    #[test]
    fn none_named_means_all_and_several_are_in_the_order_of_the_report() {
        assert_eq!(chosen_of(&[]), Ok(names(&["benches/hot_path", "benches/actors", "more/size", "more/time"])));
        assert_eq!(chosen_of(&["time", "actors", "time"]), Ok(names(&["benches/actors", "more/time"])));
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_those_that_are() {
        let refused = chosen_of(&["actors", "actor"]).expect_err("there is no such bench");
        assert_eq!(refused, "unknown bench 'actor'; the benches are hot_path, actors, size, time");
    }

    #[test]
    fn the_report_has_the_command_as_it_was_typed() {
        let order = |extent, wanted| Order { extent, names: names(wanted) }.line();
        assert_eq!(order(Extent::Full, &[]), "cargo xtask bench");
        assert_eq!(order(Extent::Quick, &["room", "speed"]), "cargo xtask bench --quick room speed");
    }

    #[test]
    fn those_that_are_known_by_name_are_there() {
        let workspace = Workspace::read().expect("cargo tells");
        for known in COUNTING.into_iter().chain(READING_ORDER) {
            assert!(workspace.benches().any(|(_, bench)| bench == known), "{known}");
        }
    }

    #[test]
    fn what_an_earlier_run_left_is_gone_and_what_is_not_there_is_no_failure() {
        let directory = std::env::temp_dir().join(format!("xtask-bench-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let bench = Bench { package: "benches".to_owned(), name: "speed".to_owned() };
        let file = section_of(&directory, &bench);
        fs::write(&file, "of an earlier run").expect("a file");
        let forgotten = [forget(&file), forget(&file)];
        let is_there = file.exists();
        fs::remove_dir_all(&directory).expect("removed");
        assert!(!is_there && forgotten.iter().all(Result::is_ok), "{forgotten:?}");
    }
}
