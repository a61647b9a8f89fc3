//! The ping-probe child of one live link: it asks the server every few seconds whether it still is the primary, and
//! watches over silence in between. It reports to its `Connection`, decides nothing, and dies with the link. A peer that
//! stands no question at all is not asked, and then silence is all that it watches.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use redis_tether_core::recovery::{Settings, Sight};
use redis_tether_core::{Epoch, Role};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::Control;
use super::connection::ConnectionMsg;
use super::silence;
use super::task;
use crate::config::DetectionSettings;
use crate::dial::verify::{Verdict, VerifyError, VerifyLevel, verify};
use crate::event::Detector;
use crate::ledger::FlightKind;
use crate::link::Link;

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
            ask(&args, &myself),
            report_silence(&args),
        );
        let mut state = ProbeState {
            rng: args.control.fork_rng(),
            under_way: None,
            timer: None,
            _silence_watch: AbortOnDropHandle::new(args.control.tasks.spawn(watch)),
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
        if !may_ask(&self.args.link) {
            return;
        }
        let interval = self.args.control.config.detection.probe_interval;
        let after = interval.mul_f64(1.0 - INTERVAL_JITTER * self.rng.f64());
        let myself = myself.clone();
        self.timer = Some(task::after(&self.args.control.tasks, after, move || {
            let _ = myself.send_message(ProbeMsg::Due);
        }));
    }

    fn begin(&mut self, myself: &ActorRef<ProbeMsg>) {
        if self.under_way.is_some() || !may_ask(&self.args.link) {
            return;
        }
        if self.args.link.ledger().blocked() {
            // A blocking command would delay the answer, and its wait says nothing.
            self.arm(myself);
            return;
        }
        self.timer = None;
        let (link, connection, myself) = (self.args.link.clone(), self.args.connection.clone(), myself.clone());
        let detection = self.args.control.config.detection.clone();
        let work = async move { probe(&link, &detection).await };
        self.under_way = Some(task::reporting(&self.args.control.tasks, work, move |message| {
            if let Some(message) = message.flatten() {
                let _ = connection.send_message(message);
            }
            let _ = myself.send_message(ProbeMsg::Done);
        }));
    }
}

/// Whether the peer stands any question. One that does not never answers, and nothing may be taken for an answer.
fn may_ask(link: &Link) -> bool {
    link.verify_level() > VerifyLevel::None
}

/// Asks once. No answer in time is a suspicion, if nothing else was read for as long as silence must last. While the peer goes
/// on with other replies, or a blocking command explains why it does not, or it was us who slept, the probe waits on; but
/// not for longer than until the next one.
async fn probe(link: &Link, detection: &DetectionSettings) -> Option<ConnectionMsg> {
    let (asked, mut flight) = (Instant::now(), link.ledger().begin(FlightKind::Plain));
    let mut multiplexer = link.multiplexer();
    let mut answer = pin!(verify(&mut multiplexer, link.verify_level()));
    let mut due = asked + detection.probe_timeout;
    while due <= asked + detection.probe_interval {
        if let Ok(answer) = timeout_at(due, answer.as_mut()).await {
            flight.answered();
            drop(flight);
            link.ledger().vouch();
            return answered(link.epoch(), answer);
        }
        if due.elapsed() < Settings::STALL
            && let Some(silent_for) = link.ledger().found_unanswered(asked, detection.suspect_after)
        {
            return Some(ConnectionMsg::Suspected { epoch: link.epoch(), silent_for });
        }
        due = later(link, asked, detection.suspect_after);
    }
    None
}

/// When to look again. Never at once: a stall of ours is over only when the socket has been read.
fn later(link: &Link, asked: Instant, window: Duration) -> Instant {
    let now = Instant::now();
    match link.ledger().unanswered_since(asked, now) {
        Some(since) if since + window > now => since + window,
        _ => now + window,
    }
}

fn answered(epoch: Epoch, answer: Result<Verdict, VerifyError>) -> Option<ConnectionMsg> {
    // A link that ended says so itself, and what the peer did not understand it did at least answer.
    let verdict = answer.ok()?;
    Some(match (verdict.role, verdict.loading) {
        (Role::Replica, _) => unfit(epoch, "the server says that it is a replica"),
        (_, true) => unfit(epoch, "the server is loading its dataset"),
        (Role::Primary, false) => ConnectionMsg::Probed { epoch, sight: Sight::Primary },
        (Role::Unknown, false) => ConnectionMsg::Probed { epoch, sight: Sight::Unclear },
    })
}

fn unfit(epoch: Epoch, reason: &'static str) -> ConnectionMsg {
    ConnectionMsg::Unfit { epoch, detector: Detector::Probe, reason: reason.into() }
}

/// What the silence watch does where only an answer can tell. If none can be had, the matter rests.
fn ask(args: &ProbeArgs, myself: &ActorRef<ProbeMsg>) -> impl Fn() + Send + 'static {
    let (may_ask, ledger, myself) = (may_ask(&args.link), args.link.ledger().clone(), myself.clone());
    move || match may_ask {
        true => drop(myself.send_message(ProbeMsg::Now)),
        false => ledger.vouch(),
    }
}

fn report_silence(args: &ProbeArgs) -> impl Fn(Duration) + Send + 'static {
    let (epoch, connection) = (args.link.epoch(), args.connection.clone());
    move |silent_for| {
        let _ = connection.send_message(ConnectionMsg::Suspected { epoch, silent_for });
    }
}

#[cfg(test)]
mod tests;
