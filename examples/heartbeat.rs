//! What an application of one's own looks like: configured by the environment, one write a second, every change of the
//! connection on the screen, ended by Ctrl-C. Stop the server meanwhile, start it again, move the name.
//!
//!     REDIS_URL=redis://localhost:6379 cargo run --example heartbeat
//!
//! In `docker-compose.yml` it is what the container `app` runs.

#![allow(clippy::print_stderr, reason = "it is a program for people at a terminal")]

use std::io::{self, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use redis_tether::redis::{AsyncCommands, RedisResult};
use redis_tether::{Config, Handle, Phase, Status, Tether};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often it writes.
const BEAT: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heartbeat: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let tether = Tether::start(Config::from_env()?).await?;
    let watching = tokio::spawn(watch(tether.status()));
    tokio::select! {
        biased;
        ended = tokio::signal::ctrl_c() => ended?,
        ended = beat(tether.handle()) => ended?,
    }
    tether.shutdown().await;
    Ok(watching.await??)
}

/// Says when the connection's phase changes, until the tether has stopped.
async fn watch(mut status: watch::Receiver<Status>) -> io::Result<()> {
    let mut shown = None;
    loop {
        let now = status.borrow_and_update().clone();
        if shown.replace(now.phase) != Some(now.phase) {
            writeln!(stdout(), "status  {now}")?;
        }
        if now.phase == Phase::Stopped || status.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn beat(mut redis: Handle) -> io::Result<()> {
    let mut beats = interval(BEAT);
    // A beat that was held is not made up for.
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let began = Instant::now();
        let written: RedisResult<u64> = redis.incr("redis-tether:heartbeat", 1).await;
        let took = began.elapsed();
        match written {
            Ok(count) => writeln!(stdout(), "beat    {count}, after {took:.1?}")?,
            Err(error) => writeln!(stdout(), "failed  after {took:.1?}: {error}")?,
        }
    }
}
