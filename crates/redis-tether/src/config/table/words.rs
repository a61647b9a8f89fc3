//! The words of those settings that are one of a few: how each is written, and what is understood.

use crate::config::replicas::Fallback;
use crate::config::settings::{ClusterNode, HoldMode, Protocol, Retry, Verify};
use crate::config::tls::TlsVerify;

impl Protocol {
    pub(in crate::config) const WORDS: &'static str = "resp2, resp3, 2 or 3";

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Resp2 => "resp2",
            Self::Resp3 => "resp3",
        }
    }

    pub(in crate::config) fn from_word(word: &str) -> Option<Self> {
        match word {
            "resp2" | "2" | "2.0" => Some(Self::Resp2),
            "resp3" | "3" | "3.0" => Some(Self::Resp3),
            _ => None,
        }
    }
}

impl Verify {
    pub(in crate::config) const WORDS: &'static str = "auto, hello, role, ping or none";

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hello => "hello",
            Self::Role => "role",
            Self::Ping => "ping",
            Self::None => "none",
        }
    }

    pub(in crate::config) fn from_word(word: &str) -> Option<Self> {
        [Self::Auto, Self::Hello, Self::Role, Self::Ping, Self::None].into_iter().find(|verify| verify.word() == word)
    }
}

impl ClusterNode {
    pub(in crate::config) const WORDS: &'static str = "refuse or accept";

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Accept => "accept",
        }
    }

    pub(in crate::config) fn from_word(word: &str) -> Option<Self> {
        [Self::Refuse, Self::Accept].into_iter().find(|wanted| wanted.word() == word)
    }
}

impl HoldMode {
    pub(in crate::config) const WORDS: &'static str = "hold or fail_fast";

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::FailFast => "fail_fast",
        }
    }

    pub(in crate::config) fn from_word(word: &str) -> Option<Self> {
        [Self::Hold, Self::FailFast].into_iter().find(|mode| mode.word() == word)
    }
}

impl Retry {
    pub(in crate::config) const WORDS: &'static str = "never, read_only or all";

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::ReadOnly => "read_only",
            Self::All => "all",
        }
    }

    pub(in crate::config) fn from_word(word: &str) -> Option<Self> {
        [Self::Never, Self::ReadOnly, Self::All].into_iter().find(|retry| retry.word() == word)
    }
}

impl Fallback {
    pub(in crate::config) const WORDS: &'static str = "primary or none";

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::None => "none",
        }
    }

    pub(in crate::config) fn from_word(word: &str) -> Option<Self> {
        [Self::Primary, Self::None].into_iter().find(|fallback| fallback.word() == word)
    }
}

impl TlsVerify {
    pub(in crate::config) const WORDS: &'static str = "full or insecure";

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Insecure => "insecure",
        }
    }

    pub(in crate::config) fn from_word(word: &str) -> Option<Self> {
        [Self::Full, Self::Insecure].into_iter().find(|verify| verify.word() == word)
    }
}
