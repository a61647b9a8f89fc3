//! What a command costs through each client: throughput, CPU time and latency, in rounds in which all clients do the same
//! work over one real server. Prints its tables as it goes and leaves a section of the report.
//!
//! `cargo bench -p redis-tether-benches --bench hot_path`; `-- --quick` takes a fifth of the rounds, `-- SET 64` only what has
//! these words in its name.

use std::io;

use redis_tether_benches::chart::Bars;
use redis_tether_benches::peers::{Error, Peer};
use redis_tether_benches::rounds::{Busy, Latencies, Operation, Turn, Work, play};
use redis_tether_benches::section::Section;
use redis_tether_benches::statistics::{Spread, quantile};
use redis_tether_testkit::server::{Server, ServerBinary};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// The workers of the runtime that the clients and their callers share.
const WORKERS: usize = 2;

const ROUNDS: usize = 15;

/// So many times as many rounds are played where latencies are compared: whether a round trip wakes a second processor is the
/// kernel's choice, differs from round to round, and makes a factor of three.
const LATENCY_ROUNDS: usize = 4;

/// What is done in one turn, as the report calls it.
struct Measure {
    name: String,
    work: Work,
}

impl Measure {
    fn new(operation: Operation, callers: usize, value: usize, operations: usize) -> Measure {
        let what = match operation {
            Operation::Get => "GET".to_owned(),
            Operation::Pipeline(length) => format!("pipeline of {length}"),
            _ => "SET".to_owned(),
        };
        let name = format!("{what}, {callers} callers, {value} B").replace(" 1 callers", " 1 caller");
        Measure { name, work: Work { operation, callers, value, operations } }
    }
}

