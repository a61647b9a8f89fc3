//! What a node says when it is asked for a slot that it does not have, or not all of. It has executed nothing then.

use redis::{ErrorKind, RedisError, RedisResult, ServerError, ServerErrorKind, Value};
use redis_tether_core::cluster::Slot;

/// Where a node sends a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Redirection {
    /// The slot is there for good.
    Moved(Slot, Place),
    /// For this once: the key is there already, and the slot not yet.
    Ask(Place),
}

/// As announced. An empty host is that of the node that said so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Redirection {
    pub(super) fn of_reply(reply: &RedisResult<Value>) -> Option<Redirection> {
        match reply {
            Ok(Value::ServerError(error)) => Redirection::of(error),
            _ => None,
        }
    }

    pub(super) fn of_value(value: &Value) -> Option<Redirection> {
        match value {
            Value::ServerError(error) => Redirection::of(error),
            _ => None,
        }
    }

    /// That of a transaction, of which nothing ran: its commands were refused one by one, or as a whole.
    pub(super) fn of_transaction(error: &RedisError) -> Option<Redirection> {
        let is_refused = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ExecAbort | ServerErrorKind::Moved | ServerErrorKind::Ask)
        );
        let causes = error.clone().into_server_errors().filter(|_| is_refused)?;
        causes.iter().find_map(|(_, error)| Redirection::of(error))
    }

    fn of(error: &ServerError) -> Option<Redirection> {
        let read = || read(error.details()?);
        match error.code() {
            "MOVED" => read().map(|(slot, place)| Redirection::Moved(slot, place)),
            "ASK" => read().map(|(_, place)| Redirection::Ask(place)),
            _ => None,
        }
    }

    /// Whether it leads the same way, be it for another slot.
    pub(super) fn leads_as(&self, other: &Redirection) -> bool {
        match (self, other) {
            (Redirection::Moved(_, one), Redirection::Moved(_, two))
            | (Redirection::Ask(one), Redirection::Ask(two)) => one == two,
            _ => false,
        }
    }
}

/// `SLOT HOST:PORT`, where an IPv6 address has no brackets.
fn read(detail: &str) -> Option<(Slot, Place)> {
    let mut words = detail.split(' ');
    let slot = Slot::new(words.next()?.parse().ok()?)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    Some((slot, Place { host: host.to_owned(), port: port.trim_end().parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reply: &str) -> Option<Redirection> {
        Redirection::of_reply(&redis::parse_redis_value(reply.as_bytes()))
    }

    #[test]
    fn places_are_read_as_servers_write_them() {
        let place = |host: &str| Place { host: host.to_owned(), port: 6381 };
        let moved = |host: &str| Redirection::Moved(Slot::new(3999).expect("a slot"), place(host));
        assert_eq!(told("-MOVED 3999 10.0.0.2:6381\r\n"), Some(moved("10.0.0.2")));
        assert_eq!(told("-ASK 3999 node.example:6381\r\n"), Some(Redirection::Ask(place("node.example"))));
        assert_eq!(told("-MOVED 3999 ::1:6381\r\n"), Some(moved("::1")));
        assert_eq!(told("-MOVED 3999 :6381\r\n"), Some(moved("")));
        for other in [
            "-MOVED\r\n",
            "-MOVED 1\r\n",
            "-ASK 1 a:b\r\n",
            "-MOVED 16384 a:1\r\n",
            "-ERR MOVED 1 a:1\r\n",
            "+MOVED 1 a:1\r\n",
        ] {
            assert_eq!(told(other), None, "{other:?}");
        }
    }
}
