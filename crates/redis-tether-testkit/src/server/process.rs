//! Starting and ending a server process: its directory, its configuration, its signals.
//!
//! [`ServerBuilder`] collects what a test wants, and `running.rs` works with the [`Process`] that comes of it. Dropping a
//! process kills and reaps it, whatever state it is in; dropping its directory removes it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::address::allocate_addresses;
use super::running::Server;
use super::secure::{Plain, Secure, Wanted};
use super::{ServerBinary, ServerError};
use crate::directory::Dir;
use crate::tls::{ClientCertificates, ServerFiles, TlsFiles};

/// How much of a log goes into an error.
const LOG_TAIL: u64 = 2048;

/// What a server is started with.
///
/// # Defaults
/// - a loopback address of its own with a free port, and a unix socket
/// - no persistence, no password, no protected mode
/// - replicas synchronise at once, in place of after the usual 5 s
/// - `DEBUG` is allowed, where the server asks for that (7 and later)
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct ServerBuilder {
    binary: ServerBinary,
    addr: Option<SocketAddr>,
    lines: Vec<String>,
    args: Vec<String>,
    password: Option<String>,
    duty: Duty,
    tls: Option<Wanted>,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    Data,
    /// The same binary with another table of commands, and a configuration that it rewrites itself.
    Sentinel,
}

impl ServerBuilder {
    pub(super) fn new(binary: ServerBinary) -> Self {
        Self { binary, addr: None, lines: Vec::new(), args: Vec::new(), password: None, duty: Duty::Data, tls: None }
    }

    /// Runs as a sentinel. What it watches, lines of the configuration say: `.config_line("sentinel monitor ...")`.
    pub fn sentinel(mut self) -> Self {
        self.duty = Duty::Sentinel;
        self
    }

    /// Listens at this address, which should be one of [`allocate_addresses`].
    pub fn on(mut self, addr: SocketAddr) -> Self {
        self.addr = Some(addr);
        self
    }

    /// Adds an option on the command line: `.arg("--maxclients", "3")`.
    pub fn arg(mut self, option: &str, value: &str) -> Self {
        self.args.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// Adds a line to the configuration file: `.config_line("maxmemory-policy noeviction")`. Later lines win over
    /// earlier ones and over the defaults.
    pub fn config_line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Asks clients for this password from the start.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Speaks TLS as well, at this port of its address. A server that was built without TLS gets a [front](crate::TlsFront).
    pub fn tls(mut self, port: u16, files: &TlsFiles, clients: ClientCertificates) -> Self {
        self.tls = Some(Wanted::new(port, files.server(), clients));
        self
    }

    pub(super) fn tls_with(mut self, port: u16, files: ServerFiles, clients: ClientCertificates) -> Self {
        self.tls = Some(Wanted::new(port, files, clients));
        self
    }

    /// Speaks TLS at the port of this address and plain TCP nowhere, wants a certificate of everybody, and speaks TLS to its
    /// primary or to whom it watches. The kit gets in by the unix socket.
    ///
    /// A server that was built without TLS does not start so.
    pub fn tls_only(self, addr: SocketAddr, files: &TlsFiles) -> Self {
        self.alone(addr, files.server())
    }

    pub(super) fn alone(mut self, addr: SocketAddr, files: ServerFiles) -> Self {
        self.tls = Some(Wanted::alone(addr, files));
        self.on(addr)
    }

    /// The same, with the front, if there has to be one, at an address of its own: for servers that tell clients their plain port.
    pub(super) fn tls_or_front(mut self, port: u16, front: SocketAddr, files: &TlsFiles) -> Self {
        self.tls = Some(Wanted::new(port, files.server(), ClientCertificates::Required).or_front_at(front));
        self
    }

    /// Starts the server and waits until it answers, at most 10 s.
    ///
    /// # Errors
    /// When there is no free address, or the process does not come up; the error has the end of the server's log.
    pub async fn start(self) -> Result<Server, ServerError> {
        let addr = match self.addr {
            Some(addr) => addr,
            None => own_address().map_err(ServerError::machine("find a free loopback address"))?,
        };
        let dir = Dir::create().map_err(ServerError::machine("create a directory for the server"))?;
        let is_built_in = self.tls.is_some() && self.binary.speaks_tls();
        if !is_built_in && self.tls.as_ref().is_some_and(|wanted| wanted.plain == Plain::Closed) {
            let why = io::Error::new(io::ErrorKind::Unsupported, format!("{} was built without it", self.binary));
            return Err(ServerError::machine("have the server speak TLS")(why));
        }
        let secure = self.tls.map(|wanted| Secure::new(wanted, addr, is_built_in));
        let (secure, mut lines) = secure.map_or((None, Vec::new()), |(secure, lines)| (Some(secure), lines));
        lines.extend(self.lines);
        let launch = Launch { binary: self.binary, addr, args: self.args, duty: self.duty, secure, dir };
        launch
            .write_config(&lines, self.password.as_deref())
            .map_err(ServerError::machine("write the server's configuration"))?;
        Server::launch(launch, self.password).await
    }
}

fn own_address() -> io::Result<SocketAddr> {
    allocate_addresses(1)?.pop().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Everything that is needed to start the process, again and again.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) binary: ServerBinary,
    pub(super) addr: SocketAddr,
    args: Vec<String>,
    duty: Duty,
    pub(super) secure: Option<Secure>,
    dir: Dir,
}

