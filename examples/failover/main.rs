//! Fails a primary under a writer, and shows what a tether makes of it: a live timeline, then a closing table.
//!
//!     cargo run --release --example failover -- --scenario all
//!
//! It uses `redis-server` or `valkey-server` if one is found, and fake servers in this process otherwise.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people at a terminal")]

mod arguments;
mod summary;
mod timeline;
mod writer;

use std::process::ExitCode;
use std::time::Duration;

use redis_tether::{Config, Tether, resolve_fn};
use redis_tether_testkit::scenario::{Scenario, Servers, Stage, Timings};

use arguments::{Arguments, Output};
use summary::Summary;
use timeline::Timeline;
use writer::TetherWriter;

type Failure = Box<dyn std::error::Error>;

/// How long the first connection may take. The servers are up by then.
const READY: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("failover: {wrong}\n\n{}", arguments::HELP);
            return ExitCode::from(2);
        }
    };
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.output == Output::Timeline {
        println!("servers: {}", arguments.servers);
    }
    let mut summaries = Vec::new();
    for scenario in &arguments.scenarios {
        let summary = play(*scenario, &arguments.servers, arguments.output).await?;
        if arguments.output == Output::Json {
            println!("{}", serde_json::to_string(&summary)?);
        }
        summaries.push(summary);
    }
    if arguments.output == Output::Timeline {
        summary::print_table(&summaries);
    }
    Ok(())
}

async fn play(scenario: Scenario, servers: &Servers, output: Output) -> Result<Summary, Failure> {
    let stage = Stage::set(servers, scenario).await?;
    let mut config = Config::new(stage.name(), stage.port());
    if let Some(password) = stage.password() {
        config = config.with_password(password);
    }
    let dns = stage.dns().clone();
    let resolver = resolve_fn(move |host, port| {
        let dns = dns.clone();
        async move { dns.lookup(&host, port).await }
    });
    let tether = Tether::builder(config).resolver(resolver).start().await?;
    tether.ready(READY).await?;

    let timeline = Timeline::begin(scenario, output, &tether);
    let mut writer = TetherWriter::new(&tether);
    let before = tether.stats();
    let report = stage.play(&Timings::default(), &mut writer, &timeline).await?;
    let after = tether.stats();
    tether.shutdown().await;
    let seen = timeline.end();
    Ok(Summary::new(&report, servers.name(), &seen, &before, &after))
}
