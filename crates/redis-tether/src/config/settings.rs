//! The sections of a configuration: plain data with a documented default for every field. The ranges are enforced by
//! `Config::validate`, from the table in `table.rs`; nothing here parses or decides.

use std::time::Duration;

use serde::Serialize;

/// Which version of the protocol the connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Protocol {
    /// RESP2, the default: every server and proxy speaks it.
    #[default]
    Resp2,
    /// RESP3, from Redis 6 on. The handshake needs `HELLO 3`, which some proxies refuse.
    Resp3,
}

/// How a fresh connection, and the live one at every probe, is asked whether it leads to a working primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verify {
    /// `Hello`, and where the endpoint turns out not to take it the next lower level, remembered per endpoint. The
    /// default.
    #[default]
    Auto,
    /// `HELLO` and `PING`: role, LOADING and MISCONF. Allowed even where an ACL denies ROLE and INFO.
    Hello,
    /// `ROLE` and `PING`, for servers before Redis 6.
    Role,
    /// `PING` alone, for proxies: says nothing about the role, so that a demotion shows only by READONLY.
    Ping,
    /// Nothing is sent. A frozen server then shows only by commands that go unanswered, and a mute link is replaced at its
    /// own address no sooner than after `dead_after`: that another one is accepted proves nothing.
    None,
}

/// What a [`Tether`](crate::Tether) makes of a server that turns out to be a node of a cluster whose slots are on several shards. One
/// that has all slots to itself (a cluster of one shard, a serverless endpoint) is taken in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClusterNode {
    /// It is refused, with an error that says what to use instead. Shows only where `verify` has `HELLO` asked, and the user may
    /// ask `+cluster|slots`; else `MOVED` is handed out, with the same advice. The default.
    #[default]
    Refuse,
    /// It is taken as any server, and `MOVED` is handed out as it comes: for tools that mean this very node.
    Accept,
}

/// What happens to a command that is issued while there is no link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HoldMode {
    /// It is held until a link is up, within `hold_window`, its deadline and the bounds on count and bytes. The
    /// default.
    #[default]
    Hold,
    /// It fails at once as not sent.
    FailFast,
}

/// Whether a command is sent again that left and whose reply did not come: it may have been executed, and without its reply
/// nobody can tell. So it is with a script that was refused half-way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Retry {
    /// It is not: it fails as [`Ambiguous`](crate::Outcome::Ambiguous). The default: nothing is executed twice.
    #[default]
    Never,
    /// It is, if the server says that it changes nothing: the flags of `COMMAND INFO` have `readonly`. Of a pipeline all
    /// commands must have it.
    ///
    /// The server is asked when a command is about to be sent again, over the link that it is to go over; what it says is
    /// remembered. Where it does not say (it does not know the command; or an ACL denies `COMMAND`, and then it is not asked again
    /// for a minute), or is not asked (it was
    /// found to answer no more than `PING`, as a proxy does that hangs up on questions), the command is not sent again.
    ReadOnly,
    /// It is, whatever it does: for callers whose writes may be done twice (`SET`, `HSET`, `SADD`, or a script that looks
    /// first). `INCR` counts twice then, and `BLPOP` loses an element.
    ///
    /// An error with which a server answers the second time is handed out as it is. Its [outcome](crate::OutcomeExt::outcome) is that
    /// of the last sending: here, and with no other policy, `Refused` does not say that an earlier one did nothing.
    All,
}

