//! Credentials that change: tokens that expire and files that are swapped, under load and on real servers; and sources that are
//! stale, refused, or answer nothing.

mod files;
mod pace;
mod refusals;
mod rotation;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis_tether::redis::{self, RedisResult};
use redis_tether::{Config, CredentialSource, Credentials, CredentialsError, Handle, Tether, credentials_fn};
use redis_tether_testkit::{Server, ServerKind};
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::watch::PATIENCE;

/// Who the tether is at the server.
const USER: &str = "app";

/// A server that takes passwords of one user, and whoever gives these out.
#[derive(Clone)]
struct Issuer {
    server: Arc<Server>,
    issued: Arc<AtomicU64>,
}

impl Issuer {
    async fn start(kind: ServerKind) -> Issuer {
        let server = Server::start(&server_binary(kind)).await.expect("the server starts");
        let issuer = Issuer { server: Arc::new(server), issued: Arc::default() };
        issuer.order(&["on", "~*", "&*", "+@all", "resetpass"]).await;
        issuer
    }

    /// Gives out a password of its own, which the server takes from then on, beside those before.
    async fn issue(&self) -> String {
        let password = format!("token-{}", self.issued.fetch_add(1, Ordering::SeqCst) + 1);
        self.order(&[&format!(">{password}")]).await;
        password
    }

    /// The server takes the last one only.
    async fn revoke_all_but_the_last(&self) {
        let last = self.issued.load(Ordering::SeqCst);
        self.order(&["resetpass", &format!(">token-{last}")]).await;
    }

    async fn order(&self, rules: &[&str]) {
        let order = [&["ACL", "SETUSER", USER], rules].concat();
        self.server.command(&order).await.expect("the server is well");
    }

    /// A source whose answers live this long.
    fn source(&self, lifetime: Duration) -> impl CredentialSource + use<> {
        let issuer = self.clone();
        credentials_fn(move |_| {
            let issuer = issuer.clone();
            async move {
                let password = issuer.issue().await;
                Ok(Credentials::new(password).with_username(USER).with_lifetime(lifetime))
            }
        })
    }

    fn config(&self) -> Config {
        Config::new(self.server.addr().ip().to_string(), self.server.addr().port())
    }
}

/// A tether that serves.
async fn connected(config: Config, source: impl CredentialSource) -> Tether {
    let tether = Tether::builder(config).credentials(source).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("it is let in");
    tether
}

async fn who_am_i(handle: &mut Handle) -> RedisResult<String> {
    redis::cmd("ACL").arg("WHOAMI").query_async(handle).await
}

fn out_of_order() -> CredentialsError {
    CredentialsError::new("out of order")
}
