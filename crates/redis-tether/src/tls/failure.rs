//! Why TLS failed, in words that say what to do. The stage asks when a handshake fails, the stream when something comes up
//! later; a dial shows the line, and tries again at the pace of refusals, since only somebody's doing will help.

use std::io;
use std::time::Duration;

use redis_tether_core::FailureKind;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::names::Names;
use crate::config::{TlsSettings, TlsVerify};
use crate::dial::Rejection;

/// What advice depends on.
pub(super) struct Facts {
    shows_certificate: bool,
    roots: Roots,
    names: &'static Names,
}

#[derive(Clone, Copy)]
enum Roots {
    System,
    Given,
    None,
}

impl Facts {
    pub(super) fn new(settings: &TlsSettings, names: &'static Names, has_roots: bool) -> Facts {
        let roots = match (settings.verify, settings.ca_file.is_some() || has_roots) {
            (TlsVerify::Insecure, _) => Roots::None,
            (TlsVerify::Full, true) => Roots::Given,
            (TlsVerify::Full, false) => Roots::System,
        };
        Facts { shows_certificate: settings.cert_file.is_some(), roots, names }
    }

    pub(super) fn handshake_failed(&self, error: &io::Error, name: &ServerName<'_>) -> Rejection {
        match rustls_error(error) {
            Some(Error::InvalidCertificate(problem)) => Rejection::by_tls(self.certificate(problem, name)),
            Some(error) => Rejection::by_tls(self.words(error)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Rejection { kind: FailureKind::Closed, detail: "in the middle of the TLS handshake".to_owned() }
            }
            None => Rejection::by_io(error),
        }
    }

    /// What the stream fails with once the handshake is over.
    pub(super) fn failed_later(&self, error: io::Error) -> io::Error {
        match rustls_error(&error) {
            Some(cause) => io::Error::new(error.kind(), TlsFailure(self.words(cause))),
            None => error,
        }
    }

    fn words(&self, error: &Error) -> String {
        match error {
            Error::AlertReceived(alert) => self.alert(*alert),
            Error::PeerIncompatible(why) => {
                format!("no common ground with the server, which must speak TLS 1.2 or 1.3: {why:?}")
            }
            other => other.to_string(),
        }
    }

    fn certificate(&self, problem: &CertificateError, name: &ServerName<'_>) -> String {
        let name = name.to_str();
        let Names { server_name, ca_file, .. } = self.names;
        match problem {
            CertificateError::NotValidForName => {
                format!("the server's certificate is not for {name}: set {server_name} to a name that it is for")
            }
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                format!(
                    "the server's certificate is for no name at all, let alone {name}: issue one with subject alternative \
                     names (a common name does not count)"
                )
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                // Not the whole list of a certificate for hundreds of names: the line is bounded.
                let names: Vec<_> = presented.iter().take(4).map(|name| plain(name)).collect();
                format!("the server's certificate is for {}, not for {name}: set {server_name}", names.join(", "))
            }
            CertificateError::UnknownIssuer => match self.roots {
                Roots::System => format!(
                    "this machine does not know who issued the server's certificate: name its authority's certificate in \
                     {ca_file}"
                ),
                _ => format!("nobody in {ca_file} issued the server's certificate"),
            },
            CertificateError::BadSignature => {
                format!(
                    "the server's certificate was issued by another authority than the trusted one of the same name: is \
                     {ca_file} that of an earlier one?"
                )
            }
            CertificateError::Expired => "the server's certificate has expired: renew it".to_owned(),
            CertificateError::ExpiredContext { time, not_after } => {
                format!(
                    "the server's certificate expired {} ago: renew it, or set this machine's clock",
                    span(*not_after, *time)
                )
            }
            CertificateError::NotValidYet => "the server's certificate is not valid yet".to_owned(),
            CertificateError::NotValidYetContext { time, not_before } => {
                let wait = span(*time, *not_before);
                format!("the server's certificate is not valid for another {wait}: is this machine's clock right?")
            }
            other => format!("the server's certificate is no good: {other}"),
        }
    }

    fn alert(&self, alert: AlertDescription) -> String {
        use AlertDescription as Alert;
        let Names { server_name, cert_file, key_file, .. } = self.names;
        match alert {
            Alert::CertificateRequired => {
                format!("the server wants a client certificate: set {cert_file} and {key_file}")
            }
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
                if self.shows_certificate =>
            {
                format!("the server refused the certificate in {cert_file} ({alert:?})")
            }
            Alert::HandshakeFailure if !self.shows_certificate => {
                format!(
                    "the server refused the handshake; if it wants a client certificate, set {cert_file} and {key_file}"
                )
            }
            Alert::UnrecognisedName => {
                format!("the server does not know the name that it was asked for: set {server_name}")
            }
            Alert::ProtocolVersion => "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned(),
            other => format!("the server broke off ({other:?})"),
        }
    }
}

/// What a stream over TLS fails with where TLS is why: the inside of an I/O error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TlsFailure(String);

impl TlsFailure {
    /// What failed, if it was TLS.
    pub(crate) fn inside(error: &io::Error) -> Option<String> {
        Some(error.get_ref()?.downcast_ref::<TlsFailure>()?.to_string())
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// A name as the TLS library shows it, `DnsName("redis.internal")` or `IpAddress(10.0.0.1)`, without its wrapping.
fn plain(name: &str) -> &str {
    let inside = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

/// From one to the other, in what people count in.
fn span(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let whole = match seconds {
        0..=119 => seconds,
        120..=7199 => seconds / 60 * 60,
        7200..=172_799 => seconds / 3600 * 3600,
        _ => seconds / 86_400 * 86_400,
    };
    humantime::format_duration(Duration::from_secs(whole)).to_string()
}
