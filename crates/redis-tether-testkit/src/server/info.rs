//! What a server says about itself.
//!
//! `INFO` as a table of fields, which [`Server::full_info`](super::Server::full_info) returns and
//! [`Server::wait_for`](super::Server::wait_for) shows to its predicate.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The fields of an `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    fields: BTreeMap<String, String>,
}

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self { fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// The value of a field that is a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.field(name)?.parse().ok()
    }

    /// Whether a replica at this address gets what is written.
    pub(super) fn has_online_replica(&self, addr: SocketAddr) -> bool {
        let says = |replica: &str, fact: String| replica.split(',').any(|said| said == fact);
        self.replicas().any(|(_, replica)| {
            says(replica, format!("ip={}", addr.ip()))
                && says(replica, format!("port={}", addr.port()))
                && says(replica, "state=online".to_owned())
        })
    }

    /// `slave0:ip=127.0.0.1,port=6380,state=online,...` and so on.
    fn replicas(&self) -> impl Iterator<Item = (&String, &String)> {
        let is_numbered = |name: &str| name.strip_prefix("slave").is_some_and(|number| number.parse::<u32>().is_ok());
        self.fields.iter().filter(move |(name, _)| is_numbered(name))
    }

    /// What it says about replication, on one line.
    pub(super) fn replication(&self) -> String {
        let names = ["role", "master_link_status", "master_sync_in_progress", "slave_repl_offset", "connected_slaves"];
        let known = names.iter().filter_map(|name| Some(format!("{name}:{}", self.field(name)?)));
        let replicas = self.replicas().map(|(name, replica)| format!("{name}:{replica}"));
        known.chain(replicas).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_whatever_else_is_there() {
        let info = Info::parse("# Replication\r\nrole:slave\r\nslave_repl_offset:14\r\n\r\nmaster_link_status:up\r\n");
        assert_eq!((info.field("role"), info.number("slave_repl_offset")), (Some("slave"), Some(14)));
        assert_eq!((info.field("none"), info.number("role")), (None, None));
        assert_eq!(info.replication(), "role:slave master_link_status:up slave_repl_offset:14");
    }

    #[test]
    fn a_replica_is_online_when_its_own_line_says_so() {
        let info = Info::parse(
            "role:master\r\nconnected_slaves:2\r\nslave0:ip=127.0.0.2,port=7000,state=online,offset=14,lag=0\r\n\
             slave1:ip=127.0.0.3,port=7000,state=wait_bgsave,offset=0,lag=0\r\n",
        );
        let at = |address: &str| address.parse().expect("an address");
        assert!(info.has_online_replica(at("127.0.0.2:7000")));
        assert!(!info.has_online_replica(at("127.0.0.3:7000")), "it is syncing");
        assert!(!info.has_online_replica(at("127.0.0.2:7001")), "another port");
        assert!(info.replication().contains("slave1:ip=127.0.0.3,port=7000,state=wait_bgsave"));
    }
}
