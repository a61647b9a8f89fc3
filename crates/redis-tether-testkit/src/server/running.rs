//! A server process that runs: starting it, asking it, giving it a role.
//!
//! Tests get a [`Server`] from [`Server::start`] or a [`ServerBuilder`](super::ServerBuilder). It keeps one connection of its
//! own to the server, so that the server's counts of clients and connections are off by one and no more, and so that
//! it gets in when `maxclients` is reached or the password has changed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::process::{Launch, Process, ServerBuilder};
use super::secure::Secure;
use super::{Info, ServerBinary, ServerError};
use crate::resp::Reply;
use crate::wait::TimedOut;

/// How long a server has for starting, for answering a command, for a change of role.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often a server is asked while something is waited for.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A server process; dropping it kills the process and removes its directory, without a zombie left.
///
/// The methods take `&self`, so that a test may share it among tasks.
///
/// ```no_run
/// # use redis_tether_testkit::server::{Server, ServerBinary};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let binary = ServerBinary::any().ok_or("no server on this machine")?;
/// let server = Server::start(&binary).await?;
/// server.command(&["SET", "k", "v"]).await?;
/// server.freeze().await?;
/// server.thaw()?;
/// server.kill().await?;
/// server.restart().await?; // the same address
/// # Ok(()) }
/// ```
pub struct Server {
    /// Boxed to keep the server cheap to move and to put into enums.
    launch: Box<Launch>,
    process: Mutex<Option<Process>>,
    admin: AsyncMutex<Option<Client>>,
    /// What it was started with, and is restarted with.
    initial_password: Option<String>,
    password: Mutex<Option<String>>,
}

impl Server {
    /// Starts a server with the [defaults](ServerBuilder).
    ///
    /// # Errors
    /// As [`ServerBuilder::start`].
    pub async fn start(binary: &ServerBinary) -> Result<Self, ServerError> {
        Self::builder(binary).start().await
    }

    /// Says more about the server to start.
    pub fn builder(binary: &ServerBinary) -> ServerBuilder {
        ServerBuilder::new(binary.clone())
    }

    pub(super) async fn launch(launch: Launch, password: Option<String>) -> Result<Self, ServerError> {
        let server = Self {
            launch: Box::new(launch),
            process: Mutex::new(None),
            admin: AsyncMutex::new(None),
            initial_password: password.clone(),
            password: Mutex::new(password),
        };
        server.come_up().await?;
        Ok(server)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.launch.addr
    }

    /// Its unix socket.
    pub fn unix_socket(&self) -> PathBuf {
        self.launch.unix_socket()
    }

    /// What was started.
    pub fn binary(&self) -> &ServerBinary {
        &self.launch.binary
    }

    /// The id of the process; `None` while there is none.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    /// The end of the server's log.
    pub fn log_tail(&self) -> String {
        self.launch.log_tail()
    }

