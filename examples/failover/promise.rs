//! What is promised of each scenario, and whether it was kept. A release build on a machine with nothing else to do is held to it
//! as it is; a debug build may well miss it.

use std::time::Duration;

use redis_tether_testkit::scenario::{ClusterScenario, Failure, Report, Scenario, SentinelScenario};

use crate::bystanders::Bystood;
use crate::topology::Play;

/// No caller of another shard waits longer for an answer.
const GAP: Duration = Duration::from_millis(50);

pub(crate) struct Promise {
    /// `None` where nothing is ever away.
    recovered: Option<Duration>,
    may_fail: MayFail,
    /// A link that nothing is wrong with stays.
    most_links: Option<u64>,
}

/// Which writes may fail.
#[derive(Clone, Copy)]
enum MayFail {
    None,
    /// The one that was in flight, as ambiguous.
    InFlight,
    /// That one; and after the hold window any, as not sent.
    TurnedAway,
}

impl Promise {
    pub(crate) fn of(play: Play) -> Self {
        let ms = |ms| Some(Duration::from_millis(ms));
        let (recovered, may_fail) = match play {
            Play::Standalone(scenario) => match scenario {
                Scenario::Crash | Scenario::Hang | Scenario::Restart => (ms(150), MayFail::InFlight),
                Scenario::Demote => (ms(100), MayFail::None),
                Scenario::Move => (ms(3000), MayFail::None),
                Scenario::Outage | Scenario::Auth => (ms(600), MayFail::TurnedAway),
                _ => (None, MayFail::None),
            },
            Play::Sentinel(SentinelScenario::Planned) => (ms(150), MayFail::None),
            Play::Sentinel(_) => (ms(150), MayFail::InFlight),
            Play::Cluster(scenario) => match scenario {
                ClusterScenario::Planned => (ms(300), MayFail::None),
                ClusterScenario::Replace => (ms(1000), MayFail::InFlight),
                ClusterScenario::Reshard => (None, MayFail::None),
                _ => (ms(300), MayFail::InFlight),
            },
        };
        let most_links = (play == Play::Standalone(Scenario::Slow)).then_some(1);
        Promise { recovered, may_fail, most_links }
    }

    /// What was not kept of it, each in a few words.
    pub(crate) fn missed(&self, report: &Report, links: u64, others: Option<&Bystood>) -> Vec<String> {
        let mut missed = Vec::new();
        match (report.recovered_after(), self.recovered) {
            (None, _) => missed.push("not recovered".to_owned()),
            (Some(took), Some(bound)) if took > bound => {
                missed.push(format!("recovered after {took:.3?}, promised are {bound:?}"));
            }
            _ => {}
        }
        let (in_flight, not_sent) = match self.may_fail {
            MayFail::None => (0, 0),
            MayFail::InFlight => (1, 0),
            MayFail::TurnedAway => (1, usize::MAX),
        };
        let (ambiguous, turned_away) = (report.failed_as(Failure::Ambiguous), report.failed_as(Failure::NotSent));
        if ambiguous > in_flight || turned_away > not_sent || report.failed() > ambiguous + turned_away {
            let first = report.failures().next().map(|(_, failed)| failed.message.clone()).unwrap_or_default();
            missed.push(format!("{} writes failed, the first so: {first}", report.failed()));
        }
        if let Some(most) = self.most_links.filter(|most| links > *most) {
            missed.push(format!("{links} links, promised are {most}"));
        }
        if let Some(others) = others {
            if others.failed_ops > 0 {
                missed.push(format!("{} writes to other shards failed", others.failed_ops));
            }
            if others.max_op_s > GAP.as_secs_f64() {
                missed.push(format!("a write to another shard took {} s, promised are {GAP:?}", others.max_op_s));
            }
        }
        missed
    }
}
