//! The connection actor: one incarnation of the recovery machine. It turns what links, dials, probes and timers report
//! into events, strictly one after another, and has the [effects] carried out. It never awaits I/O; the link that it
//! publishes lives outside it, so that its own end costs no command.

mod effects;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use redis_tether_core::recovery::{self, Machine, Met, Sight};
use redis_tether_core::{Address, Epoch, FailureKind};
use tokio_util::task::AbortOnDropHandle;

use self::effects::AlreadyOver;
use super::Control;
use super::probe::{Probe, ProbeArgs, ProbeMsg};
use super::supervisor::SupervisorMsg;
use super::task;
use crate::dial::DialError;
use crate::dial::verify::VerifyLevel;
use crate::event::{Detector, Event};
use crate::ledger::LinkEnd;
use crate::link::Link;
use crate::status::Phase;

pub(crate) enum ConnectionMsg {
    /// A link's transport ended. Told once per link.
    ConnectionFailed { epoch: Epoch, end: LinkEnd },
    /// A dial met a primary: here is the link to it.
    ConnectionRestored { epoch: Epoch, link: Arc<Link> },
    /// A dial failed.
    DialFailed { epoch: Epoch, error: DialError },
    /// A link owes answers and is mute.
    Suspected { epoch: Epoch, silent_for: Duration },
    /// A link that was listened to has spoken.
    Heard { epoch: Epoch },
    /// A link's server is not fit to serve now.
    Unfit { epoch: Epoch, detector: Detector, reason: Arc<str> },
    /// Something beside this link was met that makes one ask whether it still leads to the primary.
    Doubted { epoch: Epoch },
    /// A probe was answered, and the server is fit for all that the answer tells.
    Probed { epoch: Epoch, sight: Sight },
    /// The endpoint means these addresses now.
    Resolved(Vec<Address>),
    /// Whoever appoints primaries says that the endpoint has moved to these addresses.
    Moved(Vec<Address>),
    /// A new link, by hand.
    Reconnect,
    /// Freeze automatic moves.
    Pin,
    /// Allow them again.
    Unpin,
    /// Something is due.
    Tick,
    /// A test wants to see what a panic costs.
    #[cfg(test)]
    Panic,
}

#[cfg(feature = "ractor-cluster")]
impl ractor::Message for ConnectionMsg {}

pub(crate) struct Connection;

pub(crate) struct ConnectionArgs {
    pub(crate) control: Arc<Control>,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
}

pub(crate) struct ConnectionState {
    control: Arc<Control>,
    supervisor: ActorRef<SupervisorMsg>,
    machine: Machine,
    dials: BTreeMap<Epoch, Dial>,
    /// Dialled links that have not been retired: the published one, and those that wait.
    links: BTreeMap<Epoch, Arc<Link>>,
    probe: Option<LinkProbe>,
    /// The probe is to ask at once.
    probe_now: bool,
    timer: Option<(Duration, AbortOnDropHandle<()>)>,
}

struct Dial {
    address: Address,
    _task: AbortOnDropHandle<()>,
}

/// The probe of the link of this epoch.
struct LinkProbe {
    epoch: Epoch,
    actor: ActorRef<ProbeMsg>,
}

