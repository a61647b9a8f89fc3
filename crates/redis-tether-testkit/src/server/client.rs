//! The smallest client that can tell a server what to do.
//!
//! [`Server`](super::Server) keeps one as its own connection, so that tests need no client library, least of all the
//! one that they test. It speaks RESP2, one command at a time, and knows no deadlines: its caller does.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::resp::{Reply, encode_request, parse_reply};

/// A connection to a server. After an error or a cancelled call replies may be out of step: drop it then.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects and, where there is a password, authenticates; a refusal comes back as the error's text.
    pub(super) async fn connect(addr: SocketAddr, password: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, input: Vec::new() };
        if let Some(password) = password
            && let Reply::Error(refusal) = client.command(&["AUTH", password]).await?
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
        }
        Ok(client)
    }

    /// Whether the server has not closed the connection, as a sentinel has it do to all its clients when it is promoted or
    /// demoted. Between commands nothing comes in, so that whatever is read is the end.
    pub(super) fn is_open(&self) -> bool {
        let mut byte = [0];
        self.stream.try_read(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(super) async fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(args).await?;
        self.receive().await
    }

    pub(super) async fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        self.stream.write_all(&encode_request(args)).await
    }

    pub(super) async fn receive(&mut self) -> io::Result<Reply> {
        loop {
            let parsed = parse_reply(&self.input);
            let parsed = parsed.map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad.to_string()))?;
            if let Some((reply, used)) = parsed {
                self.input.drain(..used);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
