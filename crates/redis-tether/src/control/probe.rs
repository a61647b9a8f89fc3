//! The ping-probe child of one live link: it asks the server every few seconds whether it still is what is wanted, and
//! watches over silence in between. It reports to its `Connection`, decides nothing, and dies with the link. A peer that
//! stands no question at all is not asked, and then silence is all that it watches.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use redis_tether_core::recovery::{Settings, Sight};
use redis_tether_core::{Epoch, FailureKind, Role};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::Control;
use super::beat;
use super::connection::ConnectionMsg;
use super::descent;
use super::renewal;
use super::silence;
use super::task;
use crate::config::{Config, DetectionSettings};
use crate::dial::cluster::Membership;
use crate::dial::verify::{Sync, Verdict, VerifyError, VerifyLevel};
use crate::dial::wanted::Wanted;
use crate::event::Detector;
use crate::gate::Gate;
use crate::ledger::FlightKind;
use crate::link::Link;
use crate::multiplexer::Multiplexer;

/// Probes are up to this part of the interval early, so that a thousand tethers do not probe in step.
const INTERVAL_JITTER: f64 = 0.1;

pub(crate) enum ProbeMsg {
    /// Somebody wants to know now.
    Now,
    /// The rounds have ended, as they do only by a panic.
    Ended,
    /// A test wants to see what a panic costs.
    #[cfg(test)]
    Panic,
}

#[cfg(feature = "ractor-cluster")]
impl ractor::Message for ProbeMsg {}

pub(crate) struct Probe;

pub(crate) struct ProbeArgs {
    pub(crate) control: Arc<Control>,
    pub(crate) link: Arc<Link>,
    pub(crate) connection: ActorRef<ConnectionMsg>,
}

pub(crate) struct ProbeState {
    bells: Arc<Bells>,
    _rounds: AbortOnDropHandle<()>,
}

/// What the rounds and the silence watch wake each other by.
#[derive(Default)]
struct Bells {
    /// Somebody wants a probe now.
    now: Notify,
    /// A probe was answered: what was looked out for may have come.
    answered: Notify,
}

#[cfg_attr(feature = "ractor-async-trait", ractor::async_trait)]
impl Actor for Probe {
    type Msg = ProbeMsg;
    type State = ProbeState;
    type Arguments = ProbeArgs;

    async fn pre_start(&self, myself: ActorRef<ProbeMsg>, args: ProbeArgs) -> Result<ProbeState, ActorProcessingErr> {
        let bells = Arc::new(Bells::default());
        let (tasks, rng) = (args.control.tasks.clone(), args.control.fork_rng());
        let work = watch_over(args, bells.clone(), rng);
        let rounds = task::reporting(&tasks, work, move |_| {
            let _ = myself.send_message(ProbeMsg::Ended);
        });
        Ok(ProbeState { bells, _rounds: rounds })
    }

    async fn handle(
        &self,
        myself: ActorRef<ProbeMsg>,
        message: ProbeMsg,
        state: &mut ProbeState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ProbeMsg::Now => state.bells.now.notify_one(),
            ProbeMsg::Ended => myself.stop(Some("the rounds of the probe panicked".to_owned())),
            #[cfg(test)]
            ProbeMsg::Panic => panic!("a test asked for it"),
        }
        Ok(())
    }
}

/// Probes, and looks out for silence, in one task: an idle link is to cost few wake-ups.
async fn watch_over(args: ProbeArgs, bells: Arc<Bells>, rng: fastrand::Rng) {
    let watch = silence::watch(
        args.link.ledger().clone(),
        args.control.config.detection.suspect_after,
        &bells.answered,
        ask(&args, &bells),
        report_silence(&args),
    );
    let guard = async {
        match may_ask(&args.link) {
            true => {
                tokio::join!(watch, rounds(&args, &bells, rng));
            }
            false => watch.await,
        }
    };
    // Even where the link is dead: whoever ended it has this ended, too.
    tokio::join!(guard, beside(&args));
}

/// What else is to be done over the link. Boxed, since little of it takes long, and all links would have the room for it.
async fn beside(args: &ProbeArgs) {
    let ProbeArgs { control, link, .. } = args;
    let renewal = async {
        if let Some(asked) = control.keyring.asked() {
            Box::pin(renewal::keep_signed_in(control, link, asked)).await;
        }
    };
    // Neither waits for the other: the question waits while the link is blocked.
    tokio::join!(Box::pin(descent::look(control, link)), renewal);
    std::future::pending::<()>().await;
}

/// Probes every interval, from the end of a probe on, so that they never pile up; and whenever somebody wants to know.
async fn rounds(args: &ProbeArgs, bells: &Bells, mut rng: fastrand::Rng) {
    let link = &args.link;
    while !link.ledger().is_dead() {
        tokio::select! {
            biased;
            () = bells.now.notified() => {}
            () = sleep_until(next(args, &mut rng)) => {}
        }
        if link.ledger().blocked() {
            // A blocking command would delay the answer, and its wait says nothing.
            continue;
        }
        // Boxed, since it is large, and there but for a moment.
        let message = Box::pin(probe(link, Terms::of(&args.control))).await;
        bells.answered.notify_waiters();
        // Whoever asked meanwhile gets this answer. Before the look at the gate: it is closed before anybody asks because of
        // that, so whoever is missed here is either told or asks once more.
        let _ = pin!(bells.now.notified()).as_mut().enable();
        if let Some(message) = message.filter(|message| is_news(message, args.control.gate())) {
            let _ = args.connection.send_message(message);
        }
    }
}

