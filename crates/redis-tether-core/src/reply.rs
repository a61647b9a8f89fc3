//! What an error reply means: did anything run, and is this server the wrong one to ask? The handle asks this of every
//! error reply it sees, the library's outcome trait asks it of every error it is shown. Pure text in, a verdict out; it
//! never looks at the command and never decides how long to wait.
//!
//! The replies that are treated specially, by their code (the first word) and their detail (the rest):
//!
//! | reply | verdict | why |
//! |---|---|---|
//! | `READONLY` | elsewhere | a replica refuses a write before running it: the primary is somewhere else |
//! | `LOADING` | elsewhere | the dataset is not there yet, nothing runs until it is |
//! | `MASTERDOWN` | elsewhere | a replica without its primary that may not serve stale data |
//! | `CLUSTERDOWN` | elsewhere | the node serves nothing until the cluster is whole |
//! | `UNBLOCKED`, naming a change of state | elsewhere | a waiting command was sent away by a demotion, with nothing taken. `UNBLOCKED` by `CLIENT UNBLOCK` is an answer and stays one |
//! | `ERR` followed by one of the first four, with or without a dash | elsewhere | proxies wrap the server's words |
//! | `TRYAGAIN` | shortly | keys of one slot are on two nodes for a moment, nothing ran |
//! | `EXECABORT ... because of: <reply>` | as that reply, else refused | `EXEC` itself was refused, the transaction is discarded |
//! | any with `script: `, and `ERR Error running script` | partial | the script ran up to there; with one of the first four codes the link is wrong as well |
//! | all others | refused | a command that answers with an error has changed nothing |
//!
//! `MISCONF`, `NOREPLICAS`, `NOAUTH`, `NOPERM`, `OOM`, `BUSY`, `MOVED` and the like are among the others: another try
//! would meet the same answer, or somebody must act first.

use std::fmt;

/// Why a server refuses work that another one would take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// `READONLY`: the server is a replica.
    ReadOnly,
    /// `LOADING`: the server is reading its dataset.
    Loading,
    /// `MASTERDOWN`: the server is a replica that has lost its primary.
    MasterDown,
    /// `CLUSTERDOWN`: the server's cluster is not whole.
    ClusterDown,
    /// `UNBLOCKED`: a blocking command was sent away because the server stopped being a primary.
    Unblocked,
}

impl Refusal {
    /// Whether the reply shows that the server is a replica now.
    #[must_use]
    pub fn is_demotion(self) -> bool {
        match self {
            Refusal::ReadOnly | Refusal::MasterDown | Refusal::Unblocked => true,
            Refusal::Loading | Refusal::ClusterDown => false,
        }
    }

    /// The reply's code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Refusal::ReadOnly => "READONLY",
            Refusal::Loading => "LOADING",
            Refusal::MasterDown => "MASTERDOWN",
            Refusal::ClusterDown => "CLUSTERDOWN",
            Refusal::Unblocked => "UNBLOCKED",
        }
    }

    /// The refusal that is meant by this code alone. `UNBLOCKED` is not among them: its detail decides.
    fn by_code(code: &str) -> Option<Refusal> {
        match code {
            "READONLY" => Some(Refusal::ReadOnly),
            "LOADING" => Some(Refusal::Loading),
            "MASTERDOWN" => Some(Refusal::MasterDown),
            "CLUSTERDOWN" => Some(Refusal::ClusterDown),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What an error reply says about what ran, and about what to do next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Nothing ran, and this server will not run it: send it again on the next good link.
    Elsewhere(Refusal),
    /// Nothing ran, and the same server will run it in a moment.
    Shortly,
    /// Nothing ran. The caller has to know.
    Refused,
    /// A script ran up to this error: what it did before has happened. The refusal, if there is one, says that the
    /// link leads to the wrong server all the same.
    Partial(Option<Refusal>),
}

impl ErrorClass {
    /// The refusal that is to be reported about the link, if the reply is one.
    #[must_use]
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            ErrorClass::Elsewhere(refusal) => Some(refusal),
            ErrorClass::Partial(refusal) => refusal,
            ErrorClass::Shortly | ErrorClass::Refused => None,
        }
    }
}

/// Classifies an error reply. `code` is its first word without the leading dash, `detail` what follows the code.
#[must_use]
pub fn classify(code: &str, detail: Option<&str>) -> ErrorClass {
    let detail = detail.unwrap_or_default();
    if is_from_inside_a_script(code, detail) {
        return ErrorClass::Partial(refusal_anywhere(code, detail));
    }
    match code {
        "TRYAGAIN" => ErrorClass::Shortly,
        "EXECABORT" => classify_discarded(detail),
        _ => match refusal(code, detail) {
            Some(refusal) => ErrorClass::Elsewhere(refusal),
            None => ErrorClass::Refused,
        },
    }
}

