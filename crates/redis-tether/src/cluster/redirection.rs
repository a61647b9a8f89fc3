//! What a node says when it is asked for a slot that it does not have, or not all of. It has executed nothing then.

use redis::{ErrorKind, RedisError, RedisResult, ServerError, ServerErrorKind, Value};

/// Where a node sends a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Redirection {
    /// The slot is there for good.
    Moved(Place),
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
        let place = || Place::read(error.details()?);
        match error.code() {
            "MOVED" => place().map(Redirection::Moved),
            "ASK" => place().map(Redirection::Ask),
            _ => None,
        }
    }
}

impl Place {
    /// `SLOT HOST:PORT`, where an IPv6 address has no brackets.
    fn read(detail: &str) -> Option<Place> {
        let mut words = detail.split(' ');
        let _slot = words.next()?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        Some(Place { host: host.to_owned(), port: port.trim_end().parse().ok()? })
    }
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
        assert_eq!(told("-MOVED 3999 10.0.0.2:6381\r\n"), Some(Redirection::Moved(place("10.0.0.2"))));
        assert_eq!(told("-ASK 3999 node.example:6381\r\n"), Some(Redirection::Ask(place("node.example"))));
        assert_eq!(told("-MOVED 3999 ::1:6381\r\n"), Some(Redirection::Moved(place("::1"))));
        assert_eq!(told("-MOVED 3999 :6381\r\n"), Some(Redirection::Moved(place(""))));
        for other in ["-MOVED\r\n", "-MOVED 1\r\n", "-ASK 1 a:b\r\n", "-ERR MOVED 1 a:1\r\n", "+MOVED 1 a:1\r\n"] {
            assert_eq!(told(other), None, "{other:?}");
        }
    }
}
