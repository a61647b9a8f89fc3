//! Sending again what may have been executed: only where the caller has opted in ([`Retry`]), only so often, and for
//! [`Retry::ReadOnly`] only what the server itself calls harmless. The detour asks here; it alone sends.

use super::clock::Clock;
use super::command::Demand;
use super::detour::Past;
use super::policy::Policy;
use super::request::{One, Request};
use super::way::{Carried, Way, What};
use crate::config::Retry;
use crate::dial::verify::VerifyLevel;
use crate::ledger::FlightKind;
use crate::shared::Shared;

/// Whether a command may be executed twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Harmless {
    Yes,
    No,
    /// The link was lost while the server was asked.
    LinkLost,
}

impl Policy {
    /// Whether there is to be another try of a request whose fate is unknown, as far as that is known while there is no link.
    pub(super) fn tries_again<R: Request>(&self, request: R, demand: Demand, past: &Past, shared: &Shared) -> bool {
        let is_open = match self.retry {
            Retry::Never => false,
            Retry::ReadOnly => shared.flags.are_read_only(request.words()) != Some(false),
            Retry::All => true,
        };
        is_open && !demand.is_bound_to_link() && past.retries < self.max_retries
    }

    /// Whether the caller or the server calls the request harmless. The server is asked over the way that it is to go.
    pub(super) async fn calls_harmless<R: Request>(
        &self,
        request: R,
        way: &mut Way,
        clock: &mut Clock,
        shared: &Shared,
    ) -> Harmless {
        match self.retry {
            Retry::Never => Harmless::No,
            Retry::ReadOnly => asked(request, way, clock, shared).await,
            Retry::All => Harmless::Yes,
        }
    }
}

async fn asked<R: Request>(request: R, way: &mut Way, clock: &mut Clock, shared: &Shared) -> Harmless {
    let flags = &shared.flags;
    // A proxy that is asked what it does not know hangs up, on everybody.
    if flags.are_read_only(request.words()).is_none() && way.level > VerifyLevel::Ping {
        let question = flags.question(request.words());
        let flight = way.ledger.begin(FlightKind::Plain);
        match way.carry(One(&question.command()), flight, None, clock, &shared.counters).await {
            Carried::Answer(Ok(answer)) => flags.learn(question, &answer),
            Carried::Trouble(trouble) if matches!(trouble.what, What::Lost | What::NeverLeft) => {
                return Harmless::LinkLost;
            }
            Carried::Answer(Err(_)) | Carried::Trouble(_) => {}
        }
    }
    match flags.are_read_only(request.words()) {
        Some(true) => Harmless::Yes,
        Some(false) | None => Harmless::No,
    }
}
