//! Real proxies before real servers: twemproxy, HAProxy and Envoy, as people run them to give clients one stable address.
//!
//! A [`Gateway`] is one process with a configuration of its own, on a loopback address of its own. It leaves neither process nor
//! file behind when it is dropped. Nothing here installs one; [`GatewayBinary`] finds what is there. The network that breaks on
//! request is [`Proxy`](crate::Proxy), and knows no protocol; these do, and that is what they are for.

mod binary;
mod settings;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

pub use self::binary::{GatewayBinary, GatewayKind};
pub use self::settings::Sessions;

use self::settings::Settings;
use crate::directory::Dir;
use crate::server::{Process, ServerError, allocate_addresses, free_port};

/// How long one has for starting.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often one that starts is asked whether it listens.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// How much of a log goes into an error.
const LOG_TAIL: usize = 2048;

/// What a gateway is started with.
///
/// # Defaults
/// - a loopback address of its own
/// - HAProxy ends the sessions of a server that is no longer the primary
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct GatewayBuilder {
    binary: GatewayBinary,
    servers: Vec<SocketAddr>,
    sessions: Sessions,
}

impl GatewayBuilder {
    /// What HAProxy does with the sessions of a server that is no longer the primary. The others do not look at roles.
    pub fn sessions(mut self, sessions: Sessions) -> Self {
        self.sessions = sessions;
        self
    }

    /// Starts the process and waits until it listens, at most 10 s.
    ///
    /// # Errors
    /// When there is no free address, or the process does not come up; the error has the end of its log.
    pub async fn start(self) -> Result<Gateway, ServerError> {
        let addr = own_address().map_err(ServerError::machine("find a free loopback address"))?;
        let dir = Dir::create().map_err(ServerError::machine("create a directory for the gateway"))?;
        let settings = Settings { addr, servers: self.servers, sessions: self.sessions };
        let gateway =
            Gateway { binary: self.binary, settings: Mutex::new(settings), addr, dir, process: Mutex::new(None) };
        gateway.come_up().await?;
        Ok(gateway)
    }
}

fn own_address() -> io::Result<SocketAddr> {
    allocate_addresses(1)?.pop().ok_or_else(|| ErrorKind::AddrNotAvailable.into())
}

/// A proxy's process; dropping it kills the process and removes its directory.
#[derive(Debug)]
pub struct Gateway {
    binary: GatewayBinary,
    settings: Mutex<Settings>,
    addr: SocketAddr,
    dir: Dir,
    process: Mutex<Option<Process>>,
}

impl Gateway {
    /// One with the [defaults](GatewayBuilder) before these servers. Of several, HAProxy takes the one that says that it is the
    /// primary; the others share the keys out among them.
    pub fn builder(binary: &GatewayBinary, servers: &[SocketAddr]) -> GatewayBuilder {
        GatewayBuilder { binary: binary.clone(), servers: servers.to_vec(), sessions: Sessions::Ended }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Kills the process (SIGKILL) and waits until it is gone. Nothing happens where there is none.
    ///
    /// # Errors
    /// Where the system refuses.
    pub async fn kill(&self) -> Result<(), ServerError> {
        let Some(process) = self.process().take() else {
            return Ok(());
        };
        process.signal(Signal::KILL).map_err(ServerError::machine("kill the gateway"))?;
        process.wait().await.map_err(ServerError::machine("wait for the gateway to end"))
    }

    /// Starts it again at the same address, before these servers: how a configuration that names one primary is changed.
    ///
    /// # Errors
    /// As [`GatewayBuilder::start`].
    pub async fn restart_before(&self, servers: &[SocketAddr]) -> Result<(), ServerError> {
        self.kill().await?;
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).servers = servers.to_vec();
        self.come_up().await
    }

    async fn come_up(&self) -> Result<(), ServerError> {
        *self.process() = Some(self.spawn().map_err(ServerError::machine("start the gateway"))?);
        let start = Instant::now();
        loop {
            let last = match TcpStream::connect(self.addr).await {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            let ended = self.process().as_mut().map_or(Ok(None), Process::ended);
            if let Some(status) = ended.map_err(ServerError::machine("look after the gateway"))? {
                self.process().take();
                return Err(ServerError::Ended { addr: self.addr, status, log: self.log_tail() });
            }
            if start.elapsed() >= PATIENCE {
                return Err(ServerError::NotReady { addr: self.addr, last, log: self.log_tail() });
            }
            sleep(ASK_EVERY).await;
        }
    }

    fn spawn(&self) -> io::Result<Process> {
        // Envoy goes by the ending.
        let config = self.dir.path().join("gateway.yaml");
        let text = self.settings.lock().unwrap_or_else(PoisonError::into_inner).text(self.binary.kind());
        fs::write(&config, text)?;
        let log = File::options().create(true).append(true).open(self.dir.path().join("gateway.log"))?;
        let mut command = Command::new(self.binary.path());
        match self.binary.kind() {
            GatewayKind::Twemproxy => {
                // It has a port for its statistics, on all addresses unless it is told otherwise.
                let (ip, port) = (self.addr.ip(), free_port(self.addr.ip())?);
                command.args(["--stats-addr", &ip.to_string(), "--stats-port", &port.to_string(), "--conf-file"]);
                command.arg(&config);
            }
            GatewayKind::HaProxy => drop(command.args(["-db", "-f"]).arg(&config)),
            GatewayKind::Envoy => {
                command.args([
                    "--disable-hot-restart",
                    "--concurrency",
                    "1",
                    "--log-level",
                    "warning",
                    "--config-path",
                ]);
                command.arg(&config);
            }
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log).spawn().map(Process::from)
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.dir.path().join("gateway.log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL)..]).into_owned()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
