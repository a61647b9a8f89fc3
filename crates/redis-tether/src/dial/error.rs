//! Why a dial failed, in one line. Secrets are taken out before, where the peer's words are read (`dial/rejection.rs`).

use redis_tether_core::{Address, FailureKind};

/// A failed attempt at one address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{address}: {kind}{}{}", self.tail(), self.hint())]
pub(crate) struct DialError {
    kind: FailureKind,
    address: Address,
    detail: String,
}

impl DialError {
    pub(crate) fn new(kind: FailureKind, address: &Address, detail: impl Into<String>) -> DialError {
        DialError { kind, address: address.clone(), detail: one_line(&detail.into()) }
    }

    /// What decides how soon to try again.
    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Whether another dial cannot help until somebody has changed a configuration, here or there.
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(
            self.kind,
            FailureKind::Auth | FailureKind::Denied | FailureKind::Protocol | FailureKind::Config | FailureKind::Tls
        )
    }

    /// What whoever reads the line may not know.
    fn hint(&self) -> &'static str {
        match &self.address {
            Address::Tcp(addr) if self.kind == FailureKind::Refused && addr.ip().to_canonical().is_loopback() => {
                "; this is the machine itself, and inside a container that container alone"
            }
            _ => "",
        }
    }

    fn tail(&self) -> String {
        match self.detail.as_str() {
            "" => String::new(),
            detail => format!(": {detail}"),
        }
    }
}

/// What a peer says is printed in logs: one line of bounded length.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    printable(text).take(LONGEST).collect()
}

/// Without control characters. Servers do the same to line ends in what they repeat.
pub(super) fn printable(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|char| if char.is_control() { ' ' } else { char })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(addr: &str) -> String {
        let address = Address::Tcp(addr.parse().expect("an address"));
        DialError::new(FailureKind::Refused, &address, "").to_string()
    }

    #[test]
    fn whoever_is_refused_by_the_loopback_is_told_about_containers() {
        for loopback in ["127.0.0.1:6379", "[::1]:6379", "[::ffff:127.0.0.1]:6379"] {
            assert!(refused(loopback).contains("container"), "{loopback}");
        }
        assert_eq!(refused("10.0.0.1:6379"), "10.0.0.1:6379: connection refused");
    }
}
