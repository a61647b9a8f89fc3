//! Where the server binaries are, and what they are.
//!
//! Tests call [`ServerBinary::find`] or, where a missing server is a failure, [`ServerBinary::require`]. It looks and runs
//! `--version`, and never installs anything.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ServerError;

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServerKind {
    /// `redis-server`.
    Redis,
    /// `valkey-server`.
    Valkey,
}

impl ServerKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Redis, Self::Valkey];

    /// The name of the binary.
    pub fn binary_name(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        }
    }

    /// The environment variable that names the binary to use.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REDIS_SERVER",
            Self::Valkey => "VALKEY_SERVER",
        }
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        })
    }
}

/// A server binary that runs on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerBinary {
    kind: ServerKind,
    path: PathBuf,
    version: String,
}

impl ServerBinary {
    /// Looks for a server of this kind: in `REDIS_SERVER` or `VALKEY_SERVER`, then on the `PATH`, then in
    /// `servers/` under `CARGO_TARGET_DIR` and under `target/` of this directory and those above it.
    ///
    /// A variable that is set is taken at its word: if what it names does not run, nothing else is tried. Runs the
    /// binary with `--version`, which blocks for a few milliseconds.
    pub fn find(kind: ServerKind) -> Option<Self> {
        match env::var_os(kind.variable()).filter(|path| !path.is_empty()) {
            Some(path) => Self::at(kind, Path::new(&path)),
            None => candidates(kind.binary_name()).iter().find_map(|path| Self::at(kind, path)),
        }
    }

    /// As [`find`](Self::find), with an error that says where it has looked.
    ///
    /// # Errors
    /// [`ServerError::NotFound`].
    pub fn require(kind: ServerKind) -> Result<Self, ServerError> {
        Self::find(kind).ok_or(ServerError::NotFound { kind })
    }

    /// The first of any kind, Redis before Valkey.
    pub fn any() -> Option<Self> {
        ServerKind::ALL.into_iter().find_map(Self::find)
    }

    /// Every kind that is there.
    pub fn all() -> Vec<Self> {
        ServerKind::ALL.into_iter().filter_map(Self::find).collect()
    }

    /// What it is.
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version, such as `7.0.15`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The first number of its version; 0 where there is none.
    pub fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default()
    }

    /// Whether it was built with TLS. Asks it to start with a certificate that is not there, which it refuses in either case,
    /// each for its own reason.
    pub fn speaks_tls(&self) -> bool {
        let nowhere = "/nonexistent/server.pem";
        let mut command = Command::new(&self.path);
        command.args(["--port", "0", "--tls-port", "1", "--tls-cert-file", nowhere, "--tls-key-file", nowhere]);
        let output = command.stdin(Stdio::null()).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("Failed to configure TLS"))
    }

    fn at(kind: ServerKind, path: &Path) -> Option<Self> {
        let output = Command::new(path).arg("--version").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = parse_version(kind, &text)?;
        // Links are left alone: the binary goes by the name that it is called by (`redis-check-rdb` is the same file).
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Some(Self { kind, path, version })
    }
}

impl fmt::Display for ServerBinary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.binary_name(), self.version)
    }
}

pub(crate) fn candidates(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).collect::<Vec<_>>().into_iter();
    let target = env::var_os("CARGO_TARGET_DIR").map(|dir| Path::new(&dir).join("servers"));
    let here = env::current_dir().unwrap_or_default();
    let above: Vec<_> = here.ancestors().map(|dir| dir.join("target").join("servers")).collect();
    on_path.chain(target).chain(above).map(|dir| dir.join(name)).filter(|path| path.is_file()).collect()
}

/// Reads `Redis server v=7.0.15 sha=…`. Distributions link one name to the other's binary, so the word counts.
fn parse_version(kind: ServerKind, text: &str) -> Option<String> {
    let word = match kind {
        ServerKind::Redis => "Redis server",
        ServerKind::Valkey => "Valkey server",
    };
    let rest = text.trim_start().strip_prefix(word)?;
    rest.split_whitespace().find_map(|part| part.strip_prefix("v=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_and_the_other_server_is_not_taken_for_it() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1\n";
        assert_eq!(parse_version(ServerKind::Redis, redis).as_deref(), Some("7.0.15"));
        assert_eq!(parse_version(ServerKind::Valkey, redis), None);
        let valkey = "Valkey server v=9.1.2 sha=00000000:0 malloc=libc bits=64 build=2\n";
        assert_eq!(parse_version(ServerKind::Valkey, valkey).as_deref(), Some("9.1.2"));
        assert_eq!(parse_version(ServerKind::Redis, "no server at all"), None);
    }
}