#[cfg_attr(feature = "ractor-async-trait", ractor::async_trait)]
impl Actor for Connection {
    type Msg = ConnectionMsg;
    type State = ConnectionState;
    type Arguments = ConnectionArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ConnectionMsg>,
        ConnectionArgs { control, supervisor }: ConnectionArgs,
    ) -> Result<ConnectionState, ActorProcessingErr> {
        // The route first, the look at the link second: an end in between is seen by the one or the other.
        control.reports.route_to(myself);
        let (memory, inherited) = control.inheritance();
        let (live, link) = inherited.unzip();
        let machine = Machine::new(control.settings.clone(), memory, live, control.fork_rng());
        Ok(ConnectionState {
            machine,
            dials: BTreeMap::new(),
            links: link.into_iter().map(|link| (link.epoch(), link)).collect(),
            probe: None,
            probe_now: false,
            timer: None,
            control,
            supervisor,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<ConnectionMsg>,
        state: &mut ConnectionState,
    ) -> Result<(), ActorProcessingErr> {
        state.step(&myself, recovery::Event::Started, &Context::default());
        state.tend_probe(&myself).await;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<ConnectionMsg>,
        message: ConnectionMsg,
        state: &mut ConnectionState,
    ) -> Result<(), ActorProcessingErr> {
        state.handle(&myself, message);
        state.tend_probe(&myself).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ConnectionMsg>,
        event: SupervisionEvent,
        state: &mut ConnectionState,
    ) -> Result<(), ActorProcessingErr> {
        let (SupervisionEvent::ActorFailed(who, _) | SupervisionEvent::ActorTerminated(who, _, _)) = event else {
            return Ok(());
        };
        // A probe that was stopped since its link is over has been replaced, or is missed by nobody.
        if state.probe.as_ref().is_some_and(|probe| probe.actor.get_id() == who.get_id()) {
            state.probe = None;
            state.tend_probe(&myself).await;
        }
        Ok(())
    }
}

/// What is known of an event beside the event itself: for the status, the events and the lines of people.
#[derive(Default)]
struct Context {
    detector: Option<Detector>,
    silent_for: Duration,
    cause: Option<Arc<str>>,
}

impl Context {
    fn because(cause: impl Into<Arc<str>>) -> Self {
        Context { cause: Some(cause.into()), ..Context::default() }
    }
}

impl ConnectionState {
    fn handle(&mut self, myself: &ActorRef<ConnectionMsg>, message: ConnectionMsg) {
        use recovery::Event as Told;
        match message {
            ConnectionMsg::ConnectionFailed { epoch, end } => self.connection_failed(myself, epoch, &end),
            ConnectionMsg::ConnectionRestored { epoch, link } => self.connection_restored(myself, epoch, link),
            ConnectionMsg::DialFailed { epoch, error } => self.dial_failed(myself, epoch, &error),
            // Of a link that is over: it is no news, and must not be shown as what went wrong last.
            ConnectionMsg::Suspected { epoch, .. } | ConnectionMsg::Unfit { epoch, .. } if !self.is_live(epoch) => {}
            ConnectionMsg::Suspected { epoch, silent_for } => {
                let context = Context {
                    detector: Some(Detector::Silence),
                    silent_for,
                    cause: Some(format!("nothing read for {silent_for:.1?} while answers are owed").into()),
                };
                let since = self.control.now().saturating_sub(silent_for);
                self.step(myself, Told::LinkSilent { epoch, since }, &context);
            }
            ConnectionMsg::Heard { epoch } => {
                self.step(myself, Told::LinkHeard { epoch }, &Context::default());
            }
            ConnectionMsg::Unfit { epoch, detector, reason } => {
                let told = match detector {
                    Detector::Probe => Told::Probed { epoch, sight: Sight::Unfit },
                    _ => Told::LinkRefused { epoch },
                };
                let context = Context { detector: Some(detector), ..Context::because(reason) };
                self.step(myself, told, &context);
            }
            ConnectionMsg::Doubted { epoch } => self.probe_now |= self.is_live(epoch),
            ConnectionMsg::Probed { epoch, sight } => {
                self.step(myself, Told::Probed { epoch, sight }, &Context::default());
            }
            ConnectionMsg::Resolved(addresses) => {
                self.step(myself, Told::Resolved { addresses }, &Context::default());
            }
            ConnectionMsg::Moved(addresses) => {
                self.step(myself, Told::Moved { addresses }, &Context::default());
            }
            ConnectionMsg::Reconnect => self.step(myself, Told::Reconnect, &Context::default()),
            ConnectionMsg::Pin => self.step(myself, Told::Pin, &Context::default()),
            ConnectionMsg::Unpin => self.step(myself, Told::Unpin, &Context::default()),
            ConnectionMsg::Tick => {
                self.timer = None;
                self.step(myself, Told::Tick, &Context::default());
            }
            #[cfg(test)]
            ConnectionMsg::Panic => panic!("a test asked for it"),
        }
    }

    fn connection_failed(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, end: &LinkEnd) {
        // Otherwise retired by us, or never more than an attempt.
        let Some(link) = self.links.remove(&epoch) else { return };
        if self.is_live(epoch) {
            self.lose(&link, end);
        }
        self.link_ended(myself, epoch, end);
    }

    /// The published link is gone.
    fn lose(&self, link: &Link, end: &LinkEnd) {
        self.control.gate().clear();
        let (epoch, address, cause) = (link.epoch(), link.address().clone(), end.to_string().into());
        self.control.board.send(Event::Lost { epoch, address, detector: Detector::Transport, cause });
    }

    fn link_ended(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, end: &LinkEnd) {
        let context = Context { detector: Some(Detector::Transport), ..Context::because(end.to_string()) };
        self.step(myself, recovery::Event::LinkEnded { epoch }, &context);
    }

    fn connection_restored(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, link: Arc<Link>) {
        let Some(dial) = self.dials.remove(&epoch) else { return };
        if let Some(end) = link.ledger().end() {
            // It ended between its verification and now; its report came while it was nobody's link.
            let error = DialError::new(FailureKind::Closed, &dial.address, end.to_string());
            self.attempt_failed(myself, epoch, &dial.address, &error);
            return;
        }
        let met = if link.verify_level() == VerifyLevel::None { Met::Unasked } else { Met::Answered };
        self.links.insert(epoch, link);
        self.step(myself, recovery::Event::AttemptReady { epoch, met }, &Context::default());
    }

    fn dial_failed(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, error: &DialError) {
        let Some(dial) = self.dials.remove(&epoch) else { return };
        self.attempt_failed(myself, epoch, &dial.address, error);
    }

    fn attempt_failed(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, address: &Address, error: &DialError) {
        let (kind, line): (FailureKind, Arc<str>) = (error.kind(), error.to_string().into());
        self.control.board.send(Event::DialFailed { epoch, address: address.clone(), kind, error: line.clone() });
        self.step(myself, recovery::Event::AttemptFailed { epoch, kind }, &Context::because(line));
    }

    /// Lets the machine decide, and does what it says, in one go: nothing that could end this actor comes in between.
    fn step(&mut self, myself: &ActorRef<ConnectionMsg>, event: recovery::Event, context: &Context) {
        let down_since = self.machine.down_since();
        let now = self.control.now();
        let effects = self.machine.handle(now, event);
        self.control.save(self.machine.memory(), self.machine.live());
        let down_for = down_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let mut already_over = None;
        for effect in effects {
            already_over = self.perform(myself, effect, context, down_for).or(already_over);
        }
        if let Some(AlreadyOver { epoch, end }) = already_over {
            // Its own report is under way. The machine learns of it now, so that nobody is shown a link that is none.
            self.link_ended(myself, epoch, &end);
            return;
        }
        self.show(context);
        self.arm(myself);
    }

    fn is_live(&self, epoch: Epoch) -> bool {
        self.machine.live().is_some_and(|live| live.epoch == epoch)
    }

    /// The published link, if it is not retired.
    fn live_link(&self) -> Option<Arc<Link>> {
        self.links.get(&self.machine.live()?.epoch).cloned()
    }

    /// Sees to it that the live link has a probe of its own, and no other link has one.
    async fn tend_probe(&mut self, myself: &ActorRef<ConnectionMsg>) {
        let link = self.live_link();
        if self.probe.as_ref().map(|probe| probe.epoch) != link.as_ref().map(|link| link.epoch()) {
            if let Some(probe) = self.probe.take() {
                probe.actor.stop(None);
            }
            if let Some(link) = link {
                self.spawn_probe(myself, link).await;
            }
        }
        if std::mem::take(&mut self.probe_now)
            && let Some(probe) = &self.probe
        {
            let _ = probe.actor.send_message(ProbeMsg::Now);
        }
    }

    async fn spawn_probe(&mut self, myself: &ActorRef<ConnectionMsg>, link: Arc<Link>) {
        let epoch = link.epoch();
        let args = ProbeArgs { control: self.control.clone(), link, connection: myself.clone() };
        match task::spawn_child(&self.control.tasks, Probe, args, myself.get_cell()).await {
            Ok(actor) => self.probe = Some(LinkProbe { epoch, actor }),
            // Its start does nothing that can fail; should it, this incarnation is not worth keeping.
            Err(error) => myself.stop(Some(format!("the probe did not start: {error}"))),
        }
    }

    fn show(&self, context: &Context) {
        let link = self.live_link();
        let ever_up = self.machine.live().is_some() || self.control.shared.counters.links.value() > 0;
        self.control.board.update(|status| {
            status.phase = match self.machine.phase() {
                recovery::Phase::Up => Phase::Connected,
                recovery::Phase::Suspect | recovery::Phase::Demoted => Phase::Suspect,
                recovery::Phase::GivenUp if link.is_some() => Phase::Suspect,
                _ if ever_up => Phase::Recovering,
                _ => Phase::Connecting,
            };
            status.address = link.as_ref().map(|link| link.address().clone());
            status.role = link.as_ref().map(|link| link.role());
            status.epoch = link.as_ref().map(|link| link.epoch());
            status.failed_rounds = self.machine.failed_rounds();
            status.pinned = self.machine.is_pinned();
            if let Some(cause) = &context.cause {
                status.failed(cause);
            }
        });
        // While a link serves, what goes wrong beside it is no reason for a command to fail.
        let cause = context.cause.as_ref().filter(|_| self.machine.down_since().is_some());
        self.control.gate().note(self.machine.failed_rounds(), cause);
    }

    /// One timer at a time, for whatever the machine says is due next.
    fn arm(&mut self, myself: &ActorRef<ConnectionMsg>) {
        let Some(due) = self.machine.next_due() else {
            self.timer = None;
            return;
        };
        if self.timer.as_ref().is_some_and(|(armed, _)| *armed == due) {
            return;
        }
        let myself = myself.clone();
        let timer = task::at(&self.control.tasks, self.control.instant(due), move || {
            let _ = myself.send_message(ConnectionMsg::Tick);
        });
        self.timer = Some((due, timer));
    }
}

/// With this begins the reason with which an incarnation stops that gives up for a fresh one.
pub(crate) const GAVE_UP: &str = "gave up";

#[cfg(test)]
mod tests;
