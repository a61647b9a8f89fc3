//! Why it could not be found out who has which slots. One line, which names the node, what is wrong, and what to do where only a
//! person can do it.

use crate::dial::DialError;
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
    /// None of several could say it; here is what one of them met, and so many met what only people can mend.
    #[error("none of {asked} nodes says who has which slots; {one}")]
    None { asked: usize, for_people: usize, one: Box<SurveyError> },
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
            // The others may answer at any moment.
            SurveyError::None { asked, for_people, .. } => for_people == asked,
            SurveyError::NotFound(_)
            | SurveyError::Outdated
            | SurveyError::Dissolved
            | SurveyError::TimedOut
            | SurveyError::Panicked => false,
        }
    }

    /// The one to tell people of, of all that so many nodes met: what only they can mend, or else what came first.
    pub(super) fn of_all(mut errors: Vec<SurveyError>) -> SurveyError {
        let asked = errors.len();
        let for_people = errors.iter().filter(|error| error.is_for_people()).count();
        let told = errors.iter().position(SurveyError::is_for_people).unwrap_or_default();
        let one = if errors.is_empty() { SurveyError::TimedOut } else { errors.swap_remove(told) };
        if asked <= 1 { one } else { SurveyError::None { asked, for_people, one: Box::new(one) } }
    }
}
