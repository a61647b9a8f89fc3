//! Fails a primary under a writer, and shows what a tether makes of it: a live timeline, then a closing table.
//!
//!     cargo run --release --example failover -- --scenario all
//!
//! It uses `redis-server` or `valkey-server` if one is found, and fake servers in this process otherwise.

#![allow(clippy::print_stderr, reason = "it is a program for people at a terminal")]

mod arguments;
mod screen;
mod summary;
mod timeline;
mod writer;

use std::io::{self, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use redis_tether::{Config, Tether, TlsSettings, resolve_fn};
use redis_tether_testkit::scenario::{Scenario, Stage};

use arguments::{Arguments, Output, Over};
use summary::Summary;
use timeline::Timeline;
use writer::TetherWriter;

type Failure = Box<dyn std::error::Error>;

/// How long the first connection may take. The servers are up by then.
const READY: Duration = Duration::from_secs(10);

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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let is_for_people = arguments.output == Output::Timeline;
    if is_for_people {
        say(&arguments.note_on_servers())?;
    }
    let mut summaries = Vec::new();
    for scenario in &arguments.scenarios {
        if is_for_people {
            say(&format!("\n{scenario}: {}\n\n", scenario.summary()))?;
        }
        let summary = play(*scenario, arguments).await?;
        if !is_for_people {
            say(&format!("{}\n", serde_json::to_string(&summary)?))?;
        }
        summaries.push(summary);
    }
    if is_for_people {
        say(&format!("\n{}", summary::table(&summaries)))?;
    }
    Ok(())
}

async fn play(scenario: Scenario, arguments: &Arguments) -> Result<Summary, Failure> {
    let stage = match arguments.over {
        Over::Tcp => Stage::set(&arguments.servers, scenario).await?,
        Over::Tls => Stage::set_over_tls(&arguments.servers, scenario).await?,
    };
    let mut config = Config::new(stage.name(), stage.port());
    if let Some(password) = stage.password() {
        config = config.with_password(password);
    }
    if let Some(files) = stage.tls() {
        let tls = TlsSettings::new().with_ca_file(files.ca_file());
        config = config.with_tls(tls.with_client_certificate(files.client_cert_file(), files.client_key_file()));
    }
    let dns = stage.dns().clone();
    let resolver = resolve_fn(move |host, port| {
        let dns = dns.clone();
        async move { dns.lookup(&host, port).await }
    });
    let tether = Tether::builder(config).resolver(resolver).start().await?;
    tether.ready(READY).await?;

    let mut writer = TetherWriter::new(&tether);
    let timeline = Timeline::begin(scenario, arguments.output, &tether, writer.writes());
    let report = stage.play(&arguments.timings, &mut writer, &timeline).await?;
    let after = tether.stats();
    let (seen, before) = timeline.end();
    tether.shutdown().await;
    Ok(Summary::new(&report, arguments.servers.name(), seen, &before, &after))
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
