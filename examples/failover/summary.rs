//! One scenario in figures: a row of the closing table, or one JSON object.

use redis_tether::Stats;
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
}

impl Summary {
    pub(crate) fn new(report: &Report, server: String, seen: &Seen, before: &Stats, after: &Stats) -> Self {
        let suspected = seen.suspected.map(|at| report.since_start(at).saturating_sub(report.fault));
        Summary {
            scenario: report.scenario.name(),
            server,
            fault_s: millis(report.fault.as_secs_f64()),
            reachable_s: millis(report.reachable.as_secs_f64()),
            recovered_s: report.recovered_after().map(|after| millis(after.as_secs_f64())),
            suspected_s: suspected.map(|suspected| millis(suspected.as_secs_f64())),
            failed_ops: report.failed(),
            not_sent_ops: report.failed_as(Failure::NotSent),
            refused_ops: report.failed_as(Failure::Refused),
            ambiguous_ops: report.failed_as(Failure::Ambiguous),
            held_ops: report.held,
            max_op_s: millis(report.max_took().as_secs_f64()),
            detector: seen.noticed.as_ref().map(|(_, detector)| detector.clone()),
            // The link that the scenario began on is one of them.
            epochs: 1 + after.links - before.links,
            dials: after.dials - before.dials,
            done_ops: report.done(),
        }
    }
}

/// Whole milliseconds: what is below is the machine's noise.
fn millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

pub(crate) fn print_table(summaries: &[Summary]) {
    println!(
        "\n{:<9} {:<7} {:>11} {:>11} {:>6} {:>7} {:>9} {:>8} {:>10} {:>5} {:>9} {:>6} {:>6}  noticed by",
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
    );
    for row in summaries {
        println!(
            "{:<9} {:<7} {:>11} {:>11} {:>6} {:>7} {:>9} {:>8} {:>10} {:>5} {:>9} {:>6} {:>6}  {}",
            row.scenario,
            row.server,
            seconds(row.recovered_s, "never"),
            seconds(row.suspected_s, "-"),
            row.done_ops,
            row.failed_ops,
            row.not_sent_ops,
            row.refused_ops,
            row.ambiguous_ops,
            row.held_ops,
            seconds(Some(row.max_op_s), "-"),
            row.epochs,
            row.dials,
            row.detector.as_deref().unwrap_or("-")
        );
    }
}

fn seconds(value: Option<f64>, otherwise: &str) -> String {
    value.map_or(otherwise.to_owned(), |value| format!("{value:.3} s"))
}
