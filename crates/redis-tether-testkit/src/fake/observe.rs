//! What a fake server has seen and done: counts, the log of writes, and waiting for either.
//!
//! Tests call these methods of [`FakeServer`]; they change nothing.

use super::FakeServer;
use super::state::{Counts, Write};
use crate::wait::TimedOut;

/// # What happened
impl FakeServer {
    /// Connections accepted so far; those that were turned away by [`max_clients`](Self::max_clients) do not count.
    pub fn connections_accepted(&self) -> u64 {
        self.counts(|counts| counts.accepted)
    }

    /// Connections turned away by [`max_clients`](Self::max_clients) so far.
    pub fn connections_rejected(&self) -> u64 {
        self.counts(|counts| counts.rejected)
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.counts(|counts| counts.open)
    }

    /// How often this command was taken up so far, whatever was answered. A command that waits in the buffers of a hung
    /// server does not count yet.
    pub fn commands(&self, name: &str) -> u64 {
        let name = name.to_uppercase();
        self.counts(|counts| counts.commands.get(&name).copied().unwrap_or_default())
    }

    /// How often this write was executed successfully so far. A pop that had to wait counts as `LPOP` or `RPOP`.
    pub fn executions(&self, name: &str) -> u64 {
        let name = name.to_uppercase();
        self.counts(|counts| counts.executions.get(&name).copied().unwrap_or_default())
    }

    /// All writes that were executed for clients, in order. A replica's writes are its primary's.
    pub fn writes(&self) -> Vec<Write> {
        self.counts(|counts| counts.writes.clone())
    }

    /// All values that were written by `SET`, `MSET`, `APPEND`, `LPUSH` and `RPUSH`, in order. Give each write a value of its
    /// own, and this says which were executed, and which twice.
    pub fn written_values(&self) -> Vec<Vec<u8>> {
        self.counts(|counts| counts.writes.iter().flat_map(Write::values).collect())
    }

    /// Bytes read from clients so far, executed or not.
    pub fn bytes_read(&self) -> u64 {
        self.counts(|counts| counts.bytes_read)
    }

    /// Waits until `count` connections were accepted altogether.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_for_connections(&self, count: u64) -> Result<(), TimedOut> {
        let what = || "the accepted connections".to_owned();
        self.inner.counted.until_at_least(what, count, || self.connections_accepted()).await
    }

    /// Waits until this command was taken up `count` times altogether.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_for_command(&self, name: &str, count: u64) -> Result<(), TimedOut> {
        let what = || format!("the {name} commands");
        self.inner.counted.until_at_least(what, count, || self.commands(name)).await
    }

    /// Waits until this many bytes were read altogether: for servers that hang.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_for_bytes(&self, count: u64) -> Result<(), TimedOut> {
        let what = || "the bytes read".to_owned();
        self.inner.counted.until_at_least(what, count, || self.bytes_read()).await
    }

    /// Waits until no more than `most` connections are open.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_for_open_connections_at_most(&self, most: usize) -> Result<(), TimedOut> {
        let what = || format!("the times that at most {most} connections are open");
        let reached = || u64::from(self.open_connections() <= most);
        self.inner.counted.until_at_least(what, 1, reached).await
    }

    fn counts<T>(&self, look: impl FnOnce(&Counts) -> T) -> T {
        look(&self.inner.lock().counts)
    }
}
