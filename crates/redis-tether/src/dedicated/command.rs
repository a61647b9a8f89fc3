//! What a connection of its own carries: everything to which the server gives one answer for each command. What it does not
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

const SUBSCRIPTION: &str = "Dedicated::into_pub_sub makes the connection one for subscriptions";
const UNASKED: &str =
    "its messages come unasked, between replies; redis::Client::get_async_monitor has a connection for them";
const REPLICATION: &str = "what follows is not the protocol of commands";
const SHIFTED: &str = "replies could no longer be told apart; await the reply instead";

/// Of what a shared link does not carry, this has no place here either.
const HINTS: [(&str, &str); 13] = [
    ("SUBSCRIBE", SUBSCRIPTION),
    ("PSUBSCRIBE", SUBSCRIPTION),
    ("SSUBSCRIBE", SUBSCRIPTION),
    ("UNSUBSCRIBE", SUBSCRIPTION),
    ("PUNSUBSCRIBE", SUBSCRIPTION),
    ("SUNSUBSCRIBE", SUBSCRIPTION),
    ("MONITOR", UNASKED),
    ("SYNC", REPLICATION),
    ("PSYNC", REPLICATION),
    ("REPLCONF", REPLICATION),
    ("SCRIPT DEBUG", REPLICATION),
    ("CLIENT REPLY", SHIFTED),
    ("a command without response", SHIFTED),
];

/// What this command asks of the connection.
pub(super) fn demand_of_own(cmd: &Cmd) -> Result<Demand, Refused> {
    match demand_of(cmd) {
        Demand::Unshareable(which) => refusal(which).map_or(Ok(Demand::Plain), Err),
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

fn refusal(which: &Unshareable) -> Option<Refused> {
    let (command, hint) = HINTS.into_iter().find(|(command, _)| *command == which.command)?;
    Some(Refused { command, hint })
}

#[cfg(test)]
mod tests;
