//! The path of a file that a secret is in. A type of its own, since what stands in place of a path may be the secret itself: it
//! is printed only if it is a path. The file is read by `credentials/file.rs`, not here.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The path of a file with a username or a password in it: absolute, and text.
///
/// The file is read when a connection is made, and every 2 s while a link serves; what it holds then is used, without the line breaks
/// at its end. It may come later than the tether, be replaced, or be a symbolic link that is swapped, as Kubernetes mounts secrets.
/// While it cannot be read, what it held before is used.
///
/// `Debug` prints `<not a path>` for what cannot be one.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// Nothing is checked yet: [`Config::validate`](super::Config::validate) does that.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What may be printed.
    pub(super) fn shown(&self) -> &str {
        self.0.to_str().filter(|_| self.problem().is_none()).unwrap_or("<not a path>")
    }

    /// What is wrong with it, and what to write.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let Some(path) = self.0.to_str() else { return Some("is not UTF-8") };
        if path.is_empty() {
            Some("is empty: give the path of the file, or leave it out")
        } else if !path.starts_with('/') {
            Some("is not an absolute path: give that of the file, and not what is in it")
        } else if path.contains("://") || path.chars().any(char::is_control) {
            Some("is not the path of a file")
        } else {
            None
        }
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), f)
    }
}

impl<P: Into<PathBuf>> From<P> for SecretFile {
    fn from(path: P) -> Self {
        Self::new(path)
    }
}