/// Deadlines, holding and sending again.
///
/// # Defaults
/// `deadline` 5 s, `hold` hold, `hold_window` 3 s, `max_held` 10,000, `max_held_bytes` 64 MiB, `retry` never,
/// `max_retries` 3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CommandSettings {
    /// How long a command may take, holding and sending again included. 1 ms to 1 h, default 5 s.
    ///
    /// Long enough that a server that runs a script for 3 s loses nothing, and the same as `dead_after`, so that a
    /// command on a link that goes mute ends with the verdict on the link. StackExchange.Redis's default is 5 s, too.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,

    /// Hold commands while there is no link, or fail them at once. Default: hold, so that a failover is a delay and no
    /// error.
    pub hold: HoldMode,

    /// For how long from the start of an outage commands are held; after that they fail at once. 1 ms to 1 h, default
    /// 3 s: bridges a planned failover, and does not turn an outage into latency.
    ///
    /// It may be longer than `deadline`; the deadline ends the command then.
    #[serde(with = "humantime_serde")]
    pub hold_window: Duration,

    /// How many commands are held at most; more fail at once. 1 to 10,000,000, default 10,000: they are let go at a growing
    /// pace, which reaches so many within a few round trips, so that those at the end are served within their deadlines.
    pub max_held: usize,

    /// How many bytes of encoded commands are held at most; more fail at once. 1 KiB to 1 GiB, default 64 MiB, since
    /// the count alone would permit gigabytes.
    pub max_held_bytes: usize,

    /// Whether a command whose fate is unknown is sent again. Default: never.
    pub retry: Retry,

    /// How often one command may be sent again of which each sending before may have been executed, where `retry` allows it. 1 to
    /// 100, default 3: a command that is about whenever a server fails may be what makes it fail.
    pub max_retries: u32,
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            hold: HoldMode::Hold,
            hold_window: Duration::from_secs(3),
            max_held: 10_000,
            max_held_bytes: 64 * 1024 * 1024,
            retry: Retry::Never,
            max_retries: 3,
        }
    }
}

/// When a link is doubted, and when it is given up.
///
/// # Defaults
/// `suspect_after` 250 ms, `dead_after` 5 s, `probe_interval` 3 s, `probe_timeout` 400 ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DetectionSettings {
    /// How long the server may owe a reply without sending a byte before the link is suspected: from the first write after
    /// the last read. 1 ms to 1 h, below `dead_after`; default 250 ms. Short, because suspicion costs nothing: new commands
    /// wait, those in flight stay.
    ///
    /// Where the last read answered only some of the commands in flight and nothing has been sent since, nobody can tell
    /// that more is owed; the server is probed after this time, and the link is suspected as long after that.
    #[serde(with = "humantime_serde")]
    pub suspect_after: Duration,

    /// How long it may stay mute before the link is closed. 1 ms to 1 h, default 5 s: forks and scripts of seconds are
    /// survived.
    #[serde(with = "humantime_serde")]
    pub dead_after: Duration,

    /// How often a link is probed, whatever else it carries: under read-only traffic a demotion shows by nothing else.
    /// 1 ms to 1 h, default 3 s: the longest that such a demotion goes unnoticed, and a thousand links probed as often cost
    /// 1.8 % of a core (measured).
    #[serde(with = "humantime_serde")]
    pub probe_interval: Duration,

    /// How long a probe is waited for. 1 ms to 1 h, at most `probe_interval`; default 400 ms: above `suspect_after`, so that
    /// a server that says nothing at all is judged by its silence, and by this only one that does speak.
    ///
    /// One that is not answered makes the link suspect, unless something else was read within the last `suspect_after`:
    /// a server that goes on answering is slow and not silent, and the probe is waited for until the next one is due. A
    /// server that says nothing at all from the probe on is suspected after `suspect_after`, if that is sooner.
    #[serde(with = "humantime_serde")]
    pub probe_timeout: Duration,
}

impl Default for DetectionSettings {
    fn default() -> Self {
        Self {
            suspect_after: Duration::from_millis(250),
            dead_after: Duration::from_secs(5),
            probe_interval: Duration::from_secs(3),
            probe_timeout: Duration::from_millis(400),
        }
    }
}

