//! What `MOVED` means where nobody meant to ask a cluster. From a node that had all slots it is the word of a demotion, as
//! `READONLY` is elsewhere: it executed nothing, and its successor will. From any other it is handed out, with what to do.

use redis::{ServerError, Value};
use redis_tether_core::reply::Asked;

use crate::dial::cluster::{ADVICE, Membership};

const MOVED: &str = "MOVED";

/// Whether this is a node's word that another one has taken all its slots over. A script may say so and have done something.
pub(super) fn means_a_successor(from: Membership, asked: Asked, error: &ServerError) -> bool {
    from == Membership::Whole && asked == Asked::Command && error.code() == MOVED
}

/// The error as the caller gets it. What redis-rs reads of it stays where it was.
#[cold]
pub(super) fn explained(error: ServerError, from: Membership) -> ServerError {
    if from != Membership::Unknown || error.code() != MOVED {
        return error;
    }
    let line = format!("-{MOVED} {} ({ADVICE})\r\n", error.details().unwrap_or_default().trim_end());
    match redis::parse_redis_value(line.as_bytes()) {
        Ok(Value::ServerError(explained)) => explained,
        _ => error,
    }
}

/// The same for each of a pipeline.
pub(super) fn explain_all(values: &mut [Value], from: Membership) {
    if from != Membership::Unknown {
        return;
    }
    for value in values {
        if matches!(value, Value::ServerError(_))
            && let Value::ServerError(error) = std::mem::take(value)
        {
            *value = Value::ServerError(explained(error, from));
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::RedisError;

    use super::*;

    fn error(line: &str) -> ServerError {
        match redis::parse_redis_value(line.as_bytes()) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn redis_rs_reads_of_an_explained_one_what_it_read_before() {
        let told = explained(error("-MOVED 3999 10.0.0.2:6381\r\n"), Membership::Unknown);
        let told = RedisError::from(told);
        assert_eq!(told.redirect_node(), Some(("10.0.0.2:6381", 3999)));
        assert!(told.to_string().contains("ClusterTether"), "{told}");
    }

    #[test]
    fn whoever_knows_and_whatever_else_is_said_stays_as_it_is() {
        let moved = error("-MOVED 3999 10.0.0.2:6381\r\n");
        assert_eq!(explained(moved.clone(), Membership::Known), moved);
        let other = error("-CROSSSLOT Keys in request\r\n");
        assert_eq!(explained(other.clone(), Membership::Unknown), other);
    }
}
