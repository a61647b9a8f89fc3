//! One scenario in figures: a row of the closing table, or one JSON object; and what was missed of its promise.

use std::fmt::Write;
use std::time::Duration;

use redis_tether::Protocol;
use redis_tether_testkit::scenario::{Failure, Report};
use serde::Serialize;

use crate::arguments::Arguments;
use crate::bystanders::Bystood;
use crate::promise::{Promise, TurnedAway};
use crate::timeline::Seen;
use crate::topology::{Play, Topology};

/// Seconds count from the start of the writer, except `recovered_s` (from what [`Topology::origin`] says) and `suspected_s` (from
/// the fault).
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    topology: String,
    scenario: &'static str,
    server: String,
    protocol: &'static str,
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
    /// Writes that were reported as done and that the new primary does not have; `None` where nothing moved.
    missing_ops: Option<u64>,
    /// Writes that were executed more than once; only fake servers can say.
    repeated_ops: Option<u64>,
    /// Those who wrote to other shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<Bystood>,
    missed_promises: Vec<String>,
    #[serde(skip)]
    origin: Topology,
    #[serde(skip)]
    done_ops: usize,
    #[serde(skip)]
    turned_away: Option<TurnedAway>,
}

impl Summary {
    pub(crate) fn new(
        play: Play,
        arguments: &Arguments,
        report: &Report,
        seen: &Seen,
        others: Option<Bystood>,
    ) -> Self {
        let suspected = seen.suspected.map(|at| report.since_start(at).saturating_sub(report.fault));
        // The link that the scenario began on is one of them.
        let links = 1 + seen.after.links.saturating_sub(seen.before.links);
        Summary {
            topology: play.topology().to_string(),
            scenario: play.name(),
            server: arguments.servers.name(),
            protocol: if arguments.protocol == Protocol::Resp3 { "resp3" } else { "resp2" },
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
            detector: seen.noticed.clone(),
            epochs: links,
            dials: seen.after.dials.saturating_sub(seen.before.dials),
            missing_ops: report.missing,
            repeated_ops: report.repeated,
            missed_promises: Promise::of(play).missed(report, links, others.as_ref()),
            others,
            origin: play.topology(),
            done_ops: report.done(),
            turned_away: TurnedAway::of(report),
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.missed_promises.is_empty()
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
    let Some(first) = summaries.first() else { return String::new() };
    let mut notes = format!(
        "\nrecovered: from the moment {} to the first write on it; suspected: from the fault\n",
        first.origin.origin()
    );
    for summary in summaries {
        let scenario = summary.scenario;
        if let Some(Bystood { done_ops, failed_ops, max_op_s, max_op_before_s }) = &summary.others {
            let (longest, before) = (max_op_s * 1000.0, max_op_before_s * 1000.0);
            let _ = writeln!(
                notes,
                "{scenario}: writes to the other shards, on a schedule: {done_ops} done, {failed_ops} failed, the longest {longest:.1} \
                 ms after it was due ({before:.1} ms before the fault)"
            );
        }
        if let Some(TurnedAway { number, p99 }) = summary.turned_away {
            let p99 = p99.as_secs_f64() * 1000.0;
            let _ = writeln!(
                notes,
                "{scenario}: writes turned away at once after the hold window: {number}, p99 {p99:.3} ms"
            );
        }
        if let Some(missing @ 1..) = summary.missing_ops {
            let _ =
                writeln!(notes, "{scenario}: writes that the old primary confirmed and the new one lacks: {missing}");
        }
        for missed in &summary.missed_promises {
            let _ = writeln!(notes, "{scenario}: NOT AS PROMISED: {missed}");
        }
    }
    notes
}

fn in_seconds(value: Option<f64>, otherwise: &str) -> String {
    value.map_or(otherwise.to_owned(), |value| format!("{value:.3} s"))
}
