//! Why it could not be found out who has which slots. One line, which names the node, what is wrong, and what to do where only a
//! person can do it.

use crate::dial::DialError;
use crate::question::{Several, Trouble};
use crate::resolve::ResolveError;

/// What came of a survey.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    /// Somebody else listens there.
    #[error(
        "{at} is no node of a cluster ({said}): for a server of its own use redis:// and Tether, not redis+cluster://"
    )]
    NotACluster { at: String, said: String },
    /// It is a node, and its cluster has no slots that anybody serves.
    #[error("the cluster at {at} has assigned no slots: has it been created (redis-cli --cluster create)?")]
    NoSlots { at: String },
    /// It could not be connected to, would not let us in, or did not answer.
    #[error("cluster node {0}")]
    Failed(#[from] DialError),
    /// The name of a node or of the configuration endpoint means nothing.
    #[error("cluster: {0}")]
    NotFound(#[from] ResolveError),
    /// None of several could say it; here is what one of them met.
    #[error("none of {} nodes says who has which slots; {}", .0.asked(), .0.told())]
    None(Several<SurveyError>),
    /// Those who answered have missed what happened since.
    #[error("those nodes that answer tell what was before")]
    Outdated,
    /// The shard has handed all its slots over.
    #[error("the shard has no slots any more")]
    Dissolved,
    /// They took too long, together.
    #[error("asking the nodes timed out")]
    TimedOut,
    /// The code that asked died of it: a resolver or transport of the application's.
    #[error("asking the nodes panicked")]
    Panicked,
}

impl SurveyError {
    /// Whether asking again cannot help until somebody has changed a configuration, here or there.
    pub(crate) fn is_for_people(&self) -> bool {
        match self {
            SurveyError::NotACluster { .. } | SurveyError::NoSlots { .. } => true,
            SurveyError::Failed(error) => error.is_for_people(),
            SurveyError::None(several) => several.is_for_people(),
            SurveyError::NotFound(_)
            | SurveyError::Outdated
            | SurveyError::Dissolved
            | SurveyError::TimedOut
            | SurveyError::Panicked => false,
        }
    }

    /// Of what a survey came to.
    pub(super) fn trouble(error: Option<&SurveyError>) -> Trouble {
        Trouble::of(error, SurveyError::is_for_people)
    }

    /// Of what each node met.
    pub(super) fn of_all(errors: Vec<SurveyError>) -> SurveyError {
        match Several::of(errors, SurveyError::is_for_people).map(Several::only) {
            Some(Ok(one)) => one,
            Some(Err(several)) => SurveyError::None(several),
            None => SurveyError::TimedOut,
        }
    }
}
