//! Which commands only read. A replica refuses the others, and so does a handle to replicas, before it sends them: what it does not
//! know may write. A list of our own, since the server's (`COMMAND INFO`) costs a round trip and a permission.

use super::scans::{Scan, Scanned, Step};
use crate::handle::Words;
use crate::handle::request::Request;

/// Of the servers. Sorted, for a binary search.
const READS: &[&str] = &[
    "BITCOUNT",
    "BITFIELD_RO",
    "BITPOS",
    "COMMAND",
    "DBSIZE",
    "DUMP",
    "ECHO",
    "EVALSHA_RO",
    "EVAL_RO",
    "EXISTS",
    "EXPIRETIME",
    "FCALL_RO",
    "GEODIST",
    "GEOHASH",
    "GEOPOS",
    "GEORADIUSBYMEMBER_RO",
    "GEORADIUS_RO",
    "GEOSEARCH",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HEXPIRETIME",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HPEXPIRETIME",
    "HPTTL",
    "HRANDFIELD",
    "HSCAN",
    "HSTRLEN",
    "HTTL",
    "HVALS",
    "INFO",
    "KEYS",
    "LCS",
    "LINDEX",
    "LLEN",
    "LOLWUT",
    "LPOS",
    "LRANGE",
    "MGET",
    "PEXPIRETIME",
    "PFCOUNT",
    "PING",
    "PTTL",
    "RANDOMKEY",
    "ROLE",
    "SCAN",
    "SCARD",
    "SDIFF",
    "SINTER",
    "SINTERCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SORT_RO",
    "SRANDMEMBER",
    "SSCAN",
    "STRLEN",
    "SUBSTR",
    "SUNION",
    "TIME",
    "TOUCH",
    "TTL",
    "TYPE",
    "VCARD",
    "VDIM",
    "VEMB",
    "VGETATTR",
    "VINFO",
    "VISMEMBER",
    "VLINKS",
    "VRANDMEMBER",
    "VRANGE",
    "VSIM",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREAD",
    "XREVRANGE",
    "ZCARD",
    "ZCOUNT",
    "ZDIFF",
    "ZINTER",
    "ZINTERCARD",
    "ZLEXCOUNT",
    "ZMSCORE",
    "ZRANDMEMBER",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREVRANGE",
    "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCAN",
    "ZSCORE",
    "ZUNION",
];

/// Of modules that managed services have. Sorted as well.
const READS_OF_MODULES: &[&str] = &[
    "BF.CARD",
    "BF.EXISTS",
    "BF.INFO",
    "BF.MEXISTS",
    "CF.COUNT",
    "CF.EXISTS",
    "CF.INFO",
    "CF.MEXISTS",
    "CMS.INFO",
    "CMS.QUERY",
    "FT.EXPLAIN",
    "FT.INFO",
    "FT.SEARCH",
    "FT._LIST",
    "JSON.ARRINDEX",
    "JSON.ARRLEN",
    "JSON.GET",
    "JSON.MGET",
    "JSON.OBJKEYS",
    "JSON.OBJLEN",
    "JSON.RESP",
    "JSON.STRLEN",
    "JSON.TYPE",
    "TOPK.INFO",
    "TOPK.LIST",
    "TOPK.QUERY",
    "TS.GET",
    "TS.INFO",
    "TS.MGET",
    "TS.MRANGE",
    "TS.MREVRANGE",
    "TS.QUERYINDEX",
    "TS.RANGE",
    "TS.REVRANGE",
];

/// Of commands that are several by their second word, those that only read.
const SUBCOMMANDS: &[(&str, &[&str])] = &[
    ("MEMORY", &["USAGE"]),
    ("OBJECT", &["ENCODING", "FREQ", "IDLETIME", "REFCOUNT"]),
    ("SCRIPT", &["EXISTS"]),
    ("XINFO", &["CONSUMERS", "GROUPS", "STREAM"]),
];

/// Longer names are none of those.
const LONGEST: usize = 24;

/// The name of the first command that is not known to change nothing, as an error may show it.
pub(crate) fn written<R: Request>(request: R) -> Option<String> {
    request.words().find(|words| !only_reads(*words)).map(shown)
}

/// Whether this command is known to change nothing.
fn only_reads(words: Words<'_>) -> bool {
    let Some(name) = Upper::of(words.name()) else { return false };
    let is_listed = |list: &[&str]| list.binary_search(&name.text()).is_ok();
    if is_listed(READS) || is_listed(READS_OF_MODULES) {
        return true;
    }
    let group = SUBCOMMANDS.iter().find(|(group, _)| *group == name.text());
    group.is_some_and(|(_, reads)| Upper::of(words.second()).is_some_and(|second| reads.contains(&second.text())))
}

