//! Reading a refusal: what a server's error reply, an I/O error or the end of a link means for a dial. Setting up and
//! verifying call it; the pace of the next attempt follows from the kind.

use std::io;

use redis::ServerError;
use redis_tether_core::reply::UNREADY;
use redis_tether_core::{Address, FailureKind};

use super::DialError;
use super::error::{one_line, printable};
use crate::config::Password;
use crate::ledger::{LinkEnd, TLS_ALERT};
#[cfg(feature = "tls-no-provider")]
use crate::tls::TlsFailure;

/// Why a peer is no good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rejection {
    pub(crate) kind: FailureKind,
    pub(crate) detail: String,
}

impl Rejection {
    /// Of an error reply.
    pub(crate) fn by_server(error: &ServerError) -> Rejection {
        Rejection::by_reply(error.code(), error.details().unwrap_or_default())
    }

    pub(crate) fn by_io(error: &io::Error) -> Rejection {
        #[cfg(feature = "tls-no-provider")]
        if let Some(detail) = TlsFailure::inside(error) {
            return Rejection { kind: FailureKind::Tls, detail };
        }
        Rejection::by_transport(error.kind(), &error.to_string())
    }

    fn by_transport(kind: io::ErrorKind, text: &str) -> Rejection {
        let detail = if says_no_more_than_its_kind(text) { String::new() } else { text.to_owned() };
        Rejection { kind: kind_of_io(kind), detail }
    }

    /// Of how a link ended.
    pub(crate) fn by_end(end: &LinkEnd) -> Rejection {
        match end {
            LinkEnd::Failed(kind, detail) => Rejection::by_transport(*kind, detail),
            #[cfg(feature = "tls-no-provider")]
            LinkEnd::Tls(detail) => Rejection { kind: FailureKind::Tls, detail: detail.clone() },
            LinkEnd::Protocol(detail) => Rejection { kind: FailureKind::Protocol, detail: detail.clone() },
            LinkEnd::Closed => Rejection { kind: FailureKind::Closed, detail: String::new() },
            LinkEnd::Retired | LinkEnd::Mute | LinkEnd::DriverGone => {
                Rejection { kind: FailureKind::Closed, detail: end.to_string() }
            }
        }
    }

    /// Of TLS, where it is spoken and should not be, or the other way round, or fails.
    pub(crate) fn by_tls(detail: impl Into<String>) -> Rejection {
        Rejection { kind: FailureKind::Tls, detail: detail.into() }
    }

    /// Of the error line that a peer began with before it hung up, if it is one of those that servers greet with: everything
    /// else answered a command that may be refused without harm.
    pub(crate) fn by_greeting(line: &str) -> Option<Rejection> {
        if line == TLS_ALERT {
            return Some(Rejection::by_tls(SPEAKS_TLS));
        }
        let (code, detail) = line.split_once(' ').unwrap_or((line, ""));
        let rejection = Rejection::by_reply(code, detail);
        let greets = rejection.kind == FailureKind::MaxClients || code == "DENIED";
        greets.then_some(rejection)
    }

    fn by_reply(code: &str, detail: &str) -> Rejection {
        let detail = without_arguments(detail);
        let kind = match code {
            // Proxies wrap the server's words; and what has no code of its own is told by its text.
            "ERR" => kind_of_text(detail),
            code => kind_of_code(code).unwrap_or(FailureKind::Other),
        };
        let detail = if detail.is_empty() { code.to_owned() } else { format!("{code} {detail}") };
        Rejection { kind, detail }
    }

    /// Takes the password out, should the peer have repeated it. To be done before anything is cut off, since half a password
    /// would not be found.
    pub(crate) fn without(mut self, password: Option<&Password>) -> Rejection {
        // One shorter than this would turn up in innocent words and make the line unreadable; servers that repeat arguments are
        // cut off before them anyway, in `by_reply`.
        const SHORTEST: usize = 4;
        if let Some(password) = password.map(Password::expose).filter(|text| text.len() >= SHORTEST) {
            let password: String = printable(password).collect();
            self.detail = printable(&self.detail).collect::<String>().replace(&password, "***");
        }
        self
    }

