//! The password as a type of its own, so that printing a configuration cannot print it. Every part of the
//! configuration stores passwords as this type; the dial reads one with [`Password::expose`]. It is never formatted.

use std::fmt;

use serde::Serialize;

/// A password. `Debug` and `Display` print `***`, whatever it is and however long.
///
/// `Serialize` writes the real password, because a configuration that is written out must read back as the same
/// one. Whoever serialises a [`Config`](super::Config) handles a secret.
///
/// Reading takes text only, from formats that say what their values are: a number is refused, in words that do not repeat
/// it (an error of the file format may still quote the line it stands on; TOML's does).
///
/// Equality is the plain comparison of the text and takes a time that depends on it: it tells configurations apart,
/// it is not for checking what a stranger sent.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// Takes the text as it is: nothing is trimmed or decoded.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, for the one place that sends it to the server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}
