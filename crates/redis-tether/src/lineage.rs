//! Which history of writes a server holds, as its `INFO` has it: to tell that a primary is not the one before, nor its successor.
//! Read and compared here; asked, once for each link, by `control/descent.rs`.

use std::time::Duration;

use redis::Value;

/// What a server says of the history that it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lineage {
    /// Drawn anew when a process starts.
    run: Option<String>,
    /// Drawn anew with each history, and handed on to replicas.
    id: String,
    /// That of the primary whose replica it was until it was promoted; or, from Redis 7 on, of the snapshot that it started with, if
    /// that was made where there were replicas.
    before: Option<String>,
    /// How far its history goes.
    offset: Option<u64>,
    /// Of the history before, the first that it does not have.
    parted: Option<u64>,
    /// Where begins what it could still send to replicas: after a start, where it parted from the history before.
    backlog: Option<u64>,
    /// Since the process started, in whole seconds.
    uptime: Option<Duration>,
    /// In all databases, where the server says so.
    keys: Option<u64>,
}

impl Lineage {
    /// Of the replies to `INFO server`, `INFO replication` and `INFO keyspace`. `None` where they do not tell.
    pub(crate) fn read(replies: &[Value]) -> Option<Lineage> {
        let [server, replication, keyspace] = replies else { return None };
        let replication = text(replication)?;
        let id = field(replication, "master_replid").and_then(known)?;
        let before = field(replication, "master_replid2").and_then(known);
        let server = text(server).unwrap_or_default();
        let number = |info, name| field(info, name).and_then(|number| number.parse().ok());
        Some(Lineage {
            run: field(server, "run_id").and_then(known),
            id,
            before,
            offset: number(replication, "master_repl_offset"),
            parted: number(replication, "second_repl_offset"),
            backlog: number(replication, "repl_backlog_first_byte_offset"),
            uptime: number(server, "uptime_in_seconds").map(Duration::from_secs),
            keys: text(keyspace).and_then(keys),
        })
    }

    /// Whether what `earlier` held is what this holds, or what this goes on from. `unheard` is for how long nothing has been heard
    /// of the earlier one.
    pub(crate) fn descends_from(&self, earlier: &Lineage, unheard: Duration) -> bool {
        let is_same_process = self.run.is_some() && self.run == earlier.run;
        self.id == earlier.id
            || (self.before.as_ref() == Some(&earlier.id) && !self.lacks(earlier) && !self.has_started_within(unheard))
            // A primary that has been without replicas for an hour gives its history a new name.
            || (is_same_process && self.before.is_none())
    }

    /// It parted from the history at a point that the earlier one was known to have passed.
    fn lacks(&self, earlier: &Lineage) -> bool {
        matches!((self.parted, earlier.offset), (Some(parted), Some(reached)) if parted <= reached)
    }

    /// Whether it is a process that started from its disk in this time. A replica that was promoted has been there before, and what
    /// it was sent before that it could send on.
    fn has_started_within(&self, unheard: Duration) -> bool {
        let has_sent_on = matches!((self.backlog, self.parted), (Some(first), Some(parted)) if first < parted);
        !has_sent_on && self.uptime.is_some_and(|uptime| uptime <= unheard)
    }

    /// Whether it is known to hold nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys == Some(0)
    }
}

