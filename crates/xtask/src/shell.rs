//! Running other programs: shown before they run, bounded in time, with a failure that says what was run. Used by every
//! chore. Nothing here reads stdin: a chore behaves the same in a terminal and without one.

use std::fmt;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::deadline::{self, Ended};

/// Why a chore did not succeed, as the person who started it will read it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cargo that started us, so that a toolchain chosen by `cargo +name xtask` holds for all steps.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs `command` with our own output, at most for `bound`.
pub(crate) fn run(command: &mut Command, bound: Duration) -> Result<(), Failure> {
    let line = line(command);
    eprintln!("$ {line}");
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| Failure::new(format!("`{line}` did not start: {error}")))?;
    judge(&line, bound, deadline::wait(&mut child, bound))
}

/// Runs `command` silently, at most for `bound`, and returns what it wrote to stdout.
pub(crate) fn read(command: &mut Command, bound: Duration) -> Result<String, Failure> {
    let line = line(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(format!("`{line}` did not start: {error}")))?;
    let mut stdout = child.stdout.take().expect("stdout was piped just above");
    // Read beside the wait: a child whose pipe is full never ends.
    let reader = std::thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).map(|_| output)
    });
    judge(&line, bound, deadline::wait(&mut child, bound))?;
    reader
        .join()
        .expect("the reader thread has nothing that panics")
        .map_err(|error| Failure::new(format!("`{line}` wrote what cannot be read: {error}")))
}

fn judge(line: &str, bound: Duration, ended: std::io::Result<Ended>) -> Result<(), Failure> {
    match ended {
        Ok(Ended::Itself(status)) if status.success() => Ok(()),
        Ok(Ended::Itself(status)) => Err(Failure::new(format!("`{line}` ended with {status}"))),
        Ok(Ended::Killed) => {
            Err(Failure::new(format!("`{line}` was killed: it ran for more than {} s", bound.as_secs())))
        }
        Err(error) => Err(Failure::new(format!("`{line}` could not be waited for: {error}"))),
    }
}

/// The command as one would type it; the name of the program without its directory, which only makes a log longer.
fn line(command: &Command) -> String {
    let program = command.get_program();
    let name = std::path::Path::new(program).file_name().unwrap_or(program);
    std::iter::once(name).chain(command.get_args()).map(std::ffi::OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_larger_than_a_pipe_is_read_whole() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done";
        let output = read(&mut sh(script), BOUND).expect("the script succeeds");
        assert_eq!(output.len(), 3000 * 41);
    }

    #[test]
    fn a_failure_names_the_command_and_its_status() {
        let failure = run(&mut sh("exit 3"), BOUND).expect_err("exit 3").to_string();
        assert!(failure.contains("sh -c exit 3") && failure.contains('3'), "{failure}");
    }

    #[test]
    fn a_program_that_is_absent_is_named() {
        let mut absent = Command::new("/nowhere/no-such-program");
        let failure = run(&mut absent, BOUND).expect_err("it cannot start").to_string();
        assert!(failure.starts_with("`no-such-program` did not start"), "{failure}");
    }

    #[test]
    fn a_command_that_outlives_its_bound_is_killed() {
        let failure = read(&mut sh("sleep 600"), Duration::from_millis(50)).expect_err("too slow");
        assert!(failure.to_string().contains("was killed"), "{failure}");
    }
}
