//! What each client makes of a primary that fails: the scenarios of the `failover` example, played for redis-tether and for
//! what a user would pick instead. Prints a table for each scenario as it goes and leaves a section of the report.
//!
//! `cargo bench -p redis-tether-benches --bench recovery` takes about ten minutes: in each scenario every client has servers,
//! a name and a runtime of its own, and they are played side by side, since what they do is mostly to wait. `-- --alone` plays
//! them one after another, in about an hour. `-- --quick` plays everything once in place of three times, with an outage of
//! 5 s in place of 30 s; `-- crash fred` plays only what has these words in its name. It needs a machine that lets it move
//! names, and says so where it may not.

#![allow(clippy::print_stderr, reason = "a bench tells the person who started it what it lacks")]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use redis_tether_benches::chart::{Panels, Row};
use redis_tether_benches::contenders::Contender;
use redis_tether_benches::names::Names;
use redis_tether_benches::peers::Error;
use redis_tether_benches::recovery::{Figures, play};
use redis_tether_benches::section::{Goal, Section};
use redis_tether_testkit::scenario::{Scenario, Servers, Timings};
use redis_tether_testkit::server::ServerBinary;

const RUNS: usize = 3;

/// The plays of a scenario begin so far apart, so that no two faults, and no two promotions, fall together.
const APART: Duration = Duration::from_millis(100);

/// The times of a scenario are a little longer in each run than in the one before, and in none of them round: clients have
/// round timeouts, and one that falls together with the end of a fault makes a client look better than it is.
const FIRST_LONGER: Duration = Duration::from_millis(70);
const EACH_LONGER: Duration = Duration::from_millis(130);

/// How the plays of a scenario are arranged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    SideBySide,
    OneByOne,
}

struct Bench {
    names: Names,
    servers: Servers,
    timings: Timings,
    order: Order,
    runs: usize,
}

/// A client, and what it showed in each run.
type Plays = Vec<(Contender, Vec<Figures>)>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recovery: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let (options, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let has = |option: &str| options.iter().any(|given| given == option);
    let (runs, timings) = if has("--quick") { (1, Timings::quick()) } else { (RUNS, Timings::default()) };
    let order = if has("--alone") { Order::OneByOne } else { Order::SideBySide };
    let binary = ServerBinary::any().ok_or("no server: `cargo xtask servers` provides one")?;
    let bench = Bench { names: Names::take()?, servers: Servers::Real(binary), timings, order, runs };
    bench.run(|scenario, contender| {
        let name = format!("{scenario} {}, {}", contender.client(), contender.settings());
        words.iter().all(|word| name.contains(word.as_str()))
    })
}

impl Bench {
    fn run(&self, wanted: impl Fn(Scenario, Contender) -> bool) -> Result<(), Error> {
        let mut section = Section::new("recovery", "Recovery");
        section.text(&self.introduction());
        let mut chart = Panels::new("Recovery from each fault", self.timings.patience.as_secs_f64());
        let (mut ahead, mut never) = (Vec::new(), 0);
        for scenario in Scenario::ALL {
            let contenders: Vec<_> = Contender::all().into_iter().filter(|one| wanted(scenario, *one)).collect();
            if contenders.is_empty() {
                continue;
            }
            let plays = self.play(scenario, &contenders)?;
            section.heading(&format!("{scenario}: {}", scenario.summary()));
            self.tabulate(&mut section, scenario, &plays);
            chart.panel(scenario.name(), plays.iter().map(row).collect());
            ahead.extend(self.ahead_of_the_first(scenario, &plays));
            never +=
                plays.first().map_or(0, |(_, ours)| ours.iter().map(|play| u32::from(play.recovered.is_none())).sum());
        }
        section.chart("recovery.svg", &chart)?;
        section.heading("Where a peer was back sooner than redis-tether and failed no more operations");
        section.text(&if ahead.is_empty() { "Nowhere.".to_owned() } else { ahead.join("\n") });
        section.goal(
            "peers that were back sooner and failed no more, in all scenarios",
            Goal::AtMost(0.0),
            ahead.len() as f64,
        );
        section.goal("runs in which redis-tether was never back", Goal::AtMost(0.0), f64::from(never));
        section.finish()?;
        Ok(())
    }

    fn introduction(&self) -> String {
        let runs = match self.runs {
            1 => "one run".to_owned(),
            runs => format!("medians of {runs} runs"),
        };
        let order = match self.order {
            Order::SideBySide => "side by side",
            Order::OneByOne => "one after another",
        };
        format!(
            "{} on the same machine; {runs}, the clients of a scenario played {order}, each with servers, a name and a runtime \
             of its own. One writer sends a SET every {} ms through a host name that the system's resolver looks up. \
             Recovered: from the moment a primary was reachable under that name until a write succeeded on it; never: not \
             within {} s. Failed: operations that returned an error. Lost: operations that were reported as done and that the \
             new primary does not have. Longest: the longest that any operation took. The outage lasts {} s. Every \
             time of a scenario is {} ms longer than in the `failover` example, and {} ms more in each further run, so that no \
             client's timeout falls together with the end of a fault. What the settings are stands in \
             `benches/src/contenders.rs`.",
            self.servers,
            self.timings.period.as_millis(),
            self.timings.patience.as_secs(),
            self.timings.outage.as_secs(),
            FIRST_LONGER.as_millis(),
            EACH_LONGER.as_millis(),
        )
    }

