//! Asking sentinels which replicas their master has: one after another until one of them knows. Sentinels never forget a replica, so
//! what they say of each decides whether it is worth a connection.

use redis::Value;
use redis_tether_core::Address;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

use super::inquiry::{is_unknown, sentinel};
use super::{SentinelError, Sentinels};
use crate::question::{failed, text};

/// More of them are not asked. One that is well is enough.
const ASKED_AT_MOST: usize = 5;

/// A replica is not used that the sentinel has lost in one of these ways.
const LOST: [&str; 3] = ["s_down", "o_down", "disconnected"];

impl Sentinels {
    /// Host and port of each replica that is well. Bounded by the lookups of names and [`Sentinels::limit`] for each that is asked.
    /// Cancel safe.
    pub(crate) async fn replicas(&self, max_age: Duration) -> Result<Vec<(String, u16)>, SentinelError> {
        let (places, mut errors) = self.all_in_turn(max_age).await;
        for at in places.into_iter().take(ASKED_AT_MOST) {
            match self.question_of_replicas(at).await {
                Ok(replicas) => return Ok(replicas),
                Err(error) => errors.push(error),
            }
        }
        Err(SentinelError::of_all(errors, SentinelError::NoReplicas))
    }

    async fn question_of_replicas(&self, at: SocketAddr) -> Result<Vec<(String, u16)>, SentinelError> {
        let limit = self.limit();
        let said = async {
            let mut line = self.open(at).await?;
            let master = &self.endpoint.master;
            let reply = line.ask(&[sentinel("REPLICAS", master)]).await?.pop().unwrap_or_default();
            match reply {
                Value::Array(entries) => Ok(entries.iter().filter_map(read_if_well).collect()),
                Value::ServerError(error)
                    if error.details().is_some_and(|detail| detail.contains("No such master")) =>
                {
                    Err(SentinelError::UnknownMaster { at: at.to_string(), master: master.clone() })
                }
                Value::ServerError(error) if is_unknown(&error) => {
                    Err(SentinelError::NotASentinel { at: at.to_string() })
                }
                Value::ServerError(error) => Err(line.refused(&error).into()),
                _ => Err(failed::protocol(line.at(), "its answer is no list of replicas").into()),
            }
        };
        timeout(limit, said).await.unwrap_or_else(|_| Err(failed::timed_out(&Address::Tcp(at), limit).into()))
    }
}

/// Pairs of names and values.
fn read_if_well(entry: &Value) -> Option<(String, u16)> {
    let Value::Array(fields) = entry else { return None };
    let field = |name: &str| {
        let pair = fields.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name))?;
        text(&pair[1])
    };
    let is_lost = field("flags").unwrap_or_default().split(',').any(|flag| LOST.contains(&flag));
    let has_primary = field("master-link-status").is_none_or(|status| status == "ok");
    let (host, port) = (field("ip")?, field("port")?.parse().ok()?);
    (!is_lost && has_primary && !host.is_empty() && port != 0).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(flags: &str, status: Option<&str>, ip: &str, port: &str) -> Value {
        let mut words = vec!["name", "x", "ip", ip, "port", port, "flags", flags];
        words.extend(status.iter().flat_map(|status| ["master-link-status", status]));
        Value::Array(words.into_iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect())
    }

    #[test]
    fn only_replicas_that_are_well_are_taken() {
        let well = Some(("10.0.0.2".to_owned(), 6379));
        assert_eq!(read_if_well(&entry("slave", Some("ok"), "10.0.0.2", "6379")), well);
        assert_eq!(read_if_well(&entry("slave", None, "10.0.0.2", "6379")), well, "an older sentinel");
        for flags in ["s_down,slave", "slave,disconnected", "s_down,o_down,slave"] {
            assert_eq!(read_if_well(&entry(flags, Some("ok"), "10.0.0.2", "6379")), None, "{flags}");
        }
        assert_eq!(read_if_well(&entry("slave", Some("err"), "10.0.0.2", "6379")), None);
        for (ip, port) in [("", "6379"), ("10.0.0.2", "0"), ("10.0.0.2", "x")] {
            assert_eq!(read_if_well(&entry("slave", Some("ok"), ip, port)), None, "{ip}:{port}");
        }
        assert_eq!(read_if_well(&Value::Nil), None);
    }
}
