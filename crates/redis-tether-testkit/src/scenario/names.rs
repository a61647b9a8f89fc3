//! Scenarios by their names, as command lines give them.

/// There is no scenario of this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no scenario is called {word:?}; there are {}", known.join(", "))]
#[non_exhaustive]
pub struct UnknownScenario {
    /// What was asked for.
    pub word: String,
    /// What there is.
    pub known: Vec<&'static str>,
}

pub(super) fn find<S: Copy>(word: &str, all: &[S], name: fn(S) -> &'static str) -> Result<S, UnknownScenario> {
    all.iter()
        .copied()
        .find(|scenario| name(*scenario) == word)
        .ok_or_else(|| UnknownScenario { word: word.to_owned(), known: all.iter().copied().map(name).collect() })
}
