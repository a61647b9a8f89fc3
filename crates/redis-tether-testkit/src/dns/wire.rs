//! DNS messages (RFC 1035, RFC 2782), as much of them as a server in a test needs: one question in, records out. The server
//! calls it; nothing here keeps state or waits.

use std::net::IpAddr;
use std::time::Duration;

/// The longest label, and the longest name with its lengths.
const LONGEST_LABEL: usize = 63;
const LONGEST_NAME: usize = 255;

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
/// A pointer to the name in the question, where each message has it.
const POINTER_TO_QUESTION: u16 = 0xC000 | HEADER as u16;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    A,
    Aaaa,
    Srv,
    Other(u16),
}

/// What is answered, beside records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    NoError = 0,
    ServFail = 2,
    NxDomain = 3,
}

/// One question, and as much of its message as an answer repeats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    pub(super) id: u16,
    /// In lower case, without a trailing dot.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The question as it came, whose letters some resolvers compare.
    raw: Vec<u8>,
}

/// A record to answer with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) ttl: Duration,
    pub(super) data: Data,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Data {
    Ip(IpAddr),
    Alias(String),
    Srv { priority: u16, weight: u16, port: u16, target: String },
}

impl Kind {
    fn of(code: u16) -> Kind {
        match code {
            1 => Kind::A,
            28 => Kind::Aaaa,
            33 => Kind::Srv,
            other => Kind::Other(other),
        }
    }

    /// Whether a record that says this answers a question of this kind.
    pub(super) fn wants(self, data: &Data) -> bool {
        match data {
            Data::Ip(IpAddr::V4(_)) => self == Kind::A,
            Data::Ip(IpAddr::V6(_)) => self == Kind::Aaaa,
            Data::Srv { .. } => self == Kind::Srv,
            Data::Alias(_) => true,
        }
    }
}

impl Question {
    /// `None` for what is no question, which a server leaves unanswered.
    pub(super) fn read(message: &[u8]) -> Option<Question> {
        let is_response = message.get(2)? & 0x80 != 0;
        if is_response || number(message, 4)? != 1 {
            return None;
        }
        let (name, end) = read_name(message)?;
        let kind = Kind::of(number(message, end)?);
        number(message, end + 2)?;
        Some(Question { id: number(message, 0)?, name, kind, raw: message[HEADER..end + 4].to_vec() })
    }

    /// The answer.
    pub(super) fn answer(&self, code: Code, records: &[Record]) -> Vec<u8> {
        let records = records.iter().filter(|record| fits(record)).collect::<Vec<_>>();
        let mut message = self.head(code as u16, u16::try_from(records.len()).unwrap_or(u16::MAX));
        for record in records {
            self.write(&mut message, record);
        }
        message
    }

    /// "Ask over TCP."
    pub(super) fn truncated(&self) -> Vec<u8> {
        self.head(0x0200, 0)
    }

    /// The answer to a question that nobody has asked.
    pub(super) fn forged(&self, records: &[Record]) -> Vec<u8> {
        let mut message = self.answer(Code::NoError, records);
        message[..2].copy_from_slice(&self.id.wrapping_add(1).to_be_bytes());
        message
    }

    fn head(&self, flags: u16, answers: u16) -> Vec<u8> {
        let mut message = Vec::with_capacity(512);
        // A response, recursion desired and available.
        for field in [self.id, 0x8180 | flags, 1, answers, 0, 0] {
            message.extend(field.to_be_bytes());
        }
        message.extend(&self.raw);
        message
    }