    /// Sends a command on the server's own connection and returns the reply.
    ///
    /// Not cancel safe: whether a cancelled command was executed is unknown. The next one uses a new connection.
    ///
    /// # Errors
    /// [`ServerError::Refused`] where the reply is an error; [`ServerError::TimedOut`] after 10 s, as while it is frozen.
    pub async fn command(&self, args: &[&str]) -> Result<Reply, ServerError> {
        let name = args.first().copied().unwrap_or_default().to_uppercase();
        let reply = match timeout(PATIENCE, self.exchange(args)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(source)) => return Err(ServerError::Connection { addr: self.addr(), command: name, source }),
            Err(_) => {
                let what = format!("the reply of {} to {name}", self.addr());
                return Err(TimedOut { what, after: PATIENCE, last: String::new() }.into());
            }
        };
        match reply {
            Reply::Error(reply) => Err(ServerError::Refused { addr: self.addr(), command: name, reply }),
            reply => Ok(reply),
        }
    }

    async fn exchange(&self, args: &[&str]) -> io::Result<Reply> {
        let mut admin = self.admin.lock().await;
        // Taken out for the time of the exchange: one that is cut short is not used again.
        let mut client = match admin.take().filter(Client::is_open) {
            Some(client) => client,
            None => self.connect().await?,
        };
        let reply = client.command(args).await?;
        *admin = Some(client);
        Ok(reply)
    }

    pub(super) async fn connect(&self) -> io::Result<Client> {
        let password = self.current_password().clone();
        match self.secure() {
            Some(secure) if secure.is_alone() => Client::connect_unix(&self.unix_socket(), password.as_deref()).await,
            _ => Client::connect(self.addr(), password.as_deref()).await,
        }
    }

    /// Everything that `INFO` says.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn full_info(&self) -> Result<Info, ServerError> {
        const INFO: [&str; 2] = ["INFO", "everything"];
        let reply = match self.command(&INFO).await {
            // Sentinels have all clients of a server closed when they change its role. To ask twice does no harm.
            Err(ServerError::Connection { .. }) => self.command(&INFO).await?,
            reply => reply?,
        };
        Ok(Info::parse(&reply.text().unwrap_or_default()))
    }

    /// One field of `INFO`; empty where the server does not have it.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn info(&self, field: &str) -> Result<String, ServerError> {
        Ok(self.full_info().await?.field(field).unwrap_or_default().to_owned())
    }

    /// Asks for `INFO` until `is_so` is content with it. `what` goes into the error.
    ///
    /// # Errors
    /// [`ServerError::TimedOut`] when it is not within `limit`; else as [`command`](Self::command).
    pub async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&Info) -> bool,
    ) -> Result<(), ServerError> {
        let start = Instant::now();
        loop {
            let info = self.full_info().await?;
            if is_so(&info) {
                return Ok(());
            }
            if start.elapsed() >= limit {
                let what = format!("{what} at {}", self.addr());
                return Err(TimedOut { what, after: limit, last: info.replication() }.into());
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Ends the kit's own connection, which a dead process has closed.
    pub(super) async fn hang_up(&self) {
        self.admin.lock().await.take();
    }

    pub(super) fn secure(&self) -> Option<&Secure> {
        self.launch.secure.as_ref()
    }

    pub(super) fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn current_password(&self) -> MutexGuard<'_, Option<String>> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// # Roles
impl Server {
    /// Makes this a replica of `primary` and waits until it has all that the primary had at the time of the call, and the
    /// primary knows it and sends it what is written next: at most 10 s for each. Then it may be promoted, and the
    /// primary's `FAILOVER` finds it at its own address.
    ///
    /// # Errors
    /// [`ServerError::TimedOut`]; else as [`command`](Self::command).
    pub async fn replicate(&self, primary: &Server) -> Result<(), ServerError> {
        self.demote_to(primary).await?;
        let wanted = primary.full_info().await?.number("master_repl_offset").unwrap_or_default();
        self.wait_for("the replica to be in sync", PATIENCE, |info| {
            let offset = info.number("slave_repl_offset").unwrap_or(-1);
            info.field("master_link_status") == Some("up") && offset >= wanted
        })
        .await?;
        let addr = self.addr();
        primary.wait_for(&format!("{addr} to be online"), PATIENCE, |info| info.has_online_replica(addr)).await
    }

    /// Makes this a replica of `new_primary`, at once and without waiting for its data: from now on writes are refused
    /// with `READONLY`, and the clients stay connected.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn demote_to(&self, new_primary: &Server) -> Result<(), ServerError> {
        let password = new_primary.current_password().clone().unwrap_or_default();
        self.command(&["CONFIG", "SET", "masterauth", &password]).await?;
        // On loopback a connection comes from another address than the one that its server listens at.
        self.command(&["CONFIG", "SET", "replica-announce-ip", &self.addr().ip().to_string()]).await?;
        let (ip, port) = (new_primary.addr().ip().to_string(), new_primary.addr().port().to_string());
        self.command(&["REPLICAOF", &ip, &port]).await.map(drop)
    }

    /// Makes this a primary (`REPLICAOF NO ONE`).
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn promote(&self) -> Result<(), ServerError> {
        self.command(&["REPLICAOF", "NO", "ONE"]).await.map(drop)
    }

    /// Whether it says that it is a primary.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn is_primary(&self) -> Result<bool, ServerError> {
        Ok(self.info("role").await? == "master")
    }
}

/// # Starting
impl Server {
    /// Starts the process with the password that it was built with, and waits until it answers.
    pub(super) async fn come_up(&self) -> Result<(), ServerError> {
        let process = self.launch.spawn().map_err(ServerError::machine("start the server's process"))?;
        *self.process() = Some(process);
        self.current_password().clone_from(&self.initial_password);
        let start = Instant::now();
        loop {
            let last = match timeout(PATIENCE, self.greet()).await {
                Ok(Ok(Greeting::Ready)) => return self.open_tls().await,
                Ok(Ok(Greeting::NotYet(last))) => last,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no reply".to_owned(),
            };
            let ended = self.process().as_mut().map_or(Ok(None), Process::ended);
            if let Some(status) = ended.map_err(ServerError::machine("look after the server's process"))? {
                self.process().take();
                self.hang_up().await;
                return Err(ServerError::Ended { addr: self.addr(), status, log: self.log_tail() });
            }
            if start.elapsed() >= PATIENCE {
                return Err(ServerError::NotReady { addr: self.addr(), last, log: self.log_tail() });
            }
            sleep(ASK_EVERY).await;
        }
    }

    async fn open_tls(&self) -> Result<(), ServerError> {
        match self.secure() {
            Some(secure) => secure.open().await.map_err(ServerError::machine("listen for TLS")),
            None => Ok(()),
        }
    }

    /// Asks whether the server is ready, and whether it is ours: where the port is taken, somebody else answers.
    async fn greet(&self) -> io::Result<Greeting> {
        let pong = self.exchange(&["PING"]).await?;
        if pong.is_error() {
            return Ok(Greeting::NotYet(pong.text().unwrap_or_default()));
        }
        let info = Info::parse(&self.exchange(&["INFO", "server"]).await?.text().unwrap_or_default());
        if info.number("process_id") == self.pid().map(i64::from) {
            return Ok(Greeting::Ready);
        }
        self.hang_up().await;
        Ok(Greeting::NotYet("another process answers there".to_owned()))
    }
}

enum Greeting {
    Ready,
    /// What it said, or what is wrong with it.
    NotYet(String),
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (binary, addr) = (self.binary().to_string(), self.addr());
        f.debug_struct("Server").field("binary", &binary).field("addr", &addr).finish_non_exhaustive()
    }
}
