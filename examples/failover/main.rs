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
    // Ctrl-C drops what runs, and with it the servers: a frozen one would not notice the signal.
    let played = tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => return ExitCode::from(INTERRUPTED),
        played = run(&arguments) => played,
    };
    match played {
        Ok(summaries) if summaries.iter().all(Summary::is_kept) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Vec<Summary>, Failure> {
    let is_for_people = arguments.output == Output::Timeline;
    if is_for_people {
        say(&arguments.note_on_servers())?;
    }
    let mut summaries = Vec::new();
    for play in &arguments.plays {
        if is_for_people {
            say(&format!("\n{}: {}\n\n", play.name(), play.summary()))?;
        }
        let summary = play::play(*play, arguments).await?;
        if !is_for_people {
            say(&format!("{}\n", serde_json::to_string(&summary)?))?;
        }
        summaries.push(summary);
    }
    if is_for_people {
        say(&format!("\n{}", summary::table(&summaries)))?;
    }
    Ok(summaries)
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
