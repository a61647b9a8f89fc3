//! What a command costs through each client: throughput, CPU time and latency, in rounds in which all clients do the same
//! work over one real server. Prints its tables as it goes and leaves a section of the report.
//!
//! `cargo bench -p redis-tether-benches --bench hot_path`; `-- --quick` takes a third of the rounds, `-- busy SET` only what has
//! these words in its name or in that of its situation (`idle`, `busy`, `apart`, `alone`).

use std::io;

use redis_tether_benches::chart::Bars;
use redis_tether_benches::peers::{Error, Peer};
use redis_tether_benches::rounds::{Busy, Latencies, Operation, Turn, Work, play};
use redis_tether_benches::section::{Goal, Section};
use redis_tether_benches::statistics::{Spread, quantile};
use redis_tether_testkit::server::{Server, ServerBinary};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};

/// The workers of the runtime that the clients and their callers share.
const WORKERS: usize = 2;

const ROUNDS: usize = 9;

/// So many times as many rounds are played where the latency of a lone caller is compared: whether a round trip wakes a second
/// processor is the kernel's choice, differs from round to round, and makes a factor of three.
const LONE_ROUNDS: usize = 4;

/// What is done in one turn, as the report calls it.
struct Measure {
    name: String,
    work: Work,
    latencies: Latencies,
}

impl Measure {
    fn new(operation: Operation, callers: usize, value: usize, operations: usize) -> Measure {
        let what = match operation {
            Operation::Get => "GET".to_owned(),
            Operation::Pipeline(length) => format!("pipeline of {length}"),
            _ => "SET".to_owned(),
        };
        let name = format!("{what}, {callers} callers, {value} B").replace(" 1 callers", " 1 caller");
        Measure { name, work: Work { operation, callers, value, operations }, latencies: Latencies::Left }
    }

    fn latency(callers: usize, operations: usize) -> Measure {
        let Measure { name, work, .. } = Measure::new(Operation::Set, callers, 16, operations);
        Measure { name: format!("latency of {name}"), work, latencies: Latencies::Taken }
    }

    fn set(callers: usize, operations: usize) -> Measure {
        Measure::new(Operation::Set, callers, 16, operations)
    }
}

/// Where something is measured.
struct Situation {
    /// The word by which it is asked for.
    word: &'static str,
    heading: &'static str,
    text: &'static str,
}

const IDLE: Situation = Situation { word: "idle", heading: "Nothing else to do", text: "" };

const BUSY: Situation = Situation {
    word: "busy",
    heading: "Workers that are busy for four fifths of the time",
    text: "What the workers do beside is not in the CPU time.",
};

const APART: Situation = Situation {
    word: "apart",
    heading: "Callers on another runtime than the clients",
    text: "As where each worker of a web server has a runtime of its own: a reply wakes a thread that is not the one which read it.",
};

const ALONE: Situation = Situation {
    word: "alone",
    heading: "A lone caller, with one processor for the clients and the server",
    text: "Above, a round trip takes about 20 µs where the kernel keeps client and server on one processor, and 60 to 100 µs where \
           each has its own and goes to sleep between two commands. Which of them it is differs from round to round. Here it is \
           the first, always.",
};

const ALONE_BUSY: Situation = Situation {
    word: "alone busy",
    heading: "The same with a worker that is busy for four fifths of the time",
    text: "",
};

