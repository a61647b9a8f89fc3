//! Carrying out what the recovery machine wants done: dials begun and dropped, the gate opened and closed, links listened
//! to and retired. Nothing here waits; what takes time is a task that reports back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::ActorRef;
use redis_tether_core::recovery::{Effect, HoldReason, Teardown};
use redis_tether_core::{Address, Epoch, FailureKind};
use tokio::time::sleep;

use super::{ConnectionMsg, ConnectionState, Context, Dial, GAVE_UP};
use crate::control::supervisor::SupervisorMsg;
use crate::control::task;
use crate::dial::DialError;
use crate::event::{Detector, Event};
use crate::gate::ClosedCause;
use crate::ledger::LinkEnd;
use crate::link::Link;

/// A link that was to take commands had ended before.
#[must_use]
pub(super) struct AlreadyOver {
    pub(super) epoch: Epoch,
    pub(super) end: LinkEnd,
}

impl ConnectionState {
    pub(super) fn perform(
        &mut self,
        myself: &ActorRef<ConnectionMsg>,
        effect: Effect,
        context: &Context,
        down_for: Duration,
    ) -> Option<AlreadyOver> {
        match effect {
            Effect::Publish { epoch } => return self.publish(epoch, down_for),
            Effect::Resume { epoch } => return self.resume(epoch, down_for),
            Effect::Dial { epoch, address } => self.dial(myself, epoch, address),
            Effect::Cancel { epoch } => {
                self.dials.remove(&epoch);
                // A link that was ready and is not wanted ends with its last owner.
                self.links.remove(&epoch);
            }
            Effect::Hold { epoch, reason } => self.hold(epoch, reason, context),
            Effect::Retire { epoch, teardown } => self.retire(epoch, teardown),
            Effect::Listen { epoch } => self.listen(myself, epoch),
            Effect::Probe { .. } => self.probe_now = true,
            Effect::ResolveAt(pace) => self.tell(SupervisorMsg::ResolveAt(pace)),
            Effect::ResolveAfter(delay) => self.tell(SupervisorMsg::ResolveAfter(delay)),
            Effect::Restart => {
                let rounds = self.machine.failed_rounds();
                myself.stop(Some(format!("{GAVE_UP} after {rounds} rounds of failed attempts")));
            }
            _ => {}
        }
        None
    }

    fn publish(&mut self, epoch: Epoch, down_for: Duration) -> Option<AlreadyOver> {
        let link = self.links.get(&epoch)?.clone();
        let (address, role) = (link.address().clone(), link.role());
        // A dial takes no other.
        self.control.shared.is_stale.store(false, Ordering::Relaxed);
        if self.open(&link) {
            self.control.shared.counters.links.increment();
            self.control.board.send(Event::Connected { epoch, address, role, down_for });
            return None;
        }
        // If it lives, the tether is ending, and there is nothing to tell.
        let end = link.ledger().end()?.clone();
        self.links.remove(&epoch);
        // The link before is over as well, and must not be sent to while it is retired.
        self.control.gate().clear();
        let (kind, error) = (FailureKind::Closed, end.to_string().into());
        self.control.board.send(Event::DialFailed { epoch, address, kind, error });
        Some(AlreadyOver { epoch, end })
    }

    fn resume(&mut self, epoch: Epoch, down_for: Duration) -> Option<AlreadyOver> {
        let link = self.links.get(&epoch)?.clone();
        let was_held = !self.control.gate().publishes(epoch);
        if self.open(&link) {
            if was_held {
                self.control.board.send(Event::Resumed { epoch, held_for: down_for });
            }
            return None;
        }
        let end = link.ledger().end()?.clone();
        self.links.remove(&epoch);
        self.lose(&link, &end);
        Some(AlreadyOver { epoch, end })
    }

    /// Opens the gate, and has the release of what is held seen through.
    fn open(&self, link: &Arc<Link>) -> bool {
        let gate = self.control.gate();
        let is_open = gate.open(link.clone());
        if is_open {
            let limit = self.control.settings.suspect_after;
            self.control.tasks.spawn(gate.clone().see_through(link.epoch(), limit));
        }
        is_open
    }

    fn dial(&mut self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch, address: Address) {
        self.control.shared.counters.dials.increment();
        self.control.board.send(Event::Dialling { epoch, address: address.clone() });
        let (control, target) = (self.control.clone(), address.clone());
        let (myself, dialled) = (myself.clone(), address.clone());
        let work = async move { control.dialer.dial(epoch, target).await };
        let task = task::reporting(&self.control.tasks, work, move |outcome| {
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

    fn hold(&self, epoch: Epoch, reason: HoldReason, context: &Context) {
        let why = context.cause.clone().unwrap_or_else(|| "not fit to serve".into());
        let cause = match reason {
            HoldReason::Suspect => ClosedCause::suspect(why.clone()),
            HoldReason::Demoted => ClosedCause::demoted(why.clone()),
        };
        let gate = self.control.gate();
        if !gate.close_epoch(epoch, cause.clone()) {
            if context.cause.is_none() {
                // Adopted as it was left behind: closed already, and everybody has been told why.
                return;
            }
            if self.links.get(&epoch).is_some_and(|link| !link.ledger().is_dead()) {
                // Closed for this link before; what is known of it now says more. Of a dead one, its end does.
                gate.close(cause);
            }
        }
        let known = self.links.get(&epoch).map(|link| link.address());
        let Some(address) = known.or_else(|| Some(&self.machine.live()?.address)).cloned() else { return };
        let detector = context.detector.unwrap_or(Detector::Silence);
        self.control.board.send(match reason {
            HoldReason::Suspect => Event::Suspected { epoch, address, detector, silent_for: context.silent_for },
            HoldReason::Demoted => Event::Demoted { epoch, address, detector, cause: why },
        });
    }

    fn retire(&mut self, epoch: Epoch, teardown: Teardown) {
        // One that has ended by itself was told of as lost.
        let Some(link) = self.links.remove(&epoch) else { return };
        let (address, drained) = (link.address().clone(), teardown != Teardown::Abort);
        self.control.board.send(Event::Retired { epoch, address, drained });
        let drain_timeout = self.control.config.drain_timeout;
        match teardown {
            Teardown::Abort => link.abort(LinkEnd::Mute),
            Teardown::Drain => self.drain(link, drain_timeout, LinkEnd::Retired),
            Teardown::Linger(limit) => self.drain(link, limit.min(drain_timeout), LinkEnd::Mute),
        }
    }

    /// Lets what is in flight finish. What is left then ends so.
    fn drain(&self, link: Arc<Link>, limit: Duration, end: LinkEnd) {
        link.ledger().retire();
        let ended = self.control.ended.clone();
        let drain = async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = link.ledger().idle() => {}
                () = sleep(limit) => {}
            }
            link.abort(end);
        };
        self.control.tasks.spawn(self.control.drains.track_future(drain));
    }

    /// Asks for a report when the link speaks. What it said just before we listened is found by looking.
    fn listen(&self, myself: &ActorRef<ConnectionMsg>, epoch: Epoch) {
        let Some(link) = self.links.get(&epoch) else { return };
        if link.ledger().listen() {
            let _ = myself.send_message(ConnectionMsg::Heard { epoch });
        }
    }

    fn tell(&self, message: SupervisorMsg) {
        let _ = self.supervisor.send_message(message);
    }
}
