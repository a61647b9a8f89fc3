//! The wire format of Redis, as far as tests need it: requests are read and written, replies likewise.
//!
//! The fake server reads requests and writes replies with it, the client of the real servers the other way round. It
//! does no I/O: it turns bytes that have arrived into values, and says when more bytes are needed. Whatever arrives,
//! nothing here panics or reserves memory that the peer merely announced.

use std::fmt;

/// A reply of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// A status, such as `OK`.
    Simple(String),
    /// An error, with its code in front: `READONLY You can't write against a read only replica.`
    Error(String),
    /// An integer.
    Int(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// The absence of a value.
    Nil,
    /// A sequence of replies.
    Array(Vec<Reply>),
    /// Keys and values. RESP2 has no maps and sends them as a flat array.
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    /// The status `OK`.
    pub fn ok() -> Self {
        Self::Simple("OK".to_owned())
    }

    /// A string of bytes.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// An error, code included.
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }

    /// Whether this is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The text of a status, an error, an integer or a bulk string; `None` for everything else and for bytes that
    /// are not UTF-8.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) | Self::Error(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Bulk(bytes) => String::from_utf8(bytes.clone()).ok(),
            Self::Nil | Self::Array(_) | Self::Map(_) => None,
        }
    }
}

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// What every connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// The bytes are not RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A command and its arguments.
pub(crate) type Request = Vec<Vec<u8>>;

/// What a parser makes of the bytes so far: a value and how many bytes it took, or `None` while more are needed.
type Parsed<T> = Result<Option<(T, usize)>, Malformed>;

/// The limits of Redis itself (`proto-max-bulk-len`, and the bounds on multibulk and inline requests).
const MAX_BULK: i64 = 512 * 1024 * 1024;
const MAX_ITEMS: i64 = 1024 * 1024;
const MAX_INLINE: usize = 64 * 1024;
/// Replies nest; a server that nests deeper than this is not one that we started.
const MAX_DEPTH: usize = 32;

/// Reads one request from the front of `bytes`: an array of bulk strings, or a line of words.
pub(crate) fn parse_request(bytes: &[u8]) -> Parsed<Request> {
    match bytes.first() {
        None => Ok(None),
        Some(b'*') => parse_multibulk(bytes),
        Some(_) => parse_inline(bytes),
    }
}

fn parse_multibulk(bytes: &[u8]) -> Parsed<Request> {
    let Some((count, mut at)) = parse_length(bytes, 1, MAX_ITEMS)? else {
        return Ok(None);
    };
    let mut request = Request::new();
    for _ in 0..count.max(0) {
        match bytes.get(at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(_) => return Err(Malformed("Protocol error: expected '$'")),
        }
        let Some((length, start)) = parse_length(bytes, at + 1, MAX_BULK)? else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| Malformed("Protocol error: invalid bulk length"))?;
        let Some(item) = bytes.get(start..start + length) else {
            return Ok(None);
        };
        if bytes.len() < start + length + 2 {
            return Ok(None);
        }
        request.push(item.to_vec());
        at = start + length + 2;
    }
    Ok(Some((request, at)))
}

fn parse_inline(bytes: &[u8]) -> Parsed<Request> {
    let Some(end) = bytes.iter().take(MAX_INLINE).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_INLINE {
            Ok(None)
        } else {
            Err(Malformed("Protocol error: too big inline request"))
        };
    };
    let words = bytes[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    Ok(Some((words.map(<[u8]>::to_vec).collect(), end + 1)))
}

/// Writes a request the way every client library does.
pub(crate) fn encode_request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        put_bulk(&mut out, arg.as_ref());
    }
    out
}

/// Reads one reply from the front of `bytes`.
pub(crate) fn parse_reply(bytes: &[u8]) -> Parsed<Reply> {
    parse_reply_at(bytes, 0, 0)
}

