//! A fake Redis in this process, with faults that the test scripts.
//!
//! Tests hold a [`FakeServer`] and serve it over TCP ([`FakeServer::listen`]), over a [`SimNet`](crate::SimNet), or over any
//! stream of their own. It speaks RESP2 and RESP3 and knows some forty commands, with the texts and the order of checks
//! of Redis 7. It is there for what a real server will not do on request: hang at a given moment, close in the middle of
//! a reply, count what it has executed. It persists nothing, and has neither scripts nor pub/sub.

mod command;
mod connection;
mod identity;
mod listener;
mod observe;
mod replication;
mod script;
mod session;
mod spec;
mod state;
mod store;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use self::connection::{Place, Turned};
use self::state::Inner;
use crate::net::SimStream;
use crate::resp::Reply;

pub use self::listener::FakeListener;
pub use self::state::Write;

/// A handle to a fake server; clones are handles to the same one.
///
/// Faults may be scripted at any time and apply to open connections as well as to new ones. They add up;
/// [`heal`](Self::heal) ends them all.
///
/// | group | methods |
/// |---|---|
/// | serving | [`serve`](Self::serve), [`listen`](Self::listen), [`SimNet::bind`](crate::SimNet::bind) |
/// | does not answer | [`hang`](Self::hang) / [`resume`](Self::resume), [`freeze`](Self::freeze) / [`thaw`](Self::thaw), [`busy_for`](Self::busy_for), [`slow`](Self::slow), [`delay_next_ping`](Self::delay_next_ping) |
/// | answers something else | [`start_loading`](Self::start_loading), [`load_for`](Self::load_for), [`fail_saves`](Self::fail_saves), [`deny`](Self::deny), [`unknown`](Self::unknown), [`refuse`](Self::refuse), [`answer`](Self::answer), [`readonly_text`](Self::readonly_text), [`role_word`](Self::role_word), [`garbage`](Self::garbage) |
/// | closes | [`close_on`](Self::close_on), [`close_after_bytes`](Self::close_after_bytes), [`close_after_reply`](Self::close_after_reply), [`max_clients`](Self::max_clients), [`kill_connections`](Self::kill_connections), [`crash`](Self::crash) / [`restart`](Self::restart) |
/// | roles | [`promote`](Self::promote), [`demote`](Self::demote), [`replicate_from`](Self::replicate_from), [`partition`](Self::partition) / [`rejoin`](Self::rejoin) |
/// | credentials | [`require_password`](Self::require_password), [`add_user`](Self::add_user) |
/// | what happened | [`executions`](Self::executions), [`writes`](Self::writes), [`written_values`](Self::written_values), [`commands`](Self::commands), [`connections_accepted`](Self::connections_accepted), [`wait_for_command`](Self::wait_for_command) |
///
/// ```
/// # use redis_tether_testkit::{FakeServer, Reply};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let server = FakeServer::new();
/// let (mut client, io) = tokio::io::duplex(1024);
/// server.serve(io);
/// server.demote();
/// client.write_all(b"SET k v\r\n").await?;
/// let mut reply = [0; 9];
/// client.read_exact(&mut reply).await?;
/// assert_eq!(&reply, b"-READONLY");
/// assert_eq!(server.executions("SET"), 0);
/// assert_eq!(server.run(&["GET", "k"]), Reply::Nil); // a look from outside
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct FakeServer {
    inner: Arc<Inner>,
}

impl Default for FakeServer {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeServer {
    /// A primary without data, password or faults, not yet reachable from anywhere.
    pub fn new() -> Self {
        let inner = Arc::new(Inner::default());
        inner.lock().me = Arc::downgrade(&inner);
        Self { inner }
    }

    /// Serves one client over `io`, in a task of its own that ends with the connection. Where the server is
    /// [crashed](Self::crash), `io` is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn serve<T>(&self, io: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve_with(io, |_| {});
    }

    pub(crate) fn serve_tcp(&self, io: TcpStream) {
        // Best effort: where the option cannot be set, the connection ends by a close in place of a reset.
        self.serve_with(io, |io| drop(io.set_zero_linger()));
    }

    pub(crate) fn serve_sim(&self, io: SimStream) {
        self.serve_with(io, SimStream::reset);
    }

    fn serve_with<T>(&self, io: T, reset: fn(&T))
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match Place::take(self) {
            Ok(place) => drop(tokio::spawn(connection::serve(place, io, reset))),
            Err(Turned::Away) => drop(tokio::spawn(connection::turn_away(io))),
            Err(Turned::Down) => reset(&io),
        }
    }

    /// Runs a data command in database 0 as if from inside: past every fault and role, without being counted. To look at
    /// the data, and to prepare it. Replicas get what a primary writes so.
    ///
    /// Answers with an error to a command that is not about data or has too few arguments.
    pub fn run<A: AsRef<[u8]>>(&self, words: &[A]) -> Reply {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_ref().to_vec()).collect();
        let Some((name, args)) = words.split_first() else {
            return Reply::error("ERR empty command");
        };
        let name = command::upper(name);
        let Some(spec) = spec::find(&name).filter(|spec| spec.accepts(words.len())) else {
            return Reply::error("ERR unknown command or wrong number of arguments");
        };
        let reply = self.inner.lock().run_inside(spec, args);
        self.inner.pushed.raise();
        reply
    }
}
