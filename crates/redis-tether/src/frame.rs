//! From bytes to replies. Where a reply ends is found here, once for each byte however the bytes come in; what is in nearly
//! every reply (statuses, numbers, strings, lists of those) is read here as well, and everything else by redis-rs's own
//! parser, which needs whole replies. Called by the driver of a link and by the lines for questions; the bytes stay theirs.

use std::ops::Range;

use redis::{Value, parse_redis_value};

/// Lists may be nested as deep as redis-rs lets them be.
const DEEPEST: usize = 100;

/// How long a line may be that gives a number: a sign, twenty digits, and blanks that nobody sends.
const LONGEST_NUMBER: usize = 64;

/// How far the reply at the beginning of the bytes has been looked through.
#[derive(Default)]
pub(crate) struct Frames {
    /// What lies before this needs no second look.
    scanned: usize,
    /// Where the search for the end of the line that begins at `scanned` goes on.
    searched: usize,
    /// How many values are still to come. None: the reply has not begun.
    open: u64,
    /// How many bytes there must be at least for the reply to be whole.
    least: usize,
    has_rare: bool,
}

/// The peer sent what is not the protocol.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct NotTheProtocol;

impl Frames {
    /// The first reply in `bytes` and its length, if it is whole. Otherwise it wants to be asked again with the same bytes and
    /// more behind them.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Option<(Value, usize)>, NotTheProtocol> {
        if self.open == 0 {
            if bytes.is_empty() {
                return Ok(None);
            }
            self.open = 1;
        }
        while self.open > 0 {
            if !self.pass_one(bytes)? {
                return Ok(None);
            }
        }
        let Frames { scanned: length, has_rare, .. } = std::mem::take(self);
        let frame = &bytes[..length];
        let value = if has_rare { None } else { Reader { frame, at: 0 }.value(1) };
        let value = match value {
            Some(value) => value,
            None => parse_redis_value(frame).map_err(|_| NotTheProtocol)?,
        };
        Ok(Some((value, length)))
    }

    /// How many bytes are known to be missing beyond these.
    pub(crate) fn missing(&self, bytes: usize) -> usize {
        self.least.saturating_sub(bytes)
    }

    /// Passes the value, or the head of the list, that begins at `scanned`. `false` if it is not whole.
    fn pass_one(&mut self, bytes: &[u8]) -> Result<bool, NotTheProtocol> {
        let from = self.searched.max(self.scanned);
        let Some(end) = line_end(bytes, from) else {
            // The last byte may be the first half of a line end.
            self.searched = bytes.len().saturating_sub(1).max(from);
            return self.is_line_plausible(bytes).then_some(false).ok_or(NotTheProtocol);
        };
        let (kind, line, after) = (bytes[self.scanned], self.scanned + 1..end, end + 2);
        let line = bytes.get(line).ok_or(NotTheProtocol)?;
        let more = match kind {
            b'+' | b':' | b'_' => 0,
            b'-' | b',' | b'#' | b'(' => {
                self.has_rare = true;
                0
            }
            b'$' => match length(line)? {
                Some(length) => return self.pass_bytes(bytes, after, length),
                None => 0,
            },
            b'!' | b'=' => {
                self.has_rare = true;
                return self.pass_bytes(bytes, after, length(line)?.ok_or(NotTheProtocol)?);
            }
            b'*' => length(line)?.unwrap_or(0),
            b'~' | b'>' => {
                self.has_rare = true;
                length(line)?.unwrap_or(0)
            }
            b'%' | b'|' => {
                self.has_rare = true;
                let pairs = length(line)?.ok_or(NotTheProtocol)?;
                // What has the attributes comes after them.
                pairs
                    .checked_mul(2)
                    .and_then(|count| count.checked_add(usize::from(kind == b'|')))
                    .ok_or(NotTheProtocol)?
            }
            _ => return Err(NotTheProtocol),
        };
        self.pass_to(after, more)
    }

    fn pass_bytes(&mut self, bytes: &[u8], from: usize, length: usize) -> Result<bool, NotTheProtocol> {
        let end = from.checked_add(length).and_then(|end| end.checked_add(2)).ok_or(NotTheProtocol)?;
        if bytes.len() < end {
            self.least = end;
            return Ok(false);
        }
        if &bytes[end - 2..end] != b"\r\n" {
            return Err(NotTheProtocol);
        }
        self.pass_to(end, 0)
    }

    fn pass_to(&mut self, scanned: usize, more: usize) -> Result<bool, NotTheProtocol> {
        (self.scanned, self.searched) = (scanned, scanned);
        let more = u64::try_from(more).map_err(|_| NotTheProtocol)?;
        self.open = (self.open - 1).checked_add(more).ok_or(NotTheProtocol)?;
        Ok(true)
    }

    /// Whether what there is of a line may become one.
    fn is_line_plausible(&self, bytes: &[u8]) -> bool {
        let line = &bytes[self.scanned.min(bytes.len())..];
        match line.first() {
            None | Some(b'+' | b'-' | b'(' | b'_' | b',' | b'#') => true,
            Some(b':' | b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|') => line.len() <= LONGEST_NUMBER,
            Some(_) => false,
        }
    }
}

/// Where the first line end from there on begins.
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'\r')?;
        if *bytes.get(at + 1)? == b'\n' {
            return Some(at);
        }
        at += 1;
    }
}

/// A length; `None` for the negative one that stands for nothing.
fn length(line: &[u8]) -> Result<Option<usize>, NotTheProtocol> {
    let number = number(line).ok_or(NotTheProtocol)?;
    if number < 0 {
        return Ok(None);
    }
    usize::try_from(number).map(Some).map_err(|_| NotTheProtocol)
}

/// A number as redis-rs reads it.
fn number(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// Reads a whole reply that has nothing rare in it.
struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// `None`: let redis-rs say what it is, or that it is nothing.
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        let end = line_end(self.frame, self.at)?;
        let (kind, line) = (*self.frame.get(self.at)?, self.at + 1..end);
        self.at = end + 2;
        match kind {
            b'+' => self.status(line),
            b':' => number(&self.frame[line]).map(Value::Int),
            b'_' => Some(Value::Nil),
            b'$' => match length(&self.frame[line]).ok()? {
                Some(length) => self.bytes(length),
                None => Some(Value::Nil),
            },
            b'*' => match length(&self.frame[line]).ok()? {
                Some(length) => self.list(length, depth),
                None => Some(Value::Nil),
            },
            _ => None,
        }
    }

    fn status(&self, line: Range<usize>) -> Option<Value> {
        match &self.frame[line] {
            b"OK" => Some(Value::Okay),
            line => Some(Value::SimpleString(std::str::from_utf8(line).ok()?.to_owned())),
        }
    }

    fn bytes(&mut self, length: usize) -> Option<Value> {
        let bytes = self.frame.get(self.at..self.at + length)?;
        self.at += length + 2;
        Some(Value::BulkString(bytes.to_vec()))
    }

    fn list(&mut self, length: usize, depth: usize) -> Option<Value> {
        // The reply is whole, so there are as many, of three bytes at least.
        let mut values = Vec::with_capacity(length.min(self.frame.len() / 3));
        for _ in 0..length {
            values.push(self.value(depth + 1)?);
        }
        Some(Value::Array(values))
    }
}

#[cfg(test)]
mod tests;
