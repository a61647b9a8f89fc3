//! The error of a transaction whose queueing was refused. redis-rs has one for it that names each command that was refused,
//! and makes it nowhere but in its own connections. So one of those is shown the replies, in memory and at once.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisError, ServerError, ServerErrorKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;

/// How often the two sides are looked at. They are done after the second look.
const LOOKS: usize = 8;

/// A transaction of which some commands, given by their index, were refused.
#[derive(Debug)]
pub(crate) struct Aborted {
    commands: usize,
    errors: Vec<(usize, ServerError)>,
}

impl Aborted {
    pub(super) fn new(commands: usize, errors: Vec<(usize, ServerError)>) -> Aborted {
        Aborted { commands, errors }
    }

    /// What redis-rs says of it.
    #[cold]
    pub(crate) fn into_error(self) -> RedisError {
        let replayed = replay(self.commands, &self.errors);
        replayed.unwrap_or_else(|| (ServerErrorKind::ExecAbort.into(), "the transaction was not run").into())
    }
}

fn replay(commands: usize, errors: &[(usize, ServerError)]) -> Option<RedisError> {
    let mut pipeline = Pipeline::with_capacity(commands);
    pipeline.atomic();
    for _ in 0..commands {
        pipeline.cmd("PING");
    }
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let stage = Stage { replies: replies(commands, errors).into_bytes(), at: 0, has_asked: false };
    let (mut connection, driver) = ready(pin!(MultiplexedConnection::new_with_config(&info, stage, config)))?.ok()?;
    let mut driver = pin!(driver);
    let mut sending = pin!(connection.send_packed_commands(&pipeline, commands + 1, 1));
    for _ in 0..LOOKS {
        if let Some(reply) = ready(sending.as_mut()) {
            return reply.err();
        }
        let _ = ready(driver.as_mut());
    }
    None
}

fn replies(commands: usize, errors: &[(usize, ServerError)]) -> String {
    let mut lines = String::from("+OK\r\n");
    for index in 0..commands {
        match errors.iter().find(|(refused, _)| *refused == index) {
            Some((_, error)) => {
                let words = format!("{} {}", error.code(), error.details().unwrap_or_default());
                lines.push('-');
                lines.push_str(words.replace(['\r', '\n'], " ").trim_end());
                lines.push_str("\r\n");
            }
            None => lines.push_str("+QUEUED\r\n"),
        }
    }
    lines.push_str("-EXECABORT Transaction discarded because of previous errors.\r\n");
    lines
}

/// The output of a future that has nothing to wait for.
fn ready<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    // tokio has a task wait that has done much; this one is not to.
    match pin!(unconstrained(future)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Gives the replies once something was asked.
struct Stage {
    replies: Vec<u8>,
    at: usize,
    has_asked: bool,
}

impl AsyncRead for Stage {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.has_asked || self.at == self.replies.len() {
            return Poll::Pending;
        }
        let end = self.replies.len().min(self.at + buf.remaining());
        buf.put_slice(&self.replies[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stage {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.has_asked = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