/// Servers from 7 on append `script: <sha or function>, on @user_script:<line>.`; older ones begin with the phrase.
fn is_from_inside_a_script(code: &str, detail: &str) -> bool {
    detail.contains("script: ") || (code == "ERR" && detail.starts_with("Error running script"))
}

/// A refusal inside a script's error: as its code, or, on servers before 7, somewhere behind a dash in its text.
fn refusal_anywhere(code: &str, detail: &str) -> Option<Refusal> {
    refusal(code, detail).or_else(|| {
        detail.split_ascii_whitespace().filter_map(|word| word.strip_prefix('-')).find_map(Refusal::by_code)
    })
}

/// `EXECABORT Transaction discarded because of: READONLY ...`: the transaction fares as what stopped it.
fn classify_discarded(detail: &str) -> ErrorClass {
    let Some((_, cause)) = detail.split_once("because of: ") else { return ErrorClass::Refused };
    let (code, detail) = split_reply(cause);
    match code {
        // A server that nests this deeper than once is not one that we know; the recursion ends here.
        "EXECABORT" => ErrorClass::Refused,
        _ => classify(code, Some(detail)),
    }
}

fn refusal(code: &str, detail: &str) -> Option<Refusal> {
    match code {
        "ERR" => Refusal::by_code(split_reply(detail).0),
        "UNBLOCKED" => detail.contains("instance state changed").then_some(Refusal::Unblocked),
        _ => Refusal::by_code(code),
    }
}

fn split_reply(reply: &str) -> (&str, &str) {
    let reply = reply.trim_start();
    let reply = reply.strip_prefix('-').unwrap_or(reply);
    reply.split_once(' ').unwrap_or((reply, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(line: &str) -> ErrorClass {
        let (code, detail) = line.split_once(' ').map_or((line, None), |(code, detail)| (code, Some(detail)));
        classify(code, detail)
    }

    #[test]
    fn refusals_that_another_server_would_not_give() {
        for (line, refusal) in [
            ("READONLY You can't write against a read only replica.", Refusal::ReadOnly),
            ("READONLY", Refusal::ReadOnly),
            ("LOADING Redis is loading the dataset in memory", Refusal::Loading),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Refusal::MasterDown),
            ("CLUSTERDOWN The cluster is down", Refusal::ClusterDown),
            ("ERR READONLY You can't write against a read only replica.", Refusal::ReadOnly),
            ("ERR -LOADING Redis is loading the dataset in memory", Refusal::Loading),
            (
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                Refusal::Unblocked,
            ),
            (
                "EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.",
                Refusal::ReadOnly,
            ),
            ("READONLY Can not run script with write flag on readonly replica.", Refusal::ReadOnly),
        ] {
            assert_eq!(class_of(line), ErrorClass::Elsewhere(refusal), "{line}");
        }
    }

    #[test]
    fn what_waits_a_moment() {
        assert_eq!(class_of("TRYAGAIN Multiple keys request during rehashing of slot"), ErrorClass::Shortly);
    }

    #[test]
    fn a_script_has_run_up_to_its_error() {
        for (line, refusal) in [
            (
                "READONLY You can't write against a read only replica. script: 1b2, on @user_script:1.",
                Some(Refusal::ReadOnly),
            ),
            (
                "ERR Error running script (call to f_1b2): @user_script:1: @user_script: 1: -READONLY You can't write.",
                Some(Refusal::ReadOnly),
            ),
            ("WRONGTYPE Operation against a key script: my_function, on @user_function:3.", None),
            ("ERR value is not an integer script: 1b2, on @user_script:1.", None),
        ] {
            assert_eq!(class_of(line), ErrorClass::Partial(refusal), "{line}");
        }
    }

    #[test]
    fn everything_else_is_the_callers() {
        for line in [
            "ERR syntax error",
            "ERR",
            "ERR the key READONLY is unknown",
            "UNBLOCKED client unblocked via CLIENT UNBLOCK",
            "EXECABORT Transaction discarded because of previous errors.",
            "EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.",
            "EXECABORT because of: EXECABORT because of: READONLY x",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOREPLICAS Not enough good replicas to write.",
            "NOAUTH Authentication required.",
            "NOPERM this user has no permissions to run the 'set' command",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "MOVED 3999 127.0.0.1:6381",
            "readonly lower case is no code",
            "",
        ] {
            assert_eq!(class_of(line), ErrorClass::Refused, "{line}");
        }
    }
}