/// What this command scans, and whether it begins to, if it is a scan.
pub(super) fn scan(words: Words<'_>) -> Option<Scan> {
    let name = Upper::of(words.name())?;
    let before_cursor = match name.text() {
        "SCAN" => 1,
        "HSCAN" | "SSCAN" | "ZSCAN" => 2,
        _ => return None,
    };
    let sent = words.sent()?;
    let step = if sent.get(before_cursor)? == b"0" { Step::Begins } else { Step::GoesOn };
    let key = sent.into_iter().take(before_cursor).skip(1);
    Some(Scan { of: Scanned { name: name.text().to_owned(), key: key.last() }, step })
}

/// The name as an error may show it: what looks like none may be a value.
fn shown(words: Words<'_>) -> String {
    match Upper::of(words.name()) {
        Some(name) => name.text().to_owned(),
        None => "a command".to_owned(),
    }
}

/// A short word in capitals, without an allocation.
struct Upper {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Upper {
    /// `None` for what is no word of a command.
    fn of(word: &[u8]) -> Option<Upper> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if word.is_empty() || word.len() > LONGEST || !word.iter().all(is_word) {
            return None;
        }
        let mut bytes = [0; LONGEST];
        bytes[..word.len()].copy_from_slice(word);
        bytes.make_ascii_uppercase();
        Some(Upper { bytes, length: word.len() })
    }

    fn text(&self) -> &str {
        // Letters, digits and three signs: it is ASCII.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use redis::Cmd;

    use super::*;

    fn cmd(words: &[&str]) -> Cmd {
        let mut cmd = Cmd::new();
        cmd.arg(words);
        cmd
    }

    fn reads(words: &[&str]) -> bool {
        only_reads(Words::of(&cmd(words)))
    }

    #[test]
    fn the_lists_are_sorted_and_no_name_is_too_long() {
        for list in [READS, READS_OF_MODULES] {
            assert!(list.is_sorted_by(|one, other| one < other), "{list:?}");
            assert!(list.iter().all(|name| name.len() <= LONGEST));
        }
    }

    #[test]
    fn what_is_not_known_to_read_is_taken_for_a_write() {
        for words in [&["get", "k"][..], &["ZRange", "k"], &["EVAL_RO", "s"], &["json.get", "k"], &["OBJECT", "freq"]] {
            assert!(reads(words), "{words:?}");
        }
        let writes = [
            &["SET", "k"][..],
            &["GETEX", "k"],
            &["GETDEL", "k"],
            &["EVAL", "s"],
            &["SORT", "k"],
            &["PUBLISH", "c"],
            &["XREADGROUP"],
            &["OBJECT"],
            &["SCRIPT", "LOAD"],
            &["MEMORY", "PURGE"],
            &["CONFIG", "GET"],
            &["NEWFANGLED"],
            &[""],
            &["GET\r\n"],
        ];
        for words in writes {
            assert!(!reads(words), "{words:?}");
        }
        assert!(!only_reads(Words::of(&Cmd::new())));
    }

    #[test]
    fn a_scan_is_known_by_its_cursor() {
        let step = |words: &[&str]| scan(Words::of(&cmd(words))).map(|scan| scan.step);
        assert_eq!(step(&["SCAN", "0", "MATCH", "x"]), Some(Step::Begins));
        assert_eq!(step(&["scan", "17"]), Some(Step::GoesOn));
        assert_eq!(step(&["HSCAN", "0", "17"]), Some(Step::GoesOn));
        assert_eq!(step(&["ZSCAN", "17", "0"]), Some(Step::Begins));
        assert_eq!(step(&["GET", "0"]), None);
        let of = |words: &[&str]| scan(Words::of(&cmd(words))).map(|scan| scan.of);
        assert_eq!(of(&["SCAN", "0"]), of(&["scan", "17", "COUNT", "5"]));
        assert_ne!(of(&["HSCAN", "k", "0"]), of(&["HSCAN", "other", "0"]));
        assert_ne!(of(&["HSCAN", "k", "0"]), of(&["SSCAN", "k", "0"]));
    }

    /// Whose iterators keep it out of the arguments.
    #[test]
    fn a_scan_of_redis_rs_is_known_by_its_cursor_as_well() {
        let step = |cmd: &mut Cmd, cursor| scan(Words::of(cmd.cursor_arg(cursor))).map(|scan| scan.step);
        assert_eq!(step(&mut cmd(&["SCAN"]), 0), Some(Step::Begins));
        assert_eq!(step(&mut cmd(&["SCAN"]), 17), Some(Step::GoesOn));
        assert_eq!(step(&mut cmd(&["HSCAN", "k"]), 0), Some(Step::Begins));
        assert_eq!(step(&mut cmd(&["HSCAN", "k"]), 17), Some(Step::GoesOn));
    }

    #[test]
    fn what_may_be_a_value_is_not_shown() {
        let shown = |words: &[&str]| shown(Words::of(&cmd(words)));
        assert_eq!(shown(&["set", "k", "secret"]), "SET");
        assert_eq!(shown(&["a secret with spaces"]), "a command");
        assert_eq!(shown(&["averyveryverylongtokenthatisnocommand"]), "a command");
    }
}
