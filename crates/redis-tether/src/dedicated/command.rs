//! What a dedicated connection carries: everything to which the server gives one answer for each command. What it does not
//! carry would shift the answers of all commands behind it, or begin a conversation of another kind.

use redis::Cmd;

use crate::handle::command::{Demand, MISCOUNTED, Unshareable, both, demand_of};
use crate::handle::request::Many;

/// A command that is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    pub(super) command: &'static str,
    pub(super) hint: &'static str,
}

/// What this command asks of the connection.
pub(super) fn demand_of_own(cmd: &Cmd) -> Result<Demand, Refused> {
    match demand_of(cmd) {
        Demand::Unshareable(Unshareable { command, alone: Some(hint), .. }) => Err(Refused { command, hint }),
        Demand::Unshareable(_) => Ok(Demand::Plain),
        demand => Ok(demand),
    }
}

/// What this pipeline asks of it: what its commands ask for together. A transaction never blocks.
pub(super) fn demand_of_all_own(many: Many<'_>) -> Result<Demand, Refused> {
    if many.is_miscounted() {
        return Err(Refused { command: MISCOUNTED.command, hint: MISCOUNTED.hint });
    }
    let demands = many.pipeline.cmd_iter().map(demand_of_own);
    let together = demands.reduce(|first, second| Ok(both(first?, second?))).unwrap_or(Ok(Demand::Plain))?;
    Ok(if many.pipeline.is_transaction() { Demand::Plain } else { together })
}

#[cfg(test)]
mod tests;
