//! Fails a primary under a writer, and shows what a tether makes of it: a live timeline, then a closing table.
//!
//!     cargo run --release --example failover -- --scenario all
//!     cargo run --release --example failover -- --topology cluster --scenario all
//!
//! It uses `redis-server` or `valkey-server` if one is found, and fake servers in this process otherwise.

#![allow(clippy::print_stderr, reason = "it is a program for people at a terminal")]

mod arguments;
mod bystanders;
mod play;
mod promise;
mod screen;
mod summary;
mod timeline;
mod topology;
mod watched;
mod writer;

use std::io::{self, Write, stdout};
use std::process::ExitCode;

use arguments::{Arguments, Output};
use summary::Summary;

type Failure = Box<dyn std::error::Error>;

/// As shells count a process that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()))
    {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            // Nobody is left to be told.
            let _ = say(arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("failover: {wrong}\n\n{}", arguments::HELP);
            return ExitCode::from(2);
        }
    };
    let mut summaries = Vec::new();
    // Ctrl-C drops what runs, and with it the servers: a frozen one would not notice the signal.
    let played = tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => return ExitCode::from(INTERRUPTED),
        played = run(&arguments, &mut summaries) => played,
    };
    if let Err(error) = &played
        && !is_broken_pipe(&**error)
    {
        eprintln!("failover: {error}");
    }
    verdict(played, summaries.iter().map(Summary::is_kept))
}

/// A reader that has left is no failure, and excuses none: what was played until then is judged.
fn verdict(played: Result<(), Failure>, mut are_kept: impl Iterator<Item = bool>) -> ExitCode {
    match played {
        Err(error) if !is_broken_pipe(&*error) => ExitCode::FAILURE,
        _ if are_kept.all(|is_kept| is_kept) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Plays all of them, and adds what came of each as soon as it is known.
async fn run(arguments: &Arguments, summaries: &mut Vec<Summary>) -> Result<(), Failure> {
    let is_for_people = arguments.output == Output::Timeline;
    if is_for_people {
        say(&arguments.note_on_servers())?;
    }
    for play in &arguments.plays {
        if is_for_people {
            say(&format!("\n{}: {}\n\n", play.name(), play.summary()))?;
        }
        let summary = play::play(*play, arguments).await?;
        let line = (!is_for_people).then(|| serde_json::to_string(&summary)).transpose()?;
        summaries.push(summary);
        if let Some(line) = line {
            say(&format!("{line}\n"))?;
        }
    }
    if is_for_people {
        say(&format!("\n{}", summary::table(summaries)))?;
    }
    Ok(())
}

/// `println!` panics where the reader has left.
fn say(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_left_excuses_nothing() {
        let left = || Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        assert_eq!(verdict(left(), [true].into_iter()), ExitCode::SUCCESS);
        assert_eq!(verdict(left(), [true, false].into_iter()), ExitCode::FAILURE);
        assert_eq!(verdict(Ok(()), [false].into_iter()), ExitCode::FAILURE);
        assert_eq!(verdict(Err("no server".into()), [true].into_iter()), ExitCode::FAILURE);
    }
}
