//! The smallest client that can tell a server what to do.
//!
//! [`Server`](super::Server) keeps one as its own connection, so that tests need no client library, least of all the
//! one that they test. It speaks RESP2, one command at a time, and knows no deadlines: its caller does.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::resp::{Reply, encode_request, parse_reply};

/// A connection to a server. After an error or a cancelled call replies may be out of step: drop it then.
#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    input: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    /// Connects and, where there is a password, authenticates; a refusal comes back as the error's text.
    pub(super) async fn connect(addr: SocketAddr, password: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Self::over(Stream::Tcp(stream), password).await
    }

    /// The same, by the server's unix socket: past its TLS.
    pub(super) async fn connect_unix(path: &Path, password: Option<&str>) -> io::Result<Self> {
        Self::over(Stream::Unix(UnixStream::connect(path).await?), password).await
    }

    async fn over(stream: Stream, password: Option<&str>) -> io::Result<Self> {
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
        let read = match &self.stream {
            Stream::Tcp(stream) => stream.try_read(&mut byte),
            Stream::Unix(stream) => stream.try_read(&mut byte),
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(super) async fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(args).await?;
        self.receive().await
    }

    pub(super) async fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        let request = encode_request(args);
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(&request).await,
            Stream::Unix(stream) => stream.write_all(&request).await,
        }
    }

    pub(super) async fn receive(&mut self) -> io::Result<Reply> {
        loop {
            let parsed = parse_reply(&self.input);
            let parsed = parsed.map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad.to_string()))?;
            if let Some((reply, used)) = parsed {
                self.input.drain(..used);
                return Ok(reply);
            }
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read_buf(&mut self.input).await?,
                Stream::Unix(stream) => stream.read_buf(&mut self.input).await?,
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
