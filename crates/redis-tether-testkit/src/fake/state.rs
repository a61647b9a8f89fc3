//! What a fake server is at a moment: its role, its data, the faults it is scripted to, and what it has counted.
//!
//! Everything is behind the one lock of [`Inner`]; connections and the test's handles share it. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::store::Store;
use crate::resp::Reply;
use crate::wait::Signal;

/// What all handles and connections of one fake server share.
#[derive(Debug, Default)]
pub(super) struct Inner {
    state: Mutex<State>,
    /// Something that a connection goes by has changed: a fault, the role, whether it lives.
    pub(super) changed: Signal,
    /// A count has changed.
    pub(super) counted: Signal,
    /// A list has grown.
    pub(super) pushed: Signal,
}

impl Inner {
    /// A poisoned state is still a state: the panic that poisoned it is reported where it happened.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The server that this is the state of.
    pub(super) me: Weak<Inner>,
    pub(super) role: Role,
    pub(super) store: Store,
    pub(super) replicas: Vec<Weak<Inner>>,
    pub(super) power: Power,
    /// Connections of an older life are ended.
    pub(super) life: Life,
    pub(super) access: Access,
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    /// Where replicas say that this server is.
    pub(super) advertised: Option<(String, u16)>,
    pub(super) run: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Role {
    #[default]
    Primary,
    Replica(Upstream),
}

/// Where a replica has its data from.
#[derive(Clone, Debug, Default)]
pub(super) struct Upstream {
    pub(super) primary: Weak<Inner>,
    pub(super) link: ReplicationLink,
    /// Where the primary said that it is.
    pub(super) address: Option<(String, u16)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ReplicationLink {
    #[default]
    Down,
    Up,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Power {
    #[default]
    On,
    Off,
}

/// Counts how often all connections were ended, and how they end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    pub(super) number: u64,
    pub(super) last_end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Close,
    Reset,
}

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// The password of the default user; `None` lets everybody in.
    pub(super) password: Option<Vec<u8>>,
    pub(super) users: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Access {
    pub(super) fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        if user == b"default" {
            return self.password.as_ref().is_none_or(|expected| expected == password);
        }
        self.users.get(user).is_some_and(|expected| expected == password)
    }
}

/// The scripted faults. The default is a server in good health.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) attention: Attention,
    pub(super) busy_until: Option<Instant>,
    pub(super) loading: Loading,
    pub(super) saving: Saving,
    pub(super) latency: Duration,
    pub(super) ping_delay: Option<Duration>,
    pub(super) readonly_text: Option<String>,
    pub(super) role_word: Option<String>,
    pub(super) max_clients: Option<usize>,
    pub(super) denied: BTreeSet<String>,
    pub(super) unknown: BTreeSet<String>,
    pub(super) closing: BTreeSet<String>,
    pub(super) refused: BTreeMap<String, String>,
    pub(super) answers: BTreeMap<String, Reply>,
    pub(super) output: OutputFaults,
}

/// What the server does with what it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Attention {
    #[default]
    Awake,
    /// Reads, and does nothing.
    Hung,
    /// Does not even read.
    Frozen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Loading {
    #[default]
    Done,
    Under,
    Until(Instant),
}

impl Loading {
    pub(super) fn is_under_way(self, now: Instant) -> bool {
        match self {
            Self::Done => false,
            Self::Under => true,
            Self::Until(end) => now < end,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Saving {
    #[default]
    Works,
    Fails,
}

/// What becomes of the replies on their way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OutputFaults {
    pub(super) drip: Option<Duration>,
    pub(super) close_after_bytes: Option<u64>,
    pub(super) close_after: CloseAfter,
    pub(super) content: Content,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CloseAfter {
    #[default]
    Never,
    EachReply,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Content {
    #[default]
    Replies,
    Garbage,
}

/// Why a connection has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Frozen,
    Hung,
    BusyUntil(Instant),
}

impl Faults {
    pub(super) fn obstacle(&self, now: Instant) -> Option<Obstacle> {
        match self.attention {
            Attention::Frozen => Some(Obstacle::Frozen),
            Attention::Hung => Some(Obstacle::Hung),
            Attention::Awake => self.busy_until.filter(|end| now < *end).map(Obstacle::BusyUntil),
        }
    }
}

/// What was counted since the server was made.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) open: usize,
    pub(super) bytes_read: u64,
    pub(super) commands: BTreeMap<String, u64>,
    pub(super) executions: BTreeMap<String, u64>,
    pub(super) writes: Vec<Write>,
}

/// A write that the fake server executed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Write {
    /// The command, in upper case.
    pub command: String,
    /// The index of the database.
    pub db: u32,
    /// The arguments, the key first.
    pub args: Vec<Vec<u8>>,
    /// When, on tokio's clock.
    pub at: Instant,
}

impl Write {
    pub(super) fn now(db: u32, command: &str, args: Vec<Vec<u8>>) -> Self {
        Self { command: command.to_owned(), db, args, at: Instant::now() }
    }

    /// The values that it wrote, without keys and options; empty for commands that bring none, such as `INCR`.
    pub fn values(&self) -> Vec<Vec<u8>> {
        match self.command.as_str() {
            "SET" | "APPEND" => self.args.get(1).cloned().into_iter().collect(),
            "LPUSH" | "RPUSH" => self.args.iter().skip(1).cloned().collect(),
            "MSET" => self.args.iter().skip(1).step_by(2).cloned().collect(),
            _ => Vec::new(),
        }
    }
}
