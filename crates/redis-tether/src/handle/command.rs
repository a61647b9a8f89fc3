//! What a command asks of the link that carries it: nothing special, silence for a while (blocking commands), or a link
//! of its own, which a shared link must refuse it. The handle asks before it sends. It reads names and timeouts and
//! nothing else: whether a command is well-formed is for the server to say.
//!
//! Most commands are told apart by the first letter and the length of their name.

use std::time::Duration;

use redis::{Arg, Cmd, Pipeline};

/// What a command asks of its link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Demand {
    /// An answer as soon as the server can.
    Plain,
    /// The server may keep silent for this long before it answers; `None`: for ever.
    Blocking(Option<Duration>),
    /// `WAIT` and `WAITAOF`: blocking, and they speak of the writes of this very connection. Over another link than
    /// those writes went they would be answered at once, and wrongly.
    Acknowledgement(Option<Duration>),
    /// Has no place on a shared link.
    Unshareable(&'static Unshareable),
}

impl Demand {
    /// Whether it speaks of the link that earlier commands went over, so that it cannot go over another one.
    pub(crate) fn is_bound_to_link(self) -> bool {
        matches!(self, Demand::Acknowledgement(_))
    }
}

/// A command that would change the link for everybody else who uses it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Unshareable {
    pub(crate) command: &'static str,
    /// What to do instead.
    pub(crate) hint: &'static str,
    /// What to do instead where the connection is one's own. `None`: there it is carried.
    pub(crate) alone: Option<&'static str>,
}

const fn unshareable(command: &'static str, hint: &'static str) -> Unshareable {
    Unshareable { command, hint, alone: None }
}

impl Unshareable {
    /// It has no place on a connection of one's own either.
    const fn nor_alone(self, hint: &'static str) -> Unshareable {
        Unshareable { alone: Some(hint), ..self }
    }
}

const OWN_CONNECTION: &str =
    "it changes the connection for all who share it; use one of its own, from Tether::dedicated()";
const SUBSCRIPTION: &str =
    "subscriptions need a dedicated connection, from Tether::dedicated() and Dedicated::into_pub_sub()";
const TRANSACTION: &str =
    "other callers' commands would get into it; use redis::pipe().atomic(), or Tether::dedicated()";
const CREDENTIALS: &str = "credentials belong into the configuration; for others use Tether::dedicated()";
const INVALIDATIONS: &str =
    "invalidations would come to all who share the connection; use one of its own, from Tether::dedicated()";
const CLUSTER_NODE: &str = "it changes what the next commands may ask of a cluster node; use Tether::dedicated()";
const REPLICATION: &str = "what follows is not the protocol of commands";
const INTO_PUB_SUB: &str = "Dedicated::into_pub_sub makes the connection one for subscriptions";
const UNASKED: &str =
    "its messages come unasked, between replies; redis::Client::get_async_monitor has a connection for them";
const SHIFTED: &str = "replies could no longer be told apart; await the reply instead";

/// A pipeline of which too few or too many replies are asked for.
pub(crate) static MISCOUNTED: Unshareable = unshareable(
    "a pipeline with another number of replies than commands",
    "ask for all replies behind the offset, those of MULTI and EXEC included, and for the last at least",
);

static WATCH: Unshareable =
    unshareable("WATCH", "other callers share the connection; use Tether::dedicated(), or a script");
static SELECT: Unshareable =
    unshareable("SELECT", "the database belongs into the configuration; for another use Tether::dedicated()");
static SUBSCRIBE: Unshareable = unshareable("SUBSCRIBE", SUBSCRIPTION).nor_alone(INTO_PUB_SUB);
static PSUBSCRIBE: Unshareable = unshareable("PSUBSCRIBE", SUBSCRIPTION).nor_alone(INTO_PUB_SUB);
static SSUBSCRIBE: Unshareable = unshareable("SSUBSCRIBE", SUBSCRIPTION).nor_alone(INTO_PUB_SUB);
static UNSUBSCRIBE: Unshareable = unshareable("UNSUBSCRIBE", SUBSCRIPTION).nor_alone(INTO_PUB_SUB);
static PUNSUBSCRIBE: Unshareable = unshareable("PUNSUBSCRIBE", SUBSCRIPTION).nor_alone(INTO_PUB_SUB);
static SUNSUBSCRIBE: Unshareable = unshareable("SUNSUBSCRIBE", SUBSCRIPTION).nor_alone(INTO_PUB_SUB);
static MONITOR: Unshareable =
    unshareable("MONITOR", "its messages come unasked; use redis::Client::get_async_monitor").nor_alone(UNASKED);
