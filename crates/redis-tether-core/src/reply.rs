//! What an error reply means: did anything run, and is this server the wrong one to ask? The handle asks this of every
//! error reply it sees, the library's outcome trait asks it of every error it is shown. Pure text in, a verdict out; of the
//! command it knows no more than whether it ran a script ([`Asked`]), and it never decides how long to wait.
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
//! | `ERR Can not execute during LOADING` (or `TAKEN OVER`, ...) | elsewhere, as `LOADING` | how older Dragonflies say it, and that another one takes over from them |
//! | `TRYAGAIN` | shortly | keys of one slot are on two nodes for a moment, nothing ran |
//! | `EXECABORT ... because of: <reply>` | as that reply, else refused | `EXEC` itself was refused, the transaction is discarded |
//! | any with `script: `, and `ERR Error running script` | partial | the script ran up to there; with one of the first four codes the link is wrong as well |
//! | any of the above from a script, in words that are not the server's | refused | the script made it up (`redis.error_reply`): it is its answer |
//! | `READONLY` from a script that declares nothing | partial | the script ran, caught the refusal (`redis.pcall`) and returned it |
//! | `ERR` with a proxy's words for a server that it lost, Envoy's `upstream failure` | lost | the proxy had sent it on, and no reply came |
//! | `IOERR` | lost | `MIGRATE` lost the other instance: the key may be on both |
//! | all others | refused | a command that answers with an error has changed nothing |
//!
//! `MISCONF`, `NOREPLICAS`, `NOAUTH`, `NOPERM`, `OOM`, `BUSY`, `MOVED` and the like are among the others: another try
//! would meet the same answer, or somebody must act first.
//!
//! That a script made up an error of a code that nobody else uses cannot be seen. It is refused like the others, though what
//! the script did before has happened.

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
    /// `MOVED`: the node of a cluster no longer has the slots that were its own, and its successor has them. Where it stands for
    /// a demotion, and where for slots that went elsewhere, only who knows the cluster can tell: no reply is classified so here.
    Moved,
    /// `UNBLOCKED`: a blocking command was sent away because the server stopped being a primary.
    Unblocked,
}

impl Refusal {
    /// Whether the reply shows that the server is a replica now.
    #[must_use]
    pub fn is_demotion(self) -> bool {
        match self {
            Refusal::ReadOnly | Refusal::MasterDown | Refusal::Moved | Refusal::Unblocked => true,
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
            Refusal::Moved => "MOVED",
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
    /// A proxy, or a server on behalf of `MIGRATE`, sent it on and lost the other side: it may have run.
    Lost,
}

impl ErrorClass {
    /// The refusal that is to be reported about the link, if the reply is one.
    #[must_use]
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            ErrorClass::Elsewhere(refusal) => Some(refusal),
            ErrorClass::Partial(refusal) => refusal,
            ErrorClass::Shortly | ErrorClass::Refused | ErrorClass::Lost => None,
        }
    }
}

/// What an error reply answers. A script may return whatever it likes, a server's own words included, so its errors
/// prove less than those of other commands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Asked {
    /// Anything that is no script.
    Command,
    /// A function, or a script that declares what it does (`#!lua`): a replica refuses one that may write before it begins.
    DeclaredScript,
    /// A script that declares nothing, or of which nothing is known but its digest: a replica runs it up to its first write.
    Script,
}

impl Asked {
    /// By the command's name and its first argument, which of a script is its text.
    #[must_use]
    pub fn by(name: &[u8], argument: Option<&[u8]>) -> Asked {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if !matches!(name.first(), Some(b'E' | b'e' | b'F' | b'f')) {
            Asked::Command
        } else if is("FCALL") || is("FCALL_RO") {
            Asked::DeclaredScript
        } else if is("EVAL") || is("EVAL_RO") {
            let declares = argument.is_some_and(|text| text.starts_with(b"#!"));
            if declares { Asked::DeclaredScript } else { Asked::Script }
        } else if is("EVALSHA") || is("EVALSHA_RO") {
            Asked::Script
        } else {
            Asked::Command
        }
    }
}

/// Classifies an error reply to anything that is no script, or of which that is not known. `code` is its first word without
/// the leading dash, `detail` what follows the code.
#[must_use]
pub fn classify(code: &str, detail: Option<&str>) -> ErrorClass {
    classify_for(Asked::Command, code, detail)
}

/// Classifies an error reply to what was asked. `code` and `detail` as for [`classify`].
#[must_use]
pub fn classify_for(asked: Asked, code: &str, detail: Option<&str>) -> ErrorClass {
    let detail = detail.unwrap_or_default();
    if is_from_inside_a_script(code, detail) {
        return ErrorClass::Partial(refusal_anywhere(code, detail));
    }
    if asked != Asked::Command && !is_in_the_servers_words(code, detail) {
        return ErrorClass::Refused;
    }
    match code {
        "TRYAGAIN" => ErrorClass::Shortly,
        "EXECABORT" => classify_discarded(detail),
        _ => match refusal(code, detail) {
            Some(Refusal::ReadOnly) if asked == Asked::Script && !detail.contains(WRITE_FLAG) => {
                ErrorClass::Partial(Some(Refusal::ReadOnly))
            }
            Some(refusal) => ErrorClass::Elsewhere(refusal),
            None if is_of_a_lost_server(code, detail) => ErrorClass::Lost,
            None => ErrorClass::Refused,
        },
    }
}

/// How a server says that it refused a script before it began.
const WRITE_FLAG: &str = "script with write flag";

/// Whether a server says it so, of those that refuse scripts with these codes. What a script makes up reads otherwise, unless
/// it means to be taken for one.
fn is_in_the_servers_words(code: &str, detail: &str) -> bool {
    let (code, detail) = if code == "ERR" { split_reply(detail) } else { (code, detail) };
    let words: &[&str] = match code {
        "READONLY" => &["You can't write against a read only", WRITE_FLAG],
        "LOADING" => &["is loading the dataset"],
        "MASTERDOWN" => &["Link with MASTER is down"],
        "CLUSTERDOWN" => &["The cluster is down", "Hash slot not served"],
        "TRYAGAIN" => &["Multiple keys request during rehashing"],
        // No server says that of a script.
        "EXECABORT" | "UNBLOCKED" => &[],
        _ => return true,
    };
    words.iter().any(|words| detail.contains(words))
}

/// What proxies answer when the server to which they had sent a command is gone or does not answer: Envoy, twemproxy (which
/// gives the system's word for what happened to its socket) and Predixy. That there was no connection to send it on is
/// said otherwise, and is a refusal.
fn is_of_a_lost_server(code: &str, detail: &str) -> bool {
    const WORDS: [&str; 7] = [
        "upstream failure",
        "upstream protocol error",
        "Connection timed out",
        "Connection reset by peer",
        "Broken pipe",
        "server connection close",
        "deliver request fail",
    ];
    match code {
        "ERR" => WORDS.contains(&detail.trim_end()),
        // Envoy gives no code.
        "upstream" => matches!(detail, "failure" | "protocol error"),
        // `MIGRATE`: the key may be on both instances.
        "IOERR" => !detail.contains("connecting"),
        _ => false,
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

/// What a Dragonfly says of commands that the state it is in does not allow, behind `ERR` and before the state's name.
pub const UNREADY: &str = "Can not execute during ";

fn refusal(code: &str, detail: &str) -> Option<Refusal> {
    match code {
        "ERR" if detail.starts_with(UNREADY) => Some(Refusal::Loading),
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
mod tests;
