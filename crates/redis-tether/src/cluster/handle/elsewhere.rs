//! Where a command goes next that a shard would not run: where the node says, to whoever has the slot by what is known then, or to the
//! heir of a shard that is gone.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use tokio::time::{Instant, timeout_at};

use super::{ClusterHandle, To};
use crate::cluster::journey::Journey;
use crate::cluster::layout::{Number, Numbered};
use crate::cluster::redirection::{Place, Redirection};
use crate::cluster::testimony::UNNAMED;
use crate::outcome::{Outcome, OutcomeExt, Reason};

/// How long it takes at most until a node that is new has a tether, if it gets one.
const INVITATION: Duration = Duration::from_millis(100);

/// Where what was sent elsewhere goes.
#[derive(Clone, Copy)]
pub(in crate::cluster) enum Onward {
    There(To),
    /// Where it was meant to go first, by what is known of its slot then.
    Home,
}

impl Onward {
    pub(in crate::cluster) fn or(self, home: To) -> To {
        match self {
            Onward::There(to) => to,
            Onward::Home => home,
        }
    }
}

impl ClusterHandle {
    /// It was held by a shard that has handed all its slots over meanwhile, and ended; before that, a node may have refused it.
    pub(in crate::cluster) fn is_of_a_shard_that_is_gone(&self, error: &RedisError) -> bool {
        let told = error.command_error().map(|error| (error.outcome(), error.reason()));
        matches!(told, Some((Outcome::NotSent | Outcome::Refused, Reason::Stopped)))
            && !self.common.rosters.borrow().has_ended
    }

    /// Where a command goes that the shard at `from` has sent elsewhere; `None` if there is no time left for that.
    pub(in crate::cluster) async fn redirected(
        &mut self,
        from: Number,
        to: To,
        redirection: &Redirection,
        journey: &mut Journey,
    ) -> Option<To> {
        self.common.counts.redirections.increment();
        if !journey.hop().await {
            return None;
        }
        self.heed(redirection);
        Some(self.led(from, redirection, journey).await?.or(to))
    }

    /// What is known is in doubt, unless it is what the node says: then a command came to the wrong shard of which it is not known
    /// where its keys stand.
    pub(in crate::cluster) fn heed(&self, redirection: &Redirection) {
        let Redirection::Moved(slot, Place { host, port }) = redirection else { return };
        let layout = self.common.surveyor.layout();
        let owner = layout.owner(*slot).and_then(|owner| layout.shard(owner));
        if !owner.is_some_and(|owner| owner.primary.is_at(host, *port)) {
            self.common.surveyor.doubt();
        }
    }

    /// The same of whatever was sent the same way, once it may go on.
    pub(in crate::cluster) async fn led(
        &mut self,
        from: Number,
        redirection: &Redirection,
        journey: &mut Journey,
    ) -> Option<Onward> {
        let roster = Arc::clone(&self.roster);
        let group = roster.layout.shard(from);
        let (Redirection::Moved(_, Place { host, port }) | Redirection::Ask(Place { host, port })) = redirection;
        let host = match (host.as_str(), group) {
            ("", Some(group)) => &group.primary.host,
            (host, _) => host,
        };
        let target = roster.layout.led_from(host, *port).filter(|target| roster.takes_commands(*target));
        if let Redirection::Ask(_) = redirection {
            return match target {
                // The source has not been told its name yet, so that there is no way to it.
                _ if host == UNNAMED => journey.wait().await.then_some(Onward::Home),
                Some(target) => {
                    self.common.surveyor.visit(host, *port);
                    Some(Onward::There(To::Asked(target)))
                }
                None => self.invite(host, *port, journey).await,
            };
        }
        match target {
            // At once, and not in turn as what was held: these are the commands that its callers had in flight a round trip ago, and
            // whoever has the slots now has as many in flight of them from now on. Nothing has piled up that a pace would spread.
            Some(target) if target != from => return Some(Onward::There(To::Sent(target))),
            Some(_) => self.demoted(from),
            None if group.is_some_and(|group| group.nodes().any(|node| node.is_at(host, *port))) => {
                self.demoted(from);
            }
            None => {
                if let Some(due) = journey.due() {
                    // Whatever comes of it, the command is sent by what is known then.
                    let _ = timeout_at(due, self.surveyed()).await;
                }
            }
        }
        Some(Onward::Home)
    }

    /// Waits for the end of a survey that begins from now on. At the cluster's end there is none, and nobody else says so.
    async fn surveyed(&self) {
        let mut rosters = self.common.rosters.subscribe();
        tokio::select! {
            biased;
            _ = rosters.wait_for(|roster| roster.has_ended) => {}
            _ = self.common.surveyor.fresh(Instant::now()) => {}
        }
    }

    /// Waits for a way to a node that has no slot yet. Where there is none in time, the slot's move is waited for. At the cluster's end
    /// neither comes, and whoever places the command says so.
    async fn invite(&mut self, host: &str, port: u16, journey: &mut Journey) -> Option<Onward> {
        let is_of = |shard: &Numbered| shard.group.nodes().any(|node| node.is_at(host, port));
        if self.roster.layout.shards().iter().any(is_of) {
            // It takes slots in, and so is nobody's replica any more.
            self.common.surveyor.doubt();
        }
        self.common.surveyor.invite(host, port);
        let until = Instant::now() + INVITATION;
        let until = journey.due().map_or(until, |due| due.min(until));
        while Instant::now() < until {
            if self.roster.has_ended {
                return Some(Onward::Home);
            }
            let target = self.roster.layout.led_from(host, port);
            if let Some(target) = target.filter(|target| self.roster.takes_commands(*target)) {
                return Some(Onward::There(To::Asked(target)));
            }
            self.news(Some(until)).await;
        }
        journey.wait().await.then_some(Onward::Home)
    }

    /// The shard's link leads to a node that one of its own has succeeded.
    fn demoted(&self, shard: Number) {
        if let Some(handle) = self.handles.get(&shard) {
            handle.report_moved();
        }
    }
}

#[cfg(test)]
mod tests;
