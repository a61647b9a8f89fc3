//! A server of the simulated world: how it meets attempts and probes.

use std::time::Duration;

use redis_tether_core::FailureKind;
use redis_tether_core::recovery::{Met, Sight};

use super::{World, ms};

/// How a server meets an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Server {
    Primary,
    Replica,
    Loading,
    WrongPassword,
    /// Nothing listens.
    Refusing,
    /// Packets vanish: the connect timeout, 1 s, rules.
    BlackHoled,
    /// Accepts and never speaks: the dial timeout, 3 s, rules.
    Mute,
    /// A primary that takes this long to set a link up.
    Slow(Duration),
}

impl Server {
    pub fn outcome(self, met: Met) -> (Duration, Result<(), FailureKind>) {
        match self {
            // What the kernel accepts is taken.
            Server::Slow(_) | Server::Replica | Server::Loading | Server::Mute if met == Met::Unasked => {
                (World::TRIP, Ok(()))
            }
            Server::Primary => (World::TRIP, Ok(())),
            Server::Slow(wait) => (wait, Ok(())),
            Server::Replica => (World::TRIP, Err(FailureKind::NotPrimary)),
            Server::Loading => (World::TRIP, Err(FailureKind::Loading)),
            Server::WrongPassword => (World::TRIP, Err(FailureKind::Auth)),
            Server::Refusing => (World::TRIP, Err(FailureKind::Refused)),
            Server::BlackHoled => (ms(1_000), Err(FailureKind::TimedOut)),
            Server::Mute => (ms(3_000), Err(FailureKind::TimedOut)),
        }
    }

    pub fn is_primary(self) -> bool {
        matches!(self, Server::Primary | Server::Slow(_))
    }

    pub fn sight(self) -> Option<Sight> {
        match self {
            Server::Primary | Server::Slow(_) => Some(Sight::Primary),
            Server::Replica | Server::Loading => Some(Sight::Unfit),
            _ => None,
        }
    }
}
