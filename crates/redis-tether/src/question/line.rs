//! A connection to one server. It carries a few questions, or a subscription, for one task that owns it: no driver, nothing
//! shared, and dropping it closes the socket. It speaks RESP2, which every server does, and bounds what it reads; its callers
//! bound the waiting.

use redis::{Cmd, ServerError, Value, parse_redis_value};
use redis_tether_core::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::failed;
use crate::config::Password;
use crate::dial::DialError;
use crate::transport::BoxedStream;

/// No reply to what we ask comes near this size, not that of a cluster whose every slot is a range of its own.
const LONGEST_REPLY: usize = 8 * 1024 * 1024;

/// No reply to what we ask is nested deeper.
const DEEPEST_REPLY: usize = 8;

pub(crate) struct Line {
    stream: BoxedStream,
    input: Vec<u8>,
    at: Address,
}

impl Line {
    pub(crate) fn new(stream: BoxedStream, at: Address) -> Self {
        Line { stream, input: Vec::new(), at }
    }

    pub(crate) fn at(&self) -> &Address {
        &self.at
    }

    /// One that asks for no password is well with one that it was not asked for: the settings of some clients have one
    /// password for servers and sentinels alike.
    pub(crate) async fn sign_in(&mut self, username: Option<&str>, password: &Password) -> Result<(), DialError> {
        let mut auth = redis::cmd("AUTH");
        auth.arg(username).arg(password.expose());
        match self.ask(&[auth]).await?.pop() {
            Some(Value::ServerError(error)) if !asks_for_none(&error) => {
                Err(failed::refused(&self.at, &error, Some(password)))
            }
            _ => Ok(()),
        }
    }

    /// The replies to these commands; an error reply is one.
    pub(crate) async fn ask(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, DialError> {
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
            let end = frame_end(&self.input, 0).map_err(|Malformed| self.malformed())?;
            if let Some(end) = end {
                let value = parse_redis_value(&self.input[..end]).map_err(|_| self.malformed())?;
                self.input.drain(..end);
                return Ok(value);
            }
            if self.input.len() > LONGEST_REPLY {
                return Err(failed::protocol(&self.at, "a reply without an end"));
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

fn asks_for_none(error: &ServerError) -> bool {
    error.details().is_some_and(|detail| detail.contains("without any password configured"))
}

/// These bytes are no RESP2.
#[derive(PartialEq, Eq, Debug)]
struct Malformed;

/// Where the first reply in `bytes` ends; `None` if there is more to come.
fn frame_end(bytes: &[u8], depth: usize) -> Result<Option<usize>, Malformed> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    if !b"+-:$*".contains(kind) || depth > DEEPEST_REPLY {
        return Err(Malformed);
    }
    let Some(line_end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let (line, mut end) = (&bytes[1..line_end], line_end + 2);
    if matches!(kind, b'+' | b'-' | b':') {
        return Ok(Some(end));
    }
    let announced: i64 = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok()).ok_or(Malformed)?;
    // -1 is the absence of a value.
    let Ok(announced) = usize::try_from(announced) else { return Ok(Some(end)) };
    if announced > LONGEST_REPLY {
        return Err(Malformed);
    }
    if *kind == b'$' {
        end += announced + 2;
        return Ok((bytes.len() >= end).then_some(end));
    }
    for _ in 0..announced {
        match frame_end(&bytes[end..], depth + 1)? {
            Some(length) => end += length,
            None => return Ok(None),
        }
    }
    Ok(Some(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_where_it_ends_and_not_before() {
        let replies: [&[u8]; 6] =
            [b"+OK\r\n", b"-ERR no\r\n", b":1\r\n", b"$-1\r\n", b"*-1\r\n", b"*2\r\n$2\r\na\n\r\n*1\r\n:3\r\n"];
        for reply in replies {
            let followed = [reply, b"+next\r\n"].concat();
            assert_eq!(frame_end(&followed, 0), Ok(Some(reply.len())));
            for cut in 0..reply.len() {
                assert_eq!(frame_end(&reply[..cut], 0), Ok(None), "{cut} bytes of {reply:?}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_or_has_no_end_is_refused() {
        let nested = b"*1\r\n".repeat(DEEPEST_REPLY + 2);
        let others: [&[u8]; 6] =
            [b"\x15\x03\x03", b"HTTP/1.1 400", b"$x\r\n", b"$99999999\r\n", b"*99999999\r\n", &nested];
        for other in others {
            assert_eq!(frame_end(other, 0), Err(Malformed), "{other:?}");
        }
    }
}
