//! What a link is to lead to: the primary or, where an application reads from replicas, one of those. How much such a server is asked
//! beside what `dial/verify.rs` asks everybody, and which verdict rules it out, at the dial and at every probe alike.

use redis::{Pipeline, Value};
use redis_tether_core::{Address, FailureKind, Role};

use super::DialError;
use super::verify::{Sync, Verdict, VerifyError, VerifyLevel, verify};
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
        let is_open = self != Wanted::Primary && verdict.role == Role::Replica && verdict.sync.is_none();
        if is_open && verdict.level > VerifyLevel::Ping {
            verdict.sync = sync(multiplexer).await?;
        }
        Ok(verdict)
    }

    /// Whether a peer with this verdict may carry commands.
    pub(crate) fn admit(self, address: &Address, verdict: &Verdict) -> Result<(), DialError> {
        self.ruled_out_by(verdict).map_or(Ok(()), |(kind, detail)| Err(DialError::new(kind, address, detail)))
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
            (Wanted::Replica | Wanted::ReplicaOfShard, _)
                if matches!(verdict.sync, Some(Sync::Down | Sync::Refusing)) =>
            {
                Some((FailureKind::OutOfSync, "its link to the primary is down".to_owned()))
            }
            _ => None,
        }
    }

    /// What is against a peer that was fit before, in a few words. A replica that has lost its primary since is as good as any while
    /// the primary is down, and that is not decided here.
    pub(crate) fn unfit(self, verdict: &Verdict) -> Option<&'static str> {
        match self.ruled_out_by(verdict)?.0 {
            FailureKind::NotPrimary => Some("the server says that it is a replica"),
            FailureKind::NotReplica => Some("the server says that it is a primary"),
            FailureKind::OutOfSync if verdict.sync == Some(Sync::Down) => None,
            FailureKind::OutOfSync => Some("the replica has lost its primary, and serves nothing without it"),
            _ => Some("the server is loading its dataset"),
        }
    }
}

/// `ROLE` tells it, and is answered by a replica that serves nothing else; where it is denied nothing is known.
async fn sync(multiplexer: &mut Multiplexer) -> Result<Option<Sync>, VerifyError> {
    let mut question = Pipeline::with_capacity(1);
    question.cmd("ROLE");
    let replies = multiplexer.ask(&question).await.ok_or(VerifyError::Closed)?;
    let Some(Value::Array(fields)) = replies.first() else { return Ok(None) };
    let state = fields.get(STATE).and_then(text);
    Ok(state.map(|state| if state == "connected" { Sync::Up } else { Sync::Down }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(role: Role) -> Verdict {
        let level = VerifyLevel::Hello;
        Verdict { role, role_word: None, loading: false, is_of_cluster: false, sync: None, version: None, level }
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
    fn a_replica_without_its_primary_is_not_begun_with_and_left_where_it_serves_nothing() {
        let with = |sync| Verdict { sync: Some(sync), ..verdict(Role::Replica) };
        let out = Some(FailureKind::OutOfSync);
        let cases = [(Sync::Up, None, true), (Sync::Down, out, true), (Sync::Refusing, out, false)];
        for (sync, refused, stays) in cases {
            let verdict = with(sync);
            assert_eq!(kind(Wanted::Replica, &verdict), refused, "{sync:?}");
            assert_eq!(Wanted::Replica.unfit(&verdict).is_none(), stays, "{sync:?}");
        }
    }
}