fn text(reply: &Value) -> Option<&str> {
    match reply {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

/// Zeros stand for none.
fn known(id: &str) -> Option<String> {
    (!id.is_empty() && id.bytes().any(|byte| byte != b'0')).then(|| id.to_owned())
}

/// `db0:keys=5,expires=0,...`, a line for each database that has any.
fn keys(keyspace: &str) -> Option<u64> {
    if !keyspace.contains("# Keyspace") {
        return None;
    }
    let of_each = keyspace.lines().filter_map(|line| line.strip_prefix("db")?.split_once(":keys="));
    Some(of_each.filter_map(|(_, rest)| rest.split(',').next()?.trim_end().parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Value {
        Value::BulkString(text.replace('\n', "\r\n").into_bytes())
    }

    fn lineage(run: &str, id: &str, before: &str, keyspace: &str) -> Lineage {
        let replies = [
            info(&format!("# Server\nredis_version:7.0.15\nrun_id:{run}\n")),
            info(&format!("# Replication\nrole:master\nmaster_replid:{id}\nmaster_replid2:{before}\n")),
            info(&format!("# Keyspace\n{keyspace}")),
        ];
        Lineage::read(&replies).expect("it tells")
    }

    #[test]
    fn who_goes_on_from_whom() {
        let first = lineage("r1", "a", "000", "db0:keys=5,expires=0,avg_ttl=0\n");
        let cases = [
            (lineage("r1", "a", "000", ""), true, "the same"),
            (lineage("r2", "a", "000", ""), true, "a replica that has the history"),
            (lineage("r2", "b", "a", ""), true, "a replica that was promoted"),
            (lineage("r1", "b", "000", ""), true, "the same process, whose history was given a new name"),
            (lineage("r2", "b", "000", ""), false, "restarted without it"),
            (lineage("r2", "b", "c", ""), false, "a replica of another one, promoted"),
            (lineage("r1", "b", "c", ""), false, "the same process, that has been a replica of another one"),
        ];
        for (later, descends, what) in cases {
            assert_eq!(later.descends_from(&first, Duration::ZERO), descends, "{what}");
        }
    }

    /// Where two servers meet that have a history in common, one of which is no longer there.
    fn successor(uptime: u64, parted: u64, backlog: u64) -> Lineage {
        let replies = [
            info(&format!("# Server\nrun_id:r2\nuptime_in_seconds:{uptime}\n")),
            info(&format!(
                "# Replication\nmaster_replid:b\nmaster_replid2:a\nmaster_repl_offset:{parted}\n\
                 second_repl_offset:{parted}\nrepl_backlog_first_byte_offset:{backlog}\n"
            )),
            info("# Keyspace\ndb0:keys=1,expires=0\n"),
        ];
        Lineage::read(&replies).expect("it tells")
    }

    #[test]
    fn who_goes_on_from_where() {
        let first = Lineage { offset: Some(100), ..lineage("r1", "a", "000", "") };
        let unheard = Duration::from_millis(2500);
        let cases = [
            (successor(3600, 151, 1), true, "a replica that was promoted, and had all that was known to be there"),
            (successor(3600, 101, 1), true, "the same, with not a byte more"),
            (successor(3600, 100, 1), false, "a replica that was behind"),
            (successor(2, 151, 151), false, "started since from a snapshot that is not known to lack anything"),
            (successor(2, 151, 500), false, "the same, after it has sent more on than it keeps"),
            (successor(2, 51, 51), false, "started since from a snapshot that is too old"),
            (successor(3, 151, 151), true, "a replica that was promoted, with nothing to send on"),
            (successor(1, 151, 1), true, "a replica of a moment ago, promoted"),
        ];
        for (later, descends, what) in cases {
            assert_eq!(later.descends_from(&first, unheard), descends, "{what}");
        }
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        assert!(!lineage("r", "a", "000", "db0:keys=1,expires=0\ndb7:keys=2,expires=0\n").is_empty());
        assert!(lineage("r", "a", "000", "").is_empty());
        let denied = Value::Nil;
        let told = info("# Replication\nmaster_replid:a\n");
        let read = Lineage::read(&[denied.clone(), told.clone(), denied.clone()]).expect("enough");
        assert!(!read.is_empty() && read.run.is_none() && read.before.is_none());
        // Two servers that do not say which process they are, are two.
        assert!(!Lineage { id: "b".to_owned(), ..read.clone() }.descends_from(&read, Duration::ZERO));
        for replication in [denied.clone(), info("# Replication\nrole:master\n"), info("master_replid:0000\n")] {
            assert_eq!(Lineage::read(&[denied.clone(), replication, denied.clone()]), None);
        }
        assert_eq!(Lineage::read(&[told]), None);
    }
}
