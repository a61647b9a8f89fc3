//! A connection to one server. It carries a few questions, or a subscription, for one task that owns it: no driver, nothing
//! shared, and dropping it closes the socket. It speaks RESP2, which every server does, and bounds what it reads; its callers
//! bound the waiting. A peer that hangs up before it has said anything is asked once whether it speaks TLS.

use std::sync::Arc;

use redis::{Cmd, ServerError, Value};
use redis_tether_core::{Address, FailureKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::failed;
use crate::credentials::keyring::{Issued, Keyring};
use crate::dial::{Connector, DialError};
use crate::frame::Frames;
use crate::transport::BoxedStream;

/// No reply to what we ask comes near this size, not that of a cluster whose every slot is a range of its own.
const LONGEST_REPLY: usize = 8 * 1024 * 1024;

pub(crate) struct Line {
    stream: BoxedStream,
    input: Vec<u8>,
    frames: Frames,
    at: Address,
    unheard: Option<Box<Unheard>>,
    signed_in: Option<Arc<Issued>>,
}

/// A peer that has not said anything yet.
struct Unheard {
    connector: Connector,
    since: Instant,
}

impl Line {
    pub(crate) async fn open(connector: &Connector, at: Address) -> Result<Self, DialError> {
        let since = Instant::now();
        let stream = connector.connect(&at).await.map_err(|rejection| rejection.at(&at))?;
        let unheard = Some(Box::new(Unheard { connector: connector.clone(), since }));
        Ok(Line { unheard, ..Line::new(stream, at) })
    }

    fn new(stream: BoxedStream, at: Address) -> Self {
        Line { stream, input: Vec::new(), frames: Frames::default(), at, unheard: None, signed_in: None }
    }

    pub(crate) fn at(&self) -> &Address {
        &self.at
    }

    /// Signed in with what the keyring has, if it has anything; and where that is refused, with what it has instead.
    pub(crate) async fn open_signed_in(
        connector: &Connector,
        at: Address,
        keyring: &Keyring,
    ) -> Result<Self, DialError> {
        let mut line = Line::open(connector, at).await?;
        let issued = keyring.for_dial().await;
        if let Some(issued) = issued.map_err(|rejection| rejection.at(&line.at))? {
            match line.sign_in(&issued).await {
                Err(refusal) if refusal.kind() == FailureKind::Auth => {
                    let newer = keyring.in_place_of(&issued).await.ok_or(refusal)?;
                    line.sign_in(&newer).await?;
                }
                outcome => outcome?,
            }
        }
        Ok(line)
    }

    /// One that asks for no password is well with one that it was not asked for: the settings of some clients have one
    /// password for servers and sentinels alike.
    async fn sign_in(&mut self, issued: &Arc<Issued>) -> Result<(), DialError> {
        self.signed_in = Some(Arc::clone(issued));
        let mut auth = redis::cmd("AUTH");
        auth.arg(issued.credentials.username()).arg(issued.credentials.password().expose());
        match self.ask(&[auth]).await?.pop() {
            Some(Value::ServerError(error)) if !asks_for_none(&error) => Err(self.refused(&error)),
            _ => Ok(()),
        }
    }

    /// What an error reply means, without the password should the peer have repeated it.
    pub(crate) fn refused(&self, error: &ServerError) -> DialError {
        let password = self.signed_in.as_ref().map(|issued| issued.credentials.password());
        failed::refused(&self.at, error, password)
    }

    /// The replies to these commands; an error reply is one.
    pub(crate) async fn ask(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, DialError> {
        match (self.exchange(commands).await, self.unheard.take()) {
            (Err(error), Some(unheard)) => Err(unheard.explain(&self.at, error).await),
            (outcome, _) => outcome,
        }
    }

    async fn exchange(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, DialError> {
        self.send(commands).await?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            replies.push(self.next().await?);
        }
        Ok(replies)
    }

    pub(crate) async fn send(&mut self, commands: &[Cmd]) -> Result<(), DialError> {
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        let sent = async {
            self.stream.write_all(&packed).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| failed::io(&self.at, &error))
    }

    /// The next reply, or message of a subscription. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Value, DialError> {
        loop {
            if let Some((reply, length)) = self.frames.next(&self.input).map_err(|_| self.malformed())? {
                self.input.drain(..length);
                return Ok(reply);
            }
            let there = self.input.len();
            if there.saturating_add(self.frames.missing(there)) > LONGEST_REPLY {
                return Err(failed::protocol(&self.at, "a reply that is too long for what was asked"));
            }
            let read = self.stream.read_buf(&mut self.input).await.map_err(|error| failed::io(&self.at, &error))?;
            if read == 0 {
                return Err(failed::io(&self.at, &std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn malformed(&self) -> DialError {
        failed::protocol(&self.at, "what it says is not RESP")
    }
}

impl Unheard {
    /// What speaks TLS hangs up on plain questions, or answers with what is no reply.
    async fn explain(self, at: &Address, error: DialError) -> DialError {
        let may_speak_tls = matches!(error.kind(), FailureKind::Closed | FailureKind::Reset | FailureKind::Protocol);
        match may_speak_tls {
            true => self.connector.why_hung_up(at, self.since).await.map_or(error, |rejection| rejection.at(at)),
            false => error,
        }
    }
}

fn asks_for_none(error: &ServerError) -> bool {
    error.details().is_some_and(|detail| detail.contains("without any password configured"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    fn line() -> (Line, DuplexStream) {
        let (ours, theirs) = duplex(64 * 1024);
        (Line::new(Box::new(ours), Address::Tcp(([127, 0, 0, 1], 6379).into())), theirs)
    }

    async fn next(line: &mut Line) -> Result<Value, DialError> {
        timeout(Duration::from_secs(10), line.next()).await.expect("a verdict")
    }

    #[tokio::test]
    async fn replies_are_told_apart_however_they_come() {
        let (mut line, mut peer) = line();
        peer.write_all(b"+OK\r\n*1\r\n$2\r\na").await.expect("room");
        assert_eq!(next(&mut line).await.expect("a reply"), Value::Okay);
        peer.write_all(b"\n\r\n:3\r\n").await.expect("room");
        assert_eq!(next(&mut line).await.expect("a reply"), Value::Array(vec![Value::BulkString(b"a\n".to_vec())]));
        assert_eq!(next(&mut line).await.expect("a reply"), Value::Int(3));
    }

    #[tokio::test]
    async fn what_is_no_reply_or_too_long_a_one_is_refused_at_once() {
        let nested = b"*1\r\n".repeat(200);
        let nested = [&nested[..], b":1\r\n"].concat();
        let others: [&[u8]; 5] = [b"\x15\x03\x03", b"HTTP/1.1 400", b"$x\r\n", b"$99999999\r\n", &nested];
        for other in others {
            let (mut line, mut peer) = line();
            peer.write_all(other).await.expect("room");
            assert!(next(&mut line).await.is_err(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_reply_without_an_end_is_refused() {
        let (mut line, mut peer) = line();
        let speaking = tokio::spawn(async move {
            let mut sent = peer.write_all(b"*99999999\r\n").await;
            while sent.is_ok() {
                sent = peer.write_all(&b":1\r\n".repeat(10_000)).await;
            }
        });
        assert!(next(&mut line).await.is_err());
        drop(line);
        speaking.await.expect("it is hung up on");
    }
}