/// How one connection is made.
///
/// # Defaults
/// `connect_timeout` 1 s, `timeout` 3 s, `stagger` 250 ms, `tcp_user_timeout` 5 s, `keepalive_idle` 15 s,
/// `keepalive_interval` 5 s, `keepalive_retries` 3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DialSettings {
    /// How long the TCP connection to one address may take. 1 ms to 1 h, at most `timeout`; default 1 s: several times a
    /// round trip across the world. Where packets vanish, recovery waits for this.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,

    /// How long a whole dial may take: connecting, TLS, signing in, verifying. 1 ms to 1 h, default 3 s: a server that verifies
    /// slowly is still met, and an attempt at one that never speaks ends when the hold window does.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,

    /// How long after the one address the next is tried, where a name has several. 1 ms to 1 h, default 250 ms, which
    /// is what RFC 8305 recommends: two dead records before the good one cost half a second.
    #[serde(with = "humantime_serde")]
    pub stagger: Duration,

    /// How long sent bytes may go without an acknowledgement before the kernel ends the connection
    /// (`TCP_USER_TIMEOUT`, where the platform has it). 1 ms to 1 h, default 5 s, like `dead_after`: a host that is gone is
    /// given up no later by the kernel than by us.
    #[serde(with = "humantime_serde")]
    pub tcp_user_timeout: Duration,

    /// How long an idle connection waits before its first keepalive segment. 1 s to 1 h, in whole seconds on most
    /// platforms; default 15 s, below the idle limits of NAT gateways and load balancers.
    #[serde(with = "humantime_serde")]
    pub keepalive_idle: Duration,

    /// How long between keepalive segments that go unanswered. 1 s to 1 h, default 5 s. Only a last resort, since probes
    /// find a dead peer long before: with the idle time and the retries, a socket that nobody asks is given up within half
    /// a minute.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,

    /// After how many unanswered keepalive segments the connection counts as dead. 1 to 127 (Linux's limit), default
    /// 3: one or two lost packets end nothing. Linux goes by `tcp_user_timeout` instead, once one is unanswered.
    pub keepalive_retries: u32,
}

impl Default for DialSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(3),
            stagger: Duration::from_millis(250),
            tcp_user_timeout: Duration::from_secs(5),
            keepalive_idle: Duration::from_secs(15),
            keepalive_interval: Duration::from_secs(5),
            keepalive_retries: 3,
        }
    }
}

/// How often DNS is asked again.
///
/// # Defaults
/// `interval` 2 s, `fast_interval` 50 ms, `fast_for` 5 s, `outage_interval` 1 s, `swap_budget` 10 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResolveSettings {
    /// The time between lookups while all is well, give or take 20 %. 1 ms to 1 h, default 2 s: resolvers on the way
    /// cache by TTL, so that asking often stays local.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,

    /// The time between lookups while the link is not up, for `fast_for`; up to 20 % less, at random. 1 ms to 1 h, at most
    /// `interval` and `outage_interval`; default 50 ms: it bounds how long after a record moves its new address is dialled.
    #[serde(with = "humantime_serde")]
    pub fast_interval: Duration,

    /// For how long from the start of an outage lookups keep that pace. 1 ms to 1 h, default 5 s: a record that moves
    /// because of the outage moves early in it, and after that the pace would be a burden on the resolver. As long as dials
    /// to unreachable addresses keep theirs.
    #[serde(with = "humantime_serde")]
    pub fast_for: Duration,

    /// The time between lookups in the rest of an outage; up to 20 % less, at random. 1 ms to 1 h, default 1 s: easy on a
    /// resolver for however long the outage lasts, and quicker than when all is well. After every
    /// [`failures_before_resolve`](crate::Config::failures_before_resolve) failed rounds there is one more, which takes an answer that
    /// is no older than this: the system's resolver is not asked more often for it, another one where it keeps no answers.
    #[serde(with = "humantime_serde")]
    pub outage_interval: Duration,

    /// The least time between two moves of a healthy link that rest on DNS evidence alone, so that rotating answers do
    /// not make it flap; and for how long a replica that serves is read from that a reader endpoint or the nodes of a cluster do not
    /// name any more. 1 ms to 1 h, default 10 s.
    #[serde(with = "humantime_serde")]
    pub swap_budget: Duration,
}

impl Default for ResolveSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            fast_interval: Duration::from_millis(50),
            fast_for: Duration::from_secs(5),
            outage_interval: Duration::from_secs(1),
            swap_budget: Duration::from_secs(10),
        }
    }
}