fn main() -> Result<(), Error> {
    let (options, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let rounds = if options.iter().any(|option| option == "--quick") { ROUNDS / 5 } else { ROUNDS };
    let wanted = |measure: &Measure| words.iter().all(|word| measure.name.contains(word.as_str()));
    let binary = ServerBinary::any().ok_or("no server: `cargo xtask servers` provides one")?;
    let mut section = Section::new("hot_path", "The hot path");
    section.text(&format!(
        "{} {} on the same machine, a runtime of {WORKERS} workers, {rounds} rounds after one to warm up (for latencies {}). In \
         each round every client does the same work, beginning with another one each time. Figures are medians of the rounds; \
         ratios are medians of the pairs within a round, with the middle half of them in brackets. CPU time is the client \
         process's own, user and system, for each command.",
        binary.kind().binary_name(),
        binary.version(),
        rounds * LATENCY_ROUNDS,
    ));
    runtime(WORKERS)?.block_on(on_all_processors(&mut section, &binary, rounds, wanted))?;
    keep_to_one_processor()?;
    runtime(1)?.block_on(on_one_processor(&mut section, &binary, rounds))?;
    section.finish()?;
    Ok(())
}

fn runtime(workers: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

async fn on_all_processors(
    section: &mut Section,
    binary: &ServerBinary,
    rounds: usize,
    wanted: impl Fn(&Measure) -> bool,
) -> Result<(), Error> {
    let server = Server::start(binary).await?;
    let peers = Peer::all(server.addr()).await?;
    section.heading("Nothing else to do");
    let measures = idle_measures().into_iter().filter(&wanted).collect();
    let charted = throughput(section, &peers, measures, rounds).await?;
    section.chart("throughput.svg", &charted)?;
    latency(section, &peers, rounds).await?;

    section.heading("Workers that are busy for four fifths of the time");
    let _busy = Busy::start(WORKERS);
    let measures = busy_measures().into_iter().filter(&wanted).collect();
    throughput(section, &peers, measures, rounds).await?;
    latency(section, &peers, rounds).await
}

/// What a lone caller waits for, without the kernel's choice of processors in it.
async fn on_one_processor(section: &mut Section, binary: &ServerBinary, rounds: usize) -> Result<(), Error> {
    let server = Server::start(binary).await?;
    let peers = Peer::all(server.addr()).await?;
    section.heading("A lone caller, with one processor for the clients and the server");
    section.text(
        "Above, a round trip takes about 20 µs where the kernel keeps client and server on one processor, and 60 to 100 µs where \
         each has its own and goes to sleep between two commands. Which of them it is differs from round to round. Here it is the \
         first, always.",
    );
    throughput(section, &peers, vec![Measure::new(Operation::Set, 1, 16, 4_000)], rounds).await?;
    latency(section, &peers, rounds).await?;
    section.text("The same with a worker that is busy for four fifths of the time.");
    let _busy = Busy::start(1);
    latency(section, &peers, rounds).await
}

/// This thread and those that begin after, and the servers that they start.
fn keep_to_one_processor() -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    (0..CpuSet::MAX_CPU).find(|processor| allowed.is_set(*processor)).into_iter().for_each(|first| one.set(first));
    Ok(sched_setaffinity(None, &one)?)
}

fn idle_measures() -> Vec<Measure> {
    let mut measures = Vec::new();
    for operation in [Operation::Set, Operation::Get] {
        for value in [16, 4096] {
            for (callers, operations) in [(1, 4_000), (64, 32_000), (512, 51_200)] {
                measures.push(Measure::new(operation, callers, value, operations));
            }
        }
    }
    for (length, callers, operations) in [(10, 1, 2_000), (10, 64, 6_400), (100, 1, 400), (100, 64, 1_280)] {
        measures.push(Measure::new(Operation::Pipeline(length), callers, 16, operations));
    }
    measures
}

fn busy_measures() -> Vec<Measure> {
    [(1, 500), (64, 9_600), (512, 25_600)]
        .map(|(callers, operations)| Measure::new(Operation::Set, callers, 16, operations))
        .into()
}

/// Measures throughput and CPU time. Gives the throughputs of small `SET`s beside `ConnectionManager`'s, to be charted.
async fn throughput(
    section: &mut Section,
    peers: &[Peer],
    measures: Vec<Measure>,
    rounds: usize,
) -> Result<Bars, Error> {
    let mut chart = Bars::new("Throughput of small SETs, as multiples of ConnectionManager's", "ratio");
    for Measure { name, work } in measures {
        let turns = play(peers, work, Latencies::Left, rounds).await?;
        let speeds: Vec<Vec<f64>> = each(&turns, |turn| work.commands() as f64 / turn.time.as_secs_f64());
        let costs: Vec<Vec<f64>> = each(&turns, |turn| turn.cpu.as_secs_f64() * 1e6 / work.commands() as f64);
        let columns = ["commands/s", "CPU µs", "our throughput to its", "our CPU time to its"];
        section.table(&name, &columns, &rows(peers, [(&speeds, 0), (&costs, 2)]));
        if (work.operation, work.value) == (Operation::Set, 16) {
            let manager = peers.iter().position(|peer| matches!(peer, Peer::Manager(_))).unwrap_or_default();
            let to_manager = |peer: usize| Spread::of_ratios(&speeds[peer], &speeds[manager]).median;
            let bars = (0..peers.len()).map(|peer| (peers[peer].name().to_owned(), to_manager(peer))).collect();
            chart.group(&name, bars);
        }
    }
    Ok(chart)
}

async fn latency(section: &mut Section, peers: &[Peer], rounds: usize) -> Result<(), Error> {
    let Measure { name, work } = Measure::new(Operation::Set, 1, 16, 1_000);
    let turns = play(peers, work, Latencies::Taken, rounds * LATENCY_ROUNDS).await?;
    let at = |share: f64| {
        each(&turns, |turn| quantile(turn.latencies.iter().map(|latency| latency.as_secs_f64() * 1e6).collect(), share))
    };
    let (medians, tails) = (at(0.5), at(0.99));
    let columns = ["median µs", "p99 µs", "our median to its", "our p99 to its"];
    section.table(&format!("latency of {name}"), &columns, &rows(peers, [(&medians, 0), (&tails, 0)]));
    Ok(())
}

/// For each peer the medians of both measures, to so many decimals, and how redis-tether's compare.
fn rows(peers: &[Peer], measures: [(&[Vec<f64>], usize); 2]) -> Vec<(String, Vec<String>)> {
    let row = |peer: usize| {
        let median =
            |(figures, decimals): (&[Vec<f64>], usize)| format!("{:.decimals$}", Spread::of(&figures[peer]).median);
        let ratio = |(figures, _): (&[Vec<f64>], usize)| Spread::of_ratios(&figures[0], &figures[peer]).to_string();
        let cells = measures.map(median).into_iter().chain(measures.map(ratio));
        (peers[peer].name().to_owned(), cells.collect())
    };
    (0..peers.len()).map(row).collect()
}

fn each(turns: &[Vec<Turn>], figure: impl Fn(&Turn) -> f64) -> Vec<Vec<f64>> {
    turns.iter().map(|turns| turns.iter().map(&figure).collect()).collect()
}
