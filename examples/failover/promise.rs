//! What is promised of each scenario, and whether it was kept. A release build on a machine with nothing else to do is held to it
//! as it is; a debug build may well miss it.

use std::time::Duration;

use redis_tether::CommandSettings;
use redis_tether_testkit::scenario::{ClusterScenario, Failure, Report, Scenario, SentinelScenario};

use crate::bystanders::Bystood;
use crate::topology::Play;

/// No caller of another shard waits longer for an answer.
const GAP: Duration = Duration::from_millis(50);

/// 99 of 100 of the writes that come after the hold window are told within this that they were not sent.
const AT_ONCE: Duration = Duration::from_millis(1);

pub(crate) struct Promise {
    /// `None` where nothing is ever away.
    recovered: Option<Duration>,
    may_fail: MayFail,
    /// A link that nothing is wrong with stays.
    most_links: Option<u64>,
    may_lose: MayLose,
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

/// Which writes that were confirmed the new primary may lack.
#[derive(Clone, Copy)]
enum MayLose {
    /// The old primary hands over when its replica has everything.
    None,
    /// What was not replicated yet: that is for no client to prevent.
    Unreplicated,
}

/// Writes that failed as not sent after the hold window had passed.
#[derive(Debug)]
pub(crate) struct TurnedAway {
    pub(crate) number: usize,
    /// How long 99 of 100 of them took at most.
    pub(crate) p99: Duration,
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
        let may_lose = match play {
            Play::Cluster(ClusterScenario::Planned) => MayLose::None,
            _ => MayLose::Unreplicated,
        };
        Promise { recovered, may_fail, most_links, may_lose }
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
        missed.extend(self.missed_by_failures(report));
        if let Some(repeated) = report.repeated.filter(|repeated| *repeated > 0) {
            missed.push(format!("{repeated} writes were executed more than once"));
        }
        if let (MayLose::None, Some(missing @ 1..)) = (self.may_lose, report.missing) {
            missed.push(format!("{missing} writes were confirmed, and the new primary lacks them"));
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
    fn missed_by_failures(&self, report: &Report) -> Vec<String> {
        let (in_flight, not_sent) = match self.may_fail {
            MayFail::None => (0, 0),
            MayFail::InFlight => (1, 0),
            MayFail::TurnedAway => (1, usize::MAX),
        };
        let mut missed = Vec::new();
        let (ambiguous, turned_away) = (report.failed_as(Failure::Ambiguous), report.failed_as(Failure::NotSent));
        if ambiguous > in_flight || turned_away > not_sent || report.failed() > ambiguous + turned_away {
            let first = report.failures().next().map(|(_, failed)| failed.message.clone()).unwrap_or_default();
            missed.push(format!("{} writes failed, the first so: {first}", report.failed()));
        } else {
            let early = not_held(report);
            if early > 0 {
                missed.push(format!("{early} writes were turned away before the hold window had passed"));
            }
        }
        if let Some(TurnedAway { p99, .. }) = TurnedAway::of(report).filter(|turned_away| turned_away.p99 > AT_ONCE) {
            missed.push(format!("writes were turned away within {p99:.3?} (p99), promised are {AT_ONCE:?}"));
        }
        missed
    }
}

impl TurnedAway {
    pub(crate) fn of(report: &Report) -> Option<Self> {
        let not_sent = report.failures().filter(|(_, failed)| failed.failure == Failure::NotSent);
        let late = not_sent.filter(|(write, _)| report.since_start(write.started) > end_of_holding(report));
        let mut took: Vec<Duration> = late.map(|(write, _)| write.took()).collect();
        took.sort_unstable();
        let p99 = *took.get(took.len() * 99 / 100)?;
        Some(TurnedAway { number: took.len(), p99 })
    }
}

/// Writes that nobody had reason to turn away yet: they should have been held.
fn not_held(report: &Report) -> usize {
    let not_sent = report.failures().filter(|(_, failed)| failed.failure == Failure::NotSent);
    not_sent.filter(|(write, _)| report.since_start(write.ended) < end_of_holding(report)).count()
}

/// Since the start: the plays in which writes are turned away have the default settings.
fn end_of_holding(report: &Report) -> Duration {
    report.fault + CommandSettings::default().hold_window
}

#[cfg(test)]
mod tests {
    use redis_tether_testkit::scenario::{Client, Failed, Servers, Stage, Timings};

    use super::*;

    struct Contented;

    impl Client for Contented {
        async fn set(&mut self, _: u64) -> Result<(), Failed> {
            Ok(())
        }
    }

    /// What a client reports to whom nothing happens, to be made worse: of some thousand writes, most after the hold window.
    async fn fine() -> Report {
        let mut timings = Timings::quick();
        (timings.warm_up, timings.restart_after) = (Duration::from_millis(20), Duration::from_millis(20));
        timings.observe = Duration::from_millis(100);
        let stage = Stage::set(&Servers::Fake, Scenario::Restart).await.expect("a fake server");
        let mut report = stage.play(&timings, &mut Contented, &()).await.expect("played");
        report.repeated = Some(0);
        let one = report.operations[0].clone();
        report.operations = (0..1000)
            .map(|n: u32| {
                let mut write = one.clone();
                write.started = report.started + Duration::from_millis(5) * n;
                write.ended = write.started + Duration::from_micros(50);
                write
            })
            .collect();
        report
    }

    fn missed(play: Play, report: &Report) -> Vec<String> {
        Promise::of(play).missed(report, 1, None)
    }

    const OUTAGE: Play = Play::Standalone(Scenario::Outage);

    fn fail(report: &mut Report, writes: std::ops::Range<usize>, failure: Failure) {
        report.operations[writes].iter_mut().for_each(|write| write.result = Err(Failed::new(failure, "it failed")));
    }

    #[tokio::test]
    async fn writes_may_be_turned_away_after_the_hold_window_and_not_before() {
        let mut report = fine().await;
        assert!(missed(OUTAGE, &report).is_empty());
        fail(&mut report, 700..1000, Failure::NotSent);
        assert!(missed(OUTAGE, &report).is_empty(), "the hold window has passed after 3 s");
        assert_eq!(missed(Play::Standalone(Scenario::Crash), &report), ["300 writes failed, the first so: it failed"]);
        fail(&mut report, 100..102, Failure::NotSent);
        assert_eq!(missed(OUTAGE, &report), ["2 writes were turned away before the hold window had passed"]);
    }

    #[tokio::test]
    async fn writes_are_turned_away_at_once() {
        let mut report = fine().await;
        fail(&mut report, 700..1000, Failure::NotSent);
        report.operations[750].ended += Duration::from_millis(4);
        assert!(missed(OUTAGE, &report).is_empty(), "one of three hundred");
        report.operations[700..710].iter_mut().for_each(|write| write.ended += Duration::from_millis(4));
        assert_eq!(missed(OUTAGE, &report), ["writes were turned away within 4.050ms (p99), promised are 1ms"]);
    }

    #[tokio::test]
    async fn nothing_is_executed_twice_and_a_planned_failover_of_a_cluster_loses_nothing() {
        let mut report = fine().await;
        report.missing = Some(2);
        assert!(missed(Play::Cluster(ClusterScenario::Crash), &report).is_empty(), "nobody can prevent that");
        let told = missed(Play::Cluster(ClusterScenario::Planned), &report);
        assert_eq!(told, ["2 writes were confirmed, and the new primary lacks them"]);
        (report.missing, report.repeated) = (None, Some(1));
        assert_eq!(missed(OUTAGE, &report), ["1 writes were executed more than once"]);
    }
}
