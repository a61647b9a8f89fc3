//! Which cryptography is used: what the builder was given, else the process's default, else ring. In a process of its own, since
//! the default is the process's.

use std::sync::Arc;

use redis_tether::rustls::crypto::{CryptoProvider, ring};
use redis_tether::{Config, StartError, Tether, TlsError, TlsSettings};
use redis_tether_testkit::tls::Authority;

async fn start(provider: Option<CryptoProvider>) -> Result<Tether, StartError> {
    let roots = Authority::new().expect("an authority").pem();
    let builder = Tether::builder(Config::new("127.0.0.1", 1).with_tls(TlsSettings::new())).tls_roots(roots);
    match provider {
        Some(provider) => builder.tls_provider(Arc::new(provider)).start().await,
        None => builder.start().await,
    }
}

/// One that can do nothing shows by what does not work that it was used.
fn useless() -> CryptoProvider {
    CryptoProvider { cipher_suites: Vec::new(), ..ring::default_provider() }
}

fn is_refused(outcome: Result<Tether, StartError>) -> bool {
    matches!(outcome, Err(StartError::Tls(TlsError::Provider { .. })))
}

#[tokio::test]
async fn the_builders_provider_goes_before_the_processs_and_that_before_ring() {
    start(None).await.expect("ring is there").shutdown().await;
    assert!(is_refused(start(Some(useless())).await), "the builder's was used");
    useless().install_default().expect("there was none");
    assert!(is_refused(start(None).await), "the process's was used");
    start(Some(ring::default_provider())).await.expect("the builder's goes first").shutdown().await;
}
