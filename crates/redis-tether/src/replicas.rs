//! Reading from replicas: a small tether for each replica of a tether's primary, and a handle that spreads reads over those that
//! serve. Links, epochs, suspicion, recovery and outcomes are each small tether's own, as they are a shard's in a cluster; here
//! is who they are, and what handles see of them. Nothing of it runs before somebody asks for such a handle.

mod handle;
pub(crate) mod keeper;
mod past;
mod reads;
mod scans;
mod source;
mod status;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use self::handle::ReplicaHandle;
pub use self::status::{NoReplica, Replica};

pub(crate) use self::reads::written;

use self::source::Place;
use crate::config::Config;
use crate::lock::lock;
use crate::room::{Held, Room};
use crate::shared::Shared;
use crate::tether::Tether;

/// The replicas of one tether. Its control side keeps it, handles look at its [`Roster`].
pub(crate) struct ReplicaSet {
    config: Arc<Config>,
    /// Of the tether whose replicas they are.
    of: Arc<Shared>,
    members: Mutex<Members>,
    rosters: watch::Sender<Arc<Roster>>,
    /// Something gives cause to ask who the replicas are.
    doubted: Notify,
    /// Whose turn it is.
    turn: AtomicUsize,
    /// For reads that wait for a replica.
    room: Arc<Room>,
}

#[derive(Default)]
struct Members {
    all: Vec<Member>,
    /// None is taken any more.
    has_ended: bool,
}

/// A replica, and the tether that keeps its link.
struct Member {
    place: Place,
    tether: Tether,
}

/// What handles see of the replicas. A new one is shown, and wakes whoever waits for one, when one comes or goes, begins to serve or
/// ends to. What else happens to a link that is not up is nothing to them: there may be thousands who wait.
#[derive(Clone)]
struct Roster {
    seats: Vec<Seat>,
    /// Since when none has served.
    none_since: Option<Instant>,
    /// Why it could not be found out who they are.
    error: Option<Arc<str>>,
    has_ended: bool,
}

/// One of them, for handles: it keeps nothing alive that would have to end.
#[derive(Clone)]
struct Seat {
    place: Place,
    shared: Arc<Shared>,
    board: Arc<crate::control::board::Board>,
    /// Whether it served when this was shown.
    is_shown: bool,
}

impl Seat {
    fn serves(&self) -> bool {
        self.shared.gate.is_open()
    }

    /// What it has grows old.
    fn is_stale(&self) -> bool {
        self.shared.is_stale.load(Ordering::Relaxed)
    }
}

impl ReplicaSet {
    pub(crate) fn new(config: Arc<Config>, of: Arc<Shared>) -> ReplicaSet {
        let roster = Roster { seats: Vec::new(), none_since: Some(Instant::now()), error: None, has_ended: false };
        let room = Room::new(of.counters.clone());
        ReplicaSet {
            config,
            of,
            members: Mutex::new(Members::default()),
            rosters: watch::Sender::new(Arc::new(roster)),
            doubted: Notify::new(),
            turn: AtomicUsize::new(0),
            room,
        }
    }

    /// Reads fail from now on; those in flight go on.
    pub(crate) fn stop(&self) {
        lock(&self.members).has_ended = true;
        self.show(|roster| {
            roster.has_ended = true;
            roster.seats.clear();
        });
    }

    /// The tethers, which end when they are dropped. None is taken any more.
    pub(crate) fn take(&self) -> Leaving {
        let mut members = lock(&self.members);
        members.has_ended = true;
        Leaving(std::mem::take(&mut members.all).into_iter().map(|member| member.tether).collect())
    }

    /// Looks which of them serve, and wakes whoever waits for that.
    fn look(&self) {
        self.show(|_| ());
    }

    fn show(&self, change: impl FnOnce(&mut Roster)) {
        self.rosters.send_if_modified(|shown| {
            let mut roster = Roster::clone(shown);
            change(&mut roster);
            roster.seats.iter_mut().for_each(|seat| seat.is_shown = seat.serves());
            let serves = roster.seats.iter().any(|seat| seat.is_shown);
            roster.none_since = if serves { None } else { roster.none_since.or_else(|| Some(Instant::now())) };
            let is_news = !roster.says_what(shown);
            // Another reason why nobody knows them is for whoever gives up next, and each round may have one.
            if is_news || roster.error != shown.error {
                *shown = Arc::new(roster);
            }
            is_news
        });
    }

    /// Room for a read of this size that has to wait, if there is any.
    fn hold(&self, bytes: usize) -> Option<Held> {
        self.room.take(bytes, &self.config.commands)
    }

    /// Reads that wait for a replica now.
    pub(crate) fn held_now(&self) -> u64 {
        self.room.held_now()
    }
}

impl Roster {
    /// Whether this tells a reader nothing that the other does not.
    fn says_what(&self, other: &Roster) -> bool {
        let is_same =
            |(one, other): (&Seat, &Seat)| Arc::ptr_eq(&one.shared, &other.shared) && one.is_shown == other.is_shown;
        self.seats.len() == other.seats.len()
            && self.seats.iter().zip(&other.seats).all(is_same)
            && (self.none_since, self.error.is_some(), self.has_ended)
                == (other.none_since, other.error.is_some(), other.has_ended)
    }
}

/// The tethers of replicas that nobody reads from any more.
#[must_use = "they end when this is dropped"]
pub(crate) struct Leaving(Vec<Tether>);

impl Leaving {
    /// Lets what is in flight to them finish, within the limit of each.
    pub(crate) async fn shut_down(self) {
        let mut shutdowns = tokio::task::JoinSet::new();
        for tether in self.0 {
            shutdowns.spawn(async move { tether.shutdown().await });
        }
        while shutdowns.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;
