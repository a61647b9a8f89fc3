//! One scenario in figures: a row of the closing table, or one JSON object.

use std::fmt::Write;
use std::time::Duration;

use redis_tether::{CommandSettings, Stats};
use redis_tether_testkit::scenario::{Failure, Report};
use serde::Serialize;

use crate::timeline::Seen;

/// Seconds count from the start of the writer, except `recovered_s` (from the moment a primary was reachable under the
/// name) and `suspected_s` (from the fault).
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    scenario: &'static str,
    server: String,
    fault_s: f64,
    reachable_s: f64,
    recovered_s: Option<f64>,
    suspected_s: Option<f64>,
    failed_ops: usize,
    not_sent_ops: usize,
    refused_ops: usize,
    ambiguous_ops: usize,
    held_ops: u64,
    max_op_s: f64,
    detector: Option<String>,
    epochs: u64,
    dials: u64,
    #[serde(skip)]
    done_ops: usize,
    #[serde(skip)]
    turned_away: Option<TurnedAway>,
    /// Writes that were reported as done and that the new primary does not have.
    #[serde(skip)]
    missing_ops: u64,
}

/// Writes that failed as not sent after the hold window had passed.
#[derive(Debug)]
struct TurnedAway {
    number: usize,
    /// How long 99 of 100 of them took at most.
    p99: Duration,
}

impl Summary {
    pub(crate) fn new(report: &Report, server: String, seen: Seen, before: &Stats, after: &Stats) -> Self {
        let suspected = seen.suspected.map(|at| report.since_start(at).saturating_sub(report.fault));
        Summary {
            scenario: report.scenario.name(),
            server,
            fault_s: seconds(report.fault),
            reachable_s: seconds(report.reachable),
            recovered_s: report.recovered_after().map(seconds),
            suspected_s: suspected.map(seconds),
            failed_ops: report.failed(),
            not_sent_ops: report.failed_as(Failure::NotSent),
            refused_ops: report.failed_as(Failure::Refused),
            ambiguous_ops: report.failed_as(Failure::Ambiguous),
            held_ops: report.held,
            max_op_s: seconds(report.max_took()),
            detector: seen.noticed,
            // The link that the scenario began on is one of them.
            epochs: 1 + after.links - before.links,
            dials: after.dials - before.dials,
            done_ops: report.done(),
            turned_away: TurnedAway::of(report),
            missing_ops: report.missing.unwrap_or_default(),
        }
    }
}

impl TurnedAway {
    fn of(report: &Report) -> Option<Self> {
        let window_passed = report.fault + CommandSettings::default().hold_window;
        let not_sent = report.failures().filter(|(_, failed)| failed.failure == Failure::NotSent);
        let late = not_sent.filter(|(operation, _)| report.since_start(operation.started) > window_passed);
        let mut took: Vec<Duration> = late.map(|(operation, _)| operation.took()).collect();
        took.sort_unstable();
        let p99 = *took.get(took.len() * 99 / 100)?;
        Some(TurnedAway { number: took.len(), p99 })
    }
}

/// Whole milliseconds: what is below is the machine's noise.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The closing table, and what it does not say by itself.
pub(crate) fn table(summaries: &[Summary]) -> String {
    let mut table = row([
        "scenario",
        "server",
        "recovered",
        "suspected",
        "done",
        "failed",
        "not sent",
        "refused",
        "ambiguous",
        "held",
        "longest",
        "links",
        "dials",
        "noticed by",
    ]);
    for summary in summaries {
        table += &row([
            summary.scenario,
            &summary.server,
            &in_seconds(summary.recovered_s, "never"),
            &in_seconds(summary.suspected_s, "-"),
            &summary.done_ops.to_string(),
            &summary.failed_ops.to_string(),
            &summary.not_sent_ops.to_string(),
            &summary.refused_ops.to_string(),
            &summary.ambiguous_ops.to_string(),
            &summary.held_ops.to_string(),
            &in_seconds(Some(summary.max_op_s), "-"),
            &summary.epochs.to_string(),
            &summary.dials.to_string(),
            summary.detector.as_deref().unwrap_or("-"),
        ]);
    }
    table + &notes(summaries)
}

fn row(cells: [&str; 14]) -> String {
    let [scenario, server, recovered, suspected, done, failed, not_sent, rest @ ..] = cells;
    let [refused, ambiguous, held, longest, links, dials, noticed_by] = rest;
    format!(
        "{scenario:<8} {server:<6} {recovered:>9} {suspected:>9} {done:>5} {failed:>6} {not_sent:>8} {refused:>7} \
         {ambiguous:>9} {held:>4} {longest:>8} {links:>5} {dials:>5}  {noticed_by}\n"
    )
}

fn notes(summaries: &[Summary]) -> String {
    let mut notes = "\nrecovered: from the moment a primary was reachable under the name to the first write on it; \
                     suspected: from the fault\n"
        .to_owned();
    for summary in summaries {
        if let Some(TurnedAway { number, p99 }) = summary.turned_away {
            let p99 = p99.as_secs_f64() * 1000.0;
            let scenario = summary.scenario;
            let _ = writeln!(
                notes,
                "{scenario}: writes turned away at once after the hold window: {number}, p99 {p99:.3} ms"
            );
        }
        if summary.missing_ops > 0 {
            let (scenario, missing) = (summary.scenario, summary.missing_ops);
            let _ =
                writeln!(notes, "{scenario}: writes that the old primary confirmed and the new one lacks: {missing}");
        }
    }
    notes
}

fn in_seconds(value: Option<f64>, otherwise: &str) -> String {
    value.map_or(otherwise.to_owned(), |value| format!("{value:.3} s"))
}
