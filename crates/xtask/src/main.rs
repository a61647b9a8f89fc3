//! The project's chores, started as `cargo xtask <chore>`. This file is the table of contents: it reads the arguments,
//! runs the one chore asked for and turns its outcome into an exit status. It checks and installs nothing itself.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person, or the log, that started it"
)]

mod apt;
mod arguments;
mod bench;
mod checks;
mod deadline;
mod deny;
mod features;
mod servers;
mod shell;
mod valgrind;
mod workspace;

use std::process::ExitCode;

use arguments::Chore;
use shell::Failure;

fn main() -> ExitCode {
    let chore = match arguments::parse(std::env::args().skip(1)) {
        Ok(chore) => chore,
        Err(problem) => {
            eprintln!("xtask: {problem}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<(), Failure> {
    match chore {
        Chore::Test(steps) => checks::run(&steps),
        Chore::Bench(order) => bench::run(&order),
        Chore::Servers => servers::print_environment(),
        Chore::Deny => deny::run(),
        Chore::Help => {
            println!("{}", arguments::USAGE);
            Ok(())
        }
    }
}
