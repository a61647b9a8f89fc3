//! The ping-probe child of one live link: it asks the server every few seconds whether it still is the primary, and
//! watches over silence in between. It reports to its `Connection`, decides nothing, and dies with the link.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use redis_tether_core::recovery::{Settings, Sight};
use redis_tether_core::{Epoch, Role};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::connection::ConnectionMsg;
use crate::control::Control;
use crate::event::Detector;
use crate::ledger::FlightKind;
use crate::link::Link;
use crate::silence;
use crate::task;
use crate::verify::verify;

/// Probe intervals differ by this much either way, so that a thousand tethers do not probe in step.
const INTERVAL_JITTER: f64 = 0.1;

pub(crate) enum ProbeMsg {
    /// The interval has passed.
    Due,
    /// Somebody wants to know now.
    Now,
    /// A probe is over, answered or not.
    Done,
    /// A test wants to see what a panic costs.
    #[cfg(test)]
    Panic,
}

#[cfg(feature = "cluster")]
impl ractor::Message for ProbeMsg {}

pub(crate) struct Probe;

pub(crate) struct ProbeArgs {
    pub(crate) control: Arc<Control>,
    pub(crate) link: Arc<Link>,
    pub(crate) connection: ActorRef<ConnectionMsg>,
}

pub(crate) struct ProbeState {
    args: ProbeArgs,
    rng: fastrand::Rng,
    under_way: Option<AbortOnDropHandle<()>>,
    timer: Option<AbortOnDropHandle<()>>,
    _silence_watch: AbortOnDropHandle<()>,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Probe {
    type Msg = ProbeMsg;
    type State = ProbeState;
    type Arguments = ProbeArgs;

    async fn pre_start(&self, myself: ActorRef<ProbeMsg>, args: ProbeArgs) -> Result<ProbeState, ActorProcessingErr> {
        let watch = silence::watch(
            args.link.ledger().clone(),
            args.control.config.detection.suspect_after,
            report_silence(&args),
        );
        let mut state = ProbeState {
            rng: args.control.fork_rng(),
            under_way: None,
            timer: None,
            _silence_watch: AbortOnDropHandle::new(tokio::spawn(watch)),
            args,
        };
        state.arm(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ProbeMsg>,
        message: ProbeMsg,
        state: &mut ProbeState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ProbeMsg::Due | ProbeMsg::Now => state.begin(&myself),
            ProbeMsg::Done => {
                state.under_way = None;
                state.arm(&myself);
            }
            #[cfg(test)]
            ProbeMsg::Panic => panic!("a test asked for it"),
        }
        Ok(())
    }
}

impl ProbeState {
    /// Re-armed on completion, so that probes never pile up.
    fn arm(&mut self, myself: &ActorRef<ProbeMsg>) {
        let interval = self.args.control.config.detection.probe_interval;
        let after = interval.mul_f64(1.0 - INTERVAL_JITTER * self.rng.f64());
        let myself = myself.clone();
        self.timer = Some(task::after(after, move || {
            let _ = myself.send_message(ProbeMsg::Due);
        }));
    }

    fn begin(&mut self, myself: &ActorRef<ProbeMsg>) {
        if self.under_way.is_some() {
            return;
        }
        if self.args.link.ledger().blocked() {
            // A blocking command would delay the answer, and its wait says nothing.
            self.arm(myself);
            return;
        }
        self.timer = None;
        let (link, connection, myself) = (self.args.link.clone(), self.args.connection.clone(), myself.clone());
        let limit = self.args.control.config.detection.probe_timeout;
        let work = async move { probe(&link, limit).await };
        self.under_way = Some(task::reporting(work, move |message| {
            if let Some(message) = message.flatten() {
                let _ = connection.send_message(message);
            }
            let _ = myself.send_message(ProbeMsg::Done);
        }));
    }
}

/// Asks once.
async fn probe(link: &Link, limit: Duration) -> Option<ConnectionMsg> {
    let epoch = link.epoch();
    let begun = Instant::now();
    let _flight = link.ledger().begin(FlightKind::Plain);
    let mut connection = link.connection();
    let Ok(answer) = timeout(limit, verify(&mut connection, link.verify_level())).await else {
        return unanswered(link, begun + limit);
    };
    // A link that ended says so itself, and what the peer did not understand it did at least answer.
    let verdict = answer.ok()?;
    Some(match (verdict.role, verdict.loading) {
        (Role::Replica, _) => unfit(epoch, "the server says that it is a replica"),
        (_, true) => unfit(epoch, "the server is loading its dataset"),
        (Role::Primary, false) => ConnectionMsg::Probed { epoch, sight: Sight::Primary },
        (Role::Unknown, false) => ConnectionMsg::Probed { epoch, sight: Sight::Unclear },
    })
}

/// No answer in time is a suspicion, unless something else was read meanwhile, a blocking command explains it, or it was
/// us who slept.
fn unanswered(link: &Link, due: Instant) -> Option<ConnectionMsg> {
    let silent_for = link.ledger().silent_for(Instant::now())?;
    (due.elapsed() < Settings::STALL).then_some(ConnectionMsg::Suspected { epoch: link.epoch(), silent_for })
}

fn unfit(epoch: Epoch, reason: &'static str) -> ConnectionMsg {
    ConnectionMsg::Unfit { epoch, detector: Detector::Probe, reason: reason.into() }
}

fn report_silence(args: &ProbeArgs) -> impl Fn(Duration) + Send + 'static {
    let (epoch, connection) = (args.link.epoch(), args.connection.clone());
    move |silent_for| {
        let _ = connection.send_message(ConnectionMsg::Suspected { epoch, silent_for });
    }
}
