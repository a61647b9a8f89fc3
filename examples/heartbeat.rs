//! What an application of one's own looks like: configured by the environment, one write a second, every change of the
//! connection on the screen, ended by Ctrl-C. Stop the server meanwhile, start it again, move the name.
//!
//!     REDIS_URL=redis://localhost:6379 cargo run --example heartbeat
//!
//! In `docker-compose.yml` it is what the container `app` runs.

#![allow(clippy::print_stdout, reason = "it is a program for people at a terminal")]

use std::error::Error;
use std::time::Duration;

use redis_tether::redis::{AsyncCommands, RedisResult};
use redis_tether::{Config, Handle, Phase, Status, Tether};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often it writes.
const BEAT: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tether = Tether::start(Config::from_env()?).await?;
    let watching = tokio::spawn(watch(tether.status()));
    tokio::select! {
        biased;
        ended = tokio::signal::ctrl_c() => ended?,
        () = beat(tether.handle()) => {}
    }
    tether.shutdown().await;
    watching.await?;
    Ok(())
}

/// Says when the connection's phase changes, until the tether has stopped.
async fn watch(mut status: watch::Receiver<Status>) {
    let mut shown = None;
    loop {
        let now = status.borrow_and_update().clone();
        if shown.replace(now.phase) != Some(now.phase) {
            println!("status  {now}");
        }
        if now.phase == Phase::Stopped || status.changed().await.is_err() {
            return;
        }
    }
}

async fn beat(mut redis: Handle) {
    let mut beats = interval(BEAT);
    // A beat that was held is not made up for.
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let began = Instant::now();
        let written: RedisResult<u64> = redis.incr("redis-tether:heartbeat", 1).await;
        let took = began.elapsed();
        match written {
            Ok(count) => println!("beat    {count}, after {took:.1?}"),
            Err(error) => println!("failed  after {took:.1?}: {error}"),
        }
    }
}