    fn play(&self, scenario: Scenario, contenders: &[Contender]) -> Result<Plays, Error> {
        let mut plays: Plays = contenders.iter().map(|contender| (*contender, Vec::new())).collect();
        for run in 0..self.runs {
            let timings = longer(&self.timings, FIRST_LONGER + EACH_LONGER * u32::try_from(run)?);
            let figures = match self.order {
                Order::SideBySide => self.play_side_by_side(scenario, contenders, &timings)?,
                Order::OneByOne => self.play_one_by_one(scenario, contenders, &timings)?,
            };
            for ((_, plays), figures) in plays.iter_mut().zip(figures) {
                plays.push(figures);
            }
        }
        Ok(plays)
    }

    fn play_one_by_one(
        &self,
        scenario: Scenario,
        contenders: &[Contender],
        timings: &Timings,
    ) -> Result<Vec<Figures>, Error> {
        let name = self.names.name(0);
        contenders.iter().map(|contender| play(*contender, scenario, &self.servers, timings, &name)).collect()
    }

    fn play_side_by_side(
        &self,
        scenario: Scenario,
        contenders: &[Contender],
        timings: &Timings,
    ) -> Result<Vec<Figures>, Error> {
        thread::scope(|scope| {
            let began = Instant::now();
            let start = |(contender, index): (&Contender, usize)| {
                let (contender, name) = (*contender, self.names.name(index));
                let due = began + APART * u32::try_from(index).unwrap_or_default();
                scope.spawn(move || {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    play(contender, scenario, &self.servers, timings, &name)
                })
            };
            let playing: Vec<_> = contenders.iter().zip(0..).map(start).collect();
            // Every play is waited for, also where an earlier one went wrong: its servers end with it.
            let ended: Vec<_> = playing.into_iter().map(|play| play.join()).collect();
            ended.into_iter().map(|ended| ended.unwrap_or_else(|_| Err("a play panicked".into()))).collect()
        })
    }

    fn tabulate(&self, section: &mut Section, scenario: Scenario, plays: &Plays) {
        let rows: Vec<_> = plays.iter().map(|(contender, plays)| cells(*contender, scenario, plays)).collect();
        section.table("client", &["settings", "recovered", "failed", "lost", "longest"], &rows);
    }

    fn ahead_of_the_first(&self, scenario: Scenario, plays: &Plays) -> Vec<String> {
        let medians: Vec<_> = plays.iter().map(|(contender, plays)| (*contender, Figures::median(plays))).collect();
        let [(_, first), others @ ..] = medians.as_slice() else { return Vec::new() };
        // The writer looks no more often than this.
        let noise = self.timings.period;
        let ahead = others.iter().filter(|(_, figures)| figures.is_ahead_of(first, noise));
        ahead
            .map(|(contender, figures)| {
                let (theirs, ours) = (in_seconds(figures.recovered), in_seconds(first.recovered));
                let (client, settings) = (contender.client(), contender.settings());
                format!(
                    "- {scenario}: {client}, {settings}: {theirs}, {} failed; against {ours}, {}",
                    figures.failed, first.failed
                )
            })
            .collect()
    }
}

fn longer(timings: &Timings, by: Duration) -> Timings {
    let mut longer = timings.clone();
    let Timings { promote_after, restart_after, outage, password_away, script, .. } = &mut longer;
    for time in [promote_after, restart_after, outage, password_away, script] {
        *time += by;
    }
    longer
}

fn cells(contender: Contender, scenario: Scenario, plays: &[Figures]) -> (String, Vec<String>) {
    let median = Figures::median(plays);
    let never = plays.iter().filter(|play| play.recovered.is_none()).count();
    let recovered = match in_seconds(median.recovered) {
        // A median hides what happened less than half of the time.
        time if median.recovered.is_some() && never > 0 => format!("{time}, never in {never} of {}", plays.len()),
        time => time,
    };
    let lost = if scenario.is_failover() { format!("{:.0}", median.missing) } else { "-".to_owned() };
    let cells = vec![
        contender.settings().to_owned(),
        recovered,
        format!("{:.0}", median.failed),
        lost,
        in_seconds(Some(median.longest)),
    ];
    (contender.client().to_owned(), cells)
}

fn row((contender, plays): &(Contender, Vec<Figures>)) -> Row {
    let median = Figures::median(plays);
    Row {
        name: format!("{}, {}", contender.client(), contender.settings()),
        seconds: median.recovered.map(|time| time.as_secs_f64()),
        failed: median.failed,
    }
}

fn in_seconds(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.3} s", time.as_secs_f64()))
}
