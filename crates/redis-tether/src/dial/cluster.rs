//! A node of a cluster that is dialled as a server of its own. Where all slots are its own it is as good as one: a cluster of one
//! shard, or a serverless endpoint with a cluster's protocol in front. Else most keys are somebody else's, and it is refused
//! with the way to what was meant, unless the configuration takes it all the same.

use redis::{Cmd, Pipeline, Value};
use redis_tether_core::FailureKind;

use super::Rejection;
use super::verify::VerifyError;
use super::wanted::Wanted;
use crate::config::{ClusterNode, Config, Endpoint};
use crate::multiplexer::Multiplexer;

/// What whoever has asked a cluster without knowing it is told.
pub(crate) const ADVICE: &str =
    "the endpoint is a node of a cluster: use redis+cluster:// (rediss+cluster://) and ClusterTether";

/// What the peer of a link is to a cluster, and so what its `MOVED` means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Membership {
    /// A server of its own, as far as is known. `MOVED` shows that it is none.
    Unknown,
    /// All slots are its own. `MOVED` shows that another one has taken over.
    Whole,
    /// One of several, and whoever asks it knows.
    Known,
}

impl Membership {
    /// What it is that was dialled, of somebody who says that it is a node of a cluster.
    ///
    /// Waits for as long as the server does.
    pub(crate) async fn of_node(
        multiplexer: &mut Multiplexer,
        config: &Config,
        wanted: Wanted,
    ) -> Result<Membership, VerifyError> {
        // The tether of a cluster's shard knows where it is, and so do those of its replicas.
        let is_of_shard = matches!(config.endpoint, Endpoint::Cluster(_)) || wanted == Wanted::ReplicaOfShard;
        if is_of_shard || config.cluster_node == ClusterNode::Accept {
            return Ok(Membership::Known);
        }
        let mut question = Cmd::new();
        question.arg("CLUSTER").arg("SLOTS");
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(question);
        let mut replies = multiplexer.ask(&pipeline).await.ok_or(VerifyError::Closed)?;
        match replies.pop().as_ref().and_then(shards) {
            Some(1) => Ok(Membership::Whole),
            Some(shards @ 2..) => {
                let detail = format!("{ADVICE}; its slots are on {shards} shards");
                Err(VerifyError::Failed(Rejection { kind: FailureKind::Config, detail }))
            }
            // It is denied, or nobody has been assigned anything yet.
            Some(0) | None => Ok(Membership::Unknown),
        }
    }
}

/// How many primaries this answer to `CLUSTER SLOTS` names; `None` if it is none.
fn shards(answer: &Value) -> Option<usize> {
    let Value::Array(entries) = answer else { return None };
    let mut primaries: Vec<(&Value, &Value)> = Vec::new();
    for entry in entries {
        let Value::Array(fields) = entry else { continue };
        let Some(Value::Array(primary)) = fields.get(2) else { continue };
        if let [host, port, ..] = primary.as_slice()
            && !primaries.contains(&(host, port))
        {
            primaries.push((host, port));
        }
    }
    Some(primaries.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(answer: &str) -> Option<usize> {
        shards(&redis::parse_redis_value(answer.as_bytes()).expect("RESP"))
    }

    #[test]
    fn shards_are_counted_by_their_primaries() {
        let entry = |port: u16| format!("*4\r\n:0\r\n:4\r\n*2\r\n$1\r\na\r\n:{port}\r\n*2\r\n$1\r\na\r\n:9\r\n");
        assert_eq!(count(&format!("*2\r\n{}{}", entry(1), entry(1))), Some(1), "two ranges of one");
        assert_eq!(count(&format!("*2\r\n{}{}", entry(1), entry(2))), Some(2));
        assert_eq!(count("*0\r\n"), Some(0));
        assert_eq!(count("*2\r\n*1\r\n:1\r\n:2\r\n"), Some(0), "what is no entry is passed over");
        assert_eq!(count("-NOPERM no\r\n"), None);
    }
}