static RESET: Unshareable = unshareable("RESET", OWN_CONNECTION);
static QUIT: Unshareable = unshareable("QUIT", "the connection is shared; shut the tether down instead");
static SYNC: Unshareable = unshareable("SYNC", REPLICATION).nor_alone(REPLICATION);
static PSYNC: Unshareable = unshareable("PSYNC", REPLICATION).nor_alone(REPLICATION);
static HELLO: Unshareable = unshareable("HELLO", "the protocol and the credentials belong into the configuration");
static AUTH: Unshareable = unshareable("AUTH", CREDENTIALS);
static REPLCONF: Unshareable = unshareable("REPLCONF", REPLICATION).nor_alone(REPLICATION);
static ASKING: Unshareable = unshareable("ASKING", CLUSTER_NODE);
static READONLY: Unshareable = unshareable("READONLY", CLUSTER_NODE);
static READWRITE: Unshareable = unshareable("READWRITE", CLUSTER_NODE);
static SCRIPT_DEBUG: Unshareable = unshareable("SCRIPT DEBUG", REPLICATION).nor_alone(REPLICATION);
static NO_RESPONSE: Unshareable = unshareable("a command without response", SHIFTED).nor_alone(SHIFTED);
static MULTI: Unshareable = unshareable("MULTI", TRANSACTION);
static EXEC: Unshareable = unshareable("EXEC", TRANSACTION);
static DISCARD: Unshareable = unshareable("DISCARD", TRANSACTION);

/// The subcommands of `CLIENT` that speak of the connection rather than of the server, by their second word.
static OF_THE_CLIENT: [(&str, Unshareable); 9] = [
    ("REPLY", unshareable("CLIENT REPLY", "replies could no longer be told apart").nor_alone(SHIFTED)),
    ("TRACKING", unshareable("CLIENT TRACKING", INVALIDATIONS)),
    ("CACHING", unshareable("CLIENT CACHING", INVALIDATIONS)),
    (
        "SETNAME",
        unshareable(
            "CLIENT SETNAME",
            "the client's name belongs into the configuration; for another use Tether::dedicated()",
        ),
    ),
    ("SETINFO", unshareable("CLIENT SETINFO", OWN_CONNECTION)),
    ("NO-EVICT", unshareable("CLIENT NO-EVICT", OWN_CONNECTION)),
    ("NO-TOUCH", unshareable("CLIENT NO-TOUCH", OWN_CONNECTION)),
    // Valkey's.
    ("CAPA", unshareable("CLIENT CAPA", OWN_CONNECTION)),
    ("IMPORT-SOURCE", unshareable("CLIENT IMPORT-SOURCE", OWN_CONNECTION)),
];

/// What this command asks of its link.
pub(crate) fn demand_of(cmd: &Cmd) -> Demand {
    match part_of(cmd) {
        Part::Alone(demand) => demand,
        Part::Opens => Demand::Unshareable(&MULTI),
        Part::Closes(which) => Demand::Unshareable(which),
    }
}

/// What this pipeline asks of its link: what its commands ask for together. A transaction never blocks, and one that is
/// spelled out is fine where the pipeline that opens it also closes it.
pub(crate) fn demand_of_all(pipeline: &Pipeline) -> Demand {
    let mut together = Demand::Plain;
    let mut is_open = false;
    for (index, cmd) in pipeline.cmd_iter().enumerate() {
        match part_of(cmd) {
            Part::Alone(Demand::Unshareable(which)) => return Demand::Unshareable(which),
            // What it acknowledges goes before it, over the same link.
            Part::Alone(Demand::Acknowledgement(wait)) if index > 0 => {
                together = both(together, Demand::Blocking(wait))
            }
            Part::Alone(demand) => together = both(together, demand),
            Part::Opens => is_open = true,
            Part::Closes(_) if is_open => is_open = false,
            Part::Closes(which) => return Demand::Unshareable(which),
        }
    }
    if is_open {
        return Demand::Unshareable(&MULTI);
    }
    if pipeline.is_transaction() { Demand::Plain } else { together }
}

