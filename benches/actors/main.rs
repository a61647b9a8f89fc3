//! What the control path costs: how long a tether takes to start, how long its callers notice that the connection actor died,
//! and what a thousand tethers in one process take while nobody calls. Leaves a section of the report.
//!
//! `cargo bench -p redis-tether-benches --bench actors`; `-- --quick` takes less of everything, `-- fleet` only the thousand,
//! `-- start` or `-- kill` only what has this word in its name, and criterion's own options work. It starts itself again for
//! each figure of the fleet, and under valgrind for the heap.
#![allow(clippy::print_stdout, reason = "the process with the fleet tells its figures to the one that started it")]

mod fleet;
mod times;

use redis_tether_benches::peers::Error;
use redis_tether_benches::section::Section;
use redis_tether_testkit::server::ServerBinary;
use tokio::runtime::Builder;

/// The workers of each runtime.
const WORKERS: usize = 2;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Full,
    Quick,
}

fn main() -> Result<(), Error> {
    let (options, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    if let Some(order) = fleet::Order::parse(&words) {
        return runtime.block_on(order.carry_out());
    }
    let extent = if options.iter().any(|option| option == "--quick") { Extent::Quick } else { Extent::Full };
    let wants_fleet = words.iter().all(|word| fleet::NAME.contains(word.as_str()));

    let binary = ServerBinary::any().ok_or("no server: `cargo xtask servers` provides one")?;
    let mut section = Section::new("actors", "Actors");
    section.text(&format!(
        "{} {} on the same machine, a runtime of {WORKERS} workers.",
        binary.kind().binary_name(),
        binary.version()
    ));
    times::measure(&mut section, &runtime, &binary)?;
    if wants_fleet {
        runtime.block_on(fleet::measure(&mut section, &binary, extent))?;
    }
    section.finish()?;
    Ok(())
}
