//! A client in a process of its own, for tests that stop and slow down the whole process: a tether with the default settings
//! and a steady load on it. The client tests of `stays` start it with a server's port and address and the seconds that it is
//! to run; at the end it writes one line with what it met, which [`Report`] reads.

use std::env;
use std::error::Error;
use std::io::Write;
use std::time::Duration;

use redis_tether::{Config, Tether};
use redis_tether_tests::report::Report;
use redis_tether_tests::steady::Steady;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [_, host, port, seconds] = env::args().collect::<Vec<_>>().try_into().map_err(|_| "host, port, seconds")?;
    let tether = Tether::start(Config::new(host, port.parse()?)).await?;
    let before = tether.ready(Duration::from_secs(10)).await?;
    let load = Steady::start(&tether.handle(), "load", 4);
    say("ready")?;
    tokio::time::sleep(Duration::from_secs_f64(seconds.parse()?)).await;
    let met = load.finish().await;
    let after = tether.status().borrow().clone();
    let report = Report {
        answered: met.answered,
        failed: met.failures.len() as u64,
        same_epoch: u64::from(before.epoch.is_some() && before.epoch == after.epoch),
        dials: tether.stats().dials,
        held: tether.stats().held,
        longest_ms: u64::try_from(met.longest.as_millis())?,
    };
    tether.shutdown().await;
    for failure in met.failures {
        say(&format!("failure: {failure}"))?;
    }
    say(&report.to_string())?;
    Ok(())
}

fn say(line: &str) -> Result<(), std::io::Error> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
