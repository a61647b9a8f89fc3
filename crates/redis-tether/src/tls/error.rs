//! Why TLS cannot be spoken as configured, whatever the server does: told when a tether starts, and in the log where files
//! change for the worse later on. Holds paths, never what is in the files.

use std::path::PathBuf;

use thiserror::Error;

/// What is wrong with the certificates, keys or roots that a tether was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{setting} {}: {problem}", path.display())]
    #[non_exhaustive]
    File {
        /// `tls.ca_file`, `tls.cert_file` or `tls.key_file`; of sentinels with settings of their own `endpoint.tls.ca_file` and so on.
        setting: &'static str,
        /// As configured.
        path: PathBuf,
        /// What is wrong with it, and what is expected.
        problem: String,
    },

    /// The key is not that of the certificate.
    #[error("{section}.key_file {} does not belong to {section}.cert_file {}", key_file.display(), cert_file.display())]
    #[non_exhaustive]
    Mismatch {
        /// Where in the configuration they are named: `tls` or `endpoint.tls`.
        section: &'static str,
        /// The certificate.
        cert_file: PathBuf,
        /// The key.
        key_file: PathBuf,
    },

    /// The roots that the builder was given cannot be used.
    #[error("the roots handed to the builder: {problem}")]
    #[non_exhaustive]
    Roots {
        /// What is wrong with them.
        problem: String,
    },

    /// This machine has no certificate authorities.
    #[error(
        "this machine has no certificate authorities{problem}: install them (Debian's package is ca-certificates), or set \
         {setting}"
    )]
    #[non_exhaustive]
    NoSystemRoots {
        /// Where others can be named: `tls.ca_file` or `endpoint.tls.ca_file`.
        setting: &'static str,
        /// What came in the way, where something did; begins with a colon.
        problem: String,
    },

    /// The server's name is none that a certificate can have.
    #[error("the server's name is none that a certificate can have: set {setting}")]
    #[non_exhaustive]
    Name {
        /// Where another can be given: `tls.server_name` or `endpoint.tls.server_name`.
        setting: &'static str,
    },

    /// There is nothing to encrypt with.
    #[error(
        "no cryptography for TLS: enable redis-tether's feature `tls`, install a rustls provider as the process default \
         (`CryptoProvider::install_default`), or hand one to the builder (`tls_provider`)"
    )]
    NoProvider,

    /// The provider of cryptography cannot do what is needed.
    #[error("the provider of cryptography: {problem}")]
    #[non_exhaustive]
    Provider {
        /// What it says.
        problem: String,
    },
}