    /// The detail as it may be printed.
    pub(crate) fn line(&self) -> String {
        one_line(&self.detail)
    }

    pub(crate) fn at(self, address: &Address) -> DialError {
        DialError::new(self.kind, address, self.detail)
    }
}

/// What is told of a peer that answers as a TLS server does.
pub(super) const SPEAKS_TLS: &str = "the server speaks TLS at this port: use rediss:// (ssl=true), or its plain port";

fn kind_of_code(code: &str) -> Option<FailureKind> {
    Some(match code {
        "NOAUTH" | "WRONGPASS" => FailureKind::Auth,
        // DENIED is protected mode: only clients on the server's own host are let in.
        "NOPERM" | "DENIED" => FailureKind::Denied,
        "LOADING" => FailureKind::Loading,
        "MASTERDOWN" | "READONLY" => FailureKind::NotPrimary,
        "NOPROTO" => FailureKind::Config,
        _ => return None,
    })
}

fn kind_of_text(detail: &str) -> FailureKind {
    let first = detail.split(' ').next().unwrap_or_default();
    if let Some(kind) = kind_of_code(first.trim_start_matches('-')) {
        return kind;
    }
    let says = |words: &str| detail.contains(words);
    if detail.starts_with(UNREADY) {
        FailureKind::Loading
    } else if says("max number of clients") {
        FailureKind::MaxClients
    } else if says("invalid password") || says("without any password configured") || says("no password is set") {
        FailureKind::Auth
    } else if says("DB index is out of range") || says("invalid DB index") || says("SELECT is not allowed") {
        FailureKind::Config
    } else {
        FailureKind::Other
    }
}

/// A server that does not know a command repeats its arguments, and those of AUTH and HELLO are secrets.
fn without_arguments(detail: &str) -> &str {
    let end = detail.find("with args beginning with").unwrap_or(detail.len());
    detail[..end].trim_end_matches([' ', ','])
}

/// Whether an error's text is the system's name for what our own name for the failure says as well.
fn says_no_more_than_its_kind(text: &str) -> bool {
    let name = text.split(" (os error ").next().unwrap_or(text);
    ["connection refused", "connection reset", "connection reset by peer", "connection timed out", "timed out"]
        .iter()
        .any(|said| name.eq_ignore_ascii_case(said))
}

fn kind_of_io(kind: io::ErrorKind) -> FailureKind {
    match kind {
        // The path of a unix socket that does not exist (yet) is a server that does not listen (yet).
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => FailureKind::Refused,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => FailureKind::Unreachable,
        io::ErrorKind::TimedOut => FailureKind::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            FailureKind::Reset
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected | io::ErrorKind::WriteZero => FailureKind::Closed,
        io::ErrorKind::InvalidData => FailureKind::Protocol,
        _ => FailureKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(said: &str, password: &str) -> String {
        let address = Address::Tcp("10.0.0.1:6379".parse().expect("an address"));
        let rejection = Rejection { kind: FailureKind::Other, detail: said.to_owned() };
        rejection.without(Some(&Password::new(password))).at(&address).to_string()
    }

    #[test]
    fn no_part_of_a_repeated_password_survives_where_the_line_is_cut() {
        const PASSWORD: &str = "correct-horse-battery";
        for before in 170..210 {
            let line = line(&format!("{}{PASSWORD}", "x".repeat(before)), PASSWORD);
            assert!(!line.contains("corr"), "{before}: {line}");
        }
    }

    #[test]
    fn a_repeated_password_with_control_characters_is_found() {
        for said in ["ERR no user a\tb\nc here", "ERR no user a b c here"] {
            assert!(line(said, "a\tb\nc").ends_with("ERR no user *** here"), "{said:?}");
        }
    }
}
