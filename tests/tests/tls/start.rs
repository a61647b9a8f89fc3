//! What a tether needs before it starts: files that are there and sound. Servers may be down; mistakes in the configuration are
//! told at once.

use redis_tether::{Config, StartError, Tether, TlsError, TlsSettings};

use super::{NAME, files};

async fn refusal(settings: TlsSettings) -> StartError {
    Tether::start(Config::new(NAME, 6379).with_tls(settings)).await.map(drop).expect_err("these files cannot be used")
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_at_once() {
    let files = files();
    let (cert, key) = (files.client_cert_file(), files.client_key_file());
    for (settings, expected) in [
        (TlsSettings::new().with_ca_file("/no/such/ca.pem"), "tls.ca_file /no/such/ca.pem: No such file"),
        (TlsSettings::new().with_ca_file(&key), "no certificate in it"),
        (TlsSettings::new().with_client_certificate(&key, &key), "no certificate in it"),
        (TlsSettings::new().with_client_certificate(&cert, &cert), "no private key in it"),
        (
            TlsSettings::new().with_client_certificate(&cert, files.server_key_file()),
            "does not belong to tls.cert_file",
        ),
    ] {
        let settings = if settings.ca_file.is_none() { settings.with_ca_file(files.ca_file()) } else { settings };
        let error = refusal(settings).await;
        assert!(matches!(error, StartError::Tls(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let mismatched = TlsSettings::new().with_ca_file(files.ca_file());
    let error = refusal(mismatched.with_client_certificate(cert, files.server_key_file())).await;
    assert!(matches!(error, StartError::Tls(TlsError::Mismatch { .. })), "{error:?}");
}
