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
    /// That of the primary whose replica it was until it was promoted.
    before: Option<String>,
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
        let run = text(server).and_then(|server| field(server, "run_id")).and_then(known);
        Some(Lineage { run, id, before, keys: text(keyspace).and_then(keys) })
    }

    /// Whether what `earlier` held is what this holds, or what this goes on from.
    pub(crate) fn descends_from(&self, earlier: &Lineage) -> bool {
        let is_same_process = self.run.is_some() && self.run == earlier.run;
        self.id == earlier.id
            || self.before.as_ref() == Some(&earlier.id)
            // A primary that has been without replicas for an hour gives its history a new name.
            || (is_same_process && self.before.is_none())
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
            assert_eq!(later.descends_from(&first), descends, "{what}");
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
        assert!(!Lineage { id: "b".to_owned(), ..read.clone() }.descends_from(&read));
        for replication in [denied.clone(), info("# Replication\nrole:master\n"), info("master_replid:0000\n")] {
            assert_eq!(Lineage::read(&[denied.clone(), replication, denied.clone()]), None);
        }
        assert_eq!(Lineage::read(&[told]), None);
    }
}
