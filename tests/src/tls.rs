//! What a tether is given to speak TLS with the servers of the testkit.

use redis_tether::TlsSettings;
use redis_tether_testkit::TlsFiles;

/// Trusts these files' authority, and shows the client's certificate.
#[must_use]
pub fn settings(files: &TlsFiles) -> TlsSettings {
    trusting(files).with_client_certificate(files.client_cert_file(), files.client_key_file())
}

/// Trusts these files' authority, and shows nothing.
#[must_use]
pub fn trusting(files: &TlsFiles) -> TlsSettings {
    TlsSettings::new().with_ca_file(files.ca_file())
}
