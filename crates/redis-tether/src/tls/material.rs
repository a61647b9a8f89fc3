//! What both sides show each other, read from where the settings say: roots, certificate and key become the configuration of
//! a handshake, or an error that names the file. Called when a tether starts and when a file has changed; blocks, and never
//! repeats what a file holds.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::{fs, io};

use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use super::anyone::AcceptAnyone;
use super::names::Names;
use super::or_one_of::OrOneOf;
use super::{TlsError, TlsParts};
use crate::config::{TlsSettings, TlsVerify};

/// Sessions that are kept for resumption, of one server each. A tether has one, and a new one now and then; a cluster of more
/// shards than this shakes hands in full with some of its nodes.
const SESSIONS: usize = 8;

/// Larger than any bundle of certificates; so that a path to a device or a log does not fill the memory.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Where everything comes from.
pub(super) struct Sources {
    settings: TlsSettings,
    names: &'static Names,
    /// As PEM, in place of a file.
    roots: Option<Vec<u8>>,
    provider: Arc<CryptoProvider>,
    /// Names that a certificate may be for, beside the one that was asked for.
    seeds: Vec<ServerName<'static>>,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    ca: Option<Vec<u8>>,
    pair: Option<(Vec<u8>, Vec<u8>)>,
}

impl Sources {
    pub(super) fn new(
        settings: TlsSettings,
        names: &'static Names,
        parts: TlsParts,
        seeds: Vec<ServerName<'static>>,
    ) -> Result<Sources, TlsError> {
        let default = || CryptoProvider::get_default().cloned().or_else(own_provider);
        let provider = parts.provider.or_else(default).ok_or(TlsError::NoProvider)?;
        Ok(Sources { settings, names, roots: parts.roots, provider, seeds })
    }

    /// The files that may change.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let TlsSettings { ca_file, cert_file, key_file, .. } = &self.settings;
        // What the builder was given goes before the file.
        let ca_file = ca_file.as_ref().filter(|_| self.roots.is_none());
        [ca_file, cert_file.as_ref(), key_file.as_ref()].into_iter().flatten().map(|path| &**path)
    }

    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let TlsSettings { ca_file, cert_file, key_file, .. } = &self.settings;
        let ca = match (&self.roots, ca_file) {
            (None, Some(path)) => Some(read(self.names.ca_file, path)?),
            _ => None,
        };
        let pair = match (cert_file, key_file) {
            (Some(cert), Some(key)) => Some((read(self.names.cert_file, cert)?, read(self.names.key_file, key)?)),
            _ => None,
        };
        Ok(Contents { ca, pair })
    }

    /// The configuration of a handshake, if all that belongs to it is sound.
    pub(super) fn configure(&self, contents: &Contents) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Provider { problem: error.to_string() })?;
        let builder = match self.settings.verify {
            TlsVerify::Full if self.seeds.is_empty() => builder.with_root_certificates(self.roots(contents)?),
            TlsVerify::Full => builder.dangerous().with_custom_certificate_verifier(self.verifier(contents)?),
            TlsVerify::Insecure => {
                let anyone: Arc<dyn ServerCertVerifier> = Arc::new(AcceptAnyone::new(Arc::clone(&self.provider)));
                builder.dangerous().with_custom_certificate_verifier(anyone)
            }
        };
        let mut config = match &contents.pair {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = certificates(cert).map_err(|problem| self.file(self.names.cert_file, problem))?;
                let key = private_key(key).map_err(|problem| self.file(self.names.key_file, problem.to_owned()))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| self.bad_pair(&error))?
            }
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(config)
    }

    /// The one that there would be by default, asked for several names.
    fn verifier(&self, contents: &Contents) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let builder = WebPkiServerVerifier::builder_with_provider(self.roots(contents)?, Arc::clone(&self.provider));
        let verifier = builder.build().map_err(|error| TlsError::Provider { problem: error.to_string() })?;
        Ok(Arc::new(OrOneOf::new(verifier, self.seeds.clone())))
    }

    fn roots(&self, contents: &Contents) -> Result<Arc<RootCertStore>, TlsError> {
        match (&self.roots, &contents.ca) {
            (Some(pem), _) => roots(pem).map_err(|problem| TlsError::Roots { problem }),
            (None, Some(pem)) => roots(pem).map_err(|problem| self.file(self.names.ca_file, problem)),
            (None, None) => {
                system_roots().map_err(|problem| TlsError::NoSystemRoots { setting: self.names.ca_file, problem })
            }
        }
    }

    fn bad_pair(&self, error: &Error) -> TlsError {
        let TlsSettings { cert_file, key_file, .. } = &self.settings;
        match (error, cert_file.clone(), key_file.clone()) {
            (Error::InconsistentKeys(_), Some(cert_file), Some(key_file)) => {
                TlsError::Mismatch { section: self.names.section, cert_file, key_file }
            }
            (Error::InvalidCertificate(_), ..) => {
                self.file(self.names.cert_file, format!("not a certificate: {error}"))
            }
            _ => {
                self.file(self.names.key_file, "not a private key that the provider of cryptography can use".to_owned())
            }
        }
    }

    fn file(&self, setting: &'static str, problem: String) -> TlsError {
        let path = match setting {
            name if name == self.names.ca_file => &self.settings.ca_file,
            name if name == self.names.cert_file => &self.settings.cert_file,
            _ => &self.settings.key_file,
        };
        TlsError::File { setting, path: path.clone().unwrap_or_default(), problem }
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    read_bounded(path).map_err(|error| TlsError::File { setting, path: path.to_owned(), problem: error.to_string() })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let about = fs::metadata(path)?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(io::Error::other("not a PEM file"));
    }
    fs::read(path)
}

fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("not the certificate of an authority: {error}"))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("no certificate in it: PEM (-----BEGIN CERTIFICATE-----) is expected".to_owned())
        }
        Ok(found) => Ok(found),
        // What the parser says repeats the line, which may be one of a key.
        Err(_) => Err("damaged: it begins as PEM and does not go on like it".to_owned()),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if pem.windows(9).any(|word| word == b"ENCRYPTED") => {
            "its key is encrypted: write it without a passphrase, readable by this process alone"
        }
        pem::Error::NoItemsFound => "no private key in it: PEM (-----BEGIN PRIVATE KEY-----) is expected",
        _ => "damaged: it begins as PEM and does not go on like it",
    })
}

/// The system's roots are read once in a process and shared: they are large, and change with the machine.
/// Where there are none, what came in the way, if anything did.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Stores hold odd ones, too; those that cannot be read are trusted by nobody.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(found.errors.first().map(|error| format!(": {error}")).unwrap_or_default());
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

/// What is there where the application has brought nothing.
fn own_provider() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "tls")]
    return Some(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()));
    #[cfg(not(feature = "tls"))]
    None
}