/// A command's part among others: for itself, or one end of a transaction.
enum Part {
    Alone(Demand),
    Opens,
    Closes(&'static Unshareable),
}

fn part_of(cmd: &Cmd) -> Part {
    if cmd.is_no_response() {
        return Part::Alone(Demand::Unshareable(&NO_RESPONSE));
    }
    let mut args = cmd.args_iter();
    let Some(Arg::Simple(name)) = args.next() else { return Part::Alone(Demand::Plain) };
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let refuse_if = |which: &'static Unshareable| match is(which.command) {
        true => Demand::Unshareable(which),
        false => Demand::Plain,
    };
    let first = name.first().map(u8::to_ascii_uppercase).unwrap_or_default();
    Part::Alone(match (first, name.len()) {
        (b'M', 5) if is("MULTI") => return Part::Opens,
        (b'E', 4) if is("EXEC") => return Part::Closes(&EXEC),
        (b'D', 7) if is("DISCARD") => return Part::Closes(&DISCARD),
        (b'B', 5..=10) => blocking_pop(name, args.map(simple)),
        (b'X', 5) if is("XREAD") => block_option(args.map(simple)),
        // GROUP, its name and the consumer's come first, and may be called anything.
        (b'X', 10) if is("XREADGROUP") => block_option(args.skip(3).map(simple)),
        (b'W', 4) if is("WAIT") => acknowledgement(args.map(simple)),
        (b'W', 7) if is("WAITAOF") => acknowledgement(args.map(simple)),
        (b'W', 5) => refuse_if(&WATCH),
        (b'S', 6) if is("SCRIPT") && is_next(&mut args, b"DEBUG") => Demand::Unshareable(&SCRIPT_DEBUG),
        (b'S', 6) => refuse_if(&SELECT),
        (b'S', 9) => refuse_if(&SUBSCRIBE),
        (b'P', 10) => refuse_if(&PSUBSCRIBE),
        (b'S', 10) => refuse_if(&SSUBSCRIBE),
        (b'U', 11) => refuse_if(&UNSUBSCRIBE),
        (b'P', 12) => refuse_if(&PUNSUBSCRIBE),
        (b'S', 12) => refuse_if(&SUNSUBSCRIBE),
        (b'M', 7) => refuse_if(&MONITOR),
        (b'R', 5) => refuse_if(&RESET),
        (b'R', 8) if is("REPLCONF") => Demand::Unshareable(&REPLCONF),
        (b'R', 8) => refuse_if(&READONLY),
        (b'R', 9) => refuse_if(&READWRITE),
        (b'Q', 4) => refuse_if(&QUIT),
        (b'S', 4) => refuse_if(&SYNC),
        (b'P', 5) => refuse_if(&PSYNC),
        (b'A', 4) => refuse_if(&AUTH),
        (b'A', 6) => refuse_if(&ASKING),
        // Without a version it only asks.
        (b'H', 5) if args.len() > 0 => refuse_if(&HELLO),
        (b'C', 6) if is("CLIENT") => of_the_client(args.next().map(simple)),
        _ => Demand::Plain,
    })
}

fn is_next<'a>(args: &mut impl Iterator<Item = Arg<&'a [u8]>>, known: &[u8]) -> bool {
    args.next().is_some_and(|arg| simple(arg).eq_ignore_ascii_case(known))
}

fn of_the_client(subcommand: Option<&[u8]>) -> Demand {
    let known = |(name, _): &&(&str, _)| subcommand.is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    OF_THE_CLIENT.iter().find(known).map_or(Demand::Plain, |(_, which)| Demand::Unshareable(which))
}

fn simple(arg: Arg<&[u8]>) -> &[u8] {
    match arg {
        Arg::Simple(bytes) => bytes,
        _ => b"",
    }
}

/// The commands that wait for an element: all give seconds, most of them last.
fn blocking_pop<'a>(name: &[u8], mut args: impl Iterator<Item = &'a [u8]>) -> Demand {
    let is_any_of = |known: &[&str]| known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    let timeout = if is_any_of(&["BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX"]) {
        args.last()
    } else if is_any_of(&["BLMPOP", "BZMPOP"]) {
        args.next()
    } else {
        None
    };
    timeout.and_then(seconds).map_or(Demand::Plain, Demand::Blocking)
}

/// `BLOCK <milliseconds>` among the options, which end at `STREAMS`.
fn block_option<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> Demand {
    while let Some(option) = args.next() {
        if option.eq_ignore_ascii_case(b"STREAMS") {
            break;
        }
        if option.eq_ignore_ascii_case(b"BLOCK") {
            return args.next().and_then(milliseconds).map_or(Demand::Plain, Demand::Blocking);
        }
    }
    Demand::Plain
}

fn acknowledgement<'a>(args: impl Iterator<Item = &'a [u8]>) -> Demand {
    // One that cannot be read is refused by the server at once.
    Demand::Acknowledgement(args.last().and_then(milliseconds).unwrap_or(Some(Duration::ZERO)))
}

/// A timeout in seconds: `Some(None)` for zero, which means for ever; `None` for what the server refuses.
fn seconds(text: &[u8]) -> Option<Option<Duration>> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    match seconds {
        _ if seconds.is_nan() || seconds < 0.0 => None,
        0.0 => Some(None),
        // What no Duration can express is as good as for ever.
        _ => Some(Duration::try_from_secs_f64(seconds).ok()),
    }
}

/// As [`seconds`], for a timeout in milliseconds.
fn milliseconds(text: &[u8]) -> Option<Option<Duration>> {
    match std::str::from_utf8(text).ok()?.parse().ok()? {
        0 => Some(None),
        millis => Some(Some(Duration::from_millis(millis))),
    }
}

/// One after the other: the waits add up, and one wait for ever is a wait for ever.
pub(crate) fn both(first: Demand, second: Demand) -> Demand {
    let sum = |a: Option<Duration>, b: Option<Duration>| a?.checked_add(b?);
    match (first, second) {
        (Demand::Unshareable(which), _) | (_, Demand::Unshareable(which)) => Demand::Unshareable(which),
        (Demand::Plain, other) | (other, Demand::Plain) => other,
        (Demand::Blocking(a), Demand::Blocking(b)) => Demand::Blocking(sum(a, b)),
        // It is bound to the link, whatever else is in it.
        (Demand::Acknowledgement(a) | Demand::Blocking(a), Demand::Acknowledgement(b) | Demand::Blocking(b)) => {
            Demand::Acknowledgement(sum(a, b))
        }
    }
}

#[cfg(test)]
mod tests;
