//! Playing any scenario: the fault and its end while the writer writes, the recovery as it is measured from outside, and the
//! report. What happens to which servers, a [`Drama`] says: one for each topology, in files of their own.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep};

use super::client::Client;
use super::observer::{Observer, Step};
use super::report::{Operation, Report};
use super::timings::Timings;
use super::writer::{self, Record};
use crate::server::ServerError;
use crate::wait::TimedOut;

/// How often the new primary is asked whether it has executed one of the writes that succeeded.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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
pub(super) struct Course {
    pub(super) fault: Instant,
    /// From when on a write can only be executed where it should be, where that is known.
    pub(super) new_order: Option<Instant>,
    pub(super) reachable: Instant,
}

/// A course, and the first write that succeeded after it.
type Played = (Course, Option<Operation>);

/// What befalls the servers of a stage, and where writes have to arrive then.
pub(super) trait Drama {
    /// What the scenario is called.
    fn name(&self) -> &'static str;

    /// Where the primary is when it begins.
    fn primary(&self) -> SocketAddr;

    /// The fault, and its end.
    fn strike_and_mend(
        &mut self,
        timings: &Timings,
        observer: &impl Observer,
    ) -> impl Future<Output = Result<Course, ScenarioError>>;

    /// Which of these writes the new primary has; `None` where the primary is who it was.
    fn arrived(&self, writes: &[u64]) -> impl Future<Output = Result<Option<Vec<bool>>, ScenarioError>>;

    /// Writes that were executed more than once, where the servers keep such a log.
    fn repeated(&self) -> Option<u64> {
        None
    }
}

/// Plays it once, while `client` writes every [`period`](Timings::period).
pub(super) async fn play(
    drama: &mut impl Drama,
    timings: &Timings,
    client: &mut impl Client,
    observer: &impl Observer,
) -> Result<Report, ScenarioError> {
    let record = Record::default();
    let (stop, stopped) = watch::channel(false);
    let held_before = client.held();
    let started = Instant::now();
    observer.stepped(started, &Step::Started { primary: drama.primary() });

    let directing = async {
        let played = direct(drama, timings, &record, observer).await;
        // The writer is gone only where this future is gone as well.
        let _ = stop.send(true);
        played
    };
    let (played, ()) = tokio::join!(directing, writer::write(client, &record, observer, timings.period, stopped));
    let (course, recovered) = played?;
    observer.stepped(Instant::now(), &Step::Ended);

    let operations = record.into_operations();
    let done: Vec<u64> = operations.iter().filter(|operation| operation.result.is_ok()).map(|done| done.n).collect();
    let arrived = drama.arrived(&done).await?;
    Ok(Report {
        scenario: drama.name(),
        started,
        fault: course.fault - started,
        reachable: course.reachable - started,
        recovered: recovered.map(|operation| operation.ended - started),
        held: client.held().saturating_sub(held_before),
        missing: arrived.map(|arrived| count(arrived.into_iter().filter(|arrived| !arrived))),
        repeated: drama.repeated(),
        operations,
    })
}

async fn direct(
    drama: &mut impl Drama,
    timings: &Timings,
    record: &Record,
    observer: &impl Observer,
) -> Result<Played, ScenarioError> {
    sleep(timings.warm_up).await;
    let course = drama.strike_and_mend(timings, observer).await?;
    let recovered = recovery(drama, course, timings, record).await?;
    match &recovered {
        Some(operation) => observer.stepped(operation.ended, &Step::Recovered { n: operation.n }),
        None => observer.stepped(Instant::now(), &Step::NotRecovered),
    }
    sleep(timings.observe).await;
    Ok((course, recovered))
}

/// The first write that succeeded where it should.
async fn recovery(
    drama: &impl Drama,
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
            new.iter().filter(|operation| may_show_recovery(course, operation)).cloned().collect()
        };
        if let Some(first) = first_arrived(drama, candidates).await? {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

fn may_show_recovery(course: Course, operation: &Operation) -> bool {
    let is_of_new_order = course.new_order.is_none_or(|new_order| operation.started >= new_order);
    operation.result.is_ok() && operation.ended >= course.reachable && is_of_new_order
}

async fn first_arrived(drama: &impl Drama, candidates: Vec<Operation>) -> Result<Option<Operation>, ScenarioError> {
    if candidates.is_empty() {
        return Ok(None);
    }
    let numbers: Vec<u64> = candidates.iter().map(|operation| operation.n).collect();
    Ok(match drama.arrived(&numbers).await? {
        None => candidates.into_iter().next(),
        Some(arrived) => {
            candidates.into_iter().zip(arrived).find_map(|(operation, arrived)| arrived.then_some(operation))
        }
    })
}

pub(super) fn fault(observer: &impl Observer, what: &'static str, node: SocketAddr) -> Instant {
    let now = Instant::now();
    observer.stepped(now, &Step::Fault { what, node });
    now
}

pub(super) fn mended(fault: Instant, observer: &impl Observer, what: &'static str, primary: SocketAddr) -> Course {
    let now = Instant::now();
    observer.stepped(now, &Step::Reachable { what, primary });
    Course { fault, new_order: None, reachable: now }
}

pub(super) fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.fold(0, |count, _| count + 1)
}
