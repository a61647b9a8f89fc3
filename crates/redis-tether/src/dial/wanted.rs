//! What a link is to lead to: the primary or, where an application reads from replicas, one of those. How much such a server is asked
//! beside what `dial/verify.rs` asks everybody, and which verdict rules it out, at the dial and at every probe alike.

use redis::{Pipeline, Value};
use redis_tether_core::{Address, FailureKind, Role};

use super::DialError;
use super::verify::{Verdict, VerifyError, VerifyLevel, verify};
use crate::multiplexer::Multiplexer;
use crate::question::text;

/// See the head of this file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Who takes writes.
    Primary,
    /// Who follows the primary, and is up with it.
    Replica,
    /// The same in a cluster, where it must be told (`READONLY`) that it is meant itself.
    ReplicaOfShard,
}

/// Where `ROLE` has the state of a replica's replication.
const STATE: usize = 3;

impl Wanted {
    /// Asks the server behind `multiplexer`, as [`verify`] does, and one that says it is a replica, where one is wanted, whether it
    /// has its primary. Where it will not say that, it is taken for well.
    pub(crate) async fn verify(
        self,
        multiplexer: &mut Multiplexer,
        level: VerifyLevel,
    ) -> Result<Verdict, VerifyError> {
        let mut verdict = verify(multiplexer, level).await?;
        let is_open = self != Wanted::Primary && verdict.role == Role::Replica && verdict.in_sync.is_none();
        if is_open && verdict.level > VerifyLevel::Ping {
            verdict.in_sync = is_in_sync(multiplexer).await?;
        }
        Ok(verdict)
    }

    /// Whether a peer with this verdict may carry commands.
    pub(crate) fn admit(self, address: &Address, verdict: &Verdict) -> Result<(), DialError> {
        if let Some((kind, detail)) = self.ruled_out_by(verdict) {
            return Err(DialError::new(kind, address, detail));
        }
        if let (Role::Unknown, Some(word)) = (verdict.role, &verdict.role_word) {
            tracing::warn!(%address, role = word, "the server's role is none that we know; taking it for what was wanted");
        }
        Ok(())
    }

    /// What is against such a peer, as a dial says it: its kind, and what is not in the kind already.
    fn ruled_out_by(self, verdict: &Verdict) -> Option<(FailureKind, String)> {
        let role = |or: &str| format!("its role is {}", verdict.role_word.as_deref().unwrap_or(or));
        match (self, verdict.role) {
            (Wanted::Primary, Role::Replica) => Some((FailureKind::NotPrimary, role("replica"))),
            (Wanted::Replica | Wanted::ReplicaOfShard, Role::Primary) => {
                Some((FailureKind::NotReplica, role("primary")))
            }
            _ if verdict.loading => Some((FailureKind::Loading, String::new())),
            (Wanted::Replica | Wanted::ReplicaOfShard, _) if verdict.in_sync == Some(false) => {
                Some((FailureKind::OutOfSync, "its link to the primary is down".to_owned()))
            }
            _ => None,
        }
    }

    /// What is against a peer that was fit before, in a few words.
    pub(crate) fn unfit(self, verdict: &Verdict) -> Option<&'static str> {
        Some(match self.ruled_out_by(verdict)?.0 {
            FailureKind::NotPrimary => "the server says that it is a replica",
            FailureKind::NotReplica => "the server says that it is a primary",
            FailureKind::OutOfSync => "the replica has lost its primary",
            _ => "the server is loading its dataset",
        })
    }
}

/// `ROLE` tells it, and is answered by a replica that serves nothing else; where it is denied nothing is known.
async fn is_in_sync(multiplexer: &mut Multiplexer) -> Result<Option<bool>, VerifyError> {
    let mut question = Pipeline::with_capacity(1);
    question.cmd("ROLE");
    let replies = multiplexer.ask(&question).await.ok_or(VerifyError::Closed)?;
    let Some(Value::Array(fields)) = replies.first() else { return Ok(None) };
    Ok(fields.get(STATE).and_then(text).map(|state| state == "connected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(role: Role) -> Verdict {
        let level = VerifyLevel::Hello;
        Verdict { role, role_word: None, loading: false, in_sync: None, version: None, level }
    }

    fn kind(wanted: Wanted, verdict: &Verdict) -> Option<FailureKind> {
        wanted.ruled_out_by(verdict).map(|(kind, _)| kind)
    }

    #[test]
    fn each_is_taken_for_what_it_is_and_for_nothing_else() {
        let (primary, replica, unknown) = (verdict(Role::Primary), verdict(Role::Replica), verdict(Role::Unknown));
        assert_eq!(kind(Wanted::Primary, &primary), None);
        assert_eq!(kind(Wanted::Primary, &replica), Some(FailureKind::NotPrimary));
        for wanted in [Wanted::Replica, Wanted::ReplicaOfShard] {
            assert_eq!(kind(wanted, &replica), None);
            assert_eq!(kind(wanted, &primary), Some(FailureKind::NotReplica));
        }
        for wanted in [Wanted::Primary, Wanted::Replica, Wanted::ReplicaOfShard] {
            assert_eq!(kind(wanted, &unknown), None, "{wanted:?}");
            let loading = Verdict { loading: true, ..unknown.clone() };
            assert_eq!(kind(wanted, &loading), Some(FailureKind::Loading), "{wanted:?}");
        }
    }

    #[test]
    fn a_replica_without_its_primary_is_no_use() {
        let orphan = Verdict { in_sync: Some(false), ..verdict(Role::Replica) };
        assert_eq!(kind(Wanted::Replica, &orphan), Some(FailureKind::OutOfSync));
        assert_eq!(Wanted::Replica.unfit(&orphan), Some("the replica has lost its primary"));
        let fed = Verdict { in_sync: Some(true), ..verdict(Role::Replica) };
        assert_eq!((kind(Wanted::Replica, &fed), Wanted::Replica.unfit(&fed)), (None, None));
    }
}
