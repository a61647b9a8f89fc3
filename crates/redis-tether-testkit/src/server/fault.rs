//! What a test does to a server: end it, freeze it, keep it busy, change its password.
//!
//! The methods of [`Server`] here act on the process by signals and on the server by commands. What they break, they or
//! their counterparts repair; dropping the server cleans up in any case.

use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::process::Process;
use super::running::PATIENCE;
use super::{Server, ServerError};
use crate::resp::Reply;
use crate::wait::TimedOut;

/// A server that stops gives lagging replicas up to 10 s by default.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Computes for ARGV[1] seconds. Scripts may read `os.clock` in some versions and a `TIME` that advances in the others; one
/// that stands still must not make it run for ever.
const BUSY_SCRIPT: &str = "
local has_clock, clock = pcall(function() return os.clock end)
local function now()
  if has_clock then return clock() end
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end
local start, rounds = now(), 0
while now() < start + ARGV[1] do
  rounds = rounds + 1
  if rounds == 100000 and now() == start then
    return redis.error_reply('ERR scripts see no clock on this server')
  end
end
return rounds";

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
        if let Some(secure) = self.secure() {
            secure.close().await;
        }
        process.signal(signal).map_err(machine())?;
        let pid = Pid::from_raw(process.id().cast_signed());
        let mut waiting = std::pin::pin!(process.wait());
        let ended = match timeout(STOP_PATIENCE, &mut waiting).await {
            Ok(ended) => ended,
            Err(_) => {
                // Not yet reaped, so the id is still that of our process.
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::KILL);
                }
                waiting.await
            }
        };
        self.hang_up().await;
        ended.map_err(machine())
    }

    /// Starts the process again, with the address, directory, options and password that it was built with, and waits
    /// until it answers, at most 10 s. Kills it before, if it runs. Data and role are those of a fresh server.
    ///
    /// # Errors
    /// As [`ServerBuilder::start`](super::ServerBuilder::start).
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.kill().await?;
        self.come_up().await
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

    /// Runs a script that computes for about this long, and waits for its end. The server answers nobody meanwhile. Where
    /// scripts are shown the processor's time only (Valkey), it takes longer on a busy machine;
    /// [`spawn_stall`](Self::spawn_stall) takes exactly as long as it is told.
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
        self.spawn_command(&["EVAL", BUSY_SCRIPT, "0", &time.as_secs_f64().to_string()]).await
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