impl Launch {
    /// The password goes into the file and not on the command line, where everybody could read it.
    fn write_config(&self, lines: &[String], password: Option<&str>) -> io::Result<()> {
        let mut config = vec![
            format!("bind {}", self.addr.ip()),
            format!("port {}", self.addr.port()),
            format!("dir {}", quoted(&self.dir.path().to_string_lossy())),
            format!("unixsocket {}", quoted(&self.unix_socket().to_string_lossy())),
            format!("logfile {}", quoted(&self.log().to_string_lossy())),
            "daemonize no".to_owned(),
            "protected-mode no".to_owned(),
        ];
        match self.duty {
            Duty::Data => config.extend(self.data_config().map(str::to_owned)),
            Duty::Sentinel => {
                // What it announces to the other sentinels; on loopback a connection comes from another address.
                config.push(format!("sentinel announce-ip {}", self.addr.ip()));
                config.push(format!("sentinel announce-port {}", self.addr.port()));
            }
        }
        config.extend(password.map(|password| format!("requirepass {}", quoted(password))));
        config.extend(lines.iter().cloned());
        fs::write(self.config(), config.join("\n") + "\n")
    }

    fn data_config(&self) -> impl Iterator<Item = &'static str> {
        let for_seven = (self.binary.major() >= 7).then_some("enable-debug-command yes");
        ["save \"\"", "appendonly no", "repl-diskless-sync-delay 0"].into_iter().chain(for_seven)
    }

    pub(super) fn spawn(&self) -> io::Result<Process> {
        // What goes wrong before the log is open goes to stderr.
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(self.binary.path());
        command.arg(self.config());
        if self.duty == Duty::Sentinel {
            command.arg("--sentinel");
        }
        command.args(&self.args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log).spawn().map(Process::from)
    }

    pub(super) fn unix_socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The end of the server's log.
    pub(super) fn log_tail(&self) -> String {
        read_tail(&self.log()).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("redis.conf")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

/// A running process, killed and reaped when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits on a thread that may block.
    pub(crate) async fn wait(mut self) -> io::Result<()> {
        let waiting = tokio::task::spawn_blocking(move || self.child.wait().map(drop));
        waiting.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Whether the kernel has stopped it; `None` where the system does not say.
    pub(super) fn is_stopped(&self) -> Option<bool> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // The state follows the name, which is in parentheses and may contain any others.
        let (_, rest) = stat.rsplit_once(") ")?;
        Some(rest.starts_with(['T', 't']))
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self { child }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also ends a stopped process; the wait is over as soon as the kernel has cleaned up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

/// A word of the configuration file, whatever is in it.
fn quoted(word: &str) -> String {
    let mut quoted = String::from("\"");
    for char in word.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            _ => quoted.push(char),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_configuration_survives_its_characters() {
        assert_eq!(quoted("a b\"c\\d\n"), "\"a b\\\"c\\\\d\\n\"");
    }
}