fn parse_reply_at(bytes: &[u8], at: usize, depth: usize) -> Parsed<Reply> {
    if depth > MAX_DEPTH {
        return Err(Malformed("replies nested too deeply"));
    }
    let Some(kind) = bytes.get(at) else {
        return Ok(None);
    };
    match kind {
        b'+' => Ok(line(bytes, at + 1)?.map(|(text, next)| (Reply::Simple(lossy(text)), next))),
        b'-' => Ok(line(bytes, at + 1)?.map(|(text, next)| (Reply::Error(lossy(text)), next))),
        b':' => Ok(parse_integer(bytes, at + 1)?.map(|(number, next)| (Reply::Int(number), next))),
        b'_' => Ok(line(bytes, at + 1)?.map(|(_, next)| (Reply::Nil, next))),
        b'$' => parse_bulk_reply(bytes, at + 1),
        b'*' => parse_array_reply(bytes, at + 1, depth),
        b'%' => parse_map_reply(bytes, at + 1, depth),
        _ => Err(Malformed("not a reply")),
    }
}

fn parse_bulk_reply(bytes: &[u8], at: usize) -> Parsed<Reply> {
    let Some((length, start)) = parse_length(bytes, at, MAX_BULK)? else {
        return Ok(None);
    };
    let Ok(length) = usize::try_from(length) else {
        return Ok(Some((Reply::Nil, start)));
    };
    if bytes.len() < start + length + 2 {
        return Ok(None);
    }
    Ok(Some((Reply::bulk(&bytes[start..start + length]), start + length + 2)))
}

fn parse_array_reply(bytes: &[u8], at: usize, depth: usize) -> Parsed<Reply> {
    let Some((count, start)) = parse_length(bytes, at, MAX_ITEMS)? else {
        return Ok(None);
    };
    if count < 0 {
        return Ok(Some((Reply::Nil, start)));
    }
    let items = parse_items(bytes, start, count, depth)?;
    Ok(items.map(|(items, next)| (Reply::Array(items), next)))
}

fn parse_map_reply(bytes: &[u8], at: usize, depth: usize) -> Parsed<Reply> {
    let Some((pairs, start)) = parse_length(bytes, at, MAX_ITEMS)? else {
        return Ok(None);
    };
    let Some((items, next)) = parse_items(bytes, start, pairs.max(0) * 2, depth)? else {
        return Ok(None);
    };
    let mut items = items.into_iter();
    let mut map = Vec::new();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        map.push((key, value));
    }
    Ok(Some((Reply::Map(map), next)))
}

fn parse_items(bytes: &[u8], mut at: usize, count: i64, depth: usize) -> Parsed<Vec<Reply>> {
    let mut items = Vec::new();
    for _ in 0..count {
        let Some((item, next)) = parse_reply_at(bytes, at, depth + 1)? else {
            return Ok(None);
        };
        items.push(item);
        at = next;
    }
    Ok(Some((items, at)))
}

fn parse_length(bytes: &[u8], at: usize, most: i64) -> Parsed<i64> {
    match parse_integer(bytes, at)? {
        Some((length, _)) if !(-1..=most).contains(&length) => Err(Malformed("Protocol error: invalid length")),
        parsed => Ok(parsed),
    }
}

fn parse_integer(bytes: &[u8], at: usize) -> Parsed<i64> {
    let Some((text, next)) = line(bytes, at)? else {
        return Ok(None);
    };
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.map(|number| Some((number, next))).ok_or(Malformed("Protocol error: invalid number"))
}

/// The bytes from `at` to the end of the line, and where the next line begins.
fn line(bytes: &[u8], at: usize) -> Parsed<&[u8]> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(end) = rest.iter().take(MAX_INLINE).position(|byte| *byte == b'\n') else {
        return if rest.len() < MAX_INLINE { Ok(None) } else { Err(Malformed("Protocol error: line too long")) };
    };
    let text = &rest[..end];
    Ok(Some((text.strip_suffix(b"\r").unwrap_or(text), at + end + 1)))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes a reply.
