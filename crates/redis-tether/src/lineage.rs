//! Which history of writes a server holds, as its `INFO` has it: to tell that a primary is not the one before, nor its successor.
//! Read and compared here; asked, once for each link, by `control/descent.rs`.

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
    /// How many bytes the process has received as a replica. Told from Redis 7 on.
    replicated: Option<u64>,
    /// In all databases, where the server says so.
    keys: Option<u64>,
}

impl Lineage {
    /// Of the replies to `INFO server`, `INFO stats`, `INFO replication` and `INFO keyspace`. `None` where they do not tell.
    pub(crate) fn read(replies: &[Value]) -> Option<Lineage> {
        let [server, stats, replication, keyspace] = replies else { return None };
        let replication = text(replication)?;
        let id = field(replication, "master_replid").and_then(known)?;
        let before = field(replication, "master_replid2").and_then(known);
        let (server, stats) = (text(server).unwrap_or_default(), text(stats).unwrap_or_default());
        let number = |info, name| field(info, name).and_then(|number| number.parse().ok());
        Some(Lineage {
            run: field(server, "run_id").and_then(known),
            id,
            before,
            offset: number(replication, "master_repl_offset"),
            parted: number(replication, "second_repl_offset"),
            replicated: number(stats, "total_net_repl_input_bytes"),
            keys: text(keyspace).and_then(keys),
        })
    }

    /// Whether what `earlier` held is what this holds, or what this goes on from.
    pub(crate) fn descends_from(&self, earlier: &Lineage) -> bool {
        let is_same_process = self.run.is_some() && self.run == earlier.run;
        self.id == earlier.id
            || (self.before.as_ref() == Some(&earlier.id) && !self.lacks(earlier) && !self.is_from_disk())
            // A primary that has been without replicas for an hour gives its history a new name.
            || (is_same_process && self.before.is_none())
    }

    /// It parted from the history at a point that the earlier one was known to have passed.
    fn lacks(&self, earlier: &Lineage) -> bool {
        matches!((self.parted, earlier.offset), (Some(parted), Some(reached)) if parted <= reached)
    }

    /// Whether it has the history before from its disk. A replica that was promoted has received some of it: the first
    /// synchronization counts. One that was restarted itself, and promoted before its primary sent it anything, looks the same.
    fn is_from_disk(&self) -> bool {
        self.replicated == Some(0)
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
            info("# Stats\ntotal_connections_received:3\n"),
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
            assert_eq!(later.descends_from(&first), descends, "{what}");
        }
    }

    /// Where two servers meet that have a history in common, one of which is no longer there.
    fn successor(parted: u64, replicated: &str) -> Lineage {
        let replies = [
            info("# Server\nrun_id:r2\n"),
            info(&format!("# Stats\n{replicated}\n")),
            info(&format!(
                "# Replication\nmaster_replid:b\nmaster_replid2:a\nmaster_repl_offset:{parted}\nsecond_repl_offset:{parted}\n"
            )),
            info("# Keyspace\ndb0:keys=1,expires=0\n"),
        ];
        Lineage::read(&replies).expect("it tells")
    }

    #[test]
    fn who_goes_on_from_where() {
        let first = Lineage { offset: Some(100), ..lineage("r1", "a", "000", "") };
        let (some, none, untold) = ("total_net_repl_input_bytes:259", "total_net_repl_input_bytes:0", "");
        let cases = [
            (successor(151, some), true, "a replica that was promoted, and had all that was known to be there"),
            (successor(101, some), true, "the same, with not a byte more"),
            (successor(100, some), false, "a replica that was behind"),
            (successor(151, none), false, "started from a snapshot that is not known to lack anything"),
            (successor(51, none), false, "started from a snapshot that is too old"),
            (successor(151, untold), true, "of before Redis 7, which do not take a name up from a snapshot"),
        ];
        for (later, descends, what) in cases {
            assert_eq!(later.descends_from(&first), descends, "{what}");
        }
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        assert!(!lineage("r", "a", "000", "db0:keys=1,expires=0\ndb7:keys=2,expires=0\n").is_empty());
        assert!(lineage("r", "a", "000", "").is_empty());
        let denied = Value::Nil;
        let told = info("# Replication\nmaster_replid:a\n");
        let read = Lineage::read(&[denied.clone(), denied.clone(), told.clone(), denied.clone()]).expect("enough");
        assert!(!read.is_empty() && read.run.is_none() && read.before.is_none());
        // Two servers that do not say which process they are, are two.
        assert!(!Lineage { id: "b".to_owned(), ..read.clone() }.descends_from(&read));
        for replication in [denied.clone(), info("# Replication\nrole:master\n"), info("master_replid:0000\n")] {
            assert_eq!(Lineage::read(&[denied.clone(), denied.clone(), replication, denied.clone()]), None);
        }
        assert_eq!(Lineage::read(&[told]), None);
    }
}