    fn write(&self, message: &mut Vec<u8>, record: &Record) {
        if record.name == self.name {
            message.extend(POINTER_TO_QUESTION.to_be_bytes());
        } else {
            write_name(message, &record.name);
        }
        let mut data = Vec::new();
        let code: u16 = match &record.data {
            Data::Ip(IpAddr::V4(ip)) => {
                data.extend(ip.octets());
                1
            }
            Data::Ip(IpAddr::V6(ip)) => {
                data.extend(ip.octets());
                28
            }
            Data::Alias(target) => {
                write_name(&mut data, target);
                5
            }
            Data::Srv { priority, weight, port, target } => {
                [priority, weight, port].into_iter().for_each(|field| data.extend(field.to_be_bytes()));
                write_name(&mut data, target);
                33
            }
        };
        let ttl = u32::try_from(record.ttl.as_secs()).unwrap_or(u32::MAX);
        message.extend(code.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(ttl.to_be_bytes());
        message.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
        message.extend(data);
    }
}

/// Whether its names can be written.
fn fits(record: &Record) -> bool {
    let target = match &record.data {
        Data::Ip(_) => "",
        Data::Alias(target) | Data::Srv { target, .. } => target,
    };
    [&record.name, target].into_iter().all(|name| {
        name.len() + 2 <= LONGEST_NAME && labels(name).all(|label| (1..=LONGEST_LABEL).contains(&label.len()))
    })
}

/// Of an empty name, the root, there is none.
fn labels(name: &str) -> impl Iterator<Item = &str> {
    name.split('.').filter(move |_| !name.is_empty())
}

fn write_name(message: &mut Vec<u8>, name: &str) {
    for label in labels(name) {
        message.extend(u8::try_from(label.len()));
        message.extend(label.as_bytes());
    }
    message.push(0);
}

/// The name in the question, and where it ends. A question has no name before it that it could point to.
fn read_name(message: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), HEADER);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length > LONGEST_LABEL || at - HEADER > LONGEST_NAME {
            return None;
        }
        let label = std::str::from_utf8(message.get(at..at + length)?).ok()?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&label.to_ascii_lowercase());
        at += length;
    }
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05Redis\x04test\x00\x00\x01\x00\x01";

    #[test]
    fn a_question_is_read_and_answered() {
        let question = Question::read(QUESTION).expect("a question");
        assert_eq!((question.id, question.name.as_str(), question.kind), (0x1234, "redis.test", Kind::A));
        let record = Record {
            name: "redis.test".to_owned(),
            ttl: Duration::from_secs(258),
            data: Data::Ip([127, 0, 0, 9].into()),
        };
        let mut expected = QUESTION.to_vec();
        expected[2..4].copy_from_slice(&[0x81, 0x80]);
        expected[7] = 1;
        expected.extend(b"\xC0\x0C\x00\x01\x00\x01\x00\x00\x01\x02\x00\x04\x7F\x00\x00\x09");
        assert_eq!(question.answer(Code::NoError, &[record]), expected);
    }

    #[test]
    fn an_srv_record_has_its_target_in_full() {
        let question = Question::read(QUESTION).expect("a question");
        let data = Data::Srv { priority: 1, weight: 2, port: 6380, target: "a.test".to_owned() };
        let record = Record { name: "redis.test".to_owned(), ttl: Duration::ZERO, data };
        let answer = question.answer(Code::NoError, &[record]);
        assert!(answer.ends_with(b"\x00\x0E\x00\x01\x00\x02\x18\xEC\x01a\x04test\x00"), "{answer:?}");
    }

    #[test]
    fn what_is_no_question_is_none() {
        for end in 0..QUESTION.len() {
            assert_eq!(Question::read(&QUESTION[..end]), None, "cut at {end}");
        }
        let mut response = QUESTION.to_vec();
        response[2] |= 0x80;
        assert_eq!(Question::read(&response), None);
    }

    #[test]
    fn a_name_that_cannot_be_written_is_left_out() {
        let question = Question::read(QUESTION).expect("a question");
        let data = Data::Alias("a..b".to_owned());
        let record = Record { name: "redis.test".to_owned(), ttl: Duration::ZERO, data };
        assert_eq!(question.answer(Code::NoError, &[record]), question.answer(Code::NoError, &[]));
    }
}