pub(crate) fn encode_reply(reply: &Reply, protocol: Protocol, out: &mut Vec<u8>) {
    match reply {
        Reply::Simple(text) => put_line(out, '+', text),
        Reply::Error(text) => put_line(out, '-', text),
        Reply::Int(number) => put_line(out, ':', &number.to_string()),
        Reply::Bulk(bytes) => put_bulk(out, bytes),
        Reply::Nil if protocol == Protocol::Resp3 => out.extend_from_slice(b"_\r\n"),
        Reply::Nil => out.extend_from_slice(b"$-1\r\n"),
        Reply::Array(items) => {
            put_line(out, '*', &items.len().to_string());
            items.iter().for_each(|item| encode_reply(item, protocol, out));
        }
        Reply::Map(pairs) => {
            match protocol {
                Protocol::Resp2 => put_line(out, '*', &(pairs.len() * 2).to_string()),
                Protocol::Resp3 => put_line(out, '%', &pairs.len().to_string()),
            }
            for (key, value) in pairs {
                encode_reply(key, protocol, out);
                encode_reply(value, protocol, out);
            }
        }
    }
}

/// A line break inside would end the reply early and shift every later one, so breaks become blanks.
fn put_line(out: &mut Vec<u8>, kind: char, text: &str) {
    let text = text.replace(['\r', '\n'], " ");
    out.extend_from_slice(format!("{kind}{text}\r\n").as_bytes());
}

fn put_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Reply {
        Reply::Array(vec![
            Reply::ok(),
            Reply::error("ERR no"),
            Reply::Int(-7),
            Reply::bulk(b"\r\n\0binary"),
            Reply::Nil,
            Reply::Array(vec![]),
            Reply::Map(vec![(Reply::bulk("role"), Reply::bulk("master"))]),
        ])
    }

    #[test]
    fn a_reply_is_read_back_as_it_was_written() {
        let mut bytes = Vec::new();
        encode_reply(&sample(), Protocol::Resp3, &mut bytes);
        assert_eq!(parse_reply(&bytes), Ok(Some((sample(), bytes.len()))));
    }

    #[test]
    fn every_prefix_of_a_reply_asks_for_more() {
        let mut bytes = Vec::new();
        encode_reply(&sample(), Protocol::Resp3, &mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(parse_reply(&bytes[..end]), Ok(None), "after {end} bytes");
        }
    }

    #[test]
    fn a_map_is_a_flat_array_in_resp2() {
        let mut bytes = Vec::new();
        encode_reply(&Reply::Map(vec![(Reply::bulk("proto"), Reply::Int(2))]), Protocol::Resp2, &mut bytes);
        assert_eq!(bytes, b"*2\r\n$5\r\nproto\r\n:2\r\n");
    }

    #[test]
    fn requests_come_as_arrays_and_as_lines() {
        let request = encode_request(&["SET", "k", "a b"]);
        let parsed = vec![b"SET".to_vec(), b"k".to_vec(), b"a b".to_vec()];
        assert_eq!(parse_request(&request), Ok(Some((parsed, request.len()))));
        for end in 0..request.len() {
            assert_eq!(parse_request(&request[..end]), Ok(None), "after {end} bytes");
        }
        assert_eq!(parse_request(b"PING  x\r\nPING"), Ok(Some((vec![b"PING".to_vec(), b"x".to_vec()], 9))));
        assert_eq!(parse_request(b"\r\n"), Ok(Some((vec![], 2))));
    }

    #[test]
    fn nonsense_is_refused_and_an_announced_size_reserves_nothing() {
        for bad in [
            &b"*x\r\n"[..],
            b"*1\r\n:3\r\n",
            b"*1\r\n$-5\r\n",
            b"*999999999999\r\n",
            b"*1\r\n$99999999999999999999\r\n",
        ] {
            assert!(parse_request(bad).is_err(), "{}", lossy(bad));
        }
        for bad in [&b"\x16\x03\x01"[..], b"$a\r\n", b"*-7\r\n", b":\r\n"] {
            assert!(parse_reply(bad).is_err(), "{}", lossy(bad));
        }
        assert_eq!(parse_request(b"*1000000\r\n$500000000\r\n"), Ok(None));
        let deep = b"*1\r\n".repeat(100);
        assert!(parse_reply(&deep).is_err());
    }

    #[test]
    fn a_line_break_in_an_error_does_not_shift_the_replies_behind_it() {
        let mut bytes = Vec::new();
        encode_reply(&Reply::error("ERR a\r\nb"), Protocol::Resp2, &mut bytes);
        assert_eq!(bytes, b"-ERR a  b\r\n");
    }
}