fn next(args: &ProbeArgs, rng: &mut fastrand::Rng) -> Instant {
    let interval = args.control.config.detection.probe_interval;
    let latest = interval.mul_f64(1.0 - (INTERVAL_JITTER - beat::SHARE) * rng.f64());
    args.control.beat.not_after(Instant::now() + latest, interval)
}

/// That the server of a link which takes commands is fit for them tells nobody anything. The link is held first, where it
/// is, and probed after that.
fn is_news(message: &ConnectionMsg, gate: &Gate) -> bool {
    let ConnectionMsg::Probed { epoch, .. } = message else { return true };
    !gate.publishes(*epoch)
}

/// Whether the peer stands any question. One that does not never answers, and nothing may be taken for an answer.
fn may_ask(link: &Link) -> bool {
    link.verify_level() > VerifyLevel::None
}

/// What a probe goes by.
#[derive(Clone, Copy)]
struct Terms<'a> {
    wanted: Wanted,
    detection: &'a DetectionSettings,
    /// Where it is noted that a replica has lost its primary.
    is_stale: &'a AtomicBool,
    /// Whether the link is held, and by what configuration it was dialled.
    of_link: Option<(&'a Gate, &'a Config)>,
}

impl Terms<'_> {
    fn of(control: &Control) -> Terms<'_> {
        let (detection, is_stale) = (&control.config.detection, &control.shared.is_stale);
        Terms { wanted: control.wanted, detection, is_stale, of_link: Some((control.gate(), &control.config)) }
    }

    /// One that had all slots of a cluster, and is held since it sent a command elsewhere, must have them all to be taken back: a
    /// shard that has joined leaves it a primary, and not the only one.
    async fn verify(&self, link: &Link, multiplexer: &mut Multiplexer) -> Result<Verdict, VerifyError> {
        let verdict = self.wanted.verify(multiplexer, link.verify_level()).await?;
        if let (Membership::Whole, Some((gate, config))) = (link.membership(), self.of_link)
            && !gate.publishes(link.epoch())
        {
            Membership::of_node(multiplexer, config, self.wanted).await?;
        }
        Ok(verdict)
    }
}

/// Asks once. No answer in time is a suspicion, if nothing else was read for as long as silence must last. While the peer goes
/// on with other replies, or a blocking command explains why it does not, or it was us who slept, the probe waits on; but
/// not for longer than until the next one.
async fn probe(link: &Link, terms: Terms<'_>) -> Option<ConnectionMsg> {
    let detection = terms.detection;
    let (asked, mut flight) = (Instant::now(), link.ledger().begin(FlightKind::Plain));
    let mut multiplexer = link.multiplexer();
    let mut answer = pin!(terms.verify(link, &mut multiplexer));
    let mut due = asked + detection.probe_timeout;
    while due <= asked + detection.probe_interval {
        if let Ok(answer) = timeout_at(due, answer.as_mut()).await {
            flight.answered();
            drop(flight);
            link.ledger().vouch();
            return answered(link.epoch(), terms, answer);
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

fn answered(epoch: Epoch, terms: Terms<'_>, answer: Result<Verdict, VerifyError>) -> Option<ConnectionMsg> {
    let verdict = match answer {
        Ok(verdict) => verdict,
        Err(VerifyError::Failed(rejection)) if rejection.kind == FailureKind::Config => {
            return Some(unfit(epoch, rejection.detail));
        }
        // A link that ended says so itself, and what the peer did not understand it did at least answer.
        Err(_) => return None,
    };
    if terms.wanted != Wanted::Primary {
        terms.is_stale.store(verdict.sync == Some(Sync::Down), Ordering::Relaxed);
    }
    Some(match (terms.wanted.unfit(&verdict), verdict.role) {
        (Some(reason), _) => unfit(epoch, reason),
        (None, Role::Primary | Role::Replica) => ConnectionMsg::Probed { epoch, sight: Sight::Primary },
        (None, Role::Unknown) => ConnectionMsg::Probed { epoch, sight: Sight::Unclear },
    })
}

fn unfit(epoch: Epoch, reason: impl Into<Arc<str>>) -> ConnectionMsg {
    ConnectionMsg::Unfit { epoch, detector: Detector::Probe, reason: reason.into() }
}

/// What the silence watch does where only an answer can tell. If none can be had, the matter rests.
fn ask(args: &ProbeArgs, bells: &Arc<Bells>) -> impl Fn() + Send + use<> {
    let (may_ask, ledger, bells) = (may_ask(&args.link), args.link.ledger().clone(), bells.clone());
    move || match may_ask {
        true => bells.now.notify_one(),
        false => ledger.vouch(),
    }
}

fn report_silence(args: &ProbeArgs) -> impl Fn(Duration) + Send + use<> {
    let (epoch, connection) = (args.link.epoch(), args.connection.clone());
    move |silent_for| {
        let _ = connection.send_message(ConnectionMsg::Suspected { epoch, silent_for });
    }
}

#[cfg(test)]
mod tests;
