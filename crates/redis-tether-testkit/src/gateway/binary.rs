//! Where the proxies are on this machine. It looks, and never installs anything.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::server::{ServerError, candidates};

/// Which proxy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GatewayKind {
    /// twemproxy, whose program is called nutcracker: shares keys out, knows the commands that have one, and hangs up on others.
    Twemproxy,
    /// HAProxy in TCP mode: asks the servers for their roles and passes bytes on to the primary.
    HaProxy,
    /// Envoy's filter for Redis: answers much by itself.
    Envoy,
}

impl GatewayKind {
    /// The name of the program.
    pub fn binary_name(self) -> &'static str {
        match self {
            Self::Twemproxy => "nutcracker",
            Self::HaProxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// The environment variable that names the program to use.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Twemproxy => "TWEMPROXY",
            Self::HaProxy => "HAPROXY",
            Self::Envoy => "ENVOY",
        }
    }
}

impl fmt::Display for GatewayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Twemproxy => "twemproxy",
            Self::HaProxy => "HAProxy",
            Self::Envoy => "Envoy",
        })
    }
}

/// A proxy's program on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayBinary {
    kind: GatewayKind,
    path: PathBuf,
}

impl GatewayBinary {
    /// Looks for a proxy of this kind: in `TWEMPROXY`, `HAPROXY` or `ENVOY`, then on the `PATH` and in `/usr/sbin`, then in
    /// `servers/` under `CARGO_TARGET_DIR` and under `target/` of this directory and those above it. A variable that is set is
    /// taken at its word.
    pub fn find(kind: GatewayKind) -> Option<Self> {
        let path = match env::var_os(kind.variable()).filter(|path| !path.is_empty()) {
            Some(path) => Some(PathBuf::from(path)),
            None => {
                let daemon = Path::new("/usr/sbin").join(kind.binary_name());
                candidates(kind.binary_name()).into_iter().chain([daemon]).find(|path| path.is_file())
            }
        };
        path.map(|path| Self { kind, path: std::path::absolute(&path).unwrap_or(path) })
    }

    /// As [`find`](Self::find), with an error that says where it has looked.
    ///
    /// # Errors
    /// [`ServerError::NoGateway`].
    pub fn require(kind: GatewayKind) -> Result<Self, ServerError> {
        Self::find(kind).ok_or(ServerError::NoGateway { kind })
    }

    /// What it is.
    pub fn kind(&self) -> GatewayKind {
        self.kind
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
