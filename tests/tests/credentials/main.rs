//! Credentials that change: tokens that expire and files that are swapped, under load and on real servers; and sources that are
//! stale, refused, or answer nothing.

mod files;
mod pace;
mod refusals;
mod rotation;

use std::sync::Arc;

use redis_tether::redis::{self, RedisResult};
use redis_tether::{Config, CredentialSource, CredentialsError, Handle, Tether};
use redis_tether_testkit::{Server, ServerKind};
use redis_tether_tests::fakes;
use redis_tether_tests::servers::server_binary;
use redis_tether_tests::tokens::Issuer;
use redis_tether_tests::watch::PATIENCE;

/// The tethers' name at a server.
const HOLDER: &str = "holder";

/// Gives out the tokens of a server of its own.
async fn issuer(kind: ServerKind) -> Issuer<Server> {
    let server = Server::start(&server_binary(kind)).await.expect("the server starts");
    Issuer::new(&Arc::new(server), |server| vec![server], HOLDER)
}

/// For the server whose tokens these are.
fn config_for(issuer: &Issuer<Server>) -> Config {
    fakes::config(issuer.world().addr()).with_client_name(HOLDER)
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
