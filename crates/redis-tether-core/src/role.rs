//! What a server says that it is.

use std::fmt;

/// The role that a server gave when it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// It takes writes (`master`).
    Primary,
    /// It follows a primary and refuses writes (`slave`).
    Replica,
    /// It could not be asked, would not say, or said a word that is neither. It is taken for writable until it refuses a write.
    Unknown,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Unknown => "unknown",
        })
    }
}
