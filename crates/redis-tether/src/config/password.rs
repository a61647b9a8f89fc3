//! The password as a type of its own, so that printing a configuration cannot print it. Every part of the
//! configuration stores passwords as this type; the dial reads one with [`Password::expose`]. It is never formatted.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// A password. `Debug` and `Display` print `***`, whatever it is and however long.
///
/// `Serialize` writes the real password, because a configuration that is written out must read back as the same
/// one. Whoever serialises a [`Config`](super::Config) handles a secret.
///
/// Reading takes text only: a number is refused, in words that do not repeat it (an error of the file format may still
/// quote the line it stands on; TOML's does).
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

// By hand because serde's own error for a number where text belongs prints the number, and a file with an unquoted
// numeric password is common.
impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            // Asked for a string, some formats make that error themselves; asked for anything, they hand over the number.
            deserializer.deserialize_any(PasswordVisitor)
        } else {
            deserializer.deserialize_string(PasswordVisitor)
        }
    }
}

struct PasswordVisitor;

impl PasswordVisitor {
    fn refuse<E: de::Error>() -> E {
        E::custom("password must be a string: write it in quotes")
    }
}

impl Visitor<'_> for PasswordVisitor {
    type Value = Password;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a password in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Password, E> {
        Ok(Password::new(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Password, E> {
        Ok(Password(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Password, E> {
        Err(Self::refuse())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Password, E> {
        Err(Self::refuse())
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Password, E> {
        Err(Self::refuse())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Password, E> {
        Err(Self::refuse())
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Password, E> {
        Err(Self::refuse())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Password, E> {
        Err(Self::refuse())
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Password, E> {
        Err(Self::refuse())
    }
}