fn main() -> Result<(), Error> {
    let (options, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let rounds = if options.iter().any(|option| option == "--quick") { ROUNDS / 3 } else { ROUNDS };
    let binary = ServerBinary::any().ok_or("no server: `cargo xtask servers` provides one")?;
    let mut section = Section::new("hot_path", "The hot path");
    section.text(&format!(
        "{} {} on the same machine, a runtime of {WORKERS} workers, {rounds} rounds after one to warm up (for latencies of a lone \
         caller {}). In each round every client does the same work, beginning with another one each time. Figures are medians of \
         the rounds; ratios are medians of the pairs within a round, with the middle half of them in brackets. CPU time is the \
         client process's own, user and system, for each command.",
        binary.kind().binary_name(),
        binary.version(),
        rounds * LONE_ROUNDS,
    ));
    let mut bench = Bench { section, words, rounds };
    let clients = runtime(WORKERS)?;
    let (_server, peers) = clients.block_on(connected(&binary))?;
    let idle = clients.block_on(bench.play(&IDLE, &peers, idle_measures()))?;
    bench.chart(&peers, &idle)?;
    let busy = clients.block_on(async {
        let _busy = Busy::start(WORKERS);
        bench.play(&BUSY, &peers, busy_measures()).await
    })?;
    let apart = vec![Measure::set(1, 4_000), Measure::set(64, 32_000)];
    runtime(WORKERS)?.block_on(bench.play(&APART, &peers, apart))?;

    keep_to_one_processor()?;
    let one = runtime(1)?;
    let (_server, peers_of_one) = one.block_on(connected(&binary))?;
    let measures = vec![Measure::set(1, 4_000), Measure::latency(1, 1_000)];
    let alone = one.block_on(bench.play(&ALONE, &peers_of_one, measures))?;
    let alone_busy = one.block_on(async {
        let _busy = Busy::start(1);
        bench.play(&ALONE_BUSY, &peers_of_one, vec![Measure::latency(1, 1_000)]).await
    })?;
    bench.goals(&peers, [(&IDLE, &idle), (&BUSY, &busy), (&ALONE, &alone), (&ALONE_BUSY, &alone_busy)]);
    bench.section.finish()?;
    Ok(())
}

fn runtime(workers: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

async fn connected(binary: &ServerBinary) -> Result<(Server, Vec<Peer>), Error> {
    let server = Server::start(binary).await?;
    let peers = Peer::all(server.addr()).await?;
    Ok((server, peers))
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
    measures.extend([Measure::latency(1, 1_000), Measure::latency(64, 32_000)]);
    measures
}

fn busy_measures() -> Vec<Measure> {
    vec![
        Measure::set(1, 500),
        Measure::set(64, 9_600),
        Measure::set(512, 25_600),
        Measure::new(Operation::Get, 64, 16, 9_600),
        Measure::new(Operation::Set, 64, 4_096, 9_600),
        Measure::new(Operation::Pipeline(10), 64, 16, 3_200),
        Measure::latency(1, 1_000),
        Measure::latency(64, 9_600),
    ]
}

/// What was measured: by peer, one figure for each round.
struct Played {
    name: String,
    work: Work,
    /// Commands a second, or the median latency in µs.
    first: Vec<Vec<f64>>,
    /// CPU time of a command in µs, or the 99th percentile of latencies.
    second: Vec<Vec<f64>>,
}

struct Bench {
    section: Section,
    words: Vec<String>,
    rounds: usize,
}

impl Bench {
    /// Measures and tabulates what of this was asked for.
    async fn play(
        &mut self,
        situation: &Situation,
        peers: &[Peer],
        measures: Vec<Measure>,
    ) -> Result<Vec<Played>, Error> {
        let is_wanted = |measure: &Measure| {
            self.words.iter().all(|word| measure.name.contains(word.as_str()) || situation.word.contains(word.as_str()))
        };
        let measures: Vec<_> = measures.into_iter().filter(is_wanted).collect();
        if measures.is_empty() {
            return Ok(Vec::new());
        }
        self.section.heading(situation.heading);
        if !situation.text.is_empty() {
            self.section.text(situation.text);
        }
        let mut all = Vec::with_capacity(measures.len());
        for measure in measures {
            let rounds = match (measure.latencies, measure.work.callers) {
                (Latencies::Taken, 1) => self.rounds * LONE_ROUNDS,
                _ => self.rounds,
            };
            let turns = play(peers, measure.work, measure.latencies, rounds).await?;
            let played = match measure.latencies {
                Latencies::Left => self.tabulate_throughput(peers, measure, &turns),
                Latencies::Taken => self.tabulate_latency(peers, measure, &turns),
            };
            all.push(played);
        }
        Ok(all)
    }

    fn tabulate_throughput(&mut self, peers: &[Peer], measure: Measure, turns: &[Vec<Turn>]) -> Played {
        let Measure { name, work, .. } = measure;
        let commands = work.commands() as f64;
        let speeds = each(turns, |turn| commands / turn.time.as_secs_f64());
        let costs = each(turns, |turn| turn.cpu.as_secs_f64() * 1e6 / commands);
        let columns = ["commands/s", "CPU µs", "our throughput to its", "our CPU time to its"];
        self.section.table(&name, &columns, &rows(peers, [(&speeds, 0), (&costs, 2)]));
        Played { name, work, first: speeds, second: costs }
    }

    fn tabulate_latency(&mut self, peers: &[Peer], measure: Measure, turns: &[Vec<Turn>]) -> Played {
        let Measure { name, work, .. } = measure;
        let in_micros = |turn: &Turn| turn.latencies.iter().map(|latency| latency.as_secs_f64() * 1e6).collect();
        let at = |share: f64| each(turns, |turn| quantile(in_micros(turn), share));
        let (medians, tails) = (at(0.5), at(0.99));
        let columns = ["median µs", "p99 µs", "our median to its", "our p99 to its"];
        self.section.table(&name, &columns, &rows(peers, [(&medians, 0), (&tails, 0)]));
        Played { name, work, first: medians, second: tails }
    }

    /// The throughputs of small `SET`s beside `ConnectionManager`'s.
    fn chart(&mut self, peers: &[Peer], played: &[Played]) -> Result<(), Error> {
        let mut chart = Bars::new("Throughput of small SETs, as multiples of ConnectionManager's", "ratio");
        let manager = place_of(peers, "ConnectionManager");
        let is_charted = |played: &&Played| played.name.starts_with("SET") && played.work.value == 16;
        let mut charted = played.iter().filter(is_charted).peekable();
        if charted.peek().is_none() {
            return Ok(());
        }
        for Played { name, first: speeds, .. } in charted {
            let to_manager = |peer: usize| Spread::of_ratios(&speeds[peer], &speeds[manager]).median;
            let bars = (0..peers.len()).map(|peer| (peers[peer].name().to_owned(), to_manager(peer))).collect();
            chart.group(name, bars);
        }
        self.section.chart("throughput.svg", &chart)
    }

    /// What was to be reached, as far as it was measured.
    fn goals(&mut self, peers: &[Peer], played: [(&Situation, &Vec<Played>); 4]) {
        let ratio = |situation: &Situation, name: &str, figures: fn(&Played) -> &[Vec<f64>], peer: &str| {
            let (_, all) = played.iter().find(|(one, _)| one.word == situation.word)?;
            let figures = figures(all.iter().find(|played| played.name == name)?);
            Some(Spread::of_ratios(&figures[0], &figures[place_of(peers, peer)]).median)
        };
        let first: fn(&Played) -> &[Vec<f64>] = |played| &played.first;
        let second: fn(&Played) -> &[Vec<f64>] = |played| &played.second;
        let (one, many, most) = ("SET, 1 caller, 16 B", "SET, 64 callers, 16 B", "SET, 512 callers, 16 B");
        let (lone, raw, manager) = ("latency of SET, 1 caller, 16 B", "MultiplexedConnection", "ConnectionManager");
        let goals = [
            ("throughput", &IDLE, one, first, manager, Goal::AtLeast(1.2)),
            ("throughput", &ALONE, one, first, manager, Goal::AtLeast(1.2)),
            ("throughput", &IDLE, many, first, manager, Goal::AtLeast(1.1)),
            ("throughput", &IDLE, most, first, manager, Goal::AtLeast(1.12)),
            ("CPU time", &IDLE, many, second, raw, Goal::AtMost(0.9)),
            ("CPU time", &IDLE, most, second, raw, Goal::AtMost(0.9)),
            ("p99", &IDLE, lone, second, raw, Goal::AtMost(1.05)),
            ("p99", &BUSY, lone, second, raw, Goal::AtMost(1.05)),
            ("p99", &ALONE, lone, second, raw, Goal::AtMost(1.05)),
            ("p99", &ALONE_BUSY, lone, second, raw, Goal::AtMost(1.05)),
            ("throughput", &IDLE, many, first, "bb8-redis", Goal::AtLeast(5.0)),
            ("throughput", &IDLE, many, first, "deadpool-redis", Goal::AtLeast(5.0)),
        ];
        for (what, situation, name, figures, peer, goal) in goals {
            if let Some(ratio) = ratio(situation, name, figures, peer) {
                let name = name.trim_start_matches("latency of ");
                self.section.goal(&format!("{what} to {peer}'s: {}, {name}", situation.word), goal, ratio);
            }
        }
    }
}

fn place_of(peers: &[Peer], name: &str) -> usize {
    peers.iter().position(|peer| peer.name() == name).unwrap_or_default()
}

/// For each peer the medians of both measures, to so many decimals, and how redis-tether's, which is the first, compare.
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
