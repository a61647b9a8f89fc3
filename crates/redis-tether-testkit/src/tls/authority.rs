//! A certificate authority that lives as long as a test does.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Issues certificates. Trusted by nobody who has not been given its [`pem`](Self::pem).
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key, unencrypted.
    pub key: String,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validity {
    /// Now.
    Now,
    /// It was, long ago.
    Expired,
    /// It will be, in a long time.
    NotYet,
}

impl Authority {
    /// A new authority; no two are the same, or have the same name.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn new() -> io::Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        Self::named(&format!("authority {} of a test", COUNTER.fetch_add(1, Ordering::Relaxed)))
    }

    /// A new authority of this name: another one than before, whatever its name.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn named(name: &str) -> io::Result<Self> {
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        Ok(Self { issuer })
    }

    /// Its certificate as PEM: what those who trust it are given.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names (DNS names and IP addresses), good now, for servers and clients.
    ///
    /// # Errors
    /// Where a name is none, or the system has no random numbers.
    pub fn issue(&self, names: &[&str]) -> io::Result<Issued> {
        self.issue_valid(Validity::Now, names)
    }

    /// The same, with a validity of its own.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn issue_valid(&self, validity: Validity, names: &[&str]) -> io::Result<Issued> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        let (from, to) = match validity {
            Validity::Now => (2020, 4000),
            Validity::Expired => (2000, 2001),
            Validity::NotYet => (3999, 4000),
        };
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
