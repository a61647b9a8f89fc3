//! What one connection to the fake server has agreed on: protocol, identity, database, an open transaction.
//!
//! `connection.rs` owns one per connection and lends it to `command.rs` for each command.

use std::time::Duration;

use tokio::time::Instant;

use super::store::ListEnd;
use crate::resp::{Protocol, Reply, Request};

/// The state of one client.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) protocol: Protocol,
    pub(super) identity: Identity,
    pub(super) db: u32,
    pub(super) name: Vec<u8>,
    pub(super) transaction: Transaction,
}

impl Session {
    pub(super) fn new(id: u64, identity: Identity) -> Self {
        Self { id, protocol: Protocol::default(), identity, db: 0, name: Vec::new(), transaction: Transaction::None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Unknown,
    Known,
}

#[derive(Debug)]
pub(super) enum Transaction {
    None,
    Open(Vec<Request>),
    /// A command was refused upon queueing: `EXEC` will be, too.
    Broken,
}

/// What follows from a command.
#[derive(Debug)]
pub(super) enum Step {
    Reply(Reply),
    /// The reply, after a pause in which the connection does nothing else.
    ReplyAfter(Duration, Reply),
    /// Wait for a list to grow.
    Block(Pop),
    /// Close; the reply, if there is one, is sent before.
    Close(Option<Reply>),
}

/// A blocking pop that waits.
#[derive(Clone, Debug)]
pub(super) struct Pop {
    pub(super) db: u32,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) end: ListEnd,
    /// `None`: for good.
    pub(super) deadline: Option<Instant>,
}
