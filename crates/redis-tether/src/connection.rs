//! The connection actor: one incarnation of the recovery machine. It turns what links, dials, probes and timers report
//! into events, strictly one after another, and carries out the effects. It never awaits I/O; the link that it publishes
//! lives outside it, so that its own end costs no command.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use redis_tether_core::recovery::{self, Effect, HoldReason, Machine, Sight, Teardown};
use redis_tether_core::{Address, Epoch, FailureKind};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::control::Control;
use crate::dial::DialError;
use crate::event::{Detector, Event};
use crate::gate::ClosedCause;
use crate::ledger::LinkEnd;
use crate::link::Link;
use crate::probe::{Probe, ProbeArgs, ProbeMsg};
use crate::status::Phase;
use crate::supervisor::SupervisorMsg;
use crate::task;

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
    /// A probe was answered, and the server is fit for all that the answer tells.
    Probed { epoch: Epoch, sight: Sight },
    /// The endpoint means these addresses now.
    Resolved(Vec<Address>),
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

#[cfg(feature = "cluster")]
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
    probe: Option<ActorRef<ProbeMsg>>,
    timer: Option<(Duration, AbortOnDropHandle<()>)>,
}

struct Dial {
    address: Address,
    _task: AbortOnDropHandle<()>,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
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
        if let Some(link) = state.links.values().next().cloned() {
            state.spawn_probe(&myself, link).await;
        }
        state.step(&myself, recovery::Event::Started, &Context::default()).await;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<ConnectionMsg>,
        message: ConnectionMsg,
        state: &mut ConnectionState,
    ) -> Result<(), ActorProcessingErr> {
        state.handle(&myself, message).await;
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
        if state.probe.as_ref().is_some_and(|probe| probe.get_id() == who.get_id()) {
            state.probe = None;
            if let Some(link) = state.live_link() {
                state.spawn_probe(&myself, link).await;
            }
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
    async fn handle(&mut self, myself: &ActorRef<ConnectionMsg>, message: ConnectionMsg) {
        use recovery::Event as Told;
        match message {
            ConnectionMsg::ConnectionFailed { epoch, end } => self.connection_failed(myself, epoch, &end).await,
            ConnectionMsg::ConnectionRestored { epoch, link } => self.connection_restored(myself, epoch, link).await,
            ConnectionMsg::DialFailed { epoch, error } => self.dial_failed(myself, epoch, &error).await,
            // Of a link that is over: it is no news, and must not be shown as what went wrong last.
            ConnectionMsg::Suspected { epoch, .. } | ConnectionMsg::Unfit { epoch, .. } if !self.is_live(epoch) => {}
            ConnectionMsg::Suspected { epoch, silent_for } => {
                let context = Context {
                    detector: Some(Detector::Silence),
                    silent_for,
                    cause: Some(format!("nothing read for {silent_for:.1?} while answers are owed").into()),
                };
                let since = self.control.now().saturating_sub(silent_for);
                self.step(myself, Told::LinkSilent { epoch, since }, &context).await;
            }
            ConnectionMsg::Heard { epoch } => {
                self.step(myself, Told::LinkHeard { epoch }, &Context::default()).await;
            }
            ConnectionMsg::Unfit { epoch, detector, reason } => {
                let told = match detector {
                    Detector::Probe => Told::Probed { epoch, sight: Sight::Unfit },
                    _ => Told::LinkRefused { epoch },
                };
                let context = Context { detector: Some(detector), ..Context::because(reason) };
                self.step(myself, told, &context).await;
            }
            ConnectionMsg::Probed { epoch, sight } => {
                self.step(myself, Told::Probed { epoch, sight }, &Context::default()).await;
            }
            ConnectionMsg::Resolved(addresses) => {
                self.step(myself, Told::Resolved { addresses }, &Context::default()).await;
            }
            ConnectionMsg::Reconnect => self.step(myself, Told::Reconnect, &Context::default()).await,
            ConnectionMsg::Pin => self.step(myself, Told::Pin, &Context::default()).await,
            ConnectionMsg::Unpin => self.step(myself, Told::Unpin, &Context::default()).await,
            ConnectionMsg::Tick => {
                self.timer = None;
                self.step(myself, Told::Tick, &Context::default()).await;
            }
            #[cfg(test)]
            ConnectionMsg::Panic => panic!("a test asked for it"),
        }
    }

    async fn connection_failed(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, end: &LinkEnd) {
        if self.links.remove(&epoch).is_none() {
            // Retired by us, or never more than an attempt.
            return;
        }
        let cause: Arc<str> = end.to_string().into();
        if self.is_live(epoch) {
            self.control.gate().clear();
            self.stop_probe();
            self.control.board.send(Event::Lost { epoch, detector: Detector::Transport, cause: cause.clone() });
        }
        let context = Context { detector: Some(Detector::Transport), ..Context::because(cause) };
        self.step(myself, recovery::Event::LinkEnded { epoch }, &context).await;
    }

    async fn connection_restored(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, link: Arc<Link>) {
        let Some(dial) = self.dials.remove(&epoch) else { return };
        if let Some(end) = link.ledger().end() {
            // It ended between its verification and now; its report came while it was nobody's link.
            let error = DialError::new(FailureKind::Closed, &dial.address, end.to_string());
            self.attempt_failed(myself, epoch, &dial.address, &error).await;
            return;
        }
        self.links.insert(epoch, link);
        self.step(myself, recovery::Event::AttemptReady { epoch }, &Context::default()).await;
    }

    async fn dial_failed(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, error: &DialError) {
        let Some(dial) = self.dials.remove(&epoch) else { return };
        self.attempt_failed(myself, epoch, &dial.address, error).await;
    }

    async fn attempt_failed(
        &mut self,
        myself: &ActorRef<ConnectionMsg>,
        epoch: Epoch,
        address: &Address,
        error: &DialError,
    ) {
        let (kind, line): (FailureKind, Arc<str>) = (error.kind(), error.to_string().into());
        self.control.board.send(Event::DialFailed { epoch, address: address.clone(), kind, error: line.clone() });
        self.step(myself, recovery::Event::AttemptFailed { epoch, kind }, &Context::because(line)).await;
    }

    /// Lets the machine decide, and does what it says.
    async fn step(&mut self, myself: &ActorRef<ConnectionMsg>, event: recovery::Event, context: &Context) {
        let down_since = self.machine.down_since();
        let now = self.control.now();
        let effects = self.machine.handle(now, event);
        self.control.save(self.machine.memory(), self.machine.live());
        let down_for = down_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        for effect in effects {
            self.perform(myself, effect, context, down_for).await;
        }
        self.show(context);
        self.arm(myself);
    }

    async fn perform(
        &mut self,
        myself: &ActorRef<ConnectionMsg>,
        effect: Effect,
        context: &Context,
        down_for: Duration,
    ) {
        match effect {
            Effect::Dial { epoch, address } => self.dial(myself, epoch, address),
            Effect::Cancel { epoch } => {
                self.dials.remove(&epoch);
                // A link that was ready and is not wanted ends with its last owner.
                self.links.remove(&epoch);
            }
            Effect::Publish { epoch } => self.publish(myself, epoch, down_for).await,
            Effect::Hold { epoch, reason } => self.hold(epoch, reason, context),
            Effect::Resume { epoch } => {
                if let Some(link) = self.links.get(&epoch) {
                    self.control.gate().open(link.clone());
                    self.control.board.send(Event::Resumed { epoch, held_for: down_for });
                }
            }
            Effect::Retire { epoch, teardown } => {
                self.control.board.send(Event::Retired { epoch, drained: teardown == Teardown::Drain });
                self.retire(epoch, teardown);
            }
            Effect::Listen { epoch } => self.listen(myself, epoch),
            Effect::Probe { .. } => {
                if let Some(probe) = &self.probe {
                    let _ = probe.send_message(ProbeMsg::Now);
                }
            }
            Effect::ResolveAt(pace) => self.tell(SupervisorMsg::ResolveAt(pace)),
            Effect::ResolveAfter(delay) => self.tell(SupervisorMsg::ResolveAfter(delay)),
            Effect::Restart => myself.stop(Some(GAVE_UP.to_owned())),
            _ => {}
        }
    }

    fn dial(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, address: Address) {
        self.control.shared.counters.dials.increment();
        self.control.board.send(Event::Dialling { epoch, address: address.clone() });
        let (control, target) = (self.control.clone(), address.clone());
        let (myself, dialled) = (myself.clone(), address.clone());
        let work = async move { control.dialer.dial(epoch, target).await };
        let task = task::reporting(work, move |outcome| {
            let _ = myself.send_message(match outcome {
                Some(Ok(link)) => ConnectionMsg::ConnectionRestored { epoch, link: Arc::new(link) },
                Some(Err(error)) => ConnectionMsg::DialFailed { epoch, error },
                None => ConnectionMsg::DialFailed {
                    epoch,
                    error: DialError::new(FailureKind::Other, &dialled, "the dial panicked"),
                },
            });
        });
        self.dials.insert(epoch, Dial { address, _task: task });
    }

    async fn publish(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, down_for: Duration) {
        let Some(link) = self.links.get(&epoch).cloned() else { return };
        self.control.gate().open(link.clone());
        self.control.shared.counters.links.increment();
        let (address, role) = (link.address().clone(), link.role());
        self.control.board.send(Event::Connected { epoch, address, role, down_for });
        self.stop_probe();
        self.spawn_probe(myself, link).await;
    }

    fn hold(&self, epoch: Epoch, reason: HoldReason, context: &Context) {
        let closed_for = |cause| match reason {
            HoldReason::Suspect => ClosedCause::suspect(cause),
            HoldReason::Demoted => ClosedCause::demoted(cause),
        };
        match &context.cause {
            Some(cause) => self.control.gate().close(closed_for(cause.clone())),
            // Adopted as it was left behind: the gate is closed already and everybody has been told why, unless the
            // incarnation before died in between.
            None if !self.control.gate().close_epoch(epoch, closed_for("not fit to serve".into())) => return,
            None => {}
        }
        let detector = context.detector.unwrap_or(Detector::Silence);
        self.control.board.send(match reason {
            HoldReason::Suspect => Event::Suspected { epoch, detector, silent_for: context.silent_for },
            HoldReason::Demoted => Event::Demoted { epoch, detector },
        });
    }

    fn retire(&mut self, epoch: Epoch, teardown: Teardown) {
        let Some(link) = self.links.remove(&epoch) else { return };
        match teardown {
            Teardown::Abort => link.abort(LinkEnd::Mute),
            Teardown::Drain => {
                let (limit, ended) = (self.control.config.drain_timeout, self.control.ended.clone());
                self.control.drains.spawn(async move {
                    tokio::select! {
                        biased;
                        () = ended.cancelled() => {}
                        () = link.ledger().idle() => {}
                        () = tokio::time::sleep(limit) => {}
                    }
                    link.abort(LinkEnd::Retired);
                });
            }
        }
    }

    /// Asks for a report when the link speaks. What it said just before we listened is found by looking.
    fn listen(&self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch) {
        let Some(link) = self.links.get(&epoch) else { return };
        link.ledger().listen();
        let silent_for = link.ledger().silent_for(Instant::now());
        if silent_for.is_none_or(|silent_for| silent_for < self.control.settings.suspect_after) {
            let _ = myself.send_message(ConnectionMsg::Heard { epoch });
        }
    }

    fn is_live(&self, epoch: Epoch) -> bool {
        self.machine.live().is_some_and(|live| live.epoch == epoch)
    }

    /// The published link, if it is not retired.
    fn live_link(&self) -> Option<Arc<Link>> {
        self.links.get(&self.machine.live()?.epoch).cloned()
    }

    async fn spawn_probe(&mut self, myself: &ActorRef<ConnectionMsg>, link: Arc<Link>) {
        let args = ProbeArgs { control: self.control.clone(), link, connection: myself.clone() };
        match Actor::spawn_linked(None, Probe, args, myself.get_cell()).await {
            Ok((probe, _)) => self.probe = Some(probe),
            // Its start does nothing that can fail; should it, this incarnation is not worth keeping.
            Err(error) => myself.stop(Some(format!("the probe did not start: {error}"))),
        }
    }

    fn stop_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.stop(None);
        }
    }

    fn tell(&self, message: SupervisorMsg) {
        let _ = self.supervisor.send_message(message);
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
            status.attempt = self.machine.failed_rounds();
            status.pinned = self.machine.is_pinned();
            if let Some(cause) = &context.cause {
                status.last_error = Some(cause.clone());
            }
        });
        self.control.gate().note(self.machine.failed_rounds(), context.cause.as_ref());
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
        let timer = task::at(self.control.instant(due), move || {
            let _ = myself.send_message(ConnectionMsg::Tick);
        });
        self.timer = Some((due, timer));
    }
}

/// The reason with which an incarnation stops that gives up for a fresh one.
pub(crate) const GAVE_UP: &str = "gave up";
