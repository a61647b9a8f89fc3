//! A server process that runs: commands, roles, faults, restarts.
//!
//! Tests get a [`Server`] from [`Server::start`] or a [`ServerBuilder`](super::ServerBuilder). It keeps one connection of its
//! own to the server, so that the server's counts of clients and connections are off by one and no more, and so that
//! it gets in when `maxclients` is reached or the password has changed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::process::{Launch, Process, ServerBuilder};
use super::{ServerBinary, ServerError};
use crate::resp::Reply;
use crate::wait::TimedOut;

/// How long a server has for starting, for answering a command, for a change of role.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server that stops gives lagging replicas up to 10 s by default.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
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
    launch: Launch,
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
            launch,
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
        let mut client = match admin.take() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let reply = client.command(args).await?;
        *admin = Some(client);
        Ok(reply)
    }

    async fn connect(&self) -> io::Result<Client> {
        let password = self.current_password().clone();
        Client::connect(self.addr(), password.as_deref()).await
    }

    /// Everything that `INFO` says.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn full_info(&self) -> Result<Info, ServerError> {
        let reply = self.command(&["INFO", "everything"]).await?;
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

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current_password(&self) -> MutexGuard<'_, Option<String>> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// # Roles
impl Server {
    /// Makes this a replica of `primary` and waits until it has all that the primary had at the time of the call, at
    /// most 10 s.
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
        .await
    }

    /// Makes this a replica of `new_primary`, at once and without waiting for its data: from now on writes are refused
    /// with `READONLY`, and the clients stay connected.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn demote_to(&self, new_primary: &Server) -> Result<(), ServerError> {
        let password = new_primary.current_password().clone().unwrap_or_default();
        self.command(&["CONFIG", "SET", "masterauth", &password]).await?;
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

