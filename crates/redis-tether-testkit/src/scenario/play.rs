//! Playing a scenario: the fault and its end, step by step, while the writer writes; then the report. Called by whoever
//! set the stage; the steps are here, what they do to a server is in `node.rs`.

use std::collections::BTreeMap;
use std::io;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::Scenario;
use super::client::Client;
use super::node::Node;
use super::observer::{Observer, Step};
use super::report::{Operation, Report};
use super::stage::Stage;
use super::timings::Timings;
use super::writer::{self, Record};
use crate::server::ServerError;
use crate::wait::TimedOut;

/// How often the new primary is asked whether it has executed one of the writes that succeeded.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What the password is changed to for a while.
const OTHER_PASSWORD: &str = "second-password";

/// A scenario could not be played. What the client does is no such error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// A real server did not do its part.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The machine did not do its part: no address, no port.
    #[error("could not {doing}")]
    Machine {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Something that was waited for did not happen.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

impl ScenarioError {
    pub(super) fn machine(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Machine { doing, source }
    }
}

/// When what was done to the servers was done.
#[derive(Clone, Copy, Debug)]
struct Course {
    fault: Instant,
    /// From when on a write can only be executed where it should be: a failover has a new primary by then.
    new_order: Instant,
    reachable: Instant,
}

/// A course, and the first write that succeeded after it.
type Played = (Course, Option<Operation>);

impl Stage {
    /// Plays the scenario that the stage is set for, once, while `client` writes every [`period`](Timings::period).
    ///
    /// It takes as long as its [`Timings`] say, at most [`patience`](Timings::patience) longer for a client that does not
    /// recover; that is no error. Not cancel safe: a stage on which a scenario was begun is not as it was set.
    ///
    /// # Errors
    /// Where a server or the machine does not do its part.
    pub async fn play(
        &self,
        timings: &Timings,
        client: &mut impl Client,
        observer: &impl Observer,
    ) -> Result<Report, ScenarioError> {
        let record = Record::default();
        let (stop, stopped) = watch::channel(false);
        let held_before = client.held();
        let started = Instant::now();
        observer.stepped(started, &Step::Started { primary: self.first_primary().addr() });

        let directing = async {
            let played = self.direct(timings, &record, observer).await;
            // The writer is gone only where this future is gone as well.
            let _ = stop.send(true);
            played
        };
        let (played, ()) = tokio::join!(directing, writer::write(client, &record, observer, timings.period, stopped));
        let (course, recovered) = played?;
        observer.stepped(Instant::now(), &Step::Ended);

        let operations = record.into_operations();
        Ok(Report {
            scenario: self.scenario(),
            started,
            fault: course.fault - started,
            reachable: course.reachable - started,
            recovered: recovered.map(|operation| operation.ended - started),
            held: client.held().saturating_sub(held_before),
            missing: self.missing(&operations).await?,
            repeated: self.repeated(),
            operations,
        })
    }

    async fn direct(
        &self,
        timings: &Timings,
        record: &Record,
        observer: &impl Observer,
    ) -> Result<Played, ScenarioError> {
        sleep(timings.warm_up).await;
        let course = self.strike_and_mend(timings, observer).await?;
        let recovered = self.recovery(course, timings, record).await?;
        match &recovered {
            Some(operation) => observer.stepped(operation.ended, &Step::Recovered { n: operation.n }),
            None => observer.stepped(Instant::now(), &Step::NotRecovered),
        }
        sleep(timings.observe).await;
        Ok((course, recovered))
    }

    async fn strike_and_mend(&self, timings: &Timings, observer: &impl Observer) -> Result<Course, ScenarioError> {
        let old = self.first_primary();
        let strike = |what| fault(observer, what, old);
        match self.scenario() {
            Scenario::Crash => {
                let fault = strike("killed");
                old.kill().await?;
                sleep_until(fault + timings.promote_after).await;
                self.fail_over(fault, observer).await
            }
            Scenario::Hang => {
                let fault = strike("frozen");
                old.freeze().await?;
                sleep_until(fault + timings.promote_after).await;
                self.fail_over(fault, observer).await
            }
            Scenario::Demote => {
                let fault = strike("demoted: the replica is promoted, and this becomes its replica");
                let new = self.last_primary();
                new.promote().await?;
                let new_order = Instant::now();
                old.demote_to(new).await?;
                Ok(self.move_name(fault, new_order, observer))
            }
            Scenario::Move => {
                let fault = strike("replaced: the replica is promoted, and this still takes writes");
                self.fail_over(fault, observer).await
            }
            Scenario::Restart => self.take_down(timings.restart_after, observer).await,
            Scenario::Outage => self.take_down(timings.outage, observer).await,
            Scenario::Auth => {
                let password = self.password().unwrap_or_default();
                let fault = strike("password changed and clients killed");
                old.set_password(OTHER_PASSWORD).await?;
                old.kill_clients().await?;
                sleep_until(fault + timings.password_away).await;
                old.set_password(password).await?;
                Ok(mended(fault, observer, "the old password is back", old))
            }
            Scenario::Slow => {
                let fault = strike("busy, as with a slow script");
                old.keep_busy(timings.script).await?;
                Ok(mended(fault, observer, "it answers again", old))
            }
        }
    }

    async fn fail_over(&self, fault: Instant, observer: &impl Observer) -> Result<Course, ScenarioError> {
        self.last_primary().promote().await?;
        Ok(self.move_name(fault, Instant::now(), observer))
    }

    fn move_name(&self, fault: Instant, new_order: Instant, observer: &impl Observer) -> Course {
        let new = self.last_primary();
        self.point_name_at(new);
        Course { new_order, ..mended(fault, observer, "promoted, and DNS moved to it", new) }
    }

    async fn take_down(&self, time: Duration, observer: &impl Observer) -> Result<Course, ScenarioError> {
        let node = self.first_primary();
        let fault = fault(observer, "killed", node);
        node.kill().await?;
        sleep_until(fault + time).await;
        node.restart().await?;
        Ok(mended(fault, observer, "back at the same address", node))
    }

    /// The first write that succeeded where it should.
    async fn recovery(
        &self,
        course: Course,
        timings: &Timings,
        record: &Record,
    ) -> Result<Option<Operation>, ScenarioError> {
        let give_up = course.reachable + timings.patience;
        let mut looked_at = 0;
        while Instant::now() < give_up {
            sleep(LOOK_EVERY).await;
            let candidates: Vec<Operation> = {
                let operations = record.operations();
                let new = &operations[looked_at..];
                looked_at = operations.len();
                new.iter().filter(|operation| self.may_show_recovery(course, operation)).cloned().collect()
            };
            if let Some(first) = self.first_executed(candidates).await? {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    fn may_show_recovery(&self, course: Course, operation: &Operation) -> bool {
        let is_of_new_order = !self.scenario().is_failover() || operation.started >= course.new_order;
        operation.result.is_ok() && operation.ended >= course.reachable && is_of_new_order
    }

    async fn first_executed(&self, candidates: Vec<Operation>) -> Result<Option<Operation>, ScenarioError> {
        if candidates.is_empty() || !self.scenario().is_failover() {
            return Ok(candidates.into_iter().next());
        }
        let has = self.last_primary().has(&numbers(&candidates)).await?;
        Ok(candidates.into_iter().zip(has).find_map(|(operation, has)| has.then_some(operation)))
    }

    /// Writes that were reported as done and are not on the new primary.
    async fn missing(&self, operations: &[Operation]) -> Result<Option<u64>, ScenarioError> {
        if !self.scenario().is_failover() {
            return Ok(None);
        }
        let done = operations.iter().filter(|operation| operation.result.is_ok());
        let has = self.last_primary().has(&numbers(done)).await?;
        Ok(Some(count(has.into_iter().filter(|has| !has))))
    }

    /// Writes that were executed more than once, on any node.
    fn repeated(&self) -> Option<u64> {
        let nodes = if self.scenario().is_failover() {
            vec![self.first_primary(), self.last_primary()]
        } else {
            vec![self.first_primary()]
        };
        let mut times = BTreeMap::<Vec<u8>, u64>::new();
        for node in nodes {
            for value in node.written_values()? {
                *times.entry(value).or_default() += 1;
            }
        }
        Some(count(times.into_values().filter(|times| *times > 1)))
    }
}

fn fault(observer: &impl Observer, what: &'static str, node: &Node) -> Instant {
    let now = Instant::now();
    observer.stepped(now, &Step::Fault { what, node: node.addr() });
    now
}

fn mended(fault: Instant, observer: &impl Observer, what: &'static str, primary: &Node) -> Course {
    let now = Instant::now();
    observer.stepped(now, &Step::Reachable { what, primary: primary.addr() });
    Course { fault, new_order: fault, reachable: now }
}

fn numbers<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> Vec<u64> {
    operations.into_iter().map(|operation| operation.n).collect()
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.fold(0, |count, _| count + 1)
}
