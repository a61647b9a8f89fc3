//! The real servers that tests run against: both kinds, and never none.

use std::io;
use std::time::Duration;

use redis_tether::{Config, Protocol};
use redis_tether_testkit::{GatewayBinary, GatewayKind, ServerBinary, ServerKind};
use tokio::time::sleep;

use crate::watch::{PATIENCE, within};

/// The server of this kind. A test that needs one fails where there is none; it never passes by doing nothing.
///
/// # Panics
/// If there is none, with the command that installs it.
#[must_use]
pub fn server_binary(kind: ServerKind) -> ServerBinary {
    match ServerBinary::require(kind) {
        Ok(binary) => binary,
        Err(error) => panic!("{error}\n`cargo xtask servers` installs what the tests need"),
    }
}

/// The version of the protocol for a test that has no time to be run with both: with both kinds of server, both are run.
#[must_use]
pub fn protocol_for(kind: ServerKind) -> Protocol {
    if kind == ServerKind::Redis { Protocol::Resp2 } else { Protocol::Resp3 }
}

/// How long a command of a [`patient`] tether may wait: longer than any test waits for what it waits for, so that what did not come
/// is what a failure names.
const AS_LONG_AS_IT_TAKES: Duration = PATIENCE.saturating_add(Duration::from_secs(10));

/// The same, but commands wait for as long as servers may take to die, start, follow or take over, which on a loaded machine is
/// longer than they are held by default. For tests in which no command may fail for want of a primary, and which do not measure
/// how soon there is one.
#[must_use]
pub fn patient(mut config: Config) -> Config {
    config.commands.hold_window = AS_LONG_AS_IT_TAKES;
    config.commands.deadline = AS_LONG_AS_IT_TAKES;
    config
}

/// The same, but a link that is late by seconds is still trusted. A link on which a loaded machine keeps an answer back is suspected,
/// and another connection is made beside it, or a read goes elsewhere. Where that is counted, and nobody falls silent, it is not to be.
#[must_use]
pub fn unsuspecting(mut config: Config) -> Config {
    config.detection.suspect_after = config.detection.dead_after - Duration::from_secs(1);
    config.detection.probe_timeout = config.detection.probe_interval;
    config
}

/// The same, but names are looked up at the fast pace of an outage for as long as one may last here, and at no slower pace. What a
/// loaded machine may add to a recovery in a debug build is more than lies between two slow lookups: whoever had only those would pass.
#[must_use]
pub fn without_slow_lookups(mut config: Config) -> Config {
    config.resolve.fast_for = 3 * PATIENCE;
    config.resolve.interval = 3 * PATIENCE;
    config.resolve.outage_interval = 3 * PATIENCE;
    config
}

/// The proxy of this kind, on the same terms.
///
/// # Panics
/// If there is none, with the command that installs it.
#[must_use]
pub fn gateway_binary(kind: GatewayKind) -> GatewayBinary {
    match GatewayBinary::require(kind) {
        Ok(binary) => binary,
        Err(error) => panic!("{error}\n`cargo xtask servers` installs what the tests need"),
    }
}

/// Binds an address that is nobody's. It may be taken for a moment all the same: a process that is just being started by
/// another test has inherited the sockets of this one, the one that tried the address among them.
///
/// # Panics
/// When it is still taken after [`PATIENCE`].
pub async fn bind<T>(bind: impl AsyncFn() -> io::Result<T>) -> T {
    within(PATIENCE, "an address to be free", async {
        loop {
            match bind().await {
                Ok(bound) => return bound,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}"),
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Makes a test for each kind of server of an `async fn(ServerKind)`, named `function::redis` and `function::valkey`.
/// `on several threads:` before the names gives them a runtime of two.
#[macro_export]
macro_rules! on_each_server {
    (on several threads: $($scenario:ident),+ $(,)?) => {$(
        mod $scenario {
            use redis_tether_testkit::ServerKind;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() {
                super::$scenario(ServerKind::Redis).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn valkey() {
                super::$scenario(ServerKind::Valkey).await;
            }
        }
    )+};
    ($($scenario:ident),+ $(,)?) => {$(
        mod $scenario {
            use redis_tether_testkit::ServerKind;

            #[tokio::test]
            async fn redis() {
                super::$scenario(ServerKind::Redis).await;
            }

            #[tokio::test]
            async fn valkey() {
                super::$scenario(ServerKind::Valkey).await;
            }
        }
    )+};
}
