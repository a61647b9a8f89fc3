//! Reading what one node says of its cluster: the replies to `CLUSTER SLOTS` and `CLUSTER INFO`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use redis::{Cmd, ServerError, Value};
use redis_tether_core::Address;
use redis_tether_core::cluster::{Group, Node, SLOTS, Testimony};

use super::error::SurveyError;
use crate::question::{failed, text};

/// The questions, in one write.
pub(super) fn questions() -> [Cmd; 2] {
    ["SLOTS", "INFO"].map(|subject| {
        let mut question = redis::cmd("CLUSTER");
        question.arg(subject);
        question
    })
}

/// What the node at this address answered to them.
pub(super) fn read(at: SocketAddr, replies: Vec<Value>) -> Result<Testimony, SurveyError> {
    let address = Address::Tcp(at);
    let mut replies = replies.into_iter();
    let groups = match replies.next() {
        Some(Value::Array(entries)) => groups(at, &entries),
        Some(Value::ServerError(error)) if is_no_cluster(&error) => {
            let said = error.details().unwrap_or_default().to_owned();
            return Err(SurveyError::NotACluster { at: at.to_string(), said });
        }
        Some(Value::ServerError(error)) => return Err(failed::refused(&address, &error, None).into()),
        _ => return Err(failed::protocol(&address, "its answer to CLUSTER SLOTS is no list").into()),
    };
    if groups.is_empty() {
        return Err(SurveyError::NoSlots { at: at.to_string() });
    }
    let info = replies.next();
    let info = info.as_ref().and_then(text);
    let field = |name: &str| {
        let line = info?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim_end())
    };
    let is_healthy = field("cluster_state").map(|state| state == "ok");
    let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
    Ok(Testimony { groups, is_healthy, epoch })
}

/// A server of its own, or a proxy, which knows no such command.
fn is_no_cluster(error: &ServerError) -> bool {
    error.details().is_some_and(|detail| {
        detail.contains("cluster support disabled") || detail.to_ascii_lowercase().starts_with("unknown command")
    })
}

/// Entries of a first slot, a last slot, the primary and the replicas. One that is none is passed over.
fn groups(at: SocketAddr, entries: &[Value]) -> Vec<Group> {
    let mut by_primary: BTreeMap<Node, Group> = BTreeMap::new();
    for entry in entries {
        let Value::Array(fields) = entry else { continue };
        let [first, last, primary, replicas @ ..] = fields.as_slice() else { continue };
        let (Some(range), Some(primary)) = (range(first, last), node(at, primary)) else { continue };
        let group = by_primary.entry(primary.clone()).or_insert_with(|| {
            let mut replicas: Vec<Node> = replicas.iter().filter_map(|replica| node(at, replica)).collect();
            replicas.sort_unstable();
            Group { ranges: Vec::new(), primary, replicas }
        });
        group.ranges.push(range);
    }
    let mut groups: Vec<Group> = by_primary.into_values().collect();
    groups.iter_mut().for_each(|group| group.ranges.sort_unstable());
    groups.sort_unstable();
    groups
}

fn range(first: &Value, last: &Value) -> Option<(u16, u16)> {
    let slot = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok().filter(|number| *number < SLOTS),
        _ => None,
    };
    let (first, last) = (slot(first)?, slot(last)?);
    (first <= last).then_some((first, last))
}

/// What stands for a host that nobody has been told yet.
pub(crate) const UNNAMED: &str = "?";

/// Host, port, id, and in later versions more. An empty host is that of the node that was asked.
fn node(asked: SocketAddr, value: &Value) -> Option<Node> {
    let Value::Array(fields) = value else { return None };
    let host = match fields.first()? {
        Value::Nil => "",
        host => text(host)?,
    };
    let host = match host {
        UNNAMED => return None,
        "" | "0.0.0.0" | "::" => asked.ip().to_string(),
        host => host.to_owned(),
    };
    let port = match fields.get(1)? {
        Value::Int(port) => u16::try_from(*port).ok().filter(|port| *port > 0)?,
        _ => return None,
    };
    let id = fields.get(2).and_then(text).unwrap_or_default().to_owned();
    Some(Node { id, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(replies: &str) -> Result<Testimony, SurveyError> {
        let parsed = redis::parse_redis_value(replies.as_bytes()).expect("a list of replies");
        let Value::Array(replies) = parsed else { panic!("a list of replies") };
        read(SocketAddr::from(([10, 0, 0, 9], 6379)), replies)
    }

    const NODE: &str = "*3\r\n$8\r\n10.0.0.1\r\n:6379\r\n$2\r\naa\r\n";

    #[test]
    fn ranges_of_one_primary_are_one_group() {
        let slots = format!("*2\r\n*3\r\n:9\r\n:9\r\n{NODE}*3\r\n:0\r\n:4\r\n{NODE}");
        let info = "cluster_state:ok\r\ncluster_current_epoch:7\r\n";
        let told = read_all(&format!("*2\r\n{slots}${}\r\n{info}\r\n", info.len())).expect("a testimony");
        assert_eq!((told.is_healthy, told.epoch, told.groups.len()), (Some(true), 7, 1));
        assert_eq!(told.groups[0].ranges, [(0, 4), (9, 9)]);
        assert!(told.groups[0].primary.is_at("10.0.0.1", 6379));
    }

    #[test]
    fn a_host_that_is_not_told_is_that_of_the_node_asked_and_an_unknown_one_is_none() {
        let entry = |host: &str| format!("*1\r\n*3\r\n:0\r\n:4\r\n*2\r\n{host}\r\n:7\r\n");
        for host in ["$-1", "$0\r\n", "$7\r\n0.0.0.0"] {
            let told = read_all(&format!("*2\r\n{}+\r\n", entry(host))).expect("a testimony");
            assert!(told.groups[0].primary.is_at("10.0.0.9", 7), "{host:?}");
        }
        let unknown = read_all(&format!("*2\r\n{}+\r\n", entry("$1\r\n?")));
        assert!(matches!(unknown, Err(SurveyError::NoSlots { .. })), "{unknown:?}");
    }

    #[test]
    fn who_is_no_cluster_says_so() {
        let refused = read_all("*2\r\n-ERR This instance has cluster support disabled\r\n-ERR x\r\n");
        let error = refused.expect_err("it is none");
        assert!(error.is_for_people() && error.to_string().contains("use redis://"), "{error}");
        let unsafe_answers =
            ["*2\r\n-NOPERM no\r\n+\r\n", "*2\r\n:1\r\n+\r\n", "*2\r\n*1\r\n*1\r\n:1\r\n+\r\n", "*0\r\n"];
        for answer in unsafe_answers {
            assert!(read_all(answer).is_err(), "{answer:?}");
        }
        let beyond = format!("*2\r\n*1\r\n*3\r\n:0\r\n:16384\r\n{NODE}+\r\n");
        assert!(matches!(read_all(&beyond), Err(SurveyError::NoSlots { .. })));
    }
}
