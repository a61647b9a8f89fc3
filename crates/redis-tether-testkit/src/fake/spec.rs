//! The commands that the fake server knows: how many arguments each takes and when it is refused.
//!
//! A plain table, looked up by `command.rs`. The classes follow the flags that Redis 7 gives its commands.

/// What has to hold for a command to be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Allowed without authentication and always.
    Session,
    /// Allowed while the dataset loads.
    Always,
    /// `PING`: also tells whether the last save failed.
    Probe,
    /// Refused while loading.
    Read,
    /// Refused while loading, on replicas, and when the last save failed.
    Write,
}

/// A command of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// Redis's convention: the number of words, name included; negative where it is the least number.
    pub(super) arity: i8,
    pub(super) class: Class,
}

impl Spec {
    pub(super) fn accepts(&self, words: usize) -> bool {
        let least = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { words >= least } else { words == least }
    }
}

/// The command of this name, which is in upper case.
pub(super) fn find(name: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.name == name)
}

const fn spec(name: &'static str, arity: i8, class: Class) -> Spec {
    Spec { name, arity, class }
}

const SPECS: &[Spec] = &[
    spec("AUTH", -2, Class::Session),
    spec("HELLO", -1, Class::Session),
    spec("QUIT", -1, Class::Session),
    spec("PING", -1, Class::Probe),
    spec("CLIENT", -2, Class::Always),
    spec("COMMAND", -1, Class::Always),
    spec("CONFIG", -2, Class::Always),
    spec("DEBUG", -2, Class::Always),
    spec("DISCARD", 1, Class::Always),
    spec("ECHO", 2, Class::Always),
    spec("EXEC", 1, Class::Always),
    spec("INFO", -1, Class::Always),
    spec("MULTI", 1, Class::Always),
    spec("ROLE", 1, Class::Always),
    spec("SELECT", 2, Class::Always),
    spec("SLEEP", 2, Class::Always),
    spec("DBSIZE", 1, Class::Read),
    spec("EXISTS", -2, Class::Read),
    spec("GET", 2, Class::Read),
    spec("LLEN", 2, Class::Read),
    spec("LRANGE", 4, Class::Read),
    spec("MGET", -2, Class::Read),
    spec("WAIT", 3, Class::Read),
    spec("APPEND", 3, Class::Write),
    spec("BLPOP", -3, Class::Write),
    spec("BRPOP", -3, Class::Write),
    spec("DEL", -2, Class::Write),
    spec("FLUSHALL", -1, Class::Write),
    spec("FLUSHDB", -1, Class::Write),
    spec("INCR", 2, Class::Write),
    spec("INCRBY", 3, Class::Write),
    spec("LPOP", 2, Class::Write),
    spec("LPUSH", -3, Class::Write),
    spec("MSET", -3, Class::Write),
    spec("RPOP", 2, Class::Write),
    spec("RPUSH", -3, Class::Write),
    spec("SET", -3, Class::Write),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arity_is_exact_or_a_least_number() {
        let get = find("GET").expect("in the table");
        assert!(get.accepts(2) && !get.accepts(1) && !get.accepts(3));
        let set = find("SET").expect("in the table");
        assert!(set.accepts(3) && set.accepts(6) && !set.accepts(2));
        assert_eq!(find("get"), None);
    }
}
