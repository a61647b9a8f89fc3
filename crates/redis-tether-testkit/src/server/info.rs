//! What a server says about itself.
//!
//! `INFO` as a table of fields, which [`Server::full_info`](super::Server::full_info) returns and
//! [`Server::wait_for`](super::Server::wait_for) shows to its predicate.

use std::collections::BTreeMap;

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

    /// What it says about replication, on one line.
    pub(super) fn replication(&self) -> String {
        let names = ["role", "master_link_status", "master_sync_in_progress", "slave_repl_offset", "connected_slaves"];
        let known = names.iter().filter_map(|name| Some(format!("{name}:{}", self.field(name)?)));
        known.collect::<Vec<_>>().join(" ")
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
}
