//! The verifier for the nodes of a cluster, and for the replicas of a primary: a certificate may be for what the node is announced as, or
//! for the name of a seed, as those of managed services are; a primary's endpoint is the seed of its replicas.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Verifies as another verifier does, and takes a certificate that is for the name of a seed in place of a node's. Of a seed it takes
/// none but its own, or the key of one would do for all.
#[derive(Debug)]
pub(super) struct OrOneOf {
    verifier: Arc<dyn ServerCertVerifier>,
    seeds: Vec<ServerName<'static>>,
}

impl OrOneOf {
    pub(super) fn new(verifier: Arc<dyn ServerCertVerifier>, seeds: Vec<ServerName<'static>>) -> OrOneOf {
        OrOneOf { verifier, seeds }
    }
}

impl ServerCertVerifier for OrOneOf {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |name: &ServerName<'_>| {
            self.verifier.verify_server_cert(certificate, intermediates, name, ocsp_response, now)
        };
        let outcome = verify(name);
        let Err(Error::InvalidCertificate(problem)) = &outcome else { return outcome };
        if !matches!(problem, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) {
            return outcome;
        }
        if self.seeds.contains(name) {
            return outcome;
        }
        let mut names = self.seeds.iter().filter(|seed| matches!(seed, ServerName::DnsName(_)));
        names.find_map(|other| verify(other).ok()).map_or(outcome, Ok)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClusterSeed, Config};
    use crate::tls::whom::{Whom, server_name};

    /// Takes a certificate that is the name which is asked for.
    #[derive(Debug)]
    struct ByName;

    impl ServerCertVerifier for ByName {
        fn verify_server_cert(
            &self,
            certificate: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            name: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            let is_for = certificate.as_ref() == name.to_str().as_bytes();
            is_for.then(ServerCertVerified::assertion).ok_or(CertificateError::NotValidForName.into())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            Vec::new()
        }
    }

    /// Or the key of one of them would do for all.
    #[test]
    fn a_seed_does_not_pass_for_another_and_does_for_a_node_that_is_none() {
        let seeds = ["seed-1.example", "seed-2.example", "10.0.0.9"].map(|host| ClusterSeed::new(host, 6379));
        let seeds = Whom::of(&Config::cluster(seeds), None).expect("names").seeds();
        let verifier = OrOneOf::new(Arc::new(ByName), seeds);
        let passes = |certificate: &'static str, asked: &str| {
            let (certificate, name) =
                (CertificateDer::from(certificate.as_bytes()), server_name(asked).expect("a name"));
            let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
            verifier.verify_server_cert(&certificate, &[], &name, &[], now).is_ok()
        };
        assert!(passes("seed-1.example", "seed-1.example") && passes("10.0.0.9", "10.0.0.9"));
        assert!(!passes("seed-1.example", "seed-2.example") && !passes("seed-1.example", "10.0.0.9"));
        assert!(passes("node-1.example", "node-1.example") && passes("seed-2.example", "node-1.example"));
        assert!(passes("seed-2.example", "10.0.0.1"));
        assert!(!passes("10.0.0.9", "node-1.example"), "an address is that of one");
        assert!(!passes("node-2.example", "node-1.example"));
    }
}