/// # Faults
impl Server {
    /// Kills the process (SIGKILL) and waits until it is gone. Nothing happens where there is none.
    ///
    /// # Errors
    /// Where the system refuses.
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.end(Signal::KILL).await
    }

    /// Stops the process in an orderly way (SIGTERM) and waits until it is gone; kills it when that takes more than
    /// 15 s. Thaws it before, if need be.
    ///
    /// # Errors
    /// Where the system refuses.
    pub async fn stop(&self) -> Result<(), ServerError> {
        if self.process().is_some() {
            self.thaw()?;
        }
        self.end(Signal::TERM).await
    }

    async fn end(&self, signal: Signal) -> Result<(), ServerError> {
        let Some(process) = self.process().take() else {
            return Ok(());
        };
        let machine = || ServerError::machine("end the server's process");
        process.signal(signal).map_err(machine())?;
        let pid = rustix::process::Pid::from_raw(process.id().cast_signed());
        let mut waiting = std::pin::pin!(process.wait());
        let ended = match timeout(STOP_PATIENCE, &mut waiting).await {
            Ok(ended) => ended,
            Err(_) => {
                // Not yet reaped, so the id is still that of our process.
                pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
                waiting.await
            }
        };
        self.admin.lock().await.take();
        ended.map_err(machine())
    }

    /// Starts the process again, with the address, directory, options and password that it was built with, and waits
    /// until it answers, at most 10 s. Kills it before, if it runs. Data and role are those of a fresh server.
    ///
    /// # Errors
    /// As [`ServerBuilder::start`].
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.kill().await?;
        self.current_password().clone_from(&self.initial_password);
        self.come_up().await
    }

    async fn come_up(&self) -> Result<(), ServerError> {
        let process = self.launch.spawn().map_err(ServerError::machine("start the server's process"))?;
        *self.process() = Some(process);
        let start = Instant::now();
        loop {
            let last = match timeout(PATIENCE, self.exchange(&["PING"])).await {
                Ok(Ok(Reply::Simple(_))) => return Ok(()),
                Ok(Ok(reply)) => reply.text().unwrap_or_default(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no reply".to_owned(),
            };
            let ended = self.process().as_mut().map_or(Ok(None), Process::ended);
            if let Some(status) = ended.map_err(ServerError::machine("look after the server's process"))? {
                self.process().take();
                return Err(ServerError::Ended { addr: self.addr(), status, log: self.log_tail() });
            }
            if start.elapsed() >= PATIENCE {
                return Err(ServerError::NotReady { addr: self.addr(), last, log: self.log_tail() });
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Freezes the process (SIGSTOP): its kernel goes on accepting and acknowledging, and nothing is answered. Returns
    /// when it has stopped, where the system tells.
    ///
    /// # Errors
    /// [`ServerError::NotRunning`], and where the system refuses.
    pub async fn freeze(&self) -> Result<(), ServerError> {
        self.signal(Signal::STOP)?;
        let start = Instant::now();
        while self.process().as_ref().and_then(Process::is_stopped) == Some(false) {
            if start.elapsed() >= PATIENCE {
                let what = format!("{} to stop", self.addr());
                return Err(TimedOut { what, after: PATIENCE, last: "running".to_owned() }.into());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Lets a frozen process go on (SIGCONT); it then executes what waits in its buffers.
    ///
    /// # Errors
    /// [`ServerError::NotRunning`], and where the system refuses.
    pub fn thaw(&self) -> Result<(), ServerError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        match self.process().as_ref() {
            Some(process) => process.signal(signal).map_err(ServerError::machine("signal the server's process")),
            None => Err(ServerError::NotRunning { addr: self.addr() }),
        }
    }

    /// Runs a script that computes for about this long, and waits for its end. The server answers nobody meanwhile. The
    /// time is the processor's: on a busy machine the script takes longer.
    ///
    /// # Errors
    /// As [`command`](Self::command), but without its limit of time.
    pub async fn run_script(&self, time: Duration) -> Result<(), ServerError> {
        self.spawn_script(time).await?.finished().await
    }

    /// As [`run_script`](Self::run_script), but returns as soon as the script was sent, which is the moment it starts if
    /// the server is idle.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn spawn_script(&self, time: Duration) -> Result<Script, ServerError> {
        let script = "local stop = os.clock() + tonumber(ARGV[1]) while os.clock() < stop do end return 1";
        self.spawn_command(&["EVAL", script, "0", &time.as_secs_f64().to_string()]).await
    }

    /// Makes the whole server sleep for exactly this long (`DEBUG SLEEP`), like a script but without the computing;
    /// returns as soon as the command was sent.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn spawn_stall(&self, time: Duration) -> Result<Script, ServerError> {
        self.spawn_command(&["DEBUG", "SLEEP", &time.as_secs_f64().to_string()]).await
    }

    /// Sends on a connection that is there for this command alone.
    async fn spawn_command(&self, args: &[&str]) -> Result<Script, ServerError> {
        let (addr, command) = (self.addr(), args[0].to_owned());
        let lost = {
            let command = command.clone();
            move |source| ServerError::Connection { addr, command, source }
        };
        let sent = async {
            let mut client = self.connect().await?;
            client.send(args).await?;
            Ok(client)
        };
        let mut client = sent.await.map_err(lost.clone())?;
        let task = tokio::spawn(async move {
            match client.receive().await {
                Ok(Reply::Error(reply)) => Err(ServerError::Refused { addr, command, reply }),
                Ok(_) => Ok(()),
                Err(source) => Err(lost(source)),
            }
        });
        Ok(Script { task })
    }

    /// Changes the password of the default user; `None` lets everybody in. Connections stay authenticated until
    /// [`kill_clients`](Self::kill_clients). Replicas of this server are told nothing.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn set_password(&self, password: Option<&str>) -> Result<(), ServerError> {
        self.command(&["CONFIG", "SET", "requirepass", password.unwrap_or_default()]).await?;
        *self.current_password() = password.map(str::to_owned);
        Ok(())
    }

    /// Closes the connections of all clients but replicas and this kit.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn kill_clients(&self) -> Result<(), ServerError> {
        self.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.map(drop)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (binary, addr) = (self.binary().to_string(), self.addr());
        f.debug_struct("Server").field("binary", &binary).field("addr", &addr).finish_non_exhaustive()
    }
}

/// A command that keeps the server busy. Dropping it does not end the command.
#[derive(Debug)]
#[must_use = "a script that nobody waits for may outlast what it was meant for"]
pub struct Script {
    task: JoinHandle<Result<(), ServerError>>,
}

impl Script {
    /// Waits until the server has answered.
    ///
    /// # Errors
    /// Where the server refused or the connection ended.
    pub async fn finished(self) -> Result<(), ServerError> {
        self.task
            .await
            .unwrap_or_else(|error| Err(ServerError::machine("wait for the command")(io::Error::other(error))))
    }
}

/// The fields of an `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    fields: BTreeMap<String, String>,
}

impl Info {
    fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self { fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// The value of a field that is a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.field(name)?.parse().ok()
    }

    /// What it says about replication, on one line.
    fn replication(&self) -> String {
        let names = ["role", "master_link_status", "master_sync_in_progress", "slave_repl_offset", "connected_slaves"];
        let known = names.iter().filter_map(|name| Some(format!("{name}:{}", self.field(name)?)));
        known.collect::<Vec<_>>().join(" ")
    }
}
