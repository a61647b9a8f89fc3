//! Primaries and replicas among fake servers.
//!
//! A replica has a copy of its primary's data and applies each write as soon as the primary has executed it; while the
//! link between them is cut, or either is not itself, it misses writes and gets a new copy afterwards. There is no
//! delay and no buffer: what a failover loses is decided by the test, with [`FakeServer::partition`].
//!
//! Locks are taken from the primary to its replica and never the other way; a server that becomes a replica gives up
//! its own replicas first.

use std::sync::{Arc, Weak};

use super::FakeServer;
use super::state::{Inner, Power, ReplicationLink, Role, State, Upstream, Write};

impl FakeServer {
    /// Makes this a replica of `primary`: its data is replaced by a copy, and later writes arrive at once.
    ///
    /// Its own replicas are let go. Clients that are blocked in a pop get `UNBLOCKED` and are closed, others stay, as in
    /// Redis.
    pub fn replicate_from(&self, primary: &FakeServer) {
        let address = primary.inner.lock().advertised.clone();
        let primary_inner = Arc::downgrade(&primary.inner);
        let upstream = Upstream { primary: primary_inner, link: ReplicationLink::Down, address };
        self.set_role(Role::Replica(upstream));
        if Arc::ptr_eq(&self.inner, &primary.inner) {
            return;
        }
        self.sync_with(primary);
    }

    /// Makes this a primary with the data that it has, as `REPLICAOF NO ONE` does.
    pub fn promote(&self) {
        self.set_role(Role::Primary);
    }

    /// Makes this a replica whose link to its primary is down: reads are served, writes are refused. Use
    /// [`replicate_from`](Self::replicate_from) where the new primary matters.
    pub fn demote(&self) {
        self.set_role(Role::Replica(Upstream::default()));
    }

    /// Cuts this replica off from its primary; writes from now on are not seen here. Nothing happens on a primary.
    pub fn partition(&self) {
        if let Role::Replica(upstream) = &mut self.inner.lock().role {
            upstream.link = ReplicationLink::Down;
        }
    }

    /// Connects this replica with its primary again and copies the primary's data.
    pub fn rejoin(&self) {
        let primary = match &self.inner.lock().role {
            Role::Primary => None,
            Role::Replica(upstream) => upstream.primary.upgrade(),
        };
        if let Some(inner) = primary {
            self.sync_with(&FakeServer { inner });
        }
    }

    /// Replaces the data by a copy of the other's.
    pub fn copy_data_from(&self, other: &FakeServer) {
        let store = other.inner.lock().store.clone();
        self.inner.lock().store = store;
    }

    /// Whether this is a primary.
    pub fn is_primary(&self) -> bool {
        matches!(self.inner.lock().role, Role::Primary)
    }

    /// What replicas of this server say about where it is, in `ROLE` and `INFO`. Default: `127.0.0.1`, 6379.
    pub fn advertise(&self, host: &str, port: u16) {
        self.inner.lock().advertised = Some((host.to_owned(), port));
    }

    fn set_role(&self, role: Role) {
        {
            let mut state = self.inner.lock();
            if matches!(role, Role::Replica(_)) {
                state.replicas.clear();
            }
            state.role = role;
        }
        self.inner.changed.raise();
    }

    fn sync_with(&self, primary: &FakeServer) {
        let mut from = primary.inner.lock();
        let mut to = self.inner.lock();
        let Role::Replica(upstream) = &mut to.role else {
            return;
        };
        upstream.link = ReplicationLink::Up;
        to.store = from.store.clone();
        let this = Arc::downgrade(&self.inner);
        from.replicas.retain(|replica| !replica.ptr_eq(&this));
        from.replicas.push(this);
    }
}

impl State {
    /// Hands a write on to the replicas, and forgets those that are gone.
    pub(super) fn propagate(&mut self, write: &Write) {
        if !matches!(self.role, Role::Primary) {
            return;
        }
        self.replicas.retain(|replica| replica.strong_count() > 0);
        for replica in self.replicas.iter().filter_map(Weak::upgrade) {
            let mut replica = replica.lock();
            if replica.follows(&self.me) {
                replica.store.execute(write.db, &write.command, &write.args);
            }
        }
    }

    /// Replicas that have every write.
    pub(super) fn replicas_in_sync(&self) -> usize {
        let live = self.replicas.iter().filter_map(Weak::upgrade);
        live.filter(|replica| replica.lock().follows(&self.me)).count()
    }

    pub(super) fn upstream_address(&self) -> (String, u16) {
        let known = match &self.role {
            Role::Primary => None,
            Role::Replica(upstream) => upstream.address.clone(),
        };
        known.unwrap_or_else(|| ("127.0.0.1".to_owned(), 6379))
    }

    fn follows(&self, primary: &Weak<Inner>) -> bool {
        let Role::Replica(upstream) = &self.role else {
            return false;
        };
        let is_linked = upstream.link == ReplicationLink::Up && upstream.primary.ptr_eq(primary);
        is_linked && self.power == Power::On
    }
}
